"""The benchmark's side of a worker process."""

import json
import os
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

from .environments import environment_python
from .errors import BenchmarkError
from .paths import HERE, RUNS
from .systems import System

# Nothing is downloaded. Of the user's settings a measured process gets none but these: there are
# many that make a runtime or an allocator slower or faster.
_ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "PYTHONNOUSERSITE": "1"}
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")


def clean_environment() -> dict[str, str]:
    """Return the variables that a measured process gets."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    # A cache of its own: no tuned plan of this user's, every system runs on its defaults.
    return kept | _ENVIRONMENT | {"XDG_CACHE_HOME": str(RUNS / "cache")}


class SystemProcess:
    """A system in a process of its own.

    :raises BenchmarkError: from every method, if the system fails or its process ends.
    """

    def __init__(self, system: System) -> None:
        self.system = system
        RUNS.mkdir(parents=True, exist_ok=True)
        self._log = RUNS / f"{system.name}.log"
        # -P: the directory of worker.py must not shadow a library of the same name.
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(environment_python(system.environment)), "-P", str(HERE / "worker.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=clean_environment(),
            )

    def load(self, model: Path, threads: int) -> dict[str, float]:
        """Import and load the system; return the seconds and the memory that it took."""
        return self._ask(
            "load",
            adapter=self.system.adapter,
            model=str(model),
            threads=threads,
            options=self.system.options,
        )

    def score(self, query: str, documents: list[str]) -> dict[str, Any]:
        """Return `seconds`, `cpu_seconds` and `scores` of one request."""
        return self._ask("score", query=query, documents=documents)

    def concurrent(self, requests: list[tuple[str, list[str]]], threads: int) -> float:
        """Return the seconds that all requests take, asked by so many threads."""
        seconds: float = self._ask("concurrent", requests=requests, threads=threads)["seconds"]
        return seconds

    def memory(self) -> dict[str, int]:
        """Return `rss` and `peak_rss` in bytes."""
        return self._ask("memory")

    def versions(self) -> dict[str, str]:
        """Return the packages of the environment with their versions."""
        return self._ask("versions")

    def close(self) -> None:
        """End the process."""
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()

    def __enter__(self) -> "SystemProcess":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(self, op: str, **arguments: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        request = json.dumps({"op": op, **arguments}) + "\n"
        try:
            self._process.stdin.write(request.encode())  # type: ignore[union-attr]
            self._process.stdin.flush()  # type: ignore[union-attr]
            line = self._process.stdout.readline()  # type: ignore[union-attr]
        except BrokenPipeError:
            line = b""
        if not line:
            code = self._process.wait()
            killed = code == -signal.SIGKILL
            hint = " (for want of memory? leave systems out with --peers)" if killed else ""
            raise BenchmarkError(
                f"{self.system.name} ended with {code} in {op}{hint}:\n{self._tail()}"
            )
        answer = json.loads(line)
        if "error" in answer:
            raise BenchmarkError(
                f"{self.system.name} failed in {op}: {answer['error']}\n{self._tail()}"
            )
        result: dict[str, Any] = answer["ok"]
        return result

    def _tail(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()
        return "\n".join([*lines[-15:], f"(all of it: {self._log})"])
