"""How a model's tokenizer joins query and document, stated as segments."""

from __future__ import annotations

from transformers import PreTrainedTokenizerFast

from fastrerank.errors import ExportError
from fastrerank.manifest import Segment

_QUERY, _DOCUMENT = "which alpha", "some omega text"


def pair_template(tokenizer: PreTrainedTokenizerFast) -> list[Segment]:
    """Return the segments of a pair, read off what the tokenizer makes of one.

    :raises ExportError: if query and document cannot be found in it whole.
    """
    pair = tokenizer(_QUERY, _DOCUMENT)
    ids = list(pair["input_ids"])
    types = list(pair.get("token_type_ids", [0] * len(ids)))  # not given: the model takes zeros
    parts = [
        (part, *_place(ids, tokenizer(text, add_special_tokens=False)["input_ids"], part))
        for part, text in (("query", _QUERY), ("document", _DOCUMENT))
    ]
    segments: list[Segment] = []
    position = 0
    for part, start, stop in sorted(parts, key=lambda place: place[1]):
        segments += _fixed(ids[position:start], types[position:start])
        segments.append(Segment(part=part, type_id=types[start]))  # type: ignore[arg-type]
        position = stop
    return segments + _fixed(ids[position:], types[position:])


def _place(ids: list[int], part: list[int], name: str) -> tuple[int, int]:
    for start in range(len(ids) - len(part) + 1):
        if ids[start : start + len(part)] == part:
            return start, start + len(part)
    raise ExportError(
        f"the tokenizer changes the {name} when it joins a pair: such a model cannot be exported"
    )


def _fixed(ids: list[int], types: list[int]) -> list[Segment]:
    """Return special tokens as segments of one token type each."""
    segments: list[Segment] = []
    for token, type_id in zip(ids, types, strict=True):
        if segments and segments[-1].type_id == type_id:
            segments[-1].ids.append(token)
        else:
            segments.append(Segment(ids=[token], type_id=type_id))
    return segments
