"""litellm: its cohere, jina_ai, hosted_vllm and infinity routes, sync and async."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from official import DOCUMENTS, QUERY, CountingTransport, client

litellm = client("litellm")
handlers = client("litellm.llms.custom_httpx.http_handler")

# No base, or any base: Infinity alone is named in it, for it cannot be told from vLLM and wants a
# document echoed as a string where vLLM wants an object.
ROUTES = {
    "cohere": {},
    "jina_ai": {},
    "hosted_vllm": {"api_base": "http://local"},
    "infinity": {"api_base": "http://local/infinity"},
}


@pytest.fixture(autouse=True)
def quiet(monkeypatch, no_sockets):
    monkeypatch.setattr(litellm, "num_retries", 0)


@pytest.mark.parametrize("route", ROUTES)
def test_rerank(route, http, ranked):
    response = litellm.rerank(
        model=f"{route}/m",
        query=QUERY,
        documents=DOCUMENTS,
        top_n=2,
        return_documents=True,
        api_key="key",
        client=handlers.HTTPHandler(client=http),
        **ROUTES[route],
    )
    assert [(each["index"], each["relevance_score"]) for each in response.results] == ranked[:2]
    assert [each["document"]["text"] for each in response.results] == [
        DOCUMENTS[index] for index, _ in ranked[:2]
    ]
    assert response.id


@pytest.mark.parametrize("route", ROUTES)
def test_async(route, transport, ranked):
    async def rerank():
        handler = handlers.AsyncHTTPHandler()
        handler.client = httpx.AsyncClient(transport=transport)
        return await litellm.arerank(
            model=f"{route}/m",
            query=QUERY,
            documents=DOCUMENTS,
            return_documents=False,
            api_key="key",
            client=handler,
            **ROUTES[route],
        )

    response = asyncio.run(rerank())
    assert [(each["index"], each["relevance_score"]) for each in response.results] == ranked


def test_infinity_at_any_base_when_the_transport_is_told(reranker, ranked):
    http = httpx.Client(transport=CountingTransport(reranker, api="infinity"))
    response = litellm.rerank(
        model="infinity/m",
        query=QUERY,
        documents=DOCUMENTS,
        api_base="http://local:7997",
        client=handlers.HTTPHandler(client=http),
    )
    assert response.results[0]["document"]["text"] == DOCUMENTS[ranked[0][0]]


@pytest.mark.parametrize("route", ROUTES)
def test_a_bad_request_is_not_retried(route, http, transport):
    with pytest.raises(Exception, match="top_n") as bad:
        litellm.rerank(
            model=f"{route}/m",
            query=QUERY,
            documents=DOCUMENTS,
            top_n=-1,
            api_key="key",
            client=handlers.HTTPHandler(client=http),
            **ROUTES[route],
        )
    assert bad.value.status_code in (400, 422)
    assert transport.requests == 1
