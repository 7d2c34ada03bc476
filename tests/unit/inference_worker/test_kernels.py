"""The attention kernel: how it is chosen, and that choosing one uses it."""

import pytest
import torch
from structlog.testing import capture_logs
from torch.nn.attention import SDPBackend
from torch.nn.functional import scaled_dot_product_attention

from services.inference_worker.adapters.engines.kernels import (
    DEFAULT,
    KERNELS,
    AttentionShape,
    Trial,
    attention_kernel,
    choose_attention_kernel,
    fastest,
)

SHAPE = AttentionShape(batch=1, heads=2, queries=8, keys=12, head_width=16)
RESULT = torch.linspace(-1, 1, 100)


def a_probe(milliseconds, results=None):
    """Kernels that take so long; those not named cannot serve the shape."""

    def probe(kernel):
        if kernel not in milliseconds:
            raise RuntimeError("No available kernel. Aborting execution.")
        return Trial(milliseconds[kernel], (results or {}).get(kernel, RESULT))

    return probe


def priority():
    """The kernels that are allowed, the first choice first."""
    names = {backend.value: name for name, backend in {**KERNELS, "math": SDPBackend.MATH}.items()}
    return [names[number] for number in torch._C._get_sdp_priority_order() if number in names]


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_fastest_kernel_is_chosen(kernel):
    assert fastest(a_probe({DEFAULT: 2.0, **dict.fromkeys(KERNELS, 1.5), kernel: 1.0})) == kernel


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_kernel_that_is_faster_by_no_more_than_noise_is_not_chosen(kernel):
    assert fastest(a_probe({DEFAULT: 2.0, kernel: 1.9})) == DEFAULT


def test_kernels_that_the_device_does_not_have_are_passed_over():
    assert fastest(a_probe({DEFAULT: 2.0, "efficient": 1.0})) == "efficient"
    assert fastest(a_probe({DEFAULT: 2.0})) == DEFAULT


@pytest.mark.parametrize("wrong", [RESULT * 1.1, RESULT.flip(0), torch.full_like(RESULT, float("nan"))])
def test_a_fast_kernel_whose_results_differ_is_never_chosen(wrong):
    with capture_logs() as logs:
        assert fastest(a_probe({DEFAULT: 2.0, "cudnn": 0.1, "flash": 1.0}, {"cudnn": wrong})) == "flash"
    assert [(line["kernel"], line["log_level"]) for line in logs] == [("cudnn", "warning"), ("flash", "info")]
    assert logs[-1]["milliseconds"] == {DEFAULT: 2.0, "flash": 1.0}


def test_rounding_is_no_difference():
    assert fastest(a_probe({DEFAULT: 2.0, "cudnn": 0.1}, {"cudnn": RESULT.to(torch.bfloat16)})) == "cudnn"


def test_a_device_that_cannot_attend_at_all_is_an_error():
    with pytest.raises(RuntimeError):
        fastest(a_probe({"cudnn": 1.0}))


def test_the_cpu_has_one_kernel_and_no_trial():
    assert choose_attention_kernel(SHAPE, torch.float32, torch.device("cpu")) == DEFAULT


@pytest.mark.parametrize("kernel", [DEFAULT, *KERNELS])
def test_a_chosen_kernel_comes_first_inside_its_block_only_and_others_serve_what_it_cannot(kernel):
    before = priority()
    query, key = torch.randn(1, 2, 8, 16), torch.randn(1, 2, 12, 16)
    mask = torch.arange(12) < torch.arange(5, 13)[:, None]
    with attention_kernel(kernel):
        assert priority()[0] == (before[0] if kernel == DEFAULT else kernel)
        assert sorted(priority()) == sorted(before)
        inside = scaled_dot_product_attention(query, key, key, attn_mask=mask)
    assert priority() == before
    expected = (query @ key.mT / 4).masked_fill(~mask, float("-inf")).softmax(-1) @ key
    torch.testing.assert_close(inside, expected)


def test_an_unknown_kernel_is_an_error():
    with pytest.raises(KeyError):
        attention_kernel("fastest")
