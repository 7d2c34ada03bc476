"""Snippets from the templates beside this file. Every value in them goes through the quoting of its language."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from services.catalog.domain.snippets import BASE_URL_PLACEHOLDER, KEY_PLACEHOLDER, KINDS, Selection, SnippetKind

_TEMPLATES = Path(__file__).parent / "snippets"


class JinjaSnippets:
    """Writes every kind of snippet. A template that is wrong fails here, not when it is asked for."""

    def __init__(self) -> None:
        environment = Environment(
            loader=FileSystemLoader(_TEMPLATES),
            undefined=StrictUndefined,
            autoescape=False,  # noqa: S701 — no HTML: what a value needs depends on the language, each has its filter
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        environment.filters |= {
            "shell": shlex.quote,
            "json": _json,
            "python": _python,
            "yaml": _yaml,
            "dotenv": _dotenv,
        }
        environment.globals |= {"base_placeholder": BASE_URL_PLACEHOLDER, "key_placeholder": KEY_PLACEHOLDER}
        self._templates = {kind: environment.get_template(f"{kind.name}.j2") for kind in KINDS}

    def write(self, kind: SnippetKind, selection: Selection) -> str:
        """The text of a kind for a selection."""
        segment = quote(selection.slug, safe="")
        return self._templates[kind].render(
            slug=selection.slug,
            model_version=selection.model_version,
            gpu_type=selection.pin.gpu_type,
            region=selection.pin.region,
            base_url=selection.base_url,
            body=selection.body,
            endpoint_name=selection.endpoint_name,
            route=f"/v1/inference/{segment}",
            model_path=f"/v1/models/{segment}",
            family_path=f"/v1/model-families/{segment}",
        )


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _python(value: Any) -> str:
    """A literal; a mapping has a line for each entry."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)  # its escapes are Python's too
    if isinstance(value, Mapping):
        entries = "".join(f"    {_python(key)}: {_inline(each)},\n" for key, each in value.items())
        return f"{{\n{entries}}}"
    return repr(value)


def _inline(value: Any) -> str:
    return _python(value) if isinstance(value, str) else repr(value)


def _yaml(value: str) -> str:
    return yaml.safe_dump(value, default_style='"', allow_unicode=True, width=float("inf")).strip()


def _dotenv(value: str) -> str:
    """As shells and readers of .env files both understand it: bare where that is safe, otherwise in quotes."""
    if "'" not in value:
        return shlex.quote(value)
    escaped = value
    for sign in ("\\", '"', "$", "`"):
        escaped = escaped.replace(sign, f"\\{sign}")
    return f'"{escaped}"'
