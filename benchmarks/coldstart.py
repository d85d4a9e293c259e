"""Cold start: from a process that begins to its first response."""

import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from .environments import environment_python
from .errors import BenchmarkError
from .machine import environment_record
from .models import model_directories
from .paths import HERE
from .process import clean_environment
from .progress import progress
from .summary import quantile, rounded
from .systems import System

FIGURES = ("import_s", "load_s", "score_s", "first_response_s", "peak_rss")


def measure_cold_start(
    systems: list[System], checkpoint: Path, threads: int, repeats: int
) -> dict[str, Any]:
    """Return the medians over so many fresh processes of each system, which take turns.

    `first_response_s` is measured from outside: from the start of the process to its answer.

    :raises BenchmarkError: if a system fails.
    """
    directories = model_directories(checkpoint, {s.model for s in systems})
    result: dict[str, Any] = {
        "kind": "coldstart",
        "environment": environment_record(threads),
        "repeats": repeats,
        "systems": {},
    }
    samples: dict[str, list[dict[str, float]]] = {system.name: [] for system in systems}
    with progress(len(systems) * (repeats + 1), "coldstart") as step:
        for repeat in range(repeats + 1):
            for system in systems:
                sample = _start(system, directories[system.model], threads)
                if repeat:  # the first start only brings the files into memory
                    samples[system.name].append(sample)
                step(system.name)
    for system in systems:
        result["systems"][system.name] = {"label": system.label} | {
            key: rounded(quantile([sample[key] for sample in samples[system.name]], 0.5))
            for key in FIGURES
        }
    return result


def _start(system: System, model: Path, threads: int) -> dict[str, float]:
    arguments = [system.adapter, str(model), str(threads), json.dumps(system.options)]
    python = environment_python(system.environment)
    with tempfile.TemporaryFile() as errors:  # a pipe that is full would stop the process
        start = time.perf_counter()
        done = subprocess.Popen(
            [str(python), "-P", str(HERE / "first_response.py"), *arguments],
            stdout=subprocess.PIPE,
            stderr=errors,
            env=clean_environment(),
        )
        line = done.stdout.readline()  # type: ignore[union-attr]
        seconds = time.perf_counter() - start
        done.communicate()
        if not line.startswith(b"{"):
            errors.seek(0)
            said = errors.read().decode(errors="replace")
            raise BenchmarkError(f"{system.name} gave no response:\n{said[-2000:]}")
    return {**json.loads(line), "first_response_s": seconds}
