"""Standard output: whether it is there, and text made fit for it."""

import sys
from typing import TextIO

from fastrerank.errors import InvalidRequestError


def check_output() -> None:
    """Raise InvalidRequestError if standard output is closed, where it is all that is wanted."""
    if sys.stdout is None:
        raise InvalidRequestError("standard output is closed: there is no place for the answer")


def printable(text: str, out: TextIO | None) -> str:
    """Return one line with "?" for what `out` cannot encode, and for what a terminal would obey."""
    encoding = (out and out.encoding) or "utf-8"
    line = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    return line.encode(encoding, "replace").decode(encoding)
