"""Cohere v2, and v1 beside it: v1 also takes objects as documents, ranked by `rank_fields`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .fields import (
    Json,
    count,
    flag,
    integer,
    list_of,
    optional,
    required,
    text,
    text_or_object,
    text_or_text_object,
)
from .forms import as_object, by_fields, message_error, results, search_units
from .spec import Api

if TYPE_CHECKING:
    from ..reranker import Reranker
    from ..response import RerankResponse

MAX_DOCUMENTS = 10_000


def _warnings(response: RerankResponse) -> list[str]:
    cut = [f"documents[{i}] is too long and was truncated" for i in response.truncated]
    return ["query is too long and was truncated", *cut] if response.query_truncated else cut


def _body(version: str, response: RerankResponse, request: dict[str, Any]) -> dict[str, Any]:
    documents = request["documents"]
    warnings = _warnings(response)
    meta = {
        "api_version": {"version": version, "is_experimental": False},
        "billed_units": {"search_units": search_units(documents)},
        "tokens": {"input_tokens": response.usage.prompt_tokens, "output_tokens": 0},
    }
    body: dict[str, Any] = {
        "id": response.id,
        "results": results(response, documents, as_object if request["return_documents"] else None),
        "meta": meta,
    }
    if warnings:
        meta["warnings"] = body["warnings"] = warnings
    return body


def _answer_v2(reranker: Reranker, request: dict[str, Any]) -> Json:
    response = reranker.rerank(
        request["query"],
        request["documents"],
        top_n=request["top_n"],
        max_tokens_per_doc=request["max_tokens_per_doc"],
    )
    return _body("2", response, request)


def _answer_v1(reranker: Reranker, request: dict[str, Any]) -> Json:
    if not request["rank_fields"]:
        list_of(text_or_text_object)(request["documents"], ("documents",))
    response = reranker.rerank(
        request["query"],
        **by_fields(request["documents"], request["rank_fields"]),
        top_n=request["top_n"],
    )
    return _body("1", response, request)


COHERE = Api(
    name="cohere",
    path="/v2/rerank",
    hosts=("api.cohere.com", "api.cohere.ai"),
    fields={
        "model": required(text),
        "query": required(text),
        "documents": required(list_of(text, at_least=1, at_most=MAX_DOCUMENTS)),
        "top_n": optional(count),
        "max_tokens_per_doc": optional(count, default=4096),
        "priority": optional(integer(0, 999)),
        # Of v1, and still sent by clients of v2.
        "return_documents": optional(flag, default=False),
        "rank_fields": optional(list_of(text)),
    },
    refuses_unknown=True,
    answer=_answer_v2,
    error=message_error,
    status={"type": 422, "unknown": 422},
)

COHERE_V1 = Api(
    name="cohere-v1",
    path="/v1/rerank",
    hosts=COHERE.hosts,
    fields={
        "model": optional(text),
        "query": required(text),
        "documents": required(list_of(text_or_object, at_least=1, at_most=MAX_DOCUMENTS)),
        "top_n": optional(count),
        "rank_fields": optional(list_of(text)),
        "return_documents": optional(flag, default=False),
        "max_chunks_per_doc": optional(count),
    },
    refuses_unknown=True,
    answer=_answer_v1,
    error=message_error,
    status=COHERE.status,
)
