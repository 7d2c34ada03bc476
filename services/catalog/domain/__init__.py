"""The catalogue's nouns and rules. They know no technology."""

from services.catalog.domain.models import (
    EFFECT_ARITIES,
    ROUTING_FIELDS,
    RULE_ARITIES,
    InputSchema,
    License,
    Link,
    Model,
    ModelNotFound,
    ModelVersion,
    PublishedFigure,
    Search,
    VersionNotFound,
)
from services.catalog.domain.routes import (
    InferenceRoute,
    InferenceRoutes,
    Pin,
    RouteTarget,
    TargetNotOffered,
    route_of,
    select_targets,
)

__all__ = [
    "EFFECT_ARITIES",
    "ROUTING_FIELDS",
    "RULE_ARITIES",
    "InferenceRoute",
    "InferenceRoutes",
    "InputSchema",
    "License",
    "Link",
    "Model",
    "ModelNotFound",
    "ModelVersion",
    "Pin",
    "PublishedFigure",
    "RouteTarget",
    "Search",
    "TargetNotOffered",
    "VersionNotFound",
    "route_of",
    "select_targets",
]
