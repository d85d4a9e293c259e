"""What the layers over `Reranker.rerank` cost: `handle`, and an official client, at 100 documents.

    python benchmarks/overhead.py [--documents 100] [--rounds 40]

Each round times every layer once on the same request, in turn, and the differences are taken within
a round, so that what else the machine does falls on all of them. `scored by nothing` swaps the
model for one that answers at once, and shows the layer's own cost without the noise of scoring.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import httpx

from fastrerank import Reranker
from fastrerank.api import handle
from fastrerank.response import RerankResponse, RerankResult, Usage
from fastrerank.transport import RerankTransport

QUERY = "What animals can I find near Peru?"
TEXT = (
    "The llama is a domesticated South American camelid, widely used as a meat and pack animal by"
    " Andean cultures since the pre-Columbian era, number {}."
)


class Instant:
    """A reranker that scores nothing: the answer is there before the request."""

    model_name = "instant"

    def __init__(self, documents: int) -> None:
        self._results = [
            RerankResult(index=i, relevance_score=1 / (i + 1.5)) for i in range(documents)
        ]

    def rerank(self, *_: object, top_n: int | None = None, **__: object) -> RerankResponse:
        """Return the answer."""
        return RerankResponse(
            model=self.model_name,
            results=self._results[:top_n],
            truncated=[],
            query_truncated=False,
            usage=Usage(prompt_tokens=1000),
        )


def layers(reranker: Reranker | Instant, documents: list[str]) -> dict[str, Callable[[], Any]]:
    """Return a call of each layer; the later ones hold the earlier ones."""
    body = {"model": "m", "query": QUERY, "documents": documents}
    calls: dict[str, Callable[[], Any]] = {
        "rerank": lambda: reranker.rerank(QUERY, documents),
        "handle cohere": lambda: handle(reranker, "cohere", body),
        "handle generic, echo": lambda: handle(
            reranker, "generic", {**body, "return_documents": True}
        ),
    }
    http = httpx.Client(transport=RerankTransport(reranker))
    calls["httpx"] = lambda: http.post("https://api.cohere.com/v2/rerank", json=body).json()
    try:
        cohere = importlib.import_module("cohere").ClientV2("key", httpx_client=http)
        calls["cohere client"] = lambda: cohere.rerank(**body)
        together = importlib.import_module("together").Together(api_key="key", http_client=http)
        calls["together client"] = lambda: together.rerank.create(**body)
    except ModuleNotFoundError as missing:
        print(f"({missing.name} is not installed: without its client)")
    return calls


def measure(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of every call in every round."""
    for call in calls.values():
        call()
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - start)
    return taken


def report(title: str, taken: dict[str, list[float]]) -> None:
    """Print the median of each layer, and of what it adds to `rerank` within a round."""
    print(f"\n{title}\n{'layer':24}{'median ms':>12}{'added ms':>12}{'added %':>10}")
    base = taken["rerank"]
    for name, times in taken.items():
        median = statistics.median(times)
        added = statistics.median(t - b for t, b in zip(times, base, strict=True))
        share = added / statistics.median(base)
        print(f"{name:24}{1e3 * median:12.3f}{1e3 * added:12.3f}{share:10.1%}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=40)
    args = parser.parse_args()
    documents = [TEXT.format(i) for i in range(args.documents)]
    with Reranker() as reranker:
        report(f"{reranker!r}", measure(layers(reranker, documents), args.rounds))
    instant = measure(layers(Instant(args.documents), documents), 10 * args.rounds)
    report("scored by nothing", instant)


if __name__ == "__main__":
    main()
