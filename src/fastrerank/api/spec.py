"""What a rerank API is: the fields of its request, how it answers, and the form of its errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .fields import Field, Json, Problem, RefusedError, must_be

if TYPE_CHECKING:
    from ..reranker import Reranker

# The status of each kind of problem, where an API does not say otherwise. The official clients
# retry 408, 409, 429 and 5xx: no fault of a request has one of those.
STATUS = {
    "syntax": 400,
    "missing": 400,
    "unknown": 400,
    "type": 400,
    "value": 400,
    "empty": 400,
    "too_long": 400,
    "key": 401,
    "model": 404,
    "path": 404,
    "method": 405,
    "size": 413,
    "internal": 500,
    "closed": 503,
}

# The faults of a request's content, for an API that answers all of them with one status.
BAD_REQUEST = ("syntax", "missing", "unknown", "type", "value", "empty", "too_long")


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """One rerank API.

    `answer(reranker, request)` gets the request's fields, checked, absent ones at their default,
    and returns the body of a 200. `error(problem, status)` returns the body of any other.
    """

    name: str
    path: str  # what the path of its endpoint ends with
    hosts: tuple[str, ...] = ()  # where its official clients send
    fields: Mapping[str, Field]
    refuses_unknown: bool = False  # a field that is not listed is an error, else ignored
    rewrite: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None  # before the checks
    answer: Callable[[Reranker, dict[str, Any]], Json]
    error: Callable[[Problem, int], Json]
    status: Mapping[str, int] = field(default_factory=dict)  # where it differs from STATUS
    names: Mapping[str, str] = field(default_factory=dict)  # parameter of rerank -> its own name

    def read(self, request: object) -> dict[str, Any]:
        """Return every field by name, checked; raise RefusedError at the first fault."""
        if not isinstance(request, Mapping):
            raise must_be((), "a JSON object", request)
        if self.rewrite is not None:
            request = self.rewrite(request)
        if self.refuses_unknown:
            for name in request:
                if name not in self.fields:
                    known = ", ".join(self.fields)
                    raise RefusedError(
                        "unknown", (str(name)[:60],), f"is no field of this API; use {known}"
                    )
        return {name: spec.read(name, request.get(name)) for name, spec in self.fields.items()}

    def refuse(self, problem: Problem) -> tuple[int, Json]:
        """Return the status and the body that tell this problem in the API's own form."""
        status = self.status.get(problem.kind) or STATUS[problem.kind]
        return status, self.error(problem, status)
