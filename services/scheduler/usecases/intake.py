"""Checking an inference body before anything is promised."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.chassis.errors import InvalidInput, Violation
from services.chassis.images import ImageRefused
from services.scheduler.domain import inputs as rules
from services.scheduler.domain.fleet import Fleet, Pin
from services.scheduler.domain.routing import Terms, take_apart
from services.scheduler.image_ports import ImageInputs
from services.scheduler.ports import Catalog, Clock, InputChecker, Version

MAX_SEED = 2**32 - 1


@dataclass(frozen=True)
class Order:
    """A checked request. `inputs` are complete: defaults are filled in, a seed is drawn, images are in them."""

    slug: str
    model_version: str
    pin: Pin
    terms: Terms
    inputs: Mapping[str, Any]
    seed: int | None
    shape: Mapping[str, Any]
    """The inputs that the work depends on."""
    warnings: tuple[str, ...]


class Intake:
    """Turns an inference body into an order, or says everything that is wrong with it."""

    def __init__(
        self, catalog: Catalog, fleet: Fleet, checker: InputChecker, images: ImageInputs, clock: Clock
    ) -> None:
        self._catalog = catalog
        self._fleet = fleet
        self._checker = checker
        self._images = images
        self._clock = clock

    async def order(
        self,
        body: Mapping[str, Any],
        path_slug: str | None,
        *,
        account: str | None,
        branched_from: Mapping[str, Any] | None = None,
    ) -> Order:
        """Check a body of an account, or of nobody yet; then images that are elsewhere are left there.

        `branched_from` are the inputs of the render whose checkpoint it is to go on from. Raises InvalidInput with all
        violations, MODEL_NOT_FOUND, VERSION_NOT_FOUND, UnknownTarget, TargetNotOffered.
        """
        request, violations = take_apart(body, path_slug, self._clock.now())
        if not request.slug:
            raise InvalidInput(violations)
        version = await self._catalog.version(request.slug, request.model_version)
        given = {name: value for name, value in request.inputs.items() if name in version.properties}
        violations += rules.unknown_inputs(request.inputs, version.properties)
        violations += rules.not_finite(given)
        broken = {violation.field.partition(".")[0].partition("[")[0] for violation in violations}
        sound = {name: value for name, value in given.items() if name not in broken}
        violations += self._checker.check(version.properties, sound)
        violations += await self._resolve_images(version, sound, account)
        for name in version.schema.get("required", ()):
            if request.inputs.get(name) is None:
                violations += rules.missing_input(name, version.properties)
        broken |= {violation.field for violation in violations}
        complete = rules.with_defaults(sound, version.properties)
        comparable = {name: value for name, value in complete.items() if name not in broken}
        violations += [v for v in rules.broken_rules(version.rules, comparable) if v.field not in broken]
        if branched_from is not None:
            violations += rules.fixed_inputs(branched_from, complete, version.properties)
        if violations:
            raise InvalidInput(violations)
        pin = Pin(request.gpu_type, request.region)
        self._fleet.check(pin, version.vram_floor_gib, version.known_targets)
        if "seed" in version.properties and "seed" not in complete:
            complete["seed"] = random.randint(0, MAX_SEED)
        return Order(
            slug=version.slug,
            model_version=version.model_version,
            pin=pin,
            terms=request.terms,
            inputs=complete,
            seed=complete.get("seed"),
            shape=rules.shape_of(complete, version.properties),
            warnings=rules.inputs_without_effect(version.effects, given, complete, version.properties),
        )

    async def _resolve_images(self, version: Version, inputs: dict[str, Any], account: str | None) -> list[Violation]:
        """Put the images that `inputs` name in their place; a violation for each that cannot be used."""
        violations: list[Violation] = []
        for name, value in inputs.items():
            if version.properties[name].get("x-forge-media") == "image" and isinstance(value, str):
                try:
                    inputs[name] = await self._images.resolved(value, account)
                except ImageRefused as refusal:
                    violations.append(Violation(name, str(refusal)))
        return violations
