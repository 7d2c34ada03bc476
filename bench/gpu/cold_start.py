"""One start in this process, from nothing imported to a model that can render.

    python -m bench.gpu.cold_start SLUG DIR DEVICE WAY SINCE

WAY is `engine`, as a worker starts, or `pipeline`, as a script does that uses diffusers and nothing else. SINCE is when
the process was asked for, in seconds since the epoch. Prints one line of JSON: seconds from then to the end of each
stage, the bytes of the weights, and how often progress was told.
"""

import json
import sys
import time
from pathlib import Path

from bench.examples import examples
from services.inference_worker.adapters.late_engine_loader import LateEngineLoader, import_libraries
from services.inference_worker.config import WorkerSettings
from services.inference_worker.domain.version import StartMoment, StartPhase, Version


def with_our_engine(version: Version, settings: WorkerSettings, since: float) -> dict[str, float]:
    """Start as a worker does."""
    begun: dict[str, float] = {}
    measured = {"bytes": 0.0, "reports": 0.0}

    def report(moment: StartMoment) -> None:
        begun.setdefault(moment.phase, time.time() - since)
        measured["bytes"] = float(moment.total_bytes or measured["bytes"])
        measured["reports"] += moment.phase is StartPhase.WEIGHTS

    LateEngineLoader(settings).load(version, report)
    measured |= {"imports": begun[StartPhase.WEIGHTS], "weights": begun[StartPhase.WARM_UP]}
    return {**measured, "ready": time.time() - since}


def with_the_pipeline(version: Version, settings: WorkerSettings, since: float) -> dict[str, float]:
    """Start as a script would."""
    import_libraries(settings)
    import diffusers
    import torch

    imports = time.time() - since
    dtypes = {"fp16": torch.float16, "bf16": torch.bfloat16}
    on_cpu = settings.worker_device == "cpu"
    folder = Path(settings.weights) / version.slug / version.model_version
    pipeline = getattr(diffusers, version.pipeline).from_pretrained(
        folder, local_files_only=True, torch_dtype=torch.float32 if on_cpu else dtypes[version.weights_dtype]
    )
    pipeline.to(settings.worker_device)
    if not on_cpu:
        torch.cuda.synchronize()
    return {"imports": imports, "ready": time.time() - since}


WAYS = {"engine": with_our_engine, "pipeline": with_the_pipeline}


def main(slug: str, directory: str, device: str, way: str, since: str) -> None:
    """Start, and print how long it took."""
    settings = WorkerSettings(weights=directory, worker_device=device, home=Path(directory) / "home")
    (example,) = examples(slug)
    print(json.dumps(WAYS[way](example.version, settings, float(since))))


if __name__ == "__main__":
    main(*sys.argv[1:])
