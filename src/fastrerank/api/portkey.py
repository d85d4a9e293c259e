"""Portkey: objects have a `text`; `parameters.truncate` is what Pinecone reads there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .fields import (
    Json,
    count,
    flag,
    list_of,
    number,
    optional,
    required,
    text,
    text_or_text_object,
)
from .forms import as_object, by_fields, openai_error, results, search_units
from .pinecone import parameters
from .spec import Api

if TYPE_CHECKING:
    from ..request import Truncate
    from ..reranker import Reranker


def _truncate(request: dict[str, Any]) -> Truncate:
    """Return how to cut: `truncation` if given, else what the parameters say."""
    told: Truncate = request["parameters"]
    return {None: told, True: "end", False: "none"}[request["truncation"]]


def _answer(reranker: Reranker, request: dict[str, Any]) -> Json:
    documents = request["documents"]
    response = reranker.rerank(
        request["query"],
        **by_fields(documents, request["rank_fields"]),
        top_n=request["top_n"],
        truncate=_truncate(request),
        max_tokens_per_doc=request["max_tokens_per_doc"],
    )
    return {
        "id": response.id,
        "object": "list",
        "model": request["model"],
        "results": results(response, documents, as_object if request["return_documents"] else None),
        "usage": {"search_units": search_units(documents)},
        "provider": "fastrerank",
    }


PORTKEY = Api(
    name="portkey",
    path="/v1/rerank",
    hosts=("api.portkey.ai",),
    fields={
        "model": required(text),
        "query": required(text),
        "documents": required(list_of(text_or_text_object, at_least=1)),
        "top_n": optional(count),
        "return_documents": optional(flag, default=False),
        "max_tokens_per_doc": optional(count),
        "priority": optional(number),
        "rank_fields": optional(list_of(text)),
        "truncation": optional(flag),
        "parameters": optional(parameters, default="end"),
    },
    answer=_answer,
    error=openai_error,
)
