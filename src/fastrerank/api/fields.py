"""Checks for the fields of a request, and the fault that a failed one raises.

A check takes a value and its path and returns the value to use; it raises RefusedError. A null is a
field left out: clients send `"top_n": null` for a default.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..plain_json import compact_json

Path = tuple[str | int, ...]
Check = Callable[[object, Path], Any]
Json = Any  # what json.loads returns

# Deeper JSON than this in a document is refused: what parses near Python's recursion limit could
# not be put into a response again.
MAX_DEPTH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why a request is refused: its kind (a key of spec.STATUS), where, and a whole sentence."""

    kind: str
    path: Path = ()
    message: str

    @property
    def param(self) -> str | None:
        """The path in writing, like `documents[1].text`; None where the fault has no place."""
        if not self.path:
            return None
        steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.path)
        return "".join(steps).removeprefix(".")


class RefusedError(Exception):
    """A request that is not answered; `problem` says why."""

    def __init__(self, kind: str, path: Path, message: str) -> None:
        where = Problem(kind=kind, path=path, message="").param or "the request body"
        self.problem = Problem(kind=kind, path=path, message=f"{where} {message}")
        super().__init__(self.problem.message)


def must_be(path: Path, expected: str, value: object, kind: str = "type") -> RefusedError:
    """Return the fault of a value that is not what was expected."""
    try:
        got = json.dumps(value)
    except (TypeError, ValueError, RecursionError):  # no JSON, or an integer too long to write
        got = type(value).__name__
    if len(got) > 60:
        got = f"{got[:57]}..."
    return RefusedError(kind, path, f"must be {expected}, got {got}")


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a request: its check, and what it is when left out."""

    check: Check
    required: bool = False
    default: Json = None

    def read(self, name: str, value: object) -> Json:
        """Return the checked value, or the default for None; raise RefusedError."""
        if value is not None:
            return self.check(value, (name,))
        if self.required:
            raise RefusedError("missing", (name,), "is required")
        return self.default


def required(check: Check) -> Field:
    """Return a field that must be given."""
    return Field(check, required=True)


def optional(check: Check, default: object = None) -> Field:
    """Return a field that may be left out."""
    return Field(check, default=default)


def text(value: object, path: Path) -> str:
    """Accept a string."""
    if not isinstance(value, str):
        raise must_be(path, "a string", value)
    return value


def flag(value: object, path: Path) -> bool:
    """Accept true or false."""
    if not isinstance(value, bool):
        raise must_be(path, "true or false", value)
    return value


def number(value: object, path: Path) -> float:
    """Accept a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise must_be(path, "a number", value)
    if value != value or value in (float("inf"), float("-inf")):
        raise must_be(path, "a finite number", value, "value")
    return value


def integer(at_least: int, at_most: int | None = None) -> Check:
    """Return a check that accepts an integer in this range."""
    bounds = f"at least {at_least}" if at_most is None else f"{at_least} to {at_most}"

    def check(value: object, path: Path) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise must_be(path, "an integer", value)
        if value < at_least or (at_most is not None and value > at_most):
            raise must_be(path, f"an integer, {bounds}", value, "value")
        return value

    return check


count = integer(1)


def choice(*names: str) -> Check:
    """Return a check that accepts one of these strings."""

    def check(value: object, path: Path) -> str:
        if text(value, path) not in names:
            raise must_be(path, "one of " + ", ".join(names), value, "value")
        return str(value)

    return check


def mapping(value: object, path: Path) -> Mapping[str, Any]:
    """Accept an object."""
    if not isinstance(value, Mapping):
        raise must_be(path, "an object", value)
    return value


def list_of(item: Check, *, at_least: int = 0, at_most: int | None = None) -> Check:
    """Return a check that accepts a list of what `item` accepts."""

    def check(value: object, path: Path) -> list[Any]:
        if not isinstance(value, list | tuple):
            raise must_be(path, "a list", value)
        if len(value) < at_least:
            raise RefusedError("empty", path, f"must have at least {at_least} item")
        if at_most is not None and len(value) > at_most:
            raise RefusedError("value", path, f"may have {at_most} items at most, got {len(value)}")
        return [item(each, (*path, i)) for i, each in enumerate(value)]

    return check


def json_object(value: object, path: Path) -> dict[str, Any]:
    """Accept an object of plain JSON."""
    found = dict(mapping(value, path))
    try:
        written = compact_json(found)
    except (TypeError, ValueError, RecursionError) as error:
        raise RefusedError("value", path, f"must be plain JSON: {error}") from error
    if written.count("{") + written.count("[") > MAX_DEPTH and _depth(found) > MAX_DEPTH:
        raise RefusedError("value", path, f"is nested more than {MAX_DEPTH} levels deep")
    return found


def text_or_object(value: object, path: Path) -> str | dict[str, Any]:
    """Accept a document: a string, or an object of plain JSON."""
    if isinstance(value, str):
        return value
    if not isinstance(value, Mapping):
        raise must_be(path, "a string or an object", value)
    return json_object(value, path)


def text_or_text_object(value: object, path: Path) -> str | dict[str, Any]:
    """Accept a document: a string, or an object of plain JSON whose `text` is a string."""
    found = text_or_object(value, path)
    if isinstance(found, dict):
        if found.get("text") is None:
            raise RefusedError("missing", (*path, "text"), "is required")
        text(found["text"], (*path, "text"))
    return found


def written(value: object) -> str:
    """Return a string as it is, anything else as compact JSON."""
    return value if isinstance(value, str) else compact_json(value)


def _depth(value: object) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        level = [
            child
            for parent in level
            if isinstance(parent, Mapping | list | tuple)
            for child in (parent.values() if isinstance(parent, Mapping) else parent)
        ]
    return depth
