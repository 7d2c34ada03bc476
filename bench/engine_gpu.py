"""Both models at full size on a GPU, with random weights: our engines, diffusers, the pages' figures and the floor.

    python -m bench.engine_gpu [stage…] [--full] [--thin-text-encoder] [--also FILE…] [--tiny]

Needs no weights and no network, only the `worker` packages; for the stage `load` this package installed, and 20 GB on
the disk of --scratch. Stages are calibration, attention, svd, skyreels, decode, load and memory; all of them unless
some are named. Each is a process of its own, which ends within ten minutes and cannot harm the others; what fails is
named at the end. Figures are printed as they come and written to $OUT/engine_gpu.json when OUT is set; `--also` takes
up such files of earlier runs, so that stages may be run one by one and still make one table.

`--full` adds a whole render of diffusers' SkyReels pipeline, which takes minutes and is otherwise extrapolated from
single passes. What is compiled stays in out/bench/compile-cache, so that a second run of a stage tells what that is
worth. `--thin-text-encoder` spares the 11 GiB of SkyReels' text encoder. `--tiny` runs every stage with small
models on the CPU: it tells whether the script works, and no figure of it means anything.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version as version_of
from pathlib import Path

import torch

from bench.gpu.decode_stage import decode
from bench.gpu.device_stages import attention, calibration, rates
from bench.gpu.load_stage import load
from bench.gpu.measuring import Stage
from bench.gpu.notebook import Notebook
from bench.gpu.render_stages import memory, skyreels, skyreels_full, svd
from bench.gpu.subjects import full_size_subjects, tiny_subjects
from bench.gpu.table import tables
from services.chassis.config import REPOSITORY
from services.inference_worker.adapters.engines.device import prepare_process
from services.inference_worker.config import WorkerSettings

USUAL_STAGES: Mapping[str, Callable[[Stage], None]] = {
    "calibration": calibration,
    "attention": attention,
    "svd": svd,
    "skyreels": skyreels,
    "decode": decode,
    "load": load,
    "memory": memory,
}
_FULL = "skyreels-full"
STAGES: Mapping[str, Callable[[Stage], None]] = {**USUAL_STAGES, _FULL: skyreels_full}

_STAGE_SECONDS = 560
"""After so long a stage is ended."""
_LAST_MOMENTS_SECONDS = 20
"""So much earlier it begins nothing more."""


def main(arguments: list[str]) -> int:
    """Run the stages and print the tables. Returns how many stages did not come to their end."""
    asked = _asked(arguments)
    if not asked.tiny and not torch.cuda.is_available():
        sys.exit("there is no GPU here; --tiny tries the script on the CPU")
    if asked.notes:
        run_stage(asked.stages[0], Notebook(asked.notes), asked.scratch, tiny=asked.tiny, thin=asked.thin_text_encoder)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))  # and with it the stage under way
    asked.scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=asked.scratch.resolve()) as folder:
        notes = Path(os.environ.get("OUT") or folder).resolve() / "engine_gpu.json"
        notes.parent.mkdir(parents=True, exist_ok=True)
        notes.unlink(missing_ok=True)
        notebook = Notebook(notes)
        for file in asked.also:
            notebook.add(json.loads(file.read_text()))
        stages = [*(asked.stages or USUAL_STAGES), *([_FULL] if asked.full else [])]
        failed = sum(not _apart(stage, asked, Path(folder), notes, notebook) for stage in dict.fromkeys(stages))
        print("\n".join(tables(notebook)))
    for name, why in notebook.failures.items():
        print(f"not measured: {name}: {why}")
    if asked.tiny:
        print("tiny models on the CPU: no figure here means anything")
    return failed


def run_stage(name: str, notebook: Notebook, scratch: Path, *, tiny: bool, thin: bool = False) -> None:
    """Run a stage in this process."""
    ends_at = time.monotonic() + _STAGE_SECONDS - _LAST_MOMENTS_SECONDS
    device = torch.device("cpu" if tiny else "cuda")
    prepare_process(WorkerSettings().worker_threads)
    notebook.facts |= _facts(device)
    subjects = tiny_subjects() if tiny else full_size_subjects(thin_text_encoder=thin)
    stage = Stage(notebook, device, subjects, scratch, tiny=tiny, ends_at=ends_at)
    stage.attempt("rates", lambda: rates(stage))
    stage.attempt(f"stage {name}", lambda: STAGES[name](stage))


def _facts(device: torch.device) -> dict[str, str]:
    facts = {
        "date": time.strftime("%Y-%m-%d"),
        "device": "CPU, tiny models",
        "python": platform.python_version(),
        **{package: version_of(package) for package in ("torch", "diffusers", "transformers")},
    }
    if device.type == "cuda":
        facts |= {
            "device": torch.cuda.get_device_name(device),
            "CUDA": str(torch.version.cuda),
            "cuDNN": str(torch.backends.cudnn.version()),
        }
    return facts


def _apart(name: str, asked: argparse.Namespace, folder: Path, notes: Path, notebook: Notebook) -> bool:
    """Run a stage in a process of its own, which adds to the notes. False when it did not come to its end."""
    print(f"--- {name}", flush=True)
    flags = {"--tiny": asked.tiny, "--thin-text-encoder": asked.thin_text_encoder}
    command = [sys.executable, "-m", "bench.engine_gpu", name, "--notes", str(notes), "--scratch", str(folder)]
    began = time.monotonic()
    process = subprocess.Popen(
        [*command, *(flag for flag, wanted in flags.items() if wanted)], cwd=REPOSITORY, process_group=0
    )
    try:
        status = process.wait(_STAGE_SECONDS)
        ended = "" if status == 0 else f"its process ended with {status}"
    except subprocess.TimeoutExpired:
        ended = f"it was ended after {_STAGE_SECONDS} s"
    finally:
        _end(process)
    notebook.read_again()
    if ended:
        notebook.failed(f"stage {name}", ended)
    print(f"    {name} took {time.monotonic() - began:.0f} s", flush=True)
    return not ended


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a stage that has not ended, with all that it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _asked(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "bench.engine_gpu", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("stages", nargs="*", choices=[*STAGES, []], metavar="stage")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--thin-text-encoder", action="store_true")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--also", nargs="+", type=Path, default=[], metavar="FILE")
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()), metavar="DIR")
    parser.add_argument("--notes", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
