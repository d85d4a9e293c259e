"""The official clients, unmodified, on a local model, with every socket forbidden."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

import httpx
import pytest
from official import DOCUMENTS, QUERY, CountingTransport

from fastrerank import Reranker


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the clients warn: what is an error in our own code is no fault of ours in theirs."""
    for item in items:
        if item.path.name.startswith("test_client_"):
            item.add_marker(pytest.mark.filterwarnings("default"))


class Sockets:
    """Watches, by audit events that no library can go around, for connections and look-ups."""

    forbidden = False

    def __init__(self) -> None:
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.forbidden and event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
            raise AssertionError(f"{event}{arguments[-1:]}: a client opened a socket")

    @contextlib.contextmanager
    def none(self) -> Iterator[None]:
        self.forbidden = True
        try:
            yield
        finally:
            self.forbidden = False


_SOCKETS = Sockets()


@pytest.fixture
def no_sockets() -> Iterator[None]:
    with _SOCKETS.none():
        yield


@pytest.fixture(scope="session")
def reranker() -> Iterator[Reranker]:
    with Reranker() as reranker:
        yield reranker


@pytest.fixture
def transport(reranker: Reranker) -> CountingTransport:
    return CountingTransport(reranker)


@pytest.fixture
def http(transport: CountingTransport) -> Iterator[httpx.Client]:
    with httpx.Client(transport=transport) as http:
        yield http


@pytest.fixture
def async_http(transport: CountingTransport) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=transport)


@pytest.fixture
def ranked(reranker: Reranker) -> list[tuple[int, float]]:
    """The right answer: what `rerank` itself says of QUERY and DOCUMENTS."""
    return [(r.index, r.relevance_score) for r in reranker.rerank(QUERY, DOCUMENTS).results]
