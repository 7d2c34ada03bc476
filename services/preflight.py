"""Looks at everything a start rests on, without starting anything: settings, files of config/, stores, the encoder.

Use: python -m services.preflight              prints one JSON object, a member for each part, with its faults
     python -m services.preflight FILE...      the same for files of models: what is wrong with each

It is run as a program of its own, by whoever may not import services. Only a database, a bucket and a cluster are
called, and a small object that is put into the bucket is removed again.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import structlog
from pydantic_settings import BaseSettings

from services.chassis.config import ChassisSettings, SettingsInvalid, read_settings, variables_of
from services.chassis.strict_yaml import ConfigurationInvalid

if TYPE_CHECKING:
    from services.scheduler.config import SchedulerSettings

_SERVICES = ("accounts", "billing_estimate", "catalog", "inference_worker", "scheduler", "traces", "web")
_CLUSTER_SECONDS = 20.0
_PICTURE = (2, 64, 64, 3)  # frames, height, width, colours

Part = dict[str, Any]


def settings_part() -> Part:
    """The names of all settings, and what is wrong with those in the environment."""
    names: set[str] = set()
    faults: dict[str, None] = {}  # a set that keeps its order: every service has the settings of the chassis
    for service in _SERVICES:
        for kind in _settings_of(service):
            names |= {name for field in kind.model_fields for name in variables_of(kind, field)}
            try:
                read_settings(kind)
            except ConfigurationInvalid as error:
                faults |= dict.fromkeys(error.faults)
    return {"names": sorted(names), "faults": list(faults)}


def models_part() -> Part:
    """The catalogue's files, and where each version's weights come from."""
    from services.catalog.adapters.yaml_models import load_models

    models = load_models(_chassis().config_dir / "models")
    versions = [
        {"slug": model.slug, "version": version.version, "weights_repository": version.weights_repository}
        for model in models
        for version in model.versions
    ]
    return {"versions": versions}


def prices_part() -> Part:
    """The price book."""
    from services.billing_estimate.adapters.yaml_price_book import YamlPriceBook

    YamlPriceBook(_chassis().config_dir / "prices.yaml")
    return {}


def fleet_part() -> Part:
    """The fleet, with this machine's devices where it asks for them."""
    from services.scheduler.adapters.yaml_fleet import read_fleet
    from services.scheduler.config import SchedulerSettings

    settings = read_settings(SchedulerSettings)
    fleet = asyncio.run(read_fleet(settings.fleet, settings.config_dir, on_cluster=settings.placer == "ray"))
    slots = [
        {"gpu_type": slot.target.gpu_type, "region": slot.target.region, "device": slot.device} for slot in fleet.slots
    ]
    return {"name": fleet.name, "slots": slots}


def database_part() -> Part:
    """What keeps the tables; where that is a server, it has to answer."""
    from services.chassis.storage.postgresql import version_of

    url = _chassis().database_url
    return {"server": f"PostgreSQL {version_of(url.get_secret_value())}" if url else ""}


def objects_part() -> Part:
    """Where objects lie; a bucket has to take one and give it back."""
    from services.chassis.objects import check_objects, object_store

    settings = _chassis()
    if not settings.has_bucket:
        return {"bucket": ""}
    problem = asyncio.run(check_objects(object_store(settings)))
    return {"bucket": settings.objects_url, "faults": [problem] if problem else []}


def cluster_part() -> Part:
    """The machines of the cluster that workers run on, where they do, and how many slots of the fleet they have."""
    from services.scheduler.config import SchedulerSettings

    settings = read_settings(SchedulerSettings)
    return {"address": ""} if settings.placer != "ray" else asyncio.run(_cluster(settings))


async def _cluster(settings: "SchedulerSettings") -> Part:
    from services.scheduler.__main__ import ray_placer
    from services.scheduler.adapters.yaml_fleet import read_fleet

    fleet = await read_fleet(settings.fleet, settings.config_dir, on_cluster=True)
    with TemporaryDirectory() as logs:
        async with ray_placer(settings, Path(logs)) as placer:
            try:
                async with asyncio.timeout(_CLUSTER_SECONDS):
                    there = await anext(machines async for machines in placer.machines() if machines)
            except TimeoutError:
                raise ConfigurationInvalid([f"RAY_ADDRESS: no cluster answers at {settings.ray_address}"]) from None
    slots = [
        {"target": str(kind.target), "there": room, "all": len(kind.slots)}
        for kind, room in zip(fleet.kinds, fleet.room_on(there), strict=True)
    ]
    return {"address": settings.ray_address, "machines": len(there), "slots": slots}


def encoder_part() -> Part:
    """Two pictures made into a video as a worker does it."""
    import numpy as np

    from services.inference_worker.adapters.pyav_video_encoder import PyAvVideoEncoder

    recording = PyAvVideoEncoder().record(_PICTURE[2], _PICTURE[1], 8)
    recording.add(np.zeros(_PICTURE, np.uint8))
    _, whole = recording.finish()
    return {"bytes": len(whole)}


_PARTS: dict[str, Callable[[], Part]] = {
    "settings": settings_part,
    "models": models_part,
    "prices": prices_part,
    "fleet": fleet_part,
    "database": database_part,
    "objects": objects_part,
    "cluster": cluster_part,
    "encoder": encoder_part,
}


def look(parts: dict[str, Callable[[], Part]]) -> dict[str, Part]:
    """Every part, whatever becomes of the others; `faults` says what is wrong with it."""
    return {name: _looked_at(part) for name, part in parts.items()}


def look_at_models(paths: list[str]) -> dict[str, list[dict[str, Any]]]:
    """What the catalogue would say of files of models."""
    from services.catalog.adapters.yaml_models import faults_of

    return {"files": [{"file": path, "faults": list(faults_of(Path(path)))} for path in paths]}


def _looked_at(part: Callable[[], Part]) -> Part:
    try:
        return {"faults": [], **part()}
    except SettingsInvalid:
        return {"faults": ["cannot be looked at while settings are wrong"]}
    except ConfigurationInvalid as error:
        return {"faults": list(error.faults)}
    except Exception as error:  # a broken installation breaks anywhere, and the other parts are worth knowing
        return {"faults": [f"cannot be used: {type(error).__name__}: {error}"]}


def _settings_of(service: str) -> Iterator[type[BaseSettings]]:
    module = import_module(f"services.{service}.config")
    for found in vars(module).values():
        if isinstance(found, type) and issubclass(found, BaseSettings) and found.__module__ == module.__name__:
            yield found


def _chassis() -> ChassisSettings:
    return read_settings(ChassisSettings)


def main(arguments: list[str]) -> None:
    """Do what the command line says; 1 where a part has a fault."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    if arguments:
        found: dict[str, Any] = look_at_models(arguments)
        is_sound = not any(file["faults"] for file in found["files"])
    else:
        found = look(_PARTS)
        is_sound = not any(part["faults"] for part in found.values())
    sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
    sys.exit(0 if is_sound else 1)


if __name__ == "__main__":
    main(sys.argv[1:])
