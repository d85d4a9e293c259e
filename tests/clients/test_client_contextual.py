"""contextual-client, sync and async."""

from __future__ import annotations

import asyncio
from decimal import ROUND_DOWN, Decimal

import pytest
from official import DOCUMENTS, QUERY, client

contextual = client("contextual")
pytestmark = pytest.mark.usefixtures("no_sockets")


def cut(score):
    return float(Decimal(repr(score)).quantize(Decimal("1e-8"), ROUND_DOWN))


def pairs(response):
    return [(each.index, each.relevance_score) for each in response.results]


def test_rerank(http, ranked):
    response = contextual.ContextualAI(api_key="key", http_client=http).rerank.create(
        model="ctxl-rerank-v2-instruct-multilingual", query=QUERY, documents=DOCUMENTS, top_n=3
    )
    assert pairs(response) == [(index, cut(score)) for index, score in ranked[:3]]


def test_instruction_and_metadata(http, reranker):
    metadata = ["", "an encyclopedia, 2024", "", "", "a forum"]
    response = contextual.ContextualAI(api_key="key", http_client=http).rerank.create(
        model="m",
        query=QUERY,
        documents=DOCUMENTS,
        instruction="Prefer encyclopedias.",
        metadata=metadata,
    )
    documents = [f"{d}\n{m}" if m else d for d, m in zip(DOCUMENTS, metadata, strict=True)]
    expected = reranker.rerank(QUERY, documents, instruction="Prefer encyclopedias.")
    assert pairs(response) == [(each.index, cut(each.relevance_score)) for each in expected.results]


def test_async(async_http, ranked):
    async def rerank():
        client = contextual.AsyncContextualAI(api_key="key", http_client=async_http)
        return await client.rerank.create(model="m", query=QUERY, documents=DOCUMENTS)

    assert pairs(asyncio.run(rerank())) == [(index, cut(score)) for index, score in ranked]


def test_errors_are_its_own_and_are_not_retried(http, transport):
    rerank = contextual.ContextualAI(api_key="key", http_client=http).rerank.create
    with pytest.raises(contextual.UnprocessableEntityError, match="metadata") as bad:
        rerank(model="m", query=QUERY, documents=DOCUMENTS, metadata=["one"])
    assert bad.value.body["detail"][0]["loc"] == ["body", "metadata"]
    with pytest.raises(contextual.UnprocessableEntityError, match="documents"):
        rerank(model="m", query=QUERY, documents=[])
    with pytest.raises(contextual.UnprocessableEntityError, match="8000"):
        rerank(model="m", query=QUERY, documents=["fine", "long " * 8000])
    assert transport.requests == 3
