"""What a worker inherits of the environment of the process that starts it. It runs the code of models."""

import os

_SECRETS = ("FORGE_DATABASE_URL", "RAY_")
"""Beginnings of the names of what services and clusters keep to themselves."""


def inherited() -> dict[str, str]:
    """The environment of this process without what a worker must not know."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_SECRETS)}
