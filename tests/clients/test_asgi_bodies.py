"""What the served form reads of a body: how much, from whom, and for how long."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request

import httpx
import pytest
from official import DOCUMENTS, QUERY
from serving import served

from fastrerank.asgi import create_app

BODY = {"model": "m", "query": QUERY, "documents": DOCUMENTS}


@pytest.mark.parametrize("chunked", [True, False])
def test_a_large_request_is_refused_in_the_form_of_its_api(reranker, chunked):
    content = json.dumps(BODY).encode()
    with served(reranker, max_request_bytes=len(content)) as url:
        for body, status in ((content, 200), (content + b" ", 413)):
            sent = iter([body[:10], body[10:]]) if chunked else body
            response = httpx.post(f"{url}/together/v1/rerank", content=sent)
            assert response.status_code == status
        assert response.json()["error"]["code"] == "request_too_large"


def sent(app, receive, headers=()):
    """Return what the application sends for a request whose body comes from `receive`."""
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/rerank",
        "query_string": b"",
        "headers": headers,
        "server": ("local", 80),
    }
    messages = []

    async def send(message):
        messages.append(message)

    asyncio.run(app(scope, receive, send))
    return messages


@pytest.mark.parametrize(
    ("settings", "status"), [({"max_request_bytes": 2**20}, 413), ({"api_key": "secret"}, 401)]
)
def test_who_reads_no_answer_before_all_is_sent_gets_it_too(reranker, settings, status):
    with served(reranker, **settings) as url:
        # urllib wants the connection closed behind the answer: one with unread data is reset.
        request = urllib.request.Request(f"{url}/v1/rerank", bytes(6 * 2**20))
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request)
    with refused.value as answered:
        assert answered.status == status
        assert "error" in json.load(answered)


def endless(chunk):
    """Return a body that never ends, and the sizes of what was read of it."""
    read = []

    async def receive():
        read.append(len(chunk))
        return {"type": "http.request", "body": chunk, "more_body": True}

    return receive, read


@pytest.mark.parametrize("headers", [[], [(b"content-length", b"9" * 20)]])
def test_a_body_without_end_is_not_read_for_ever(reranker, headers):
    receive, read = endless(bytes(2**20))
    app = create_app(reranker, max_request_bytes=5)
    assert sent(app, receive, headers)[0]["status"] == 413
    assert sum(read) <= 66 * 2**20


def test_a_body_that_does_not_come_is_not_waited_for_for_ever(reranker, monkeypatch):
    async def receive():
        await asyncio.sleep(3600)

    monkeypatch.setattr("fastrerank.asgi._SECONDS_TO_DISCARD", 0.01)
    app = create_app(reranker, max_request_bytes=5)
    assert sent(app, receive, [(b"content-length", b"6")])[0]["status"] == 413


def test_who_asks_before_it_sends_is_refused_before_the_body_is_read(reranker):
    receive, read = endless(b"x")
    app = create_app(reranker, max_request_bytes=5)
    headers = [(b"content-length", b"6"), (b"expect", b"100-continue")]
    assert sent(app, receive, headers)[0]["status"] == 413
    assert read == []


def test_who_goes_before_the_request_is_read_gets_no_answer(reranker):
    async def receive():
        return {"type": "http.disconnect"}

    assert sent(create_app(reranker), receive) == []
