"""Pairs as transformers tokenises them, cut as the runtime cuts them."""

from __future__ import annotations

from transformers import BatchEncoding, PreTrainedTokenizerFast

from fastrerank.tokenization import query_room


def encode(
    tokenizer: PreTrainedTokenizerFast, pairs: list[tuple[str, str]], max_length: int, tensors: str
) -> BatchEncoding:
    """Return the inputs of pairs, padded to the longest; `tensors` is "pt" or "np".

    The end of a query that exceeds its share goes first, then the document's.
    """
    share = query_room(max_length - tokenizer.num_special_tokens_to_add(pair=True))
    return tokenizer(
        [_beginning(tokenizer, query, share) for query, _ in pairs],
        [document for _, document in pairs],
        truncation="only_second",
        max_length=max_length,
        padding=True,
        padding_side="right",
        return_attention_mask=True,  # some tokenizers leave it out: padding would be read
        return_tensors=tensors,
    )


def _beginning(tokenizer: PreTrainedTokenizerFast, text: str, tokens: int) -> str:
    """Return the text up to the end of so many tokens."""
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)[
        "offset_mapping"
    ]
    return text if len(offsets) <= tokens else text[: offsets[tokens - 1][1]]
