"""nDCG@10 of the evaluation sets: of the candidates as they are listed, and of each system."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from .evaluation import evaluate, score_rows
from .machine import environment_record
from .models import model_directories
from .paths import data_directory
from .process import SystemProcess
from .progress import progress
from .systems import System
from .workloads import read_evaluation


def measure_quality(
    systems: list[System],
    checkpoint: Path,
    threads: int,
    sets: list[str] | None = None,
    limit: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield one result for each set and system: `sets` in their order, or all, smallest first.

    With `limit`, over the first queries only. `first_stage` is nDCG@10 of the candidates as they
    are listed. A result holds one system, with the record of its own run: what is measured on
    another day leaves it alone.

    :raises BenchmarkError: if a system fails.
    """
    data = data_directory()
    directories = model_directories(checkpoint, {s.model for s in systems})
    files = sorted((data / "eval").glob("*.jsonl.gz"), key=lambda path: path.stat().st_size)
    names = sets or [path.name.removesuffix(".jsonl.gz") for path in files]
    for name in names:
        rows = list(read_evaluation(data / f"eval/{name}.jsonl.gz"))[:limit]
        as_listed = [[-float(rank) for rank in range(len(row["candidates"]))] for row in rows]
        first_stage = round(evaluate(data, name, rows, as_listed), 4)
        for system in systems:
            environment = environment_record(threads)
            with SystemProcess(_as_shipped(system)) as process, progress(len(rows), name) as step:
                process.load(directories[system.model], threads)
                scores = score_rows(process, rows, step)
            ndcg = round(evaluate(data, name, rows, scores), 4)
            yield {
                "kind": "quality",
                "environment": environment,
                "set": name,
                "queries": len(rows),
                "model": checkpoint.name,
                "first_stage": first_stage,
                "systems": {system.name: {"label": system.label, "ndcg": ndcg}},
            }


def _as_shipped(system: System) -> System:
    """Return the system as it is used: fastrerank reads long documents as the bundle says."""
    if system.adapter != "fastrerank":
        return system
    return replace(system, options={**system.options, "documents": "as shipped"})
