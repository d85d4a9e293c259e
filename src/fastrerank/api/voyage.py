"""Voyage AI: `top_k` for top_n, `data` for results, a document echoed as the string it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .fields import Json, count, flag, list_of, optional, required, text
from .forms import detail_error, results
from .spec import Api

if TYPE_CHECKING:
    from ..reranker import Reranker

MAX_DOCUMENTS = 1_000


def _answer(reranker: Reranker, request: dict[str, Any]) -> Json:
    documents = request["documents"]
    response = reranker.rerank(
        request["query"],
        documents,
        top_n=request["top_k"],
        truncate="end" if request["truncation"] else "none",
    )
    return {
        "object": "list",
        "data": results(response, documents, str if request["return_documents"] else None),
        "model": request["model"],
        "usage": {"total_tokens": response.usage.total_tokens},
    }


VOYAGE = Api(
    name="voyage",
    path="/v1/rerank",
    hosts=("api.voyageai.com", "ai.mongodb.com"),
    fields={
        "model": required(text),
        "query": required(text),
        "documents": required(list_of(text, at_least=1, at_most=MAX_DOCUMENTS)),
        "top_k": optional(count),
        "return_documents": optional(flag, default=False),
        "truncation": optional(flag, default=True),
    },
    refuses_unknown=True,
    answer=_answer,
    error=detail_error,
    names={"top_n": "top_k"},
)
