"""How far estimates are off: after a probe of a fresh installation other inputs are estimated and then rendered.

    python -m bench.estimates [slug] [--small]

The platform runs as `forge up` runs it on the fleet `local`, in a home of its own; `--small` gives the example a
quarter of the pixels, for a quick look. Beside the estimate stands what one would guess without a model of the work:
the example's time in proportion to pixels, frames and steps.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from bench.overhead import platform
from services.chassis.config import REPOSITORY

SKYREELS = "skywork-skyreels-v2"
# What of the example changes, as factors; frames keep to what each model takes.
FACTORS = (
    {"steps": 2.0},
    {"frames": 2.0},
    {"side": 2.0**-0.5},
    {"steps": 0.5, "frames": 0.5},
    {"steps": 1.5, "frames": 2.0},
)
ROUTING = {"model", "model_version", "gpu_type", "region", "request_id"}
SMALL_SIDE = 0.5


@dataclass(frozen=True)
class Row:
    """A point of the grid: seconds of device time on a warm runtime."""

    name: str
    p50: float
    p90: float
    proportional: float
    actual: float

    @property
    def error(self) -> float:
        """How much longer it took than it was estimated to, as a share of the estimate."""
        return self.actual / self.p50 - 1


def grid(example: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any], float]]:
    """Names, changes of the example, and their work in proportion to pixels, frames and steps."""
    for factors in FACTORS:
        changes: dict[str, Any] = {}
        if steps := factors.get("steps"):
            changes["num_inference_steps"] = max(1, round(example["num_inference_steps"] * steps))
        if frames := factors.get("frames"):
            changes["num_frames"] = _frames(example, schema, frames)
            if "base_num_frames" in example:
                changes["base_num_frames"] = max(changes["num_frames"], 5)
        if side := factors.get("side"):
            for name in ("width", "height"):
                unit = int(schema["properties"][name].get("multipleOf", 1))
                changes[name] = round(example[name] * side / unit) * unit
        if _fits(changes, schema):
            work = 1.0
            for name in ("num_inference_steps", "num_frames", "width", "height"):
                work *= changes.get(name, example[name]) / example[name]
            yield ", ".join(f"{name}={value}" for name, value in changes.items()), changes, work


def _frames(example: Mapping[str, Any], schema: Mapping[str, Any], factor: float) -> int:
    """So many times the frames, as the model takes them: latent frames in whole blocks, or any number."""
    if "x-forge-rules" not in schema:
        return round(example["num_frames"] * factor)
    block = int(example.get("causal_block_size", 1))
    latent = round(((example["num_frames"] - 1) / 4 + 1) * factor / block) * block
    return 4 * (max(block, latent) - 1) + 1


def _fits(changes: Mapping[str, Any], schema: Mapping[str, Any]) -> bool:
    return all(value <= schema["properties"][name].get("maximum", value) for name, value in changes.items())


def small_catalogue(slug: str, folder: Path) -> None:
    """The shipped configuration with a quarter of the example's pixels, so that everything goes faster."""
    for path in (REPOSITORY / "config").rglob("*.yaml"):
        copy = folder / path.relative_to(REPOSITORY / "config")
        copy.parent.mkdir(parents=True, exist_ok=True)
        content = yaml.safe_load(path.read_text())
        if path.stem == slug:
            for version in content["versions"]:
                for inputs in (version["example"], *version.get("probe_inputs", ())):
                    for name in ("width", "height"):
                        if name in inputs:
                            unit = version["input_schema"]["properties"][name].get("multipleOf", 1)
                            inputs[name] = max(64, round(inputs[name] * SMALL_SIDE / unit) * unit)
        copy.write_text(yaml.safe_dump(content, sort_keys=False))


def probe(client: httpx.Client, slug: str) -> None:
    """Fill the ledger, and wait until it is filled."""
    answer = client.post("/v1/probes", json={"slug": slug})
    if answer.is_error:
        sys.exit(f"no probe: {answer.json().get('message', answer.text)}")
    (made,) = answer.json()["probes"]
    while made["status"] not in ("succeeded", "failed", "canceled"):
        time.sleep(1)
        made = client.get(f"/v1/probes/{made['id']}").json()
    if made["status"] != "succeeded":
        sys.exit(f"the probe did not succeed: {made['message']}")
    counted = sum(run["counts"] for run in made["runs"])
    while _row(client, slug).get("sample_count", 0) < counted:
        time.sleep(0.5)


def _row(client: httpx.Client, slug: str) -> dict[str, Any]:
    (row,) = [row for row in client.get(f"/v1/models/{slug}/targets").json()["targets"] if row["offered"]]
    return row


def measured(client: httpx.Client, slug: str, example: Mapping[str, Any], schema: Mapping[str, Any]) -> list[Row]:
    """Each point of the grid, estimated and then rendered on a warm runtime."""
    inputs = {name: value for name, value in example.items() if name not in ROUTING}
    client.post(f"/v1/inference/{slug}", json=inputs | {"num_inference_steps": 2}).raise_for_status()
    standard = client.get(f"/v1/models/{slug}/run-estimate").json()["selected_target"]["request_seconds_p50"]
    rows = []
    for name, changes, work in grid(example, schema):
        body = inputs | changes
        told = client.post(f"/v1/models/{slug}/run-estimate", json=body).raise_for_status().json()["selected_target"]
        render = client.post(f"/v1/inference/{slug}", json=body, params={"wait_seconds": 3600}).json()
        if render.get("status") != "succeeded":
            sys.exit(f"the render did not succeed: {render}")
        row = Row(
            name, told["request_seconds_p50"], told["request_seconds_p90"], standard * work, render["gpu_seconds"]
        )
        rows.append(row)
        print(f"  {name}: {row.p50:.1f} s estimated, {row.actual:.1f} s taken", file=sys.stderr)
    return rows


def show(slug: str, row: Mapping[str, Any], rows: list[Row]) -> None:
    """Print what was measured."""
    print(
        f"{slug} on {row['gpu_type']}: {row['sample_count']} runs of the example, median "
        f"{row['request_ms_p50'] / 1000:.1f} s of model time, cold start {row['cold_start_ms'] / 1000:.1f} s"
    )
    print(f"{'input':52}{'p50 s':>8}{'p90 s':>8}{'took s':>8}{'error':>8}{'in proportion':>16}{'error':>8}")
    for point in rows:
        naive = point.actual / point.proportional - 1
        print(
            f"{point.name:52}{point.p50:8.1f}{point.p90:8.1f}{point.actual:8.1f}{point.error:8.0%}"
            f"{point.proportional:16.1f}{naive:8.0%}"
        )
    mine = statistics.median(abs(point.error) for point in rows)
    naive = statistics.median(abs(point.actual / point.proportional - 1) for point in rows)
    within = sum(point.actual <= point.p90 for point in rows)
    print(f"median of |error|: {mine:.0%} estimated, {naive:.0%} in proportion; {within} of {len(rows)} within p90")


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("slug", nargs="?", default=SKYREELS)
    parser.add_argument("--small", action="store_true", help="a quarter of the example's pixels")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        environment = {}
        if options.small:
            small_catalogue(options.slug, home / "config")
            environment["FORGE_CONFIG_DIR"] = str(home / "config")
        with platform(home, environment) as client:
            inputs = client.get(f"/v1/models/{options.slug}/input-schema").json()
            probe(client, options.slug)
            row = _row(client, options.slug)
            show(options.slug, row, measured(client, options.slug, inputs["example"], inputs["schema"]))


if __name__ == "__main__":
    main()
