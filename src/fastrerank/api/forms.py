"""Forms that several APIs share: documents as text, results, and the bodies of errors."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..plain_json import compact_json
from ..request import Document
from .fields import Json, Problem, written

if TYPE_CHECKING:
    from ..response import RerankResponse

Echo = Callable[[Document], Json]


def texts(documents: Sequence[Document]) -> list[str]:
    """Return each document's text: the string itself, or an object's `text`.

    Where an API ranks by fields, that is a field like any other: "" if left out, else its JSON.
    """
    return [each if isinstance(each, str) else written(each.get("text", "")) for each in documents]


def by_fields(documents: Sequence[Document], rank_fields: list[str] | None) -> dict[str, Any]:
    """Return the arguments of `rerank` for documents ranked by their `text`, or by other fields."""
    if rank_fields and rank_fields != ["text"]:
        return {"documents": documents, "rank_fields": rank_fields}
    return {"documents": texts(documents)}


def as_object(document: Document) -> Json:
    """Return what echoes a document: `{"text": s}` for a string, a copy of an object."""
    return {"text": document} if isinstance(document, str) else json.loads(compact_json(document))


def results(
    response: RerankResponse,
    documents: Sequence[Document] = (),
    echo: Echo | None = None,
    *,
    score: str = "relevance_score",
    document: str = "document",
) -> list[dict[str, Any]]:
    """Return the ranked results as JSON, with their documents where `echo` says how."""
    return [
        {"index": each.index, score: each.relevance_score}
        | ({document: echo(documents[each.index])} if echo else {})
        for each in response.results
    ]


def raw(score: float) -> float:
    """Return the logit whose sigmoid the score is, for an API that asks for raw scores."""
    inside = min(max(score, 5e-324), 1 - 2**-53)  # a score may be rounded to 0 or 1
    return math.log(inside) - math.log1p(-inside)


def search_units(documents: Sequence[Document]) -> int:
    """Return what a hosted API would bill: one unit for each hundred documents begun."""
    return -(-len(documents) // 100)


OPENAI_TYPES = {401: "authentication_error", 404: "not_found_error"}
OPENAI_CODES = {
    "syntax": "invalid_json",
    "missing": "missing_required_parameter",
    "unknown": "unknown_parameter",
    "type": "invalid_type",
    "value": "invalid_value",
    "empty": "empty_array",
    "too_long": "context_length_exceeded",
    "key": "invalid_api_key",
    "model": "model_not_found",
    "path": "unknown_url",
    "method": "method_not_supported",
    "size": "request_too_large",
    "internal": None,
    "closed": None,
}


def openai_error(problem: Problem, status: int) -> Json:
    """Return `{"error": {message, type, param, code}}`, the form that OpenAI began."""
    fault = "server_error" if status >= 500 else OPENAI_TYPES.get(status, "invalid_request_error")
    return {
        "error": {
            "message": problem.message,
            "type": fault,
            "param": problem.param,
            "code": OPENAI_CODES[problem.kind],
        }
    }


def message_error(problem: Problem, status: int) -> Json:  # noqa: ARG001 - an Api's `error`
    """Return `{"message": ...}`."""
    return {"message": problem.message}


def detail_error(problem: Problem, status: int) -> Json:  # noqa: ARG001 - an Api's `error`
    """Return `{"detail": ...}`."""
    return {"detail": problem.message}
