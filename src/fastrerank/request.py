"""What can be asked in one rerank call, checked once at the border."""

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from .errors import InvalidRequestError

Truncate = Literal["end", "start", "none"]
Document = str | Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankRequest:
    """One query, its candidates, and the choices of the call; every field is checked on creation.

    :raises InvalidRequestError: if a value is wrong; the message names it and the way out.
    """

    query: str
    documents: Sequence[Document]
    top_n: int | None = None
    return_documents: bool = False
    rank_fields: Sequence[str] | None = None
    max_tokens_per_doc: int | None = None
    truncate: Truncate = "end"
    instruction: str | None = None

    def __post_init__(self) -> None:
        check_text("query", self.query)
        if self.instruction is not None:
            check_text("instruction", self.instruction)
        check_count("top_n", self.top_n)
        check_count("max_tokens_per_doc", self.max_tokens_per_doc)
        if not isinstance(self.return_documents, bool):
            raise _wrong("return_documents", self.return_documents, "pass True or False")
        if self.truncate not in get_args(Truncate):
            raise _wrong("truncate", self.truncate, 'pass "end", "start" or "none"')
        _check_rank_fields(self.rank_fields)
        object.__setattr__(self, "documents", check_documents(self.documents))

    @classmethod
    def from_mapping(cls, request: Mapping[str, Any], position: int) -> "RerankRequest":
        """Return the request that a mapping with this class's field names describes.

        :raises InvalidRequestError: if a key is unknown or missing, or a value is wrong.
        """
        known = [field.name for field in fields(cls)]
        unknown = [key for key in request if key not in known]
        missing = [key for key in ("query", "documents") if key not in request]
        if unknown or missing:
            fault = f"unknown field {unknown[0]!r}" if unknown else f"no {missing[0]!r}"
            raise InvalidRequestError(
                f"requests[{position}] has {fault}; its fields are: {', '.join(known)}",
                param=f"requests[{position}]",
            )
        return cls(**request)


def check_text(param: str, value: object) -> None:
    """Raise InvalidRequestError unless `value` is a string."""
    if not isinstance(value, str):
        raise _wrong(param, value, "pass a string")


def check_count(param: str, value: object) -> None:
    """Raise InvalidRequestError unless `value` is None or a whole number of at least 1."""
    if value is None:
        return
    try:
        valid = not isinstance(value, bool) and operator.index(value) >= 1  # type: ignore[arg-type]
    except TypeError:
        valid = False
    if not valid:
        raise _wrong(param, value, "pass a whole number of at least 1, or leave it out")


def check_documents(documents: object) -> list[Document]:
    """Return the documents as a list; the documents themselves are not copied.

    :raises InvalidRequestError: if it is one string, bytes or a mapping, is not iterable, or holds
        anything but strings and mappings.
    """
    if isinstance(documents, (str, bytes, bytearray, Mapping)) or not isinstance(
        documents, Iterable
    ):
        raise _wrong("documents", documents, "pass a list of strings or mappings")
    checked = list(documents)
    for index, document in enumerate(checked):
        if not isinstance(document, (str, Mapping)):
            raise _wrong(f"documents[{index}]", document, "pass a string or a mapping")
    return checked


def _check_rank_fields(rank_fields: object) -> None:
    if rank_fields is None:
        return
    if (
        isinstance(rank_fields, str)
        or not isinstance(rank_fields, Sequence)
        or not rank_fields
        or not all(isinstance(name, str) for name in rank_fields)
    ):
        raise _wrong("rank_fields", rank_fields, "pass a list of one or more field names")


def _wrong(param: str, value: object, way_out: str) -> InvalidRequestError:
    shown = repr(value)
    if len(shown) > 80:
        shown = shown[:77] + "..."
    return InvalidRequestError(
        f"{param} is {shown} ({type(value).__name__}): {way_out}", param=param
    )
