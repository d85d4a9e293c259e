"""The generic Reranker API: what an unknown host is taken to speak."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .fields import (
    Json,
    choice,
    count,
    flag,
    list_of,
    mapping,
    optional,
    required,
    text,
    text_or_text_object,
)
from .forms import as_object, openai_error, results, texts
from .spec import Api

if TYPE_CHECKING:
    from ..reranker import Reranker


def _merged(request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the request with its `extra_body` merged in; what it says itself wins."""
    extra = request.get("extra_body")
    if extra is None:
        return request
    given = {name: value for name, value in request.items() if value is not None}
    return {**mapping(extra, ("extra_body",)), **given}


def _answer(reranker: Reranker, request: dict[str, Any]) -> Json:
    documents = request["documents"]
    response = reranker.rerank(
        request["query"],
        texts(documents),
        top_n=request["top_n"],
        truncate=request["truncate"],
        max_tokens_per_doc=request["max_tokens_per_document"],
    )
    return {
        "id": response.id,
        "object": "list",
        "model": request["model"],
        "results": results(response, documents, as_object if request["return_documents"] else None),
        "usage": response.usage.to_dict(),
    }


GENERIC = Api(
    name="generic",
    path="/rerank",
    fields={
        "model": required(text),
        "query": required(text),
        "documents": required(list_of(text_or_text_object, at_least=1)),
        "top_n": optional(count),
        "return_documents": optional(flag, default=False),
        "truncate": optional(choice("none", "start", "end"), default="end"),
        "max_tokens_per_document": optional(count),
        "metadata": optional(mapping),
        "user": optional(text),
        "extra_body": optional(mapping),
    },
    rewrite=_merged,
    answer=_answer,
    error=openai_error,
    names={"max_tokens_per_doc": "max_tokens_per_document"},
)
