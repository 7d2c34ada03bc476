"""Embeddings of prompts, made once each."""

import pytest
import torch

from services.inference_worker.adapters.engines.prompts import PROMPT_TOKENS, Prompts
from tests.unit.inference_worker.skyreels_bench import CPU
from tests.unit.inference_worker.tiny_pipelines import tiny_skyreels

TEXTS = ["", "a cat", "  a &amp;amp; b\n\tc ", "日本の猫 🐈‍⬛", "word " * 400]


@pytest.fixture(scope="module")
def pipeline():
    return tiny_skyreels()


@pytest.fixture
def encoded(pipeline):
    """Grows with each use of the text encoder."""
    uses = []
    handle = pipeline.text_encoder.register_forward_hook(lambda *_: uses.append(1))
    yield uses
    handle.remove()


@pytest.mark.parametrize("text", TEXTS)
def test_an_embedding_is_the_pipelines_bit_for_bit_also_when_it_is_remembered(pipeline, text):
    prompts = Prompts(pipeline, CPU, "tiny")
    with torch.no_grad():
        expected, _ = pipeline.encode_prompt(text, None, False, max_sequence_length=PROMPT_TOKENS)
    assert torch.equal(prompts.embedding(text), expected)
    assert torch.equal(prompts.embedding(text), expected)


def test_a_known_text_does_not_need_the_text_encoder(pipeline, encoded):
    prompts = Prompts(pipeline, CPU, "tiny")
    for text in ("a cat", "a dog", "a cat", "a dog"):
        prompts.embedding(text)
    assert len(encoded) == 2


def test_those_used_last_are_remembered_within_bounds(pipeline, encoded):
    four_tokens = 4 * 16 * 4  # of sixteen channels in four bytes each, the last being the end of the text
    prompts = Prompts(pipeline, CPU, "tiny", remembered_bytes=2 * four_tokens)
    for text in ("cat", "dog", "cat", "cow", "cat"):
        prompts.embedding(text)
    assert len(encoded) == 3
    prompts.embedding("dog")
    assert len(encoded) == 4


def test_a_text_too_long_to_be_remembered_is_embedded_all_the_same(pipeline, encoded):
    prompts = Prompts(pipeline, CPU, "tiny", remembered_bytes=10)
    first, second = prompts.embedding("a cat"), prompts.embedding("a cat")
    assert torch.equal(first, second)
    assert len(encoded) == 2


def test_texts_themselves_are_not_kept(pipeline):
    prompts = Prompts(pipeline, CPU, "tiny")
    prompts.embedding("a secret")
    assert "a secret" not in repr(vars(prompts))


def test_the_text_encoder_is_called_for_only_when_it_is_needed(pipeline):
    called = []

    class AtWork:
        def __enter__(self):
            called.append("begin")

        def __exit__(self, *_):
            called.append("end")

    prompts = Prompts(pipeline, CPU, "tiny", at_work=AtWork)
    prompts.embedding("a cat")
    prompts.embedding("a cat")
    assert called == ["begin", "end"]


@pytest.mark.parametrize(("tokens", "is_cut"), [(PROMPT_TOKENS, False), (PROMPT_TOKENS + 1, True)])
def test_a_text_is_cut_when_it_has_more_tokens_than_the_model_reads(pipeline, tokens, is_cut):
    assert Prompts(pipeline, CPU, "tiny").is_cut("x" * (tokens - 1)) is is_cut
