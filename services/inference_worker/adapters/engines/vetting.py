"""What a folder of weights must not hold: code, ways to get code, ways out of the folder, and files that are none.

Weights come from strangers. Whatever the libraries would do with a file, nothing is opened by them before all of these
rules hold. Messages name files relative to the folder and never the folder itself.
"""

import json
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from services.inference_worker.domain.errors import WeightsUnavailable

_CODE_SUFFIXES = {
    ".bin",
    ".ckpt",
    ".dll",
    ".h5",
    ".joblib",
    ".keras",
    ".msgpack",
    ".npy",
    ".npz",
    ".pdparams",
    ".pickle",
    ".pkl",
    ".pt",
    ".pt2",
    ".pth",
    ".py",
    ".pyc",
    ".pyd",
    ".so",
}
_CODE_KEYS = {"auto_map", "custom_pipeline", "custom_pipelines", "trust_remote_code"}
_KERNEL_KEYS = {"attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation"}
"""These may name a repository, whose code is then fetched and run; a name without a slash is the library's own."""
_MAX_JSON_BYTES = 64 * 2**20  # the vocabulary of UMT5 has 17 MB
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\.safetensors")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_CLASSES: Mapping[str, frozenset[str]] = {
    "diffusers": frozenset(
        {
            "AutoencoderKLTemporalDecoder",
            "AutoencoderKLWan",
            "EulerDiscreteScheduler",
            "FlowMatchEulerDiscreteScheduler",
            "SkyReelsV2Transformer3DModel",
            "UNetSpatioTemporalConditionModel",
            "UniPCMultistepScheduler",
            "WanTransformer3DModel",
        }
    ),
    "transformers": frozenset(
        {
            "CLIPFeatureExtractor",
            "CLIPImageProcessor",
            "CLIPImageProcessorFast",
            "CLIPImageProcessorPil",
            "CLIPVisionModelWithProjection",
            "PreTrainedTokenizerFast",
            "T5Tokenizer",
            "T5TokenizerFast",
            "TokenizersBackend",
            "UMT5EncoderModel",
        }
    ),
}
"""What the parts of the pipelines that there are engines for are made of."""


def vet(folder: Path) -> None:
    """Raises WeightsUnavailable unless everything in the folder is data that stays in it."""
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        _refuse_ways_out(folder, file, name)
        if file.is_dir():
            continue
        suffix = file.suffix.lower()
        if suffix in _CODE_SUFFIXES:
            raise WeightsUnavailable(f"the weights hold '{name}', which can run code; only safetensors are loaded")
        if suffix == ".json":
            _vet_json(file, name)
        elif suffix == ".safetensors":
            _vet_safetensors(file, name)


def is_known_class(library: str, class_name: str) -> bool:
    """Whether a part of a pipeline may be of a class."""
    return class_name in _CLASSES.get(library, ())


def parsed(file: Path, name: str) -> Any:
    """What a JSON file holds. Raises WeightsUnavailable."""
    if file.stat().st_size > _MAX_JSON_BYTES:
        raise WeightsUnavailable(f"'{name}' of the weights has more than {_MAX_JSON_BYTES // 2**20} MiB")
    try:
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        raise WeightsUnavailable(f"'{name}' of the weights is not valid JSON") from None


def _refuse_ways_out(folder: Path, file: Path, name: str) -> None:
    if file.is_symlink():
        leads_to = file.resolve()
        if leads_to.is_dir() or not any(leads_to.is_relative_to(place) for place in _homes(folder)):
            raise WeightsUnavailable(f"'{name}' of the weights is a link that leads out of their folder")
    try:
        kind = file.stat().st_mode
    except OSError:
        raise WeightsUnavailable(f"'{name}' of the weights leads nowhere") from None
    if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
        raise WeightsUnavailable(f"'{name}' of the weights is no file")


def _homes(folder: Path) -> Iterator[Path]:
    """Where links may lead: within the folder. In the cache of the hub a snapshot's files are links to its blobs."""
    whole = folder.resolve()
    yield whole
    if whole.parent.name == "snapshots" and _COMMIT.fullmatch(whole.name):
        yield whole.parents[1] / "blobs"


def _vet_json(file: Path, name: str) -> None:
    found = parsed(file, name)
    if key := _key_for_code(found):
        raise WeightsUnavailable(f"'{name}' of the weights asks for code of its own by '{key}'; that is not run")
    if not name.endswith(".index.json"):
        return
    places = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(places, dict):
        raise WeightsUnavailable(f"'{name}' of the weights has no weight_map")
    for place in places.values():
        if not (isinstance(place, str) and _PLAIN_NAME.fullmatch(place) and (file.parent / place).is_file()):
            raise WeightsUnavailable(f"'{name}' of the weights points at what is no safetensors file beside it")


def _vet_safetensors(file: Path, name: str) -> None:
    """Have the library read the header: sizes, types, and that tensors fill the file without gaps and overlaps."""
    try:
        with safe_open(file, framework="pt"):
            pass
    except (SafetensorError, OSError, ValueError):
        raise WeightsUnavailable(f"'{name}' of the weights is damaged: it is no whole safetensors file") from None


def _key_for_code(config: Any) -> str | None:
    """A key, at any depth, by which a configuration asks for code that comes with it or from elsewhere."""
    waiting = [config]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            asked = {key for key, value in found.items() if key in _CODE_KEYS and value}
            asked |= {key for key, value in found.items() if key in _KERNEL_KEYS and "/" in json.dumps(value)}
            if asked:
                return min(asked)
            waiting.extend(found.values())
        elif isinstance(found, list):
            waiting.extend(found)
    return None
