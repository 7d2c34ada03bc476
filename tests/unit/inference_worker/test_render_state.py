"""Checkpoints: what goes in comes out, and what does not fit is refused with a reason."""

import json
import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from services.inference_worker.adapters.engines.state import RenderState, pack, unpack
from services.inference_worker.domain.errors import CheckpointRefused

FINGERPRINT = {"weights": "a1b2", "torch": "2.13.0", "device": "a GPU"}
INPUTS = {"prompt": "a cat", "seed": 17, "guidance_scale": 7.5}
DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool]


def a_state() -> RenderState:
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "latents": torch.randn(1, 4, 3, 2, 2, generator=generator),
        "embedding": torch.randn(1, 1, 5, generator=generator).half(),
    }
    return RenderState(tensors, {"done": 3, "blocks": [[1, 2], [0, None]], "last": 0.1})


def a_checkpoint() -> bytes:
    return pack(a_state(), FINGERPRINT, INPUTS)


def are_equal(found: RenderState, expected: RenderState) -> bool:
    return (
        found.facts == expected.facts
        and found.tensors.keys() == expected.tensors.keys()
        and all(
            found.tensors[name].dtype == tensor.dtype and torch.equal(found.tensors[name], tensor)
            for name, tensor in expected.tensors.items()
        )
    )


@settings(max_examples=25)
@given(
    shapes=st.dictionaries(st.text(max_size=8), st.lists(st.integers(0, 4), max_size=4), max_size=4),
    dtype=st.sampled_from(DTYPES),
    facts=st.dictionaries(
        st.text(max_size=8),
        st.recursive(st.none() | st.integers() | st.floats(allow_nan=False) | st.text(), st.lists),
        max_size=4,
    ),
)
def test_what_goes_in_comes_out(shapes, dtype, facts):
    shapes.pop("__metadata__", None)
    tensors = {name: torch.arange(torch.Size(shape).numel()).view(shape).to(dtype) for name, shape in shapes.items()}
    state = RenderState(tensors, facts)
    assert are_equal(unpack(pack(state, FINGERPRINT, INPUTS), FINGERPRINT, INPUTS), state)


def test_parts_of_larger_tensors_are_kept_without_the_rest():
    whole = torch.randn(1000, 8, generator=torch.Generator().manual_seed(0))
    state = RenderState({"part": whole.T[2:4]}, {})
    blob = pack(state, FINGERPRINT, INPUTS)
    assert are_equal(unpack(blob, FINGERPRINT, INPUTS), state)
    assert len(blob) < whole.nbytes // 2


def test_the_order_in_which_things_are_told_does_not_matter():
    assert unpack(a_checkpoint(), dict(reversed(FINGERPRINT.items())), dict(reversed(INPUTS.items())))


@pytest.mark.parametrize(
    ("fingerprint", "reason"),
    [
        ({**FINGERPRINT, "weights": "ffff"}, "weights was a1b2, is ffff"),
        ({**FINGERPRINT, "attention": "flash"}, "attention was None, is flash"),
        ({name: FINGERPRINT[name] for name in ("weights", "torch")}, "device was a GPU, is None"),
    ],
)
def test_a_checkpoint_made_under_other_conditions_is_refused_and_they_are_named(fingerprint, reason):
    with pytest.raises(CheckpointRefused, match=reason):
        unpack(a_checkpoint(), fingerprint, INPUTS)


@pytest.mark.parametrize(
    ("inputs", "differing"),
    [
        ({**INPUTS, "seed": 18}, "seed"),
        ({**INPUTS, "seed": 17.5, "prompt": "a dog"}, "prompt, seed"),
        ({**INPUTS, "fps": 7}, "fps"),
        ({"prompt": "a cat"}, "guidance_scale, seed"),
        ({}, "guidance_scale, prompt, seed"),
    ],
)
def test_a_checkpoint_of_other_inputs_is_refused_and_they_are_named(inputs, differing):
    with pytest.raises(CheckpointRefused, match=f"the checkpoint is of other inputs: {differing}$"):
        unpack(a_checkpoint(), FINGERPRINT, inputs)


@pytest.mark.parametrize(
    "inputs", [{**INPUTS, "prompt": "a dog"}, {"seed": 17, "guidance_scale": 7.5}, {**INPUTS, "fps": 7}]
)
def test_free_inputs_may_be_others_or_come_or_go(inputs):
    assert are_equal(unpack(a_checkpoint(), FINGERPRINT, inputs, free={"prompt", "fps"}), a_state())


def test_an_input_that_is_not_free_is_refused_and_named_also_among_those_that_are():
    with pytest.raises(CheckpointRefused, match=r"of other inputs: seed$"):
        unpack(a_checkpoint(), FINGERPRINT, {**INPUTS, "prompt": "a dog", "seed": 1}, free={"prompt"})


def test_inputs_cannot_be_read_from_a_checkpoint():
    assert b"a cat" not in a_checkpoint()


@pytest.mark.parametrize("number", ["1", "3"])
def test_a_checkpoint_of_an_older_or_newer_format_is_refused_whatever_else_it_holds(number):
    blob = save({}, metadata={"forge": json.dumps({"format": number})})
    with pytest.raises(CheckpointRefused, match="another format"):
        unpack(blob, FINGERPRINT, INPUTS)


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"\0" * 7,
        struct.pack("<Q", 2**64 - 1) + b"{}",
        struct.pack("<Q", 100_000) + b"[" * 100_000,
        save({"latents": torch.zeros(2)}),
        save({}, metadata={"forge": "17"}),
        save({}, metadata={"forge": "[" * 20_000}),
        save({}, metadata={"forge": json.dumps({"format": "2"})}),
        save({}, metadata={"forge": json.dumps({"format": "2", "fingerprint": ["weights"], "inputs": {}})}),
        save({}, metadata={"forge": json.dumps({"format": "2", "fingerprint": FINGERPRINT, "inputs": "all"})}),
    ],
    ids=range(10),
)
def test_what_is_no_checkpoint_is_refused(blob):
    with pytest.raises(CheckpointRefused, match="damaged"):
        unpack(blob, FINGERPRINT, INPUTS)


@settings(max_examples=60)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_truncated_checkpoint_is_refused(share):
    blob = a_checkpoint()
    with pytest.raises(CheckpointRefused):
        unpack(blob[: int(share * len(blob))], FINGERPRINT, INPUTS)


@settings(max_examples=60)
@given(blob=st.binary(max_size=300))
def test_random_bytes_are_refused(blob):
    with pytest.raises(CheckpointRefused, match="damaged"):
        unpack(blob, FINGERPRINT, INPUTS)


def test_with_any_one_byte_changed_a_checkpoint_is_refused_or_means_the_same():
    blob = a_checkpoint()
    refused = 0
    for place in range(len(blob)):
        damaged = bytearray(blob)
        damaged[place] ^= 1 << place % 8
        try:
            found = unpack(bytes(damaged), FINGERPRINT, INPUTS)
        except CheckpointRefused:
            refused += 1
        else:
            assert are_equal(found, a_state())
    assert refused > 0.9 * len(blob)


@pytest.mark.parametrize(
    "changes",
    [
        {"latents": torch.zeros(1, 4, 3, 2, 2)},
        {"latents": a_state().tensors["latents"].view(1, 4, 3, 4)},
        {"latents": a_state().tensors["latents"].view(torch.int32)},
        {"more": torch.zeros(1)},
    ],
    ids=["other numbers", "another shape", "another dtype", "one more"],
)
def test_a_checkpoint_with_tensors_of_another_is_refused(changes):
    blob = a_checkpoint()
    (length,) = struct.unpack_from("<Q", blob)
    metadata = json.loads(blob[8 : 8 + length])["__metadata__"]
    with pytest.raises(CheckpointRefused, match="damaged"):
        unpack(save({**a_state().tensors, **changes}, metadata=metadata), FINGERPRINT, INPUTS)
