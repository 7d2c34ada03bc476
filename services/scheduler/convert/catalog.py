"""What the catalogue tells of versions."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from forge.catalog.v1 import model_pb2
from google.protobuf import json_format

from services.scheduler.domain.inputs import Rule
from services.scheduler.ports import Version


def version_from_proto(
    slug: str, version: model_pb2.ModelVersion, schema: model_pb2.InputSchema, models: Iterable[model_pb2.Model]
) -> Version:
    """A version as the catalogue tells it, which has `models`."""
    figures = (figure for model in models for each in model.versions for figure in each.published_figures)
    plain = json_format.MessageToDict(schema.schema)
    return Version(
        slug=slug,
        model_version=version.version,
        pipeline=version.pipeline,
        weights_repository=version.weights_repository,
        weights_revision=version.weights_revision,
        weights_dtype=version.weights_dtype,
        vram_floor_gib=version.vram_floor_gib,
        schema=plain,
        rules=_rules(plain.get("x-forge-rules", ())),
        effects=_rules(plain.get("x-forge-effects", ())),
        known_targets=tuple(sorted({(figure.gpu_type, figure.region) for figure in figures})),
        max_run_seconds=float(version.max_run_seconds) or Version.max_run_seconds,
        example=json_format.MessageToDict(schema.example),
        probe_inputs=tuple(json_format.MessageToDict(inputs) for inputs in version.probe_inputs),
    )


def _rules(stated: Sequence[Mapping[str, Any]]) -> tuple[Rule, ...]:
    return tuple(Rule(rule["kind"], tuple(rule["fields"]), rule["text"]) for rule in stated)
