"""Jina: like the generic API, with its own defaults and FastAPI's plain errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .fields import Json, count, flag, list_of, optional, required, text, text_or_text_object
from .forms import as_object, detail_error, results, texts
from .spec import BAD_REQUEST, Api

if TYPE_CHECKING:
    from ..reranker import Reranker


def _answer(reranker: Reranker, request: dict[str, Any]) -> Json:
    documents = request["documents"]
    response = reranker.rerank(
        request["query"],
        texts(documents),
        top_n=request["top_n"],
        max_tokens_per_doc=request["max_doc_length"],
        truncate="end" if request["truncation"] else "none",
    )
    return {
        "model": request["model"],
        "object": "list",
        "usage": {"total_tokens": response.usage.total_tokens},
        "results": results(response, documents, as_object if request["return_documents"] else None),
    }


JINA = Api(
    name="jina",
    path="/v1/rerank",
    hosts=("api.jina.ai",),
    fields={
        "model": required(text),
        "query": required(text),
        "documents": required(list_of(text_or_text_object, at_least=1)),
        "top_n": optional(count),
        "return_documents": optional(flag, default=True),
        "max_doc_length": optional(count),
        "truncation": optional(flag, default=True),
    },
    answer=_answer,
    error=detail_error,
    status=dict.fromkeys(BAD_REQUEST, 422),
    names={"max_tokens_per_doc": "max_doc_length"},
)
