"""The logits of an evaluation set, and their nDCG@10 by evaluate.py."""

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .errors import BenchmarkError
from .process import SystemProcess
from .workloads import document_text


def write_run(path: Path, rows: list[dict[str, Any]], scores: Sequence[Sequence[float]]) -> None:
    """Write the logits of each query's candidates as a TREC run."""
    with path.open("w", encoding="utf-8") as run:
        for row, row_scores in zip(rows, scores, strict=True):
            for candidate, score in zip(row["candidates"], row_scores, strict=True):
                run.write(f"{row['query_id']} Q0 {candidate['doc_id']} 0 {score:.9g} benchmark\n")


def score_rows(
    process: SystemProcess, rows: list[dict[str, Any]], step: Callable[[str], object]
) -> list[list[float]]:
    """Return the logits of each query's candidates; `step` is told the system after each query.

    :raises BenchmarkError: if the system fails.
    """
    scores: list[list[float]] = []
    for row in rows:
        documents = [document_text(candidate) for candidate in row["candidates"]]
        scores.append(process.score(row["query"], documents)["scores"])
        step(process.system.name)
    return scores


def evaluate(
    data: Path, name: str, rows: list[dict[str, Any]], scores: Sequence[Sequence[float]]
) -> float:
    """Return nDCG@10 of the logits of these queries of the set `name`.

    :raises BenchmarkError: if evaluate.py refuses the run, or its packages are missing.
    """
    if importlib.util.find_spec("ir_measures") is None:
        raise BenchmarkError("evaluate.py needs: pip install -r benchmarks/requirements.txt")
    with tempfile.TemporaryDirectory() as directory:
        part = Path(directory) / f"{name}.jsonl"
        part.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        run = Path(directory) / "run.trec"
        write_run(run, rows, scores)
        done = subprocess.run(
            [sys.executable, str(data / "evaluate.py"), str(part), str(run), "--json"],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise BenchmarkError(done.stderr.strip())
    return float(json.loads(done.stdout)["nDCG@10"])
