"""together, sync and async."""

from __future__ import annotations

import asyncio
import json

import pytest
from official import DOCUMENTS, QUERY, client

together = client("together")
pytestmark = pytest.mark.usefixtures("no_sockets")


def pairs(response):
    return [(each.index, each.relevance_score) for each in response.results]


def test_strings(http, ranked):
    response = together.Together(api_key="key", http_client=http).rerank.create(
        model="Salesforce/Llama-Rank-v1",
        query=QUERY,
        documents=DOCUMENTS,
        top_n=3,
        return_documents=True,
    )
    assert pairs(response) == ranked[:3]
    assert response.object == "rerank"
    assert response.model == "Salesforce/Llama-Rank-v1"
    assert response.usage.prompt_tokens == response.usage.total_tokens > 0
    assert [each.document.text for each in response.results] == [
        DOCUMENTS[each.index] for each in response.results
    ]


def test_objects_are_ranked_and_echoed_as_compact_json(http, reranker):
    documents = [{"title": f"größer {i}", "text": text} for i, text in enumerate(DOCUMENTS)]
    response = together.Together(api_key="key", http_client=http).rerank.create(
        model="m", query=QUERY, documents=documents, return_documents=True
    )
    texts = [json.dumps(d, ensure_ascii=False, separators=(",", ":")) for d in documents]
    expected = reranker.rerank(QUERY, texts)
    assert pairs(response) == [(each.index, each.relevance_score) for each in expected.results]
    assert response.results[0].document.text == texts[response.results[0].index]


def test_documents_not_returned_read_as_none(http):
    response = together.Together(api_key="key", http_client=http).rerank.create(
        model="m", query=QUERY, documents=DOCUMENTS
    )
    assert all(each.document.text is None for each in response.results)


def test_async(async_http, ranked):
    async def rerank():
        client = together.AsyncTogether(api_key="key", http_client=async_http)
        return await client.rerank.create(model="m", query=QUERY, documents=DOCUMENTS)

    assert pairs(asyncio.run(rerank())) == ranked


def test_errors_are_its_own_and_are_not_retried(http, transport):
    rerank = together.Together(api_key="key", http_client=http).rerank.create
    with pytest.raises(together.BadRequestError, match="top_n") as bad:
        rerank(model="m", query=QUERY, documents=DOCUMENTS, top_n=0)
    assert bad.value.body["error"]["param"] == "top_n"
    with pytest.raises(together.BadRequestError, match="documents"):
        rerank(model="m", query=QUERY, documents=[])
    with pytest.raises(together.BadRequestError, match="stray"):
        rerank(model="m", query=QUERY, documents=DOCUMENTS, extra_body={"stray": 1})
    assert transport.requests == 3
