"""A tokenizer for any text, made without a download: one token a byte."""

from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from services.inference_worker.adapters.engines.libraries import transformers

_SPECIAL = ["<pad>", "</s>", "<unk>"]


def byte_tokenizer(max_tokens: int) -> tuple[Any, int]:
    """The tokenizer and the size of its vocabulary. Like T5's, it ends every text with `</s>`."""
    # The alphabet of this pre-tokenizer has one printable letter for each of the 256 bytes.
    vocabulary = {token: number for number, token in enumerate(_SPECIAL + sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))  # noqa: S106 — a token of text
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", vocabulary["</s>"])]
    )
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",  # noqa: S106 — as above
        eos_token="</s>",  # noqa: S106 — as above
        unk_token="<unk>",  # noqa: S106 — as above
        model_max_length=max_tokens,
    )
    return wrapped, len(vocabulary)
