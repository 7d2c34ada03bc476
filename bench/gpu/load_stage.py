"""Starts of workers from safetensors on the local disk, each in a process of its own."""

import json
import os
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from bench.gpu.measuring import Stage
from bench.gpu.notebook import OURS, START, THEIRS, WARM_START, named
from bench.gpu.subjects import Subject
from services.chassis.config import REPOSITORY

_PROCESS = {OURS: "engine", THEIRS: "pipeline"}
_DISK, _MEMORY = "disk", "memory"
"""Where the weights are read from: the disk, or the system's copy of it in memory."""


def load(stage: Stage) -> None:
    """Write the weights to disk and start from them: read from the disk, and then from memory."""
    for subject in stage.subjects.values():
        stage.attempt(f"starts of {subject.slug}", partial(_starts, stage, subject))


def _starts(stage: Stage, subject: Subject) -> None:
    directory = stage.scratch / "weights"
    folder = directory / subject.slug / subject.example.version.model_version
    try:
        began = time.perf_counter()
        subject.make(stage.device).save_pretrained(folder, safe_serialization=True)
        stage.tidy_up()
        size = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
        seconds = time.perf_counter() - began
        stage.notebook.note(named(subject.slug, THEIRS, "saving the weights"), seconds, remark=f"{size / 1e9:.2f} GB")
        for way in (OURS, THEIRS):
            for place in (_DISK, _MEMORY):
                start = partial(_start, stage, subject, way, directory, place)
                stage.attempt(f"start of {subject.slug}, {way}, from the {place}", start, takes_seconds=60)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _start(stage: Stage, subject: Subject, way: str, directory: Path, place: str) -> None:
    if place == _DISK:
        _forget(directory)
    found = _started(subject.slug, directory, stage.device.type, _PROCESS[way])
    suffix = "" if place == _DISK else f", from {place}"

    def note(part: str, seconds: float, remark: str = "") -> None:
        stage.notebook.note(named(subject.slug, way, part + suffix), seconds, remark=remark)

    note(START, found["ready"])
    note(WARM_START, found["ready"] - found["imports"])
    note("imports", found["imports"])
    if "weights" in found:
        seconds = found["weights"] - found["imports"]
        note("weights", seconds, f"{found['bytes'] / seconds / 1e9:.2f} GB/s, told {found['reports']:.0f} times")
        note("first try", found["ready"] - found["weights"])


def _started(slug: str, directory: Path, device: str, way: str) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.gpu.cold_start", slug, str(directory), device, way, str(time.time())]
    done = subprocess.run(command, capture_output=True, check=False, cwd=REPOSITORY, text=True)
    if done.returncode:
        raise RuntimeError(f"the start failed: {' '.join(done.stderr.splitlines()[-1:])}")
    return json.loads(done.stdout.splitlines()[-1])


def _forget(directory: Path) -> None:
    """Have the system drop its copies of the files in memory, so that they are read from the disk again."""
    for file in directory.rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)
