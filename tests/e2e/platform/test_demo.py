"""The first thing a newcomer runs, and the example requests as they stand."""

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from PIL import Image

from tests.platforms import FORGE, REPOSITORY, SKYREELS, SVD, Platform, running

WAN = "wan-ai-wan-2-1"
STEPS = {SVD: 25, SKYREELS: 40, WAN: 50}

pytestmark = [pytest.mark.only_full_size, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Demo:
    """What the demo printed, and where its home and its videos are."""

    printed: str
    home: Path
    out: Path

    def example(self, slug: str) -> dict[str, Any]:
        """The example request of a model."""
        file = REPOSITORY / "config" / "models" / f"{slug}.yaml"
        return yaml.safe_load(file.read_text())["versions"][0]["example"]

    def video(self, slug: str) -> tuple[int, int, int, float]:
        """What its video has: frames, width, height and frames per second."""
        example = self.example(slug)
        return example["num_frames"], example["width"], example["height"], float(example["fps"])


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The demo, over: the platform it made is in its home."""
    root = tmp_path_factory.mktemp("demo")
    home, out = root / "home", root / "out"
    done = subprocess.run(
        [str(FORGE), "demo", "--home", str(home), "--out", str(out)],
        env=os.environ | {"COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Demo(done.stdout, home, out)


@pytest.fixture(scope="module")
def platform(demo: Demo) -> Iterator[Platform]:
    """The platform of the demo, up again."""
    with running(Platform(demo.home, "pages")) as subject:
        yield subject


def test_the_demo_makes_both_videos_shows_what_they_took_and_leaves_nothing_running(demo, facts):
    left = [p.info for p in psutil.process_iter(["cmdline"]) if str(demo.home) in " ".join(p.info["cmdline"] or [])]
    assert left == []
    for slug in (SVD, SKYREELS):
        assert facts((demo.out / f"{slug}.mp4").read_bytes()) == demo.video(slug)
        with Image.open(demo.out / f"{slug}.png") as sheet:
            assert sheet.width > sheet.height > 100
            assert len(sheet.convert("RGB").getcolors(maxcolors=2**24) or ()) > 1000, "frames, not a blank sheet"
    assert re.search(rf"step \d+ of {STEPS[SKYREELS]}", demo.printed)
    for row in ("cold start", "encode", "denoise", "decode", "mux", "store", "total", "estimate"):
        assert row in demo.printed


@pytest.mark.parametrize("slug", STEPS)
def test_the_example_as_it_stands_becomes_its_video(demo, platform, rest, followed, facts, slug):
    steps = STEPS[slug]
    found = rest.get("/v1/renders", params={"model": slug}).json()["renders"]
    render = found[0] if found else rest.post(f"/v1/inference/{slug}", json=platform.example(slug)).json()
    assert render["status"] == "succeeded", render
    assert (render["progress"]["done_steps"], render["progress"]["total_steps"]) == (steps, steps)
    video = rest.get(render["output"]["video_url"])
    assert video.headers["content-type"] == "video/mp4"
    assert len(video.content) == render["output"]["size_bytes"]
    assert facts(video.content) == demo.video(slug)
    output = render["output"]
    assert (output["num_frames"], output["width"], output["height"], output["fps"]) == demo.video(slug)
    warned = " ".join(render["warnings"])
    if slug == SVD:
        assert "'prompt' has no effect" in warned
        assert "aspect" in warned
    else:
        assert "demo weights show a small world" in warned
    if slug == SKYREELS:
        assert "'addnoise_condition' has no effect" in warned
    if slug == WAN:
        assert "estimated_cost_usd" not in render, "nobody has published how fast it is"
    else:
        assert render["estimated_cost_usd"] > 0
    events = followed(render["id"])
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    reported = {event["progress"]["done_steps"] for event in events if event["phase"] == "denoising"}
    assert reported >= set(range(1, steps + 1)), "every real step is an event"
    fractions = [event["progress"]["fraction"] for event in events]
    assert fractions == sorted(fractions)
    phases = list(dict.fromkeys(event["phase"] for event in events))
    assert phases[-6:] == ["encoding", "denoising", "decoding", "muxing", "storing", "done"]
