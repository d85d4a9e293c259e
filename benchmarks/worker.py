"""Runs one system in a process of its own: reads requests as JSON lines, answers with timings.

Started by process.py with the interpreter of the system's environment, so it imports nothing of
the benchmark. Standard output belongs to the protocol; whatever a library prints goes to stderr.
"""

import importlib.util
import json
import math
import os
import resource
import sys
import time
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.metadata import distributions
from pathlib import Path
from types import ModuleType
from typing import Any


def load_adapter(name: str) -> ModuleType:
    """Return the module peers/NAME.py, under a name that hides no library."""
    path = Path(__file__).parent / "peers" / f"{name}.py"
    loader = SourceFileLoader(f"adapter_{name}", str(path))
    module = importlib.util.module_from_spec(ModuleSpec(loader.name, loader))
    loader.exec_module(module)
    return module


def memory() -> dict[str, int]:
    """Return resident and peak resident memory in bytes, of this process alone."""
    status = Path("/proc/self/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return {
        "rss": int(fields["VmRSS"].split()[0]) * 1024,
        "peak_rss": int(fields["VmHWM"].split()[0]) * 1024,
    }


def cpu_seconds() -> float:
    """Return the processor time of all threads of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class Worker:
    """The system, once loaded, and what can be asked of it."""

    def __init__(self) -> None:
        self.scorer: Any = None

    def load(
        self, adapter: str, model: str, threads: int, options: dict[str, str]
    ) -> dict[str, float]:
        """Bind the process to its cores, then import and load the system."""
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
        start = time.perf_counter()
        module = load_adapter(adapter)
        imported = time.perf_counter()
        self.scorer = module.load(model, threads, **options)
        return {"import_s": imported - start, "load_s": time.perf_counter() - imported, **memory()}

    def score(self, query: str, documents: list[str]) -> dict[str, Any]:
        """Time one request."""
        cpu, start = cpu_seconds(), time.perf_counter()
        scores = self.scorer.score(query, documents)
        seconds = time.perf_counter() - start
        if len(scores) != len(documents):
            raise RuntimeError(f"{len(scores)} scores for {len(documents)} documents")
        if not all(map(math.isfinite, scores)):
            raise RuntimeError("a score is not finite")
        return {"seconds": seconds, "cpu_seconds": cpu_seconds() - cpu, "scores": scores}

    def concurrent(self, requests: list[tuple[str, list[str]]], threads: int) -> dict[str, float]:
        """Time all requests, asked by so many calling threads."""
        from concurrent.futures import ThreadPoolExecutor

        start = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda request: self.scorer.score(*request), requests))
        return {"seconds": time.perf_counter() - start}

    def memory(self) -> dict[str, int]:
        """Return resident and peak memory."""
        return memory()

    def versions(self) -> dict[str, str]:
        """Return the installed packages and their versions."""
        return {d.metadata["Name"].lower(): d.version for d in distributions()}


def main() -> None:
    """Answer until standard input ends."""
    protocol = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker = Worker()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"ok": getattr(worker, request.pop("op"))(**request)}
        except Exception as error:  # reported to the benchmark, which then ends
            import traceback

            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=protocol, flush=True)


if __name__ == "__main__":
    main()
