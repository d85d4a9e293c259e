"""Documents a second by documents a call, calling threads, cores, tokens and what came before."""

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from .arithmetic import count_operations
from .machine import environment_record
from .memory import full_length_documents
from .models import graph_file, model_directories
from .paths import data_directory
from .process import SystemProcess
from .progress import progress
from .summary import quantile, rounded
from .systems import System
from .workloads import SEED, evaluation_requests

Pool = list[str]


def measure_scaling(
    systems: list[System], checkpoint: Path, threads: int, *, quick: bool
) -> dict[str, Any]:
    """Return, for each system, the rates by documents, callers, cores, tokens and history.

    :raises BenchmarkError: if a system fails.
    """
    directories = model_directories(checkpoint, {s.model for s in systems} | {"checkpoint"})
    operations = count_operations(graph_file(directories))
    rows = evaluation_requests(data_directory() / "eval/trec-dl-2019.jsonl.gz")
    query, pool = rows[0].query, [text for row in rows for text in row.documents]
    random.Random(SEED).shuffle(pool)
    result: dict[str, Any] = {
        "kind": "scaling",
        "environment": environment_record(threads),
        "systems": {},
    }
    with progress(4 * len(systems), "scaling") as step:
        for system in systems:
            figures: dict[str, Any] = {"label": system.label}
            with SystemProcess(system) as process:
                process.load(directories[system.model], threads)
                process.score(query, pool[:200])
                figures["documents"] = _by_documents(process, query, pool, quick=quick)
                figures["callers"] = _by_callers(process, query, pool, quick=quick)
                step(f"{system.name}, documents and callers")
                figures["tokens"] = _by_tokens(process)
                for row in figures["tokens"]:
                    quadratic = operations.per_token_pair * row["tokens"] ** 2
                    row["attention_share"] = rounded(quadratic / operations.of(row["tokens"]))
            step(f"{system.name}, tokens")
            figures["cores"] = _by_cores(system, directories[system.model], threads, query, pool)
            step(f"{system.name}, cores")
            figures["history"] = _by_history(
                system, directories[system.model], threads, query, pool, quick=quick
            )
            step(f"{system.name}, after a long request")
            result["systems"][system.name] = figures
    return result


def _by_documents(
    process: SystemProcess, query: str, pool: Pool, *, quick: bool
) -> list[dict[str, float]]:
    """Time calls of 10 to 10,000 documents, of small ones as many as make 2,000 (quick: 500)."""
    rows = []
    passages = pool * (1 + 10_000 // len(pool))
    total = 500 if quick else 2000
    for count in (10, 100, 1000) if quick else (10, 30, 100, 300, 1000, 3000, 10_000):
        calls = [passages[at : at + count] for at in range(0, max(total, count), count)]
        seconds = sum(process.score(query, documents)["seconds"] for documents in calls)
        rows.append({"documents": count, "docs_per_s": rounded(sum(map(len, calls)) / seconds)})
    return rows


def _by_callers(
    process: SystemProcess, query: str, pool: Pool, *, quick: bool
) -> list[dict[str, float]]:
    """Time the same requests of 50 documents, asked by 1 to 16 threads at once."""
    total = 800 if quick else 3200
    requests = [(query, pool[at : at + 50]) for at in range(0, total, 50)]
    rows = []
    for callers in (1, 2, 4, 8, 16):
        seconds = process.concurrent(requests, callers)
        rows.append({"callers": callers, "docs_per_s": rounded(total / seconds)})
    return rows


def _by_tokens(process: SystemProcess) -> list[dict[str, float]]:
    """Time pairs of exactly so many tokens: `dog` is one token, [CLS] and two [SEP] are three."""
    rows = []
    for tokens in (32, 64, 128, 256, 384, 512):
        words = ["dog"] * (tokens - 4)
        count = max(16, 8192 // tokens)
        documents = [_marked(words, number) for number in range(count)]
        seconds = [process.score("dog", documents)["seconds"] for _ in range(3)]
        rate = len(documents) / quantile(seconds, 0.5)
        rows.append(
            {
                "tokens": tokens,
                "docs_per_s": rounded(rate),
                "tokens_per_s": rounded(rate * tokens),
            }
        )
    return rows


def _marked(words: list[str], number: int) -> str:
    """Return the words, some replaced by the number's bits: equal texts might be scored once."""
    bits = min(len(words), 12)
    marks = ["bird" if number >> bit & 1 else words[bit] for bit in range(bits)]
    return " ".join(marks + words[bits:])


def _by_cores(
    system: System, model: Path, threads: int, query: str, pool: Pool
) -> list[dict[str, float]]:
    """Time one core and all of them in turns."""
    counts = sorted({1, threads})
    with _warm_processes(system, model, counts, query, pool) as processes:
        rates = _in_turns(processes, query, pool, 300)
    return [{"threads": n, "docs_per_s": rate} for n, rate in zip(counts, rates, strict=True)]


def _by_history(
    system: System, model: Path, threads: int, query: str, pool: Pool, *, quick: bool
) -> list[dict[str, float]]:
    """Time a fresh process and, in turns with it, one that has answered a very long request."""
    counts = (0, 200 if quick else 2000)
    with _warm_processes(system, model, [threads, threads], query, pool) as processes:
        processes[1].score(query, full_length_documents(data_directory(), counts[1]))
        rates = _in_turns(processes, query, pool, 100)
    by_count = zip(counts, rates, strict=True)
    return [{"long_documents": n, "docs_per_s": rate} for n, rate in by_count]


@contextmanager
def _warm_processes(
    system: System, model: Path, threads: list[int], query: str, pool: Pool
) -> Iterator[list[SystemProcess]]:
    """Yield a process of the system for each number of threads, loaded and warm."""
    with ExitStack() as stack:
        processes = [stack.enter_context(SystemProcess(system)) for _ in threads]
        for process, count in zip(processes, threads, strict=True):
            process.load(model, count)
            process.score(query, pool[:200])
        yield processes


def _in_turns(
    processes: list[SystemProcess], query: str, pool: Pool, documents: int
) -> list[float]:
    """Return each process's documents a second, the median of five requests."""
    seconds: list[list[float]] = [[] for _ in processes]
    for at in range(0, 5 * documents, documents):
        for process, taken in zip(processes, seconds, strict=True):
            taken.append(process.score(query, pool[at : at + documents])["seconds"])
    return [rounded(documents / quantile(taken, 0.5)) for taken in seconds]
