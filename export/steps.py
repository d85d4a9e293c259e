"""What an export says while it runs: each step with its time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Steps:
    """Reports each step with its time when it is done."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self.report = report

    @contextmanager
    def __call__(self, name: str) -> Iterator[Callable[[str], None]]:
        """Time a step, and give a function that adds a note to its line."""
        notes: list[str] = []
        start = time.perf_counter()
        yield notes.append
        seconds = time.perf_counter() - start
        self.report(": ".join([f"[{seconds:6.1f} s] {name}", *notes]))
