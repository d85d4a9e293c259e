"""The bundled models against one another: requests of 100 TREC DL 2019 passages, in turn.

    python -m benchmarks.bundled [--requests 10] [--rounds 3]

Prints the median request of each model in int8, over all rounds but the first.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack

from fastrerank import Reranker

from .paths import data_directory
from .workloads import short_passages

MODELS = ("default", "medium", "small")
PASSAGES = 100
QUERIES = 43  # of TREC DL 2019


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    if not (1 <= options.requests <= QUERIES and options.rounds >= 1):
        parser.error(f"pass 1 to {QUERIES} requests, and at least one round")
    requests = short_passages(data_directory(), PASSAGES, options.requests)
    seconds: dict[str, list[float]] = {name: [] for name in MODELS}
    with ExitStack() as stack:
        rerankers = {
            name: stack.enter_context(Reranker(name, runtime="onnxruntime", precision="int8"))
            for name in MODELS
        }
        for _ in range(options.rounds + 1):
            for request in requests:
                for name, reranker in rerankers.items():
                    start = time.perf_counter()
                    reranker.rerank(request.query, request.documents)
                    seconds[name].append(time.perf_counter() - start)
    for name, found in seconds.items():
        median = statistics.median(found[len(requests) :])
        reranker = rerankers[name]
        print(
            f"{name:<8} {PASSAGES / median:5.0f} docs/s {1e3 * median:6.0f} ms"
            f"  ({reranker.precision}, {reranker.runtime}, {reranker.threads} threads)"
        )


if __name__ == "__main__":
    main()
