"""Documents, strings or mappings, to the texts that are scored."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from .errors import InvalidRequestError
from .plain_json import compact_json
from .request import Document


class RankedText(NamedTuple):
    """What is read of a document: its first `head` characters with each of its windows."""

    text: str
    head: int = 0


def ranked_text(document: Document, index: int, rank_fields: Sequence[str] | None) -> RankedText:
    """Return the text of one document that the model reads.

    A string is itself. A mapping is its `text`; with `rank_fields`, each named field that it has is
    a line `field: value`, in the order named (values that are no strings as compact JSON). The
    lines before the last one are its head: a title, say, of the text that is named last.

    :raises InvalidRequestError: if a mapping has no string `text` and no rank_fields are given, or
        a value has no JSON form.
    """
    if isinstance(document, str):
        return RankedText(document)
    if rank_fields is not None:
        present = [name for name in rank_fields if name in document]
        # Joined, not formatted: what is formatted of an enum's member is its name.
        lines = [": ".join((name, _field_text(document, name, index))) for name in present]
        joined = "\n".join(lines)
        return RankedText(joined, len(joined) - len(lines[-1]) if lines else 0)
    text = document.get("text")
    if not isinstance(text, str):
        keys = _shown(document)
        raise InvalidRequestError(
            f'documents[{index}] has no string "text" (its keys: {keys}):'
            " add one, or name the fields to score in rank_fields",
            param=f"documents[{index}]",
        )
    return RankedText(text)


def _shown(document: Mapping[str, object]) -> str:
    """Return the names of the keys, few enough for a message."""
    keys = ", ".join(str(key)[:80] for key in islice(document, 20)) or "none"
    return keys if len(document) <= 20 else f"{keys}, ..."


def _field_text(document: Mapping[str, object], name: str, index: int) -> str:
    value = document[name]
    if isinstance(value, str):
        return value
    try:
        return compact_json(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequestError(
            f"documents[{index}][{name!r}] has no JSON form ({error}): pass a string instead",
            param=f"documents[{index}]",
        ) from error
