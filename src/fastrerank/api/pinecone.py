"""Pinecone: documents are objects ranked by `rank_fields`, and are echoed unless told not to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .fields import (
    Json,
    Path,
    Problem,
    RefusedError,
    choice,
    count,
    flag,
    json_object,
    list_of,
    mapping,
    optional,
    required,
    text,
    written,
)
from .forms import as_object, results, search_units
from .spec import Api

if TYPE_CHECKING:
    from ..request import Truncate
    from ..reranker import Reranker


_TRUNCATE: dict[str, Truncate] = {"END": "end", "START": "start", "NONE": "none"}


def parameters(value: object, path: Path) -> Truncate:
    """Accept a `parameters` object and return how its `truncate` says to cut: "end" without it."""
    name = mapping(value, path).get("truncate")
    return "end" if name is None else _TRUNCATE[choice(*_TRUNCATE)(name, (*path, "truncate"))]


def _chosen(documents: list[dict[str, Any]], fields: list[str]) -> dict[str, Any]:
    """Return the arguments of `rerank`: one field is ranked by its value alone, several by name."""
    for i, document in enumerate(documents):
        for name in fields:
            if document.get(name) is None:
                message = "is required, being in rank_fields"
                raise RefusedError("missing", ("documents", i, name), message)
    if len(fields) > 1:
        return {"documents": documents, "rank_fields": fields}
    values = [document[fields[0]] for document in documents]
    return {"documents": [written(each) for each in values]}


def _answer(reranker: Reranker, request: dict[str, Any]) -> Json:
    documents = request["documents"]
    response = reranker.rerank(
        request["query"],
        **_chosen(documents, request["rank_fields"]),
        top_n=request["top_n"],
        truncate=request["parameters"],
    )
    echo = as_object if request["return_documents"] else None
    return {
        "model": request["model"],
        "data": results(response, documents, echo, score="score"),
        "usage": {"rerank_units": search_units(documents)},
    }


_CODES = {
    401: "UNAUTHENTICATED",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    413: "PAYLOAD_TOO_LARGE",
    500: "UNKNOWN",
    503: "UNAVAILABLE",
}


def _error(problem: Problem, status: int) -> Json:
    code = _CODES.get(status, "INVALID_ARGUMENT")
    return {"error": {"code": code, "message": problem.message}, "status": status}


PINECONE = Api(
    name="pinecone",
    path="/rerank",
    hosts=("api.pinecone.io",),
    fields={
        "model": required(text),
        "query": required(text),
        "documents": required(list_of(json_object, at_least=1)),
        "top_n": optional(count),
        "return_documents": optional(flag, default=True),
        "rank_fields": optional(list_of(text, at_least=1), default=["text"]),
        "parameters": optional(parameters, default="end"),
    },
    answer=_answer,
    error=_error,
)
