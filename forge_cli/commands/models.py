"""forge models, model: what can be run, with which inputs, and how well it runs here."""

import asyncio
import json
from collections.abc import Awaitable
from typing import Any, TypeVar

import click
from forge.catalog.v1.catalog_service_pb2 import (
    GetInputSchemaRequest,
    GetModelRequest,
    GetReliabilityRequest,
    ListModelsRequest,
    ListModelsResponse,
    ListTargetsRequest,
    ListTargetsResponse,
    Reliability,
)
from forge.catalog.v1.model_pb2 import InputSchema, Model
from forge.scheduler.v1.runtime_service_pb2 import FamilyStatus, GetFamilyStatusRequest
from google.protobuf import json_format
from rich.console import Console
from rich.text import Text

from forge_cli import words
from forge_cli.client import Client, run_with
from forge_cli.completing import a_model
from forge_cli.failures import CommandFailed
from forge_cli.options import client_options, json_option, version_option, wide_option
from forge_cli.performance import name_of, show_performance
from forge_cli.settings import Settings
from forge_cli.tables import Column, show_columns

_LONGEST_EXAMPLE_VALUE = 60
_REMARK_SECONDS = 5.0
"""How long the list waits for what it can do without."""

Answer = TypeVar("Answer")


@click.command()
@click.option("--query", default="", help="Words that must all occur in slug, title, description or tags.")
@click.option("--modality", default="", help="Keep models that read or write this, for example image.")
@click.option("--tag", default="", help="Keep models with this tag.")
@wide_option
@json_option
@client_options
def models(settings: Settings, query: str, modality: str, tag: str, is_wide: bool, as_json: bool) -> None:
    """List the models of the catalogue, on how many targets each is verified, and how warm it is."""
    request = ListModelsRequest(query=query, modality=modality, tag=tag, page_size=100)

    async def ask(client: Client) -> tuple[ListModelsResponse, list[list[str]]]:
        answer = await client.call(client.catalog.ListModels, request)
        remarks = [] if as_json else [_remarks(client, model) for model in answer.models]
        return answer, await asyncio.gather(*remarks)

    answer, remarks = run_with(settings, ask)
    if as_json:
        words.show_json(answer)
        return
    console, found = words.stdout_console(), answer.models
    if not found:
        console.print(Text("no model matches"))
        return
    does = [f"{', '.join(model.input_modalities)} → {', '.join(model.output_modalities)}" for model in found]
    columns = [
        Column("MODEL", [model.slug for model in found], is_number=False),
        Column("DOES", does, is_number=False, sparable=1),
        Column("VERSION", [model.default_version for model in found], is_number=False, sparable=2),
        Column("VERIFIED", [verified for verified, _ in remarks], is_number=False),
        Column("RUNTIMES", [warmth for _, warmth in remarks], is_number=False),
        Column("TITLE", [model.title for model in found], is_number=False, sparable=3),
        Column("LICENCE", [model.license.id for model in found], is_number=False, sparable=4),
    ]
    show_columns(console, columns, is_wide=is_wide)


async def _remarks(client: Client, model: Model) -> list[str]:
    """On how many targets the default version is verified, and how warm it is; a dash for what is not known now."""
    verified, family = await asyncio.gather(
        _unless_refused(
            client.call(
                client.catalog.GetReliability,
                GetReliabilityRequest(slug=model.slug),
                timeout_seconds=_REMARK_SECONDS,
                retry_seconds=0,
            )
        ),
        _unless_refused(
            client.call(
                client.runtimes.GetFamilyStatus,
                GetFamilyStatusRequest(slug=model.slug),
                timeout_seconds=_REMARK_SECONDS,
                retry_seconds=0,
            )
        ),
    )
    return [
        f"{verified.supported_rows} of {verified.total_rows}" if verified else words.NOT_KNOWN,
        _warmth(family) if family else words.NOT_KNOWN,
    ]


async def _unless_refused(answer: Awaitable[Answer]) -> Answer | None:
    try:
        return await answer
    except CommandFailed:
        return None


def _warmth(family: FamilyStatus) -> str:
    alike = sum(runtime.status == family.status for runtime in family.runtimes)
    return f"{alike} {family.status}" if alike else family.status


@click.command()
@click.argument("slug", shell_complete=a_model)
@version_option
@wide_option
@json_option
@client_options
def model(settings: Settings, slug: str, version: str, is_wide: bool, as_json: bool) -> None:
    """Show a model: its page, its inputs, an example, and how well it runs on each target."""

    async def ask(client: Client) -> tuple[Model, InputSchema, Reliability | None, ListTargetsResponse | None]:
        """The ledger may be missing: the page is worth showing without it."""
        return await asyncio.gather(
            client.call(client.catalog.GetModel, GetModelRequest(slug=slug)),
            client.call(client.catalog.GetInputSchema, GetInputSchemaRequest(slug=slug, model_version=version)),
            _unless_refused(
                client.call(client.catalog.GetReliability, GetReliabilityRequest(slug=slug, model_version=version))
            ),
            _unless_refused(
                client.call(client.catalog.ListTargets, ListTargetsRequest(slug=slug, model_version=version))
            ),
        )

    found, inputs, reliability, targets = run_with(settings, ask)
    if as_json:
        words.show_json(found)
        return
    console = words.stdout_console()
    console.print(Text(f"{found.title}  ({found.slug})", style="bold"))
    console.print(Text(found.description))
    for kind in found.versions:
        mark = "  (default)" if kind.version == found.default_version else ""
        parts = [kind.version + mark, kind.pipeline, kind.weights_repository, kind.weights_dtype]
        if kind.HasField("parameters_billions"):
            parts.append(f"{kind.parameters_billions:g} B parameters")
        parts.append(f"at least {kind.vram_floor_gib:g} GiB of VRAM ({kind.vram_floor_source})")
        if kind.max_run_seconds:
            parts.append(f"an attempt takes {words.seconds(kind.max_run_seconds)} at most")
        console.print(Text("version  " + " · ".join(part for part in parts if part)))
    console.print(Text(f"licence  {found.license.id}  {found.license.url}"))
    for link in found.links:
        console.print(Text(f"{link.kind:<8} {link.url}"))
    console.print(Text(f"\nInputs of {inputs.model_version}", style="bold"))
    _show_inputs(console, json_format.MessageToDict(inputs.schema))
    console.print(Text("\nExample", style="bold"))
    console.print(Text(_example(json_format.MessageToDict(inputs.example)), no_wrap=False))
    console.print(Text(f"\nTargets of {inputs.model_version}", style="bold"))
    if not (reliability and targets):
        console.print(Text("what was measured cannot be told now"))
        return
    console.print(Text(_summary(reliability)), soft_wrap=True)
    show_performance(console, targets, is_wide=is_wide)


def _summary(found: Reliability) -> str:
    parts = [found.reliability_status]
    if found.HasField("fastest_supported_target"):
        fastest = found.fastest_supported_target
        parts.append(f"fastest on {name_of(fastest)} in {words.measured_ms(fastest, 'request_ms_p50')}")
    if found.HasField("lowest_cost_supported_target"):
        cheapest = found.lowest_cost_supported_target
        cost = words.dollars(words.known(cheapest, "estimated_warm_request_cost_usd"))
        parts.append(f"cheapest on {name_of(cheapest)} at {cost}")
    if found.failure_reason_counts:
        reasons = [f"{count} {reason}" for reason, count in sorted(found.failure_reason_counts.items())]
        parts.append(f"attempts that ended badly: {', '.join(reasons)}")
    return "; ".join(parts)


def _show_inputs(console: Console, schema: dict[str, Any]) -> None:
    required = set(schema.get("required", ()))
    rows = []
    properties = schema.get("properties", {})
    for name in sorted(properties, key=lambda name: (name not in required, name)):
        field = properties[name]
        kinds = field.get("type", "")
        kind = kinds if isinstance(kinds, str) else " or ".join(kinds)
        notes = [field.get("description", "")]
        if field.get("x-forge-ignored"):
            notes = [f"No effect: {field['x-forge-ignored']}"]
        if field.get("x-forge-branchable"):
            notes.append("A branch may change it.")
        bounds = [f"{sign} {_number(field[key])}" for key, sign in _BOUNDS.items() if key in field]
        unit = field.get("x-forge-unit", "")
        default = "required" if name in required else _short(field["default"]) if "default" in field else ""
        rows.append([name, kind, default, " ".join([*bounds, unit]).strip(), " ".join(filter(None, notes))])
    words.show_table(console, ["NAME", "TYPE", "DEFAULT", "BOUNDS", "MEANING"], rows, empty="(none)")
    for rule in schema.get("x-forge-rules", ()):
        console.print(Text(f"· {', '.join(rule.get('fields', ())[:1])} {rule.get('text', '')}"))


_BOUNDS = {
    "minimum": "≥",
    "exclusiveMinimum": ">",
    "maximum": "≤",
    "exclusiveMaximum": "<",
    "multipleOf": "multiple of",
}


def _example(example: dict[str, Any]) -> str:
    return json.dumps({name: _shortened(value) for name, value in example.items()}, indent=2, ensure_ascii=False)


def _shortened(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("data:") and len(value) > _LONGEST_EXAMPLE_VALUE:
        return value[: _LONGEST_EXAMPLE_VALUE - 1] + "…"  # --json shows the whole image
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _short(value: Any) -> str:
    text = json.dumps(_shortened(value), ensure_ascii=False)
    return text if len(text) <= _LONGEST_EXAMPLE_VALUE else text[: _LONGEST_EXAMPLE_VALUE - 1] + "…"


def _number(value: Any) -> str:
    return f"{value:,.0f}".replace(",", " ") if isinstance(value, float) and value.is_integer() else str(value)
