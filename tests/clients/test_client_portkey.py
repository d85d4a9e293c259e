"""portkey-ai: its generic `post`, sync and async."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from official import DOCUMENTS, QUERY, client

portkey_ai = client("portkey_ai")
pytestmark = pytest.mark.usefixtures("no_sockets")

BASE = "https://api.portkey.ai/v1"
# The client drops empty strings from lists before it sends them.
SENT = [text for text in DOCUMENTS if text]


def pairs(response):
    return [(each["index"], each["relevance_score"]) for each in response.results]


def post(transport, **body):
    http = httpx.Client(transport=transport, base_url=BASE)
    client = portkey_ai.Portkey(api_key="key", virtual_key="v", http_client=http)
    return client.post("/rerank", model="m", query=QUERY, **body)


def test_strings(transport, reranker):
    response = post(transport, documents=DOCUMENTS, top_n=2)
    expected = reranker.rerank(QUERY, SENT, top_n=2)
    assert pairs(response) == [(each.index, each.relevance_score) for each in expected.results]
    assert response.object == "list"
    assert response.model == "m"


def test_objects_and_every_option(transport, reranker):
    documents = [{"text": text, "source": "zoo"} for text in SENT]
    response = post(
        transport,
        documents=documents,
        return_documents=True,
        max_tokens_per_doc=6,
        priority=3,
        truncation=True,
        parameters={"truncate": "END", "other": 1},
    )
    expected = reranker.rerank(QUERY, SENT, max_tokens_per_doc=6)
    assert pairs(response) == [(each.index, each.relevance_score) for each in expected.results]
    assert response.results[0]["document"] == documents[response.results[0]["index"]]


def test_async(transport, reranker):
    async def rerank():
        http = httpx.AsyncClient(transport=transport, base_url=BASE)
        client = portkey_ai.AsyncPortkey(api_key="key", virtual_key="v", http_client=http)
        return await client.post("/rerank", model="m", query=QUERY, documents=SENT)

    expected = reranker.rerank(QUERY, SENT)
    assert pairs(asyncio.run(rerank())) == [(r.index, r.relevance_score) for r in expected.results]


def test_errors_are_its_own_and_are_not_retried(transport):
    errors = client("portkey_ai.api_resources.exceptions")
    with pytest.raises(errors.BadRequestError, match="top_n"):
        post(transport, documents=DOCUMENTS, top_n=0)
    with pytest.raises(errors.BadRequestError, match="documents"):
        post(transport, documents=DOCUMENTS[:1] * 2 + ["long " * 9000], truncation=False)
    assert transport.requests == 2
