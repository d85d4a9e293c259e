"""Documents a second of the systems on one workload: interleaved, warmed, repeated."""

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from .arithmetic import count_operations, measured_peak, pair_lengths
from .environments import environment_python, install_size
from .machine import environment_record
from .models import graph_file, model_directories
from .process import SystemProcess
from .progress import progress
from .summary import rounded, score_difference, summarize
from .systems import REFERENCE, System
from .workloads import Request, Workload

PAUSE_S = 0.02  # for the threads of one system to stop spinning before the next one starts
WARM_DOCUMENTS = 200
# Versions that a reader of a result asks for.
PACKAGES = (
    "fastrerank",
    "sentence-transformers",
    "flashrank",
    "fastembed",
    "optimum-onnx",
    "optimum-intel",
    "rerankers",
    "transformers",
    "torch",
    "onnxruntime",
    "openvino",
    "tokenizers",
    "numpy",
)


def measure_throughput(
    workload: Workload, systems: list[System], checkpoint: Path, threads: int
) -> dict[str, Any]:
    """Return the result of one workload, ready for JSON.

    Every system is a process that stays loaded; request by request they take turns, and each
    round begins with another system.

    :raises BenchmarkError: if a system fails; there is no result then.
    """
    directories = model_directories(checkpoint, {s.model for s in systems} | {"checkpoint"})
    record = environment_record(threads)
    peak = measured_peak(threads)
    with ExitStack() as stack:
        running = {s.name: stack.enter_context(SystemProcess(s)) for s in systems}
        loaded = {s.name: running[s.name].load(directories[s.model], threads) for s in systems}
        samples, scores = _rounds(workload, running)
        ended = {name: process.memory() for name, process in running.items()}
        versions = {name: process.versions() for name, process in running.items()}
    result: dict[str, Any] = {
        "kind": "throughput",
        "environment": record,
        "workload": _workload_record(workload, directories),
        "peak": {name: rounded(rate) for name, rate in peak.items()},
        "systems": {},
    }
    for system in systems:
        name = system.name
        figures = summarize([[(d, s) for d, s, _ in r] for r in samples[name]])
        cpu = sum(c for r in samples[name] for _, _, c in r)
        documents = sum(d for r in samples[name] for d, _, _ in r)
        result["systems"][name] = {
            "label": system.label,
            **{key: rounded(value) for key, value in figures.items()},
            "cpu_ms_per_doc": rounded(1000 * cpu / documents),
            "import_s": rounded(loaded[name]["import_s"]),
            "load_s": rounded(loaded[name]["load_s"]),
            "peak_rss": ended[name]["peak_rss"],
            "install_bytes": install_size(environment_python(system.environment)),
            "versions": {p: versions[name][p] for p in PACKAGES if p in versions[name]},
            "rounds": [[[d, rounded(s)] for d, s, _ in r] for r in samples[name]],
        }
        if REFERENCE in scores:
            difference = score_difference(scores[REFERENCE], scores[name])
            result["systems"][name]["difference"] = {k: rounded(v) for k, v in difference.items()}
    return result


def _rounds(
    workload: Workload, running: dict[str, SystemProcess]
) -> tuple[dict[str, list[list[tuple[int, float, float]]]], dict[str, list[list[float]]]]:
    """Return (documents, seconds, CPU seconds) by system and round, and the last round's logits."""
    samples: dict[str, list[list[tuple[int, float, float]]]] = {name: [] for name in running}
    scores: dict[str, list[list[float]]] = {}
    calls = len(running) * (1 + workload.repeats * len(workload.requests))
    with progress(calls, workload.name) as step:
        first = workload.requests[0]
        for name, process in running.items():
            process.score(first.query, first.documents[:WARM_DOCUMENTS])
            step(f"{name} (warm-up)")
        names = list(running)
        for _ in range(workload.repeats):
            scores = {name: [] for name in names}
            for name in names:
                samples[name].append([])
            for request in workload.requests:
                for name in names:
                    answer = _ask(running[name], request)
                    samples[name][-1].append(
                        (len(request.documents), answer["seconds"], answer["cpu_seconds"])
                    )
                    scores[name].append(answer["scores"])
                    step(name)
            names = names[1:] + names[:1]
    return samples, scores


def _ask(process: SystemProcess, request: Request) -> dict[str, Any]:
    time.sleep(PAUSE_S)
    return process.score(request.query, request.documents)


def _workload_record(workload: Workload, directories: dict[str, Path]) -> dict[str, Any]:
    tokenizer = directories["checkpoint"] / "tokenizer.json"
    lengths = pair_lengths(tokenizer, workload.requests, max_length=512)
    operations = count_operations(graph_file(directories))
    return {
        "name": workload.name,
        "about": workload.about,
        "requests": len(workload.requests),
        "documents": workload.documents,
        "rounds": workload.repeats,
        "quick": workload.quick,
        "tokens_mean": rounded(sum(lengths) / len(lengths)),
        "tokens_largest": max(lengths),
        "operations_per_doc": round(sum(map(operations.of, lengths)) / len(lengths)),
        "operations_per_token": operations.per_token,
    }
