"""Memory that the C library keeps after long pairs and texts, given back to the system."""

import ctypes
import sys
import time
from collections.abc import Callable

# Attention over this many tokens takes megabytes at a time, which glibc's heaps keep.
LONG_PAIR = 256
# Tokenising this many characters at once takes tens of megabytes.
MANY_CHARACTERS = 500_000
# Giving memory back costs some 10 ms, and so does getting it again.
_SECONDS_BETWEEN = 1.0


class HeapTrimmer:
    """Gives freed memory back after calls that needed much of it, at most once a second."""

    def __init__(self) -> None:
        self._trim = _malloc_trim()
        self._due = False
        self._last = float("-inf")

    def note(self, *, tokens: int = 0, characters: int = 0) -> None:
        """Note what takes memory: tokens of a pair, or characters tokenised at once."""
        if tokens >= LONG_PAIR or characters >= MANY_CHARACTERS:
            self._due = True

    def after_call(self) -> None:
        """Trim if that is due; a call that failed has taken memory too."""
        if self._trim is None:
            return
        # No lock, which a fork could find taken: calls at the same time trim twice at worst.
        if self._due and time.monotonic() >= self._last + _SECONDS_BETWEEN:
            self._due, self._last = False, time.monotonic()
            self._trim(0)


def _malloc_trim() -> Callable[[int], int] | None:
    """Return glibc's malloc_trim, which frees no live memory, or None elsewhere."""
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
