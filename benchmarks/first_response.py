"""first_response.py ADAPTER MODEL THREADS OPTIONS: load a system, rerank ten documents, end."""

import os
import sys
import time

started = time.perf_counter()

import importlib.machinery  # noqa: E402 - everything that follows is part of the start
import importlib.util  # noqa: E402
import json  # noqa: E402
import math  # noqa: E402

QUERY = "What animals can I find near Peru?"
DOCUMENTS = [
    "The giant panda is a bear species endemic to China.",
    "The llama is a domesticated South American camelid.",
    "Guanacos are wild South American camelids that live in the mountains of Peru and Chile.",
    "The wild Bactrian camel is endemic to Northwest China and southwestern Mongolia.",
    "Lima is the capital and the largest city of Peru.",
] * 2


def main() -> None:
    """Print import, load and scoring time and the peak of memory as one line of JSON."""
    adapter, model, threads, options = sys.argv[1:]
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(threads)])
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - pathlib is slow to load
    path = f"{here}/peers/{adapter}.py"
    loader = importlib.machinery.SourceFileLoader(f"adapter_{adapter}", path)
    module = importlib.util.module_from_spec(importlib.machinery.ModuleSpec(loader.name, loader))
    loader.exec_module(module)
    imported = time.perf_counter()
    scorer = module.load(model, int(threads), **json.loads(options))
    loaded = time.perf_counter()
    scores = scorer.score(QUERY, DOCUMENTS)
    scored = time.perf_counter()
    if len(scores) != len(DOCUMENTS) or not all(map(math.isfinite, scores)):
        raise RuntimeError(f"these are no scores: {scores}")
    with open("/proc/self/status") as status:  # noqa: PTH123
        peak = next(line for line in status if line.startswith("VmHWM"))
    result = {
        "import_s": imported - started,
        "load_s": loaded - imported,
        "score_s": scored - loaded,
        "peak_rss": int(peak.split()[1]) * 1024,
    }
    os.write(1, (json.dumps(result) + "\n").encode())


main()
