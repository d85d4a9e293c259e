"""Calls that nobody waits for any more are not scored to their end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from .errors import ClosedError

_is_abandoned: ContextVar[Callable[[], bool]] = ContextVar("is_abandoned")


@contextmanager
def abandoned_when(is_abandoned: Callable[[], bool]) -> Iterator[None]:
    """Let calls of this context, and of threads that are started with it, end once this is true."""
    token = _is_abandoned.set(is_abandoned)
    try:
        yield
    finally:
        _is_abandoned.reset(token)


def check_wanted() -> None:
    """Raise ClosedError if the call that runs in this context has been abandoned."""
    is_abandoned = _is_abandoned.get(None)
    if is_abandoned is not None and is_abandoned():
        raise ClosedError("nobody waits for this call any more")
