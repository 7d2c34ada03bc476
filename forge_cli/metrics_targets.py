"""Where the figures of each process are, for the processes themselves and for Prometheus."""

import json
from collections.abc import Mapping
from pathlib import Path

TARGETS_FILE = "prometheus-targets.json"
_EDGE = "edge"


def metrics_environment(service: str, port: int) -> dict[str, str]:
    """What tells a process of a service where to show its figures. The edge is told in its own configuration."""
    return {"FORGE_METRICS_ADDRESSES": json.dumps({service: f"127.0.0.1:{port}"})}


def write_targets(run_dir: Path, pages: Mapping[str, int]) -> Path:
    """Write what Prometheus finds all of them by, in the form of its `file_sd_configs`; the path of the file."""
    targets = [{"targets": [f"127.0.0.1:{port}"], "labels": _labels(name)} for name, port in pages.items()]
    path = run_dir / TARGETS_FILE
    draft = path.with_name(f".{path.name}")
    draft.write_text(json.dumps(targets, indent=1) + "\n", "utf-8")
    draft.replace(path)  # whoever reads it meanwhile sees the old one or the new one
    return path


def _labels(name: str) -> dict[str, str]:
    labels = {"job": "forge", "service": name}
    return labels | ({"__metrics_path__": "/stats/prometheus"} if name == _EDGE else {})
