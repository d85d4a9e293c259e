"""What can be asked in one rerank call, checked once at the border."""

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from os import PathLike
from typing import Any, Literal, get_args

from .errors import InvalidRequestError

Truncate = Literal["end", "start", "none"]
Document = str | Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankRequest:
    """One query, its candidates, and the choices of the call; every field is checked on creation.

    `documents` becomes a list, if it is none.

    :raises InvalidRequestError: if a value is wrong; the message names it and the way out.
    """

    query: str
    documents: Iterable[Document]
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
        for name in ("top_n", "max_tokens_per_doc"):
            object.__setattr__(self, name, check_count(name, getattr(self, name)))
        check_flag("return_documents", self.return_documents)
        if not isinstance(self.truncate, str) or self.truncate not in get_args(Truncate):
            raise _wrong("truncate", self.truncate, 'pass "end", "start" or "none"')
        _check_rank_fields(self.rank_fields)
        object.__setattr__(self, "documents", check_documents(self.documents))

    @classmethod
    def from_mapping(cls, request: Mapping[str, Any], place: str) -> "RerankRequest":
        """Return the request that a mapping with this class's field names describes.

        `place` is what errors name it by.

        :raises InvalidRequestError: if a key is unknown or missing, or a value is wrong.
        """
        known = [field.name for field in fields(cls)]
        unknown = [key for key in request if key not in known]
        missing = [key for key in ("query", "documents") if key not in request]
        if unknown or missing:
            fault = f"unknown field {unknown[0]!r}" if unknown else f"no {missing[0]!r}"
            raise InvalidRequestError(
                f"{place} has {fault}; its fields are: {', '.join(known)}",
                param=place,
            )
        try:
            return cls(**request)
        except InvalidRequestError as error:
            raise error.within(f"{place}.") from error.__cause__


def as_request(request: RerankRequest | Mapping[str, Any], place: str) -> RerankRequest:
    """Return a request, or the one that a mapping describes; `place` is what errors name it by.

    :raises InvalidRequestError: if it is neither, or the mapping is wrong.
    """
    if isinstance(request, RerankRequest):
        return request
    if not isinstance(request, Mapping):
        raise InvalidRequestError(
            f"{place} is a {type(request).__name__}:"
            " pass a RerankRequest, or a mapping with query and documents",
            param=place,
        )
    return RerankRequest.from_mapping(request, place)


def check_model(value: object) -> None:
    """Raise InvalidRequestError unless `value` is None or can be a path or a name."""
    if not (value is None or isinstance(value, (str, PathLike))) or value == "":
        raise _wrong("model", value, "pass the path of a bundle or the name of a bundled model")


def check_text(param: str, value: object) -> None:
    """Raise InvalidRequestError unless `value` is a string."""
    if not isinstance(value, str):
        raise _wrong(param, value, "pass a string")


def check_flag(param: str, value: object) -> None:
    """Raise InvalidRequestError unless `value` is True or False."""
    if not isinstance(value, bool):
        raise _wrong(param, value, "pass True or False")


def check_count(
    param: str, value: object, *, least: int = 1, most: int | None = None
) -> int | None:
    """Return None for None, else the whole number of at least `least`, and at most `most`.

    It is an int: NumPy's can overflow.

    :raises InvalidRequestError: if it is anything else.
    """
    if value is None:
        return None
    try:
        number = -1 if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = -1
    if number < least or (most is not None and number > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise _wrong(param, value, f"pass a whole number {bounds}, or leave it out")
    return number


def check_iterable(param: str, value: object, of: str) -> Iterator[Any]:
    """Return an iterator over `value`.

    :raises InvalidRequestError: if it is one string, bytes, a mapping, a set (which has no order),
        a table (which would give its columns), or is not iterable.
    """
    try:
        whole = (str, bytes, bytearray, Mapping, set, frozenset)
        if not isinstance(value, whole) and len(getattr(value, "shape", (1,))) == 1:
            return iter(value)  # type: ignore[call-overload, no-any-return]
    except TypeError:
        pass
    raise _wrong(param, value, f"pass a list of {of}")


def check_documents(documents: object) -> list[Document]:
    """Return the documents as a list; the documents themselves are not copied.

    :raises InvalidRequestError: if `check_iterable` refuses it, or it holds anything but strings
        and mappings.
    """
    checked = list(check_iterable("documents", documents, "strings or mappings"))
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
    try:
        shown = " ".join(repr(value).split())  # tables show themselves in lines
    except ValueError:  # of a whole number with thousands of digits
        shown = "too long to show"
    if len(shown) > 80:
        shown = shown[:77] + "..."
    return InvalidRequestError(
        f"{param} is {shown} ({type(value).__name__}): {way_out}", param=param
    )
