"""The shipped configuration with other example requests, for what does not depend on their size."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.platforms import REPOSITORY


def write(
    folder: Path,
    examples: Mapping[str, Mapping[str, Any]],
    probe_inputs: Sequence[Mapping[str, Any]] = ({"num_inference_steps": 2},),
) -> Path:
    """A configuration in `folder`, for FORGE_CONFIG_DIR. `examples` are what is changed in those of models, by slug.

    `probe_inputs` take the place of those models' own.
    """
    shutil.copytree(REPOSITORY / "config", folder)
    for slug, changes in examples.items():
        path = folder / "models" / f"{slug}.yaml"
        model: dict[str, Any] = yaml.safe_load(path.read_text())
        version = model["versions"][0]
        version["example"].update(changes)
        version["probe_inputs"] = [dict(inputs) for inputs in probe_inputs]
        path.write_text(yaml.safe_dump(model, sort_keys=False))
    return folder
