"""Checking an inference body before anything is promised."""

import hashlib
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.chassis.errors import InvalidInput
from services.scheduler.domain import inputs as rules
from services.scheduler.domain.fleet import Fleet, Pin
from services.scheduler.ports import Catalog, InputChecker

MAX_SEED = 2**32 - 1


@dataclass(frozen=True)
class Order:
    """A checked request. `inputs` are complete: defaults are filled in and a seed is drawn."""

    slug: str
    model_version: str
    pin: Pin
    request_id: str | None
    fail_when_out_of_memory: bool
    inputs: Mapping[str, Any]
    seed: int | None
    warnings: tuple[str, ...]
    sha256: str


class Intake:
    """Turns an inference body into an order, or says everything that is wrong with it."""

    def __init__(self, catalog: Catalog, fleet: Fleet, checker: InputChecker) -> None:
        self._catalog = catalog
        self._fleet = fleet
        self._checker = checker

    async def order(self, body: Mapping[str, Any], path_slug: str | None) -> Order:
        """Check a body.

        Raises InvalidInput with all violations, MODEL_NOT_FOUND, VERSION_NOT_FOUND, UnknownTarget, TargetNotOffered.
        """
        request, violations = rules.take_apart(body, path_slug)
        if not request.slug:
            raise InvalidInput(violations)
        version = await self._catalog.version(request.slug, request.model_version)
        given = {name: value for name, value in request.inputs.items() if name in version.properties}
        violations += rules.unknown_inputs(request.inputs, version.properties)
        violations += rules.not_finite(given)
        broken = {violation.field.partition(".")[0].partition("[")[0] for violation in violations}
        sound = {name: value for name, value in given.items() if name not in broken}
        violations += self._checker.check(version.properties, sound)
        for name in version.schema.get("required", ()):
            if request.inputs.get(name) is None:
                violations += rules.missing_input(name, version.properties)
        broken |= {violation.field for violation in violations}
        complete = rules.with_defaults(sound, version.properties)
        comparable = {name: value for name, value in complete.items() if name not in broken}
        violations += [v for v in rules.broken_rules(version.rules, comparable) if v.field not in broken]
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
            request_id=request.request_id,
            fail_when_out_of_memory=request.fail_when_out_of_memory,
            inputs=complete,
            seed=complete.get("seed"),
            warnings=rules.inputs_without_effect(version.effects, given, complete, version.properties),
            sha256=hashlib.sha256(json.dumps([path_slug, body], sort_keys=True).encode()).hexdigest(),
        )
