"""What the systems make of the same weights: nDCG@10 and scores against torch in fp32."""

from pathlib import Path
from typing import Any

from .evaluation import evaluate, score_rows
from .machine import environment_record
from .models import model_directories
from .process import SystemProcess
from .progress import progress
from .summary import rounded, score_difference
from .systems import REFERENCE, SYSTEMS, System
from .workloads import read_evaluation

SET = "trec-dl-2019"


def measure_agreement(
    systems: list[System], checkpoint: Path, threads: int, data: Path, limit: int | None = None
) -> dict[str, Any]:
    """Return nDCG@10 of each system on TREC DL 2019 and how far its scores are from torch's.

    :raises BenchmarkError: if a system fails.
    """
    systems = [SYSTEMS[REFERENCE], *(s for s in systems if s.name != REFERENCE)]
    directories = model_directories(checkpoint, {s.model for s in systems})
    rows = list(read_evaluation(data / f"eval/{SET}.jsonl.gz"))[:limit]
    result: dict[str, Any] = {
        "kind": "agreement",
        "environment": environment_record(threads),
        "set": SET,
        "queries": len(rows),
        "systems": {},
    }
    reference: list[list[float]] = []
    with progress(len(systems) * len(rows), "agreement") as step:
        for system in systems:
            with SystemProcess(system) as process:
                process.load(directories[system.model], threads)
                scores = score_rows(process, rows, step)
            reference = reference or scores
            result["systems"][system.name] = {
                "label": system.label,
                "ndcg": round(evaluate(data, SET, rows, scores), 4),
                **{k: rounded(v) for k, v in score_difference(reference, scores).items()},
            }
    return result
