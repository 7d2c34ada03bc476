"""forge estimate: what a request would take and cost on each target, and where it would run."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from forge.billing.v1.billing_estimate_service_pb2 import EstimateInputRequest, GetRunEstimateRequest
from forge.billing.v1.estimate_pb2 import RunEstimate, TargetEstimate
from forge.catalog.v1.catalog_service_pb2 import GetInputSchemaRequest
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct
from rich.console import Console
from rich.text import Text

from forge_cli import words
from forge_cli.client import Client, run_with
from forge_cli.completing import a_model
from forge_cli.inputs import ROUTING_FIELDS, build_inputs
from forge_cli.options import (
    client_options,
    deadline_option,
    finish_within_option,
    gpu_type_option,
    image_option,
    json_option,
    max_cost_option,
    parameter_option,
    prefer_option,
    region_option,
    version_option,
    wide_option,
)
from forge_cli.settings import Settings
from forge_cli.tables import Column, show_columns
from forge_cli.times import rfc_3339


@click.command()
@click.argument("slug", shell_complete=a_model)
@parameter_option
@image_option
@version_option
@gpu_type_option
@region_option
@prefer_option
@max_cost_option
@finish_within_option
@deadline_option
@wide_option
@json_option
@client_options
def estimate(
    settings: Settings,
    slug: str,
    parameters: tuple[str, ...],
    image: Path | None,
    version: str,
    gpu_type: str,
    region: str,
    prefer: str | None,
    max_cost: float | None,
    finish_within_seconds: float | None,
    deadline: datetime | None,
    is_wide: bool,
    as_json: bool,
) -> None:
    """Show what a request would take and cost on each target, and on which one it would run.

    Without inputs it is the model's example. With some, the others are as in forge render, but that required ones may
    be left out: the example's stand in. Nothing is queued.
    """
    wishes: dict[str, Any] = {
        "prefer": prefer,
        "max_cost_usd": max_cost,
        "finish_within_seconds": finish_within_seconds,
        "deadline": rfc_3339(deadline) if deadline else None,
    }
    wishes = {name: value for name, value in wishes.items() if value is not None}

    async def ask(client: Client) -> RunEstimate:
        if not (parameters or image or wishes):
            plain = GetRunEstimateRequest(slug=slug, model_version=version, gpu_type=gpu_type, region=region)
            return await client.call(client.estimates.GetRunEstimate, plain)
        question = GetInputSchemaRequest(slug=slug, model_version=version)
        inputs = await client.call(client.catalog.GetInputSchema, question)
        schema, example = json_format.MessageToDict(inputs.schema), json_format.MessageToDict(inputs.example)
        body = _body(slug, schema, example, parameters, image)
        body |= {"model": slug, "model_version": inputs.model_version, **wishes}
        body |= {name: value for name, value in (("gpu_type", gpu_type), ("region", region)) if value}
        struct = Struct()
        struct.update(body)
        return await client.call(client.estimates.EstimateInput, EstimateInputRequest(slug=slug, input=struct))

    found = run_with(settings, ask)
    if as_json:
        words.show_json(found)
        return
    has_limits = bool(wishes.keys() - {"prefer"})
    _show(words.stdout_console(), found, has_limits=has_limits, is_wide=is_wide)


def _body(
    slug: str, schema: Mapping[str, Any], example: Mapping[str, Any], parameters: tuple[str, ...], image: Path | None
) -> dict[str, Any]:
    """The inputs: the whole example where none are given, else those that are given and the example's required ones."""
    standing_in = {name: value for name, value in example.items() if name not in ROUTING_FIELDS}
    if not (parameters or image):
        return standing_in
    given = build_inputs(schema, parameters, image, slug=slug, is_whole=False)
    missing = {name: standing_in[name] for name in schema.get("required", ()) if name in standing_in}
    return missing | given


def _show(console: Console, found: RunEstimate, *, has_limits: bool, is_wide: bool) -> None:
    selected = found.selected_target
    cold = words.known(found, "estimated_first_cold_request_cost_usd")
    with_start = "" if cold is None else f", {words.dollars(cold)} with a cold start"
    video = f", {words.seconds(found.output_seconds)} of video" if found.HasField("output_seconds") else ""
    where = f"{_name(selected)}{' (simulated)' if selected.simulated else ''}"
    console.print(
        Text(
            f"{found.slug} {found.model_version} on {where}: {_time(selected)}{video}, "
            f"{words.dollars(found.estimated_warm_request_cost_usd)} warm{with_start}",
            style="bold",
        ),
        soft_wrap=True,
    )
    if found.explanation:
        console.print(Text(found.explanation), soft_wrap=True)
    if selected.phase_seconds:
        parts = [f"{phase} {words.seconds(taken)}" for phase, taken in _by_time(selected.phase_seconds)]
        console.print(Text(f"of which {', '.join(parts)}"), soft_wrap=True)
    console.print()
    show_columns(console, _columns(found, has_limits=has_limits), is_wide=is_wide)
    for warning in found.warnings:
        console.print(Text(f"warning: {warning}", style="yellow"), soft_wrap=True)
    for caveat, names in _caveats(found).items():
        console.print(Text(f"{', '.join(names)}: {caveat}", style="yellow"), soft_wrap=True)


def _columns(found: RunEstimate, *, has_limits: bool) -> list[Column]:
    targets = found.targets
    return [
        Column("TARGET", [_marked(target, found) for target in targets], is_number=False),
        Column("REQUEST\nP50–P90", [_time(target) for target in targets]),
        Column("COLD START", [words.measured_ms(target, "cold_start_ms") for target in targets], sparable=2),
        Column("$ WARM", [words.dollars(target.estimated_warm_request_cost_usd) for target in targets]),
        Column("$ COLD", [_optional_dollars(target, "estimated_first_cold_request_cost_usd") for target in targets]),
        Column("$ IDLE TAIL", [_idle_tail(target) for target in targets], sparable=4),
        Column("$/OUTPUT\nS", [_per_second(target) for target in targets], sparable=8),
        Column("$/GPU-\nHOUR", [words.dollars(target.cost_per_gpu_hour_usd) for target in targets], sparable=7),
        Column("VRAM", [words.gib(words.known(target, "peak_allocated_gib")) for target in targets], sparable=3),
        Column("BASIS", [_basis(target) for target in targets], is_number=False),
        Column("OFF BY", [_calibration(target) for target in targets], is_number=False, sparable=5),
        Column("LIMITS", [_limits(target) if has_limits else "" for target in targets], is_number=False, sparable=1),
    ]


def _marked(target: TargetEstimate, found: RunEstimate) -> str:
    best = {"selected": found.selected_target, "fastest": found.fastest_target, "cheapest": found.lowest_cost_target}
    chips = [chip for chip, one in best.items() if (one.gpu_type, one.region) == (target.gpu_type, target.region)]
    notes = ["(simulated)" if target.simulated else "", "" if target.offered else "(not offered)", ", ".join(chips)]
    return "\n".join([_name(target), *filter(None, notes)])


def _name(target: TargetEstimate) -> str:
    return f"{target.gpu_type} {target.region}"


def _time(target: TargetEstimate) -> str:
    """From half of the requests to nine of ten."""
    usually = target.request_seconds_p50 or target.request_ms / 1000
    if target.request_seconds_p90 <= usually:
        return words.seconds(usually)
    return words.seconds_range(usually, target.request_seconds_p90)


def _optional_dollars(target: TargetEstimate, field: str) -> str:
    return words.dollars(words.known(target, field))


def _idle_tail(target: TargetEstimate) -> str:
    if not target.idle_tail_seconds:
        return words.NOT_KNOWN
    return f"{words.dollars(target.idle_tail_cost_usd)}\n{words.seconds(target.idle_tail_seconds)}"


def _per_second(target: TargetEstimate) -> str:
    return words.dollars(target.estimated_cost_per_output_second_usd or None)


def _basis(target: TargetEstimate) -> str:
    return f"{target.basis}\nn={target.sample_count}" if target.HasField("sample_count") else target.basis


def _calibration(target: TargetEstimate) -> str:
    if not target.HasField("calibration"):
        return words.NOT_KNOWN
    told = target.calibration
    return f"{words.share(told.median_absolute_error)}\nn={told.sample_count}"


def _limits(target: TargetEstimate) -> str:
    return "kept" if target.keeps_limits else "not kept"


def _caveats(found: RunEstimate) -> dict[str, list[str]]:
    """What to know before one relies on the figures, and of which targets."""
    told: dict[str, list[str]] = {}
    for target in found.targets:
        for caveat in target.caveats:
            told.setdefault(caveat, []).append(_name(target))
    return told


_PHASES = ("encoding", "denoising", "decoding", "muxing", "storing")


def _by_time(phases: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(
        phases.items(), key=lambda one: (_PHASES.index(one[0]) if one[0] in _PHASES else len(_PHASES), one[0])
    )
