"""What the catalogue does: find models, tell their inputs, check a selection."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.catalog import domain
from services.catalog.domain import InferenceRoutes, InputSchema, Model, ModelNotFound, Pin, PublishedFigure, Search
from services.catalog.ports import Fleet
from services.catalog.usecases import pages
from services.chassis.errors import InvalidInput


@dataclass(frozen=True)
class Page:
    """Some of the models a search finds."""

    models: tuple[Model, ...]
    next_page_token: str
    """Finds the next page; "" on the last one."""
    total_size: int


class Catalog:
    """The models of this installation."""

    def __init__(self, models: Iterable[Model], fleet: Fleet) -> None:
        self._models: Sequence[Model] = sorted(models, key=lambda model: model.slug)
        self._by_slug = {model.slug: model for model in self._models}
        self._fleet = fleet

    def search(self, search: Search, *, page_size: int = 0, page_token: str = "") -> Page:
        """Models that match, ordered by slug, from the place that `page_token` marks.

        `page_size` 0 means 50. InvalidInput when it is outside 0 to 100, or the token was not made here.
        """
        violations = pages.size_violations(page_size)
        after = pages.place(page_token)
        if after is None:
            violations.append(pages.token_violation())
        if violations or after is None:
            raise InvalidInput(violations)
        found = [model for model in self._models if model.matches(search)]
        rest = [model for model in found if model.slug > after]
        models = tuple(rest[: page_size or pages.DEFAULT_PAGE_SIZE])
        return Page(models, pages.token(models[-1].slug) if len(models) < len(rest) else "", len(found))

    def model(self, slug: str) -> Model:
        """The model of this slug, or ModelNotFound."""
        try:
            return self._by_slug[slug]
        except KeyError:
            raise ModelNotFound(slug, self._by_slug) from None

    def inputs(self, slug: str, version: str) -> tuple[str, InputSchema]:
        """Name and inputs of a version; the default one for "". ModelNotFound, VersionNotFound."""
        found = self.model(slug).find_version(version)
        return found.version, found.inputs

    @property
    def published_figures(self) -> Sequence[PublishedFigure]:
        """What others published, of all models: the targets that are known even where the fleet lacks them."""
        return [figure for model in self._models for each in model.versions for figure in each.published_figures]

    async def routes(self, slug: str, version: str, pin: Pin) -> InferenceRoutes:
        """How and where a selection runs.

        ModelNotFound, VersionNotFound, UnknownTarget, TargetNotOffered; ServiceUnavailable when nobody can say what the
        fleet offers.
        """
        found = self.model(slug).find_version(version)
        targets = domain.select_targets(pin, await self._fleet.targets(), self.published_figures)
        return InferenceRoutes(slug, found.version, domain.route_of(slug, found.version), pin, targets)
