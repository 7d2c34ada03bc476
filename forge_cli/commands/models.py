"""forge models, model, estimate: what can be run, with which inputs, and what it would cost."""

import json
from typing import Any

import click
from forge.billing.v1.billing_estimate_service_pb2 import GetRunEstimateRequest
from forge.billing.v1.estimate_pb2 import RunEstimate
from forge.catalog.v1.catalog_service_pb2 import GetInputSchemaRequest, GetModelRequest, ListModelsRequest
from forge.catalog.v1.model_pb2 import InputSchema, Model
from google.protobuf import json_format
from rich.console import Console
from rich.text import Text

from forge_cli import words
from forge_cli.client import Client, run_with
from forge_cli.options import client_options, gpu_type_option, json_option, region_option, version_option
from forge_cli.settings import Settings

_LONGEST_EXAMPLE_VALUE = 60


@click.command()
@click.option("--query", default="", help="Words that must all occur in slug, title, description or tags.")
@click.option("--modality", default="", help="Keep models that read or write this, for example image.")
@click.option("--tag", default="", help="Keep models with this tag.")
@json_option
@client_options
def models(settings: Settings, query: str, modality: str, tag: str, as_json: bool) -> None:
    """List the models of the catalogue."""
    request = ListModelsRequest(query=query, modality=modality, tag=tag, page_size=100)
    answer = run_with(settings, lambda client: client.call(client.catalog.ListModels, request))
    if as_json:
        words.show_json(answer)
        return
    rows = [
        [
            model.slug,
            f"{', '.join(model.input_modalities)} → {', '.join(model.output_modalities)}",
            model.default_version,
            model.license.id,
            model.title,
        ]
        for model in answer.models
    ]
    words.show_table(
        words.stdout_console(), ["MODEL", "DOES", "VERSION", "LICENCE", "TITLE"], rows, empty="no model matches"
    )


@click.command()
@click.argument("slug")
@version_option
@json_option
@client_options
def model(settings: Settings, slug: str, version: str, as_json: bool) -> None:
    """Show a model: its page, its inputs and an example."""

    async def ask(client: Client) -> tuple[Model, InputSchema]:
        found = await client.call(client.catalog.GetModel, GetModelRequest(slug=slug))
        request = GetInputSchemaRequest(slug=slug, model_version=version)
        return found, await client.call(client.catalog.GetInputSchema, request)

    found, inputs = run_with(settings, ask)
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


@click.command()
@click.argument("slug")
@version_option
@gpu_type_option
@region_option
@json_option
@client_options
def estimate(settings: Settings, slug: str, version: str, gpu_type: str, region: str, as_json: bool) -> None:
    """Show what a request with the model's example inputs would take and cost, per target."""
    request = GetRunEstimateRequest(slug=slug, model_version=version, gpu_type=gpu_type, region=region)
    found = run_with(settings, lambda client: client.call(client.estimates.GetRunEstimate, request))
    if as_json:
        words.show_json(found)
        return
    _show_estimate(words.stdout_console(), found)


def _show_estimate(console: Console, found: RunEstimate) -> None:
    selected = found.selected_target
    console.print(
        Text(
            f"{found.slug} {found.model_version} on {selected.gpu_type} {selected.region}: "
            f"{words.dollars(found.estimated_warm_request_cost_usd)} warm, "
            f"{words.dollars(found.estimated_first_cold_request_cost_usd)} with a cold start"
        )
    )
    rows = []
    for target in found.targets:
        cold = target.HasField("estimated_first_cold_request_cost_usd")
        rows.append(
            [
                f"{target.gpu_type} {target.region}",
                words.seconds(target.request_ms / 1000),
                words.measured_ms(target, "cold_start_ms"),
                words.dollars(target.estimated_warm_request_cost_usd),
                words.dollars(target.estimated_first_cold_request_cost_usd if cold else None),
                words.dollars(target.estimated_cost_per_output_second_usd),
                words.dollars(target.cost_per_gpu_hour_usd),
                f"{target.basis}, n={target.sample_count}" if target.HasField("sample_count") else target.basis,
            ]
        )
    columns = ["TARGET", ">REQUEST", ">COLD START", ">$ WARM", ">$ COLD", ">$/OUTPUT S", ">$/GPU-HOUR", "BASIS"]
    words.show_table(console, columns, rows, empty="no target has a figure")


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
