"""voyageai: it speaks through a module-wide requests session, which an adapter can answer."""

from __future__ import annotations

import io
import threading

import httpx
import pytest
from official import DOCUMENTS, QUERY, client
from serving import served

voyageai = client("voyageai")
requestor = client("voyageai.api_resources.api_requestor")
requests = client("requests")


class Adapter(requests.adapters.BaseAdapter):
    """Answers requests with what an httpx transport says."""

    def __init__(self, transport):
        super().__init__()
        self.transport = transport

    def send(self, request, **_):
        answer = self.transport.handle_request(
            httpx.Request(
                request.method, request.url, headers=dict(request.headers), content=request.body
            )
        )
        response = requests.Response()
        response.status_code = answer.status_code
        response.headers.update(answer.headers)
        response.raw = io.BytesIO(answer.read())
        response.url = request.url
        return response

    def close(self):
        pass


@pytest.fixture
def voyage(transport, monkeypatch, no_sockets):
    session = requests.Session()
    session.mount("https://", Adapter(transport))
    monkeypatch.setattr(voyageai, "requestssession", session)
    monkeypatch.setattr(requestor, "_thread_context", threading.local())  # keeps the first session
    return voyageai.Client(api_key="key")


def test_rerank(voyage, ranked):
    response = voyage.rerank(QUERY, DOCUMENTS, model="rerank-2", top_k=3)
    assert [(each.index, each.relevance_score) for each in response.results] == ranked[:3]
    assert response.results[0].document == DOCUMENTS[ranked[0][0]]
    assert response.total_tokens > 0


def test_an_error_is_its_own(voyage, transport):
    with pytest.raises(voyageai.error.InvalidRequestError, match="documents"):
        voyage.rerank(QUERY, ["long " * 9000], model="rerank-2", truncation=False)
    assert transport.requests == 1


def test_it_runs_on_the_served_form_with_a_base_url(reranker, ranked):
    with served(reranker) as url:
        voyage = voyageai.Client(api_key="key", base_url=f"{url}/voyage/v1")
        response = voyage.rerank(QUERY, DOCUMENTS, model="rerank-2")
    assert [(each.index, each.relevance_score) for each in response.results] == ranked
