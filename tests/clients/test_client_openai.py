"""openai: its generic `post`, sync and async; openai 2 is on httpx, openai 3 on httpx2."""

from __future__ import annotations

import asyncio
import importlib

import pytest
from official import DOCUMENTS, QUERY, client

openai = client("openai")
httpx = importlib.import_module("httpx2" if int(openai.__version__.split(".")[0]) >= 3 else "httpx")
pytestmark = pytest.mark.usefixtures("no_sockets")

BODY = {"model": "m", "query": QUERY, "documents": DOCUMENTS}
BASE = "http://local/v1"


def pairs(response):
    return [(each["index"], each["relevance_score"]) for each in response["results"]]


def sync_client(transport):
    return openai.OpenAI(
        api_key="key", base_url=BASE, http_client=httpx.Client(transport=transport)
    )


def test_post(transport, ranked):
    body = {**BODY, "return_documents": True, "metadata": {"k": 1}, "user": "me"}
    response = sync_client(transport).post("/rerank", cast_to=object, body=body)
    assert pairs(response) == ranked
    assert response["results"][0]["document"] == {"text": DOCUMENTS[ranked[0][0]]}
    assert response["usage"]["prompt_tokens"] == response["usage"]["total_tokens"]


def test_async(transport, ranked):
    async def rerank():
        client = openai.AsyncOpenAI(
            api_key="key", base_url=BASE, http_client=httpx.AsyncClient(transport=transport)
        )
        return await client.post("/rerank", cast_to=object, body=BODY)

    assert pairs(asyncio.run(rerank())) == ranked


def test_errors_are_its_own_and_are_not_retried(transport):
    with pytest.raises(openai.BadRequestError, match="truncate") as bad:
        sync_client(transport).post("/rerank", cast_to=object, body={**BODY, "truncate": "middle"})
    assert bad.value.param == "truncate"
    assert bad.value.code == "invalid_value"
    assert transport.requests == 1
