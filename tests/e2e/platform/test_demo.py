"""The first thing a newcomer runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from PIL import Image

SVD = "stabilityai-stable-video-diffusion"
SKYREELS = "skywork-skyreels-v2"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_demo_makes_both_videos_shows_what_they_took_and_leaves_nothing_running(tmp_path, facts):
    home, out = tmp_path / "home", tmp_path / "out"
    forge = Path(sys.executable).with_name("forge")
    done = subprocess.run(
        [str(forge), "demo", "--home", str(home), "--out", str(out)],
        env=os.environ | {"COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for slug, expected in ((SVD, (25, 1024, 576, 7.0)), (SKYREELS, (97, 960, 544, 24.0))):
        assert facts((out / f"{slug}.mp4").read_bytes()) == expected
        with Image.open(out / f"{slug}.png") as sheet:
            assert sheet.width > sheet.height > 100
            assert len(sheet.convert("RGB").getcolors(maxcolors=2**24) or ()) > 1000, "frames, not a blank sheet"
    assert re.search(r"step \d+ of 40", done.stdout)
    for row in ("cold start", "encode", "denoise", "decode", "mux", "store", "total", "estimate"):
        assert row in done.stdout
    left = [p.info for p in psutil.process_iter(["cmdline"]) if str(home) in " ".join(p.info["cmdline"] or [])]
    assert left == []
