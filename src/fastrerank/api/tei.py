"""Hugging Face Text Embeddings Inference: `texts`, a bare list of results, no model to name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .fields import Json, Problem, choice, flag, list_of, optional, required, text
from .forms import raw, results
from .spec import Api

if TYPE_CHECKING:
    from ..request import Truncate
    from ..reranker import Reranker

_CUTS: dict[str, Truncate] = {"left": "start", "right": "end", "Left": "start", "Right": "end"}


def _answer(reranker: Reranker, request: dict[str, Any]) -> Json:
    documents = request["texts"]
    response = reranker.rerank(
        request["query"],
        documents,
        truncate=_CUTS[request["truncation_direction"]] if request["truncate"] else "none",
    )
    echo = str if request["return_text"] else None
    ranked = results(response, documents, echo, score="score", document="text")
    return (
        [{**each, "score": raw(each["score"])} for each in ranked]
        if request["raw_scores"]
        else ranked
    )


_TYPES = {
    "empty": "Empty",
    "key": "Unauthorized",
    "model": "NotFound",
    "path": "NotFound",
    "method": "MethodNotAllowed",
    "internal": "Backend",
    "closed": "Unhealthy",
}


def _error(problem: Problem, status: int) -> Json:  # noqa: ARG001 - an Api's `error`
    return {"error": problem.message, "error_type": _TYPES.get(problem.kind, "Validation")}


TEI = Api(
    name="tei",
    path="/rerank",
    fields={
        "query": required(text),
        "texts": required(list_of(text, at_least=1)),
        "raw_scores": optional(flag, default=False),
        "return_text": optional(flag, default=False),
        "truncate": optional(flag, default=False),
        "truncation_direction": optional(choice(*_CUTS), default="right"),
    },
    answer=_answer,
    error=_error,
    status={"missing": 422, "type": 422, "value": 422, "too_long": 413},
    names={"documents": "texts"},
)
