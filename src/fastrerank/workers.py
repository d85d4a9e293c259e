"""The threads that score batches, shared by all callers of one reranker."""

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import TypeVar

from .errors import ClosedError, InferenceError

T = TypeVar("T")
R = TypeVar("R")

# Batches that a request may have waiting per thread. Enough to keep the threads busy while the
# next group is tokenised; few enough that a small request is not queued behind a large one.
IN_FLIGHT_PER_THREAD = 4
MOST_THREADS = 1 << 16  # openvino takes no number that is much larger


class Workers:
    """A pool of `threads` threads, started at the first use and again in a forked child."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._closed = False
        self._forget_threads()
        _all_workers.add(self)

    def _forget_threads(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.RLock()  # a signal's handler may close while this thread does

    def each(self, function: Callable[[T], None], items: Iterable[T]) -> None:
        """Call `function` on every item and return when all are done.

        Items are drawn as threads become free. The first exception, Ctrl-C among them, stops the
        rest: what has not begun is dropped.

        :raises ClosedError: if the workers are or become closed.
        :raises InferenceError: if the system grants no thread.
        """
        pool = self._started()
        pending: deque[Future[None]] = deque()
        try:
            for item in items:
                if len(pending) >= IN_FLIGHT_PER_THREAD * self.threads:
                    pending.popleft().result()
                pending.append(self._submitted(pool, function, item))
            while pending:
                pending.popleft().result()
        except CancelledError as error:
            if not self._closed:  # it came out of `items`
                raise
            raise ClosedError(_CLOSED_MEANWHILE) from error
        finally:
            for future in pending:
                future.cancel()

    def _started(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._closed:
                raise ClosedError("the reranker is closed: create another one")
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="fastrerank")
            return self._pool

    def _submitted(
        self, pool: ThreadPoolExecutor, function: Callable[[T], None], item: T
    ) -> Future[None]:
        try:
            return pool.submit(function, item)
        except RuntimeError as error:
            if self._closed:
                raise ClosedError(_CLOSED_MEANWHILE) from error
            if "interpreter shutdown" in str(error):
                raise ClosedError("the interpreter ended while it was scoring") from error
            raise InferenceError(f"no thread to score on: {error}") from error

    def close(self) -> None:
        """Stop the threads after the batches that they are scoring; later calls are refused."""
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(cancel_futures=True)


_CLOSED_MEANWHILE = "the reranker was closed while it was scoring"


# A forked child inherits the pool object but not its threads, and possibly a locked lock.
_all_workers: weakref.WeakSet[Workers] = weakref.WeakSet()


def _after_fork() -> None:
    for workers in _all_workers:
        workers._forget_threads()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def at_once(function: Callable[[T], R], items: Sequence[T], *, threads: int) -> list[R]:
    """Return what `function` makes of each item, on threads that have ended when it returns.

    One thread is the caller's own. The first exception is raised.

    :raises InferenceError: if the system grants no thread.
    """
    if threads == 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        try:
            futures = [pool.submit(function, item) for item in items]
        except RuntimeError as error:
            raise InferenceError(f"no thread to load a model on: {error}") from error
        return [future.result() for future in futures]
