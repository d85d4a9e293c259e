"""The served form: a real uvicorn on the loopback interface, asked by a real client."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from official import DOCUMENTS, QUERY
from serving import served
from starlette.applications import Starlette
from starlette.routing import Mount

from fastrerank import InvalidRequestError, Reranker
from fastrerank.api import APIS
from fastrerank.asgi import create_app
from fastrerank.tokenization import PairTokenizer

BODY = {"model": "m", "query": QUERY, "documents": DOCUMENTS}


def test_every_api_is_at_its_name(reranker):
    tei = {"query": QUERY, "texts": DOCUMENTS}
    pinecone = {**BODY, "documents": [{"text": text} for text in DOCUMENTS]}
    bodies = {"tei": tei, "pinecone": pinecone}
    with served(reranker) as url:
        for name, api in APIS.items():
            response = httpx.post(f"{url}/{name}{api.path}", json=bodies.get(name, BODY))
            assert response.status_code == 200
            status, expected = reranker.handle(name, bodies.get(name, BODY))
            assert status == 200
            assert scores(response.json()) == scores(expected)


def scores(body):
    ranked = body if isinstance(body, list) else body.get("results") or body["data"]
    return [(each["index"], each.get("relevance_score", each.get("score"))) for each in ranked]


def test_it_answers_as_cohere_and_as_the_generic_api(reranker):
    with served(reranker) as url:
        assert "meta" in httpx.post(f"{url}/v2/rerank", json=BODY).json()
        assert httpx.post(f"{url}/v1/rerank", json=BODY).json()["object"] == "list"


def test_health_needs_no_key(reranker):
    with served({"a": reranker, "b": reranker}, api_key="secret") as url:
        response = httpx.get(f"{url}/health")
    assert response.json() == {"status": "ok", "models": ["a", "b"]}


def test_the_key(reranker):
    with served(reranker, api_key="sécret") as url:
        for headers in (
            {"Authorization": "Bearer sécret".encode()},
            {"authorization": "bearer sécret".encode()},
            {"Api-Key": "sécret".encode()},
            {"X-Portkey-API-Key": "sécret".encode()},
        ):
            assert httpx.post(f"{url}/v2/rerank", json=BODY, headers=headers).status_code == 200
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "Bearer"},
            {"Authorization": "sécret".encode()},
            {"Authorization": "Basic sécret".encode()},
        ):
            response = httpx.post(f"{url}/v2/rerank", json=BODY, headers=headers)
            assert response.status_code == 401
            assert response.headers["www-authenticate"] == "Bearer"
            assert "key" in response.json()["message"]


@pytest.mark.parametrize(
    ("api", "path", "error"),
    [
        (None, "/pinecone/rerank", "UNAUTHENTICATED"),
        (None, "/together/v1/rerank", "authentication_error"),
        ("contextual", "/v1/rerank", '"loc"'),
    ],
)
def test_a_missing_key_is_told_in_the_form_of_the_api(reranker, api, path, error):
    with served(reranker, api=api, api_key="secret") as url:
        response = httpx.post(f"{url}{path}", json=BODY)
    assert response.status_code == 401
    assert error in response.text


def test_the_one_api_that_is_served_answers_at_its_own_path(reranker):
    with served(reranker, api="together") as url:
        assert httpx.post(f"{url}/v1/rerank", json=BODY).json()["object"] == "rerank"


def test_a_host_that_is_no_host_is_any_other(reranker):
    with served(reranker) as url:
        answered = httpx.post(f"{url}/v1/rerank", json=BODY, headers={"host": "[::1"})
    assert answered.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("GET", "/v1/rerank", b"", 405),
        ("BREW", "/v1/rerank", b"", 405),
        ("POST", "/v1/chat/completions", b"{}", 404),
        ("POST", "/v1/rerank", b"{", 400),
        ("POST", "/v1/rerank", b"\xff\xfe\xfd", 400),
        ("POST", "/contextual/v1/rerank", b"[]", 422),
    ],
)
def test_bad_requests(reranker, method, path, content, status):
    with served(reranker) as url:
        response = httpx.request(method, url + path, content=content)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    assert response.json().keys() & {"error", "detail"}
    assert response.headers.get("allow") == ("POST" if status == 405 else None)


@pytest.mark.parametrize("root_path", ["", "/gateway"])
def test_it_can_be_mounted_in_an_application(reranker, root_path):
    app = Starlette(routes=[Mount("/rank", app=create_app(reranker))])
    transport = httpx.ASGITransport(app, root_path=root_path)

    async def ask(name):
        async with httpx.AsyncClient(transport=transport) as client:
            url = f"http://local{root_path}/rank/{name}{APIS[name].path}"
            return (await client.post(url, json=BODY)).json()

    for name in ("together", "contextual", "cohere"):
        answers = [asyncio.run(ask(name)), reranker.handle(name, BODY)[1]]
        for answer in answers:
            answer.pop("id", None)
        assert answers[0] == answers[1]


class Slow:
    """Says how many calls run at a time, and lets them end when told."""

    model_name = "slow"

    def __init__(self, reranker):
        self.reranker = reranker
        self.go = threading.Event()
        self.lock = threading.Lock()
        self.running = self.most = self.calls = 0

    def rerank(self, *args, **kwargs):
        with self.lock:
            self.calls += 1
            self.running += 1
            self.most = max(self.most, self.running)
        self.go.wait(30)
        with self.lock:
            self.running -= 1
        return self.reranker.rerank(*args, **kwargs)


def test_concurrency_is_bounded_and_the_rest_waits(reranker):
    slow = Slow(reranker)
    with served(slow, concurrency=2) as url, concurrent.futures.ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(httpx.post, f"{url}/v1/rerank", json=BODY) for _ in range(6)]
        while slow.running < 2:
            time.sleep(0.01)
        assert httpx.get(f"{url}/health").status_code == 200  # the event loop is free
        slow.go.set()
        assert [each.result().status_code for each in answers] == [200] * 6
    assert slow.most == 2


def test_who_has_gone_is_not_scored(reranker):
    slow = Slow(reranker)
    with served(slow, concurrency=1) as url, concurrent.futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(httpx.post, f"{url}/v1/rerank", json=BODY)
        while slow.running < 1:
            time.sleep(0.01)
        for _ in range(5):
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(f"{url}/v1/rerank", json=BODY, timeout=httpx.Timeout(5, read=0.1))
        last = pool.submit(httpx.post, f"{url}/v1/rerank", json=BODY)
        slow.go.set()
        assert first.result().status_code == last.result().status_code == 200
    assert slow.calls == 2


@pytest.fixture
def groups(monkeypatch):
    """The sizes of the groups of pairs that were scored; a tenth of a second each."""
    sizes, encode_pairs = [], PairTokenizer.encode_pairs

    def slow(tokenizer, pairs):
        sizes.append(len(pairs))
        time.sleep(0.1)
        return encode_pairs(tokenizer, pairs)

    monkeypatch.setattr(PairTokenizer, "encode_pairs", slow)
    return sizes


MANY = {**BODY, "documents": [f"w9 {number}" for number in range(10_000)]}


def test_what_is_being_scored_when_its_client_goes_is_not_scored_to_its_end(tiny_bundle, groups):
    """Clients that time out and ask again would fill the server with work for nobody."""
    with Reranker(tiny_bundle) as tiny:
        with served(tiny, concurrency=1) as url:
            host, port = url.removeprefix("http://").split(":")
            with socket.create_connection((host, int(port))) as client:
                content = json.dumps(MANY)
                head = f"POST /v1/rerank HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(content)}"
                client.sendall(f"{head}\r\n\r\n{content}".encode())
                wait_until(lambda: groups)
            answer = httpx.post(f"{url}/v1/rerank", json=BODY, timeout=60)
        assert answer.status_code == 200
    assert sum(groups) < 5000


def test_a_cancelled_request_is_not_scored_to_its_end(tiny_bundle, groups):
    """A server's own timeout cancels the task of a request, and its client is still there."""

    async def ask(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://local") as client:
            ended = await asyncio.wait_for(client.post("/v1/rerank", json=MANY), 0.5)
            next_one = await client.post("/v1/rerank", json=BODY)
            return ended.status_code, next_one.status_code

    with Reranker(tiny_bundle) as tiny:
        assert asyncio.run(ask(create_app(tiny, concurrency=1))) == (503, 200)
    assert sum(groups) < 5000


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_server_that_ends_says_so_to_who_still_waits(reranker):
    slow = Slow(reranker)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        with served(slow, grace=1) as url:
            answer = pool.submit(httpx.post, f"{url}/cohere/v2/rerank", json=BODY, timeout=20)
            while slow.running < 1:
                time.sleep(0.01)
        assert answer.result().status_code == 503
        assert "stopping" in answer.result().json()["message"]
        slow.go.set()


@pytest.mark.parametrize(
    ("param", "settings"),
    [
        ("models", {"models": "small"}),
        ("models", {"models": {}}),
        ("models", {"models": {"a": "small"}}),
        ("models", {"models": Reranker}),
        ("api", {"api": "nope"}),
        ("api_key", {"api_key": ""}),
        ("api_key", {"api_key": b"secret"}),
        ("api_key", {"api_key": " secret"}),
        ("concurrency", {"concurrency": 0}),
        ("max_request_bytes", {"max_request_bytes": -1}),
    ],
)
def test_an_application_that_could_not_answer_is_refused(reranker, param, settings):
    with pytest.raises(InvalidRequestError) as caught:
        create_app(**{"models": reranker, **settings})
    assert caught.value.param == param


PROGRAM = """
import os, sys, threading
import argparse
from fastrerank.commands import arguments, serve

class Slow(arguments.Reranker):
    def rerank(self, *args, **kwargs):
        print("scoring", flush=True)
        threading.Event().wait(float(os.environ["SCORING_SECONDS"]))
        return super().rerank(*args, **kwargs)

serve.SHUTDOWN_SECONDS = 2
arguments.Reranker = Slow
parser = argparse.ArgumentParser()
serve.add_arguments(parser)
sys.exit(serve.run(parser.parse_args(sys.argv[1:])))
"""


@pytest.fixture
def command(tmp_path, request):
    """Start the command with a model of so many seconds; yield its process and its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    source = str(Path(__file__).parents[2] / "src")
    process = subprocess.Popen(
        [sys.executable, str(program), "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": source,
            "FASTRERANK_API_KEY": "k",
            "SCORING_SECONDS": str(request.param),
        },
    )
    limit = threading.Timer(60, process.kill)  # what waits for its output waits no longer
    limit.start()
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        limit.cancel()
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("command", "status"), [(1, 200), (60, 503)], indirect=["command"])
def test_the_command_ends_after_the_requests_under_way_or_says_so(command, status):
    process, url = command
    wait_for(f"{url}/health", process)
    assert httpx.post(f"{url}/v1/rerank", json=BODY).status_code == 401
    headers = {"Authorization": "Bearer k"}
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(httpx.post, f"{url}/v1/rerank", json=BODY, headers=headers)
        assert "scoring\n" in process.stdout  # beside uvicorn's own lines
        process.send_signal(signal.SIGTERM)
        assert answer.result().status_code == status
    assert process.wait(20) in (0, -signal.SIGTERM)
    assert "Traceback" not in process.stderr.read()


def wait_until(happened):
    for _ in range(3000):
        if happened():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen in 30 s")


def wait_for(url, process):
    for _ in range(300):
        assert process.poll() is None, process.stderr.read()
        try:
            return httpx.get(url)
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("the server did not start")
