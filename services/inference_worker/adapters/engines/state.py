"""Checkpoints of a render: one safetensors file, with what it relies on beside the tensors."""

import hashlib
import json
import struct
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from services.inference_worker.domain.errors import CheckpointRefused

_FORMAT = "2"
_KEY = "forge"
_DAMAGED = "the checkpoint is damaged"


@dataclass(frozen=True)
class RenderState:
    """A render at rest: tensors by name, and what else is needed to go on, as JSON can hold it."""

    tensors: Mapping[str, torch.Tensor]
    facts: Mapping[str, Any]


def pack(state: RenderState, fingerprint: Mapping[str, str], inputs: Mapping[str, object]) -> bytes:
    """The state as a file. Of the inputs it holds digests."""
    header = {
        "format": _FORMAT,
        "fingerprint": dict(fingerprint),
        "inputs": _digests(inputs),
        "facts": state.facts,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()}
    return save(tensors, metadata={_KEY: json.dumps({**header, "content": _content(tensors, state.facts)})})


def unpack(
    blob: bytes,
    fingerprint: Mapping[str, str],
    inputs: Mapping[str, object],
    *,
    free: Set[str] = frozenset(),
) -> RenderState:
    """The state in a file, its tensors on the CPU. The `free` inputs may be others than those it was packed with.

    Raises CheckpointRefused, saying what does not fit.
    """
    header = _header(blob)
    if header.get("format") != _FORMAT:
        raise CheckpointRefused("the checkpoint is of another format")
    theirs, given = header.get("fingerprint"), header.get("inputs")
    if not isinstance(theirs, dict) or not isinstance(given, dict):
        raise CheckpointRefused(_DAMAGED)
    if differing := _differing(theirs, fingerprint):
        changes = ", ".join(f"{name} was {theirs.get(name)}, is {fingerprint.get(name)}" for name in differing)
        raise CheckpointRefused(f"the checkpoint was made under other conditions: {changes}")
    if differing := [name for name in _differing(given, _digests(inputs)) if name not in free]:
        raise CheckpointRefused(f"the checkpoint is of other inputs: {', '.join(differing)}")
    facts = header.get("facts")
    try:
        tensors = load(blob)
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointRefused(_DAMAGED) from error
    if not isinstance(facts, dict) or header.get("content") != _content(tensors, facts):
        raise CheckpointRefused(_DAMAGED)
    return RenderState(tensors, facts)


def _header(blob: bytes) -> dict[str, Any]:
    try:
        (length,) = struct.unpack_from("<Q", blob)
        header = json.loads(json.loads(blob[8 : 8 + length])["__metadata__"][_KEY])
    except (struct.error, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointRefused(_DAMAGED) from error
    if not isinstance(header, dict):
        raise CheckpointRefused(_DAMAGED)
    return header


def _content(tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> str:
    """A digest of all that a render goes on from: whatever befalls a file on its way, no other video comes of it."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _differing(these: Mapping[str, object], those: Mapping[str, object]) -> list[str]:
    return sorted(name for name in {*these, *those} if these.get(name) != those.get(name))


def _digests(inputs: Mapping[str, object]) -> dict[str, str]:
    return {
        name: hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest() for name, value in inputs.items()
    }
