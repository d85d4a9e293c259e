"""Infinity: like the generic API, with a document echoed as the string it was."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .fields import Json, count, flag, list_of, optional, required, text
from .forms import openai_error, results
from .spec import BAD_REQUEST, Api

if TYPE_CHECKING:
    from ..reranker import Reranker


def _answer(reranker: Reranker, request: dict[str, Any]) -> Json:
    documents = request["documents"]
    response = reranker.rerank(request["query"], documents, top_n=request["top_n"])
    return {
        "object": "rerank",
        "results": results(response, documents, str if request["return_documents"] else None),
        "model": request["model"] or reranker.model_name,
        "usage": response.usage.to_dict(),
        "id": response.id,
        "created": int(time.time()),
    }


INFINITY = Api(
    name="infinity",
    path="/rerank",
    fields={
        "query": required(text),
        "documents": required(list_of(text, at_least=1)),
        "model": optional(text),
        "top_n": optional(count),
        "return_documents": optional(flag, default=False),
    },
    answer=_answer,
    error=openai_error,
    status=dict.fromkeys(BAD_REQUEST, 422),
)
