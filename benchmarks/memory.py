"""Peak memory of one call by its number of documents, each as long as the model reads."""

import random
from pathlib import Path
from typing import Any

from .machine import environment_record
from .models import model_directories
from .paths import data_directory
from .process import SystemProcess
from .progress import progress
from .systems import System
from .workloads import SEED, evaluation_requests

TOKENS = 512
# English scientific text has some 1.4 tokens a word: this many words fill the model's length.
WORDS = 480


def full_length_documents(data: Path, count: int) -> list[str]:
    """Return documents that fill the model's length, drawn from the abstracts of scifact."""
    draw = random.Random(SEED)
    texts = [t for r in evaluation_requests(data / "eval/scifact.jsonl.gz") for t in r.documents]
    words = " ".join(draw.sample(texts, 500)).split()
    starts = [draw.randrange(len(words) - WORDS) for _ in range(count)]
    return [" ".join(words[start : start + WORDS]) for start in starts]


def measure_memory(
    systems: list[System], checkpoint: Path, threads: int, counts: tuple[int, ...]
) -> dict[str, Any]:
    """Return peak memory at so many documents of 512 tokens, each count in a fresh process.

    `loaded` is the memory before the call, `after` that of the idle process after it. The request
    itself, as the process holds it, is part of every figure.

    :raises BenchmarkError: if a system fails.
    """
    directories = model_directories(checkpoint, {s.model for s in systems})
    documents = full_length_documents(data_directory(), max(counts))
    result: dict[str, Any] = {
        "kind": "memory",
        "environment": environment_record(threads),
        "tokens": TOKENS,
        "systems": {},
    }
    with progress(len(systems) * len(counts), "memory") as step:
        for system in systems:
            rows = []
            for count in counts:
                with SystemProcess(system) as process:
                    process.load(directories[system.model], threads)
                    process.score("a first request", documents[:1])
                    loaded = process.memory()["rss"]
                    process.score("memory of a large request", documents[:count])
                    memory = process.memory()
                rows.append(
                    {
                        "documents": count,
                        "loaded": loaded,
                        "peak": memory["peak_rss"],
                        "after": memory["rss"],
                    }
                )
                step(f"{system.name}, {count}")
            result["systems"][system.name] = {"label": system.label, "rows": rows}
    return result
