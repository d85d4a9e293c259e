"""cohere: v2 and v1, sync and async."""

from __future__ import annotations

import asyncio

import pytest
from official import DOCUMENTS, QUERY, client

cohere = client("cohere")
pytestmark = pytest.mark.usefixtures("no_sockets")


def pairs(response):
    return [(each.index, each.relevance_score) for each in response.results]


def test_v2(http, ranked):
    response = cohere.ClientV2("key", httpx_client=http).rerank(
        model="rerank-v3.5", query=QUERY, documents=DOCUMENTS, top_n=3
    )
    assert pairs(response) == ranked[:3]
    assert response.id
    assert response.meta.api_version.version == "2"
    assert response.meta.billed_units.search_units == 1
    assert response.meta.tokens.input_tokens > 0
    assert response.meta.warnings is None


def test_v2_async(async_http, ranked):
    async def rerank():
        return await cohere.AsyncClientV2("key", httpx_client=async_http).rerank(
            model="rerank-v3.5", query=QUERY, documents=DOCUMENTS
        )

    assert pairs(asyncio.run(rerank())) == ranked


def test_v1_with_objects(http, reranker):
    documents = [{"title": text[:9], "text": text} for text in DOCUMENTS]
    response = cohere.Client("key", httpx_client=http).rerank(
        query=QUERY,
        documents=documents,
        model="rerank-v3.5",
        rank_fields=["title", "text"],
        return_documents=True,
    )
    expected = reranker.rerank(QUERY, documents, rank_fields=["title", "text"])
    assert pairs(response) == [(each.index, each.relevance_score) for each in expected.results]
    assert [each.document.text for each in response.results] == [
        DOCUMENTS[each.index] for each in response.results
    ]
    assert response.meta.api_version.version == "1"


def test_v1_async_without_a_model(async_http, ranked):
    async def rerank():
        return await cohere.AsyncClient("key", httpx_client=async_http).rerank(
            query=QUERY, documents=DOCUMENTS, return_documents=False
        )

    assert pairs(asyncio.run(rerank())) == ranked


def test_a_cut_document_is_a_warning(http):
    response = cohere.ClientV2("key", httpx_client=http).rerank(
        model="m", query=QUERY, documents=["short", "long " * 50], max_tokens_per_doc=10
    )
    assert len(response.meta.warnings) == 1
    assert "documents[1]" in response.meta.warnings[0]


def test_errors_are_its_own_and_are_not_retried(http, transport):
    v2 = cohere.ClientV2("key", httpx_client=http)
    with pytest.raises(cohere.BadRequestError, match="top_n") as bad:
        v2.rerank(model="m", query=QUERY, documents=DOCUMENTS, top_n=0)
    assert "top_n" in bad.value.body["message"]
    with pytest.raises(cohere.BadRequestError, match="documents"):
        v2.rerank(model="m", query=QUERY, documents=[])
    with pytest.raises(cohere.UnprocessableEntityError, match=r"documents\[0\]"):
        v2.rerank(model="m", query=QUERY, documents=[{"text": "an object"}])
    assert transport.requests == 3
