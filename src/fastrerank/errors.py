"""The errors that fastrerank raises.

FastRerankError
├── InvalidRequestError (ValueError)      an argument of a call is wrong; `param` names it
├── BundleError (RuntimeError)            a bundle cannot be used as it is
│   ├── BundleNotFoundError (FileNotFoundError)   no bundle at that path or of that name
│   ├── BundleIntegrityError              a file is missing, changed, or outside the bundle
│   └── BundleFormatError                 manifest, tokenizer or graph cannot be read
├── ExportError (RuntimeError)            a source cannot become a bundle
│   └── ParityError                       the export drifted from the original model
├── InferenceError (RuntimeError)         valid input could not be scored
├── ClosedError (RuntimeError)            the reranker was used after close()
└── MissingExtraError (ImportError)       an optional part is not installed
"""


class FastRerankError(Exception):
    """Root of every error that this package raises on purpose."""


class InvalidRequestError(FastRerankError, ValueError):
    """An argument of a call is wrong.

    `param` names the argument, or the place in it: "top_n", "documents[3]".
    """

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param

    def within(self, prefix: str) -> "InvalidRequestError":
        """Return this error of an argument inside another: "requests[1]." before its name."""
        return InvalidRequestError(f"{prefix}{self}", param=f"{prefix}{self.param}")


class BundleError(FastRerankError, RuntimeError):
    """A bundle cannot be used as it is."""


class BundleNotFoundError(BundleError, FileNotFoundError):
    """There is no bundle at the path, or none of that name."""


class BundleIntegrityError(BundleError):
    """A file of the bundle is missing, differs from its hash, or lies outside the bundle."""


class BundleFormatError(BundleError):
    """Manifest, tokenizer or graph cannot be read, or are of a newer version."""


class ExportError(FastRerankError, RuntimeError):
    """A source model cannot be turned into a bundle."""


class ParityError(ExportError):
    """The exported model scores differently from the original, beyond the thresholds."""


class InferenceError(FastRerankError, RuntimeError):
    """Valid input could not be scored, or a score is no finite number."""


class ClosedError(FastRerankError, RuntimeError):
    """The reranker was used after it had been closed."""


class MissingExtraError(FastRerankError, ImportError):
    """An optional part of fastrerank is not installed."""

    @classmethod
    def for_extra(cls, extra: str, purpose: str) -> "MissingExtraError":
        """Return the error that says how to install `extra`, which `purpose` needs."""
        return cls(f"{purpose} needs an extra: pip install 'fastrerank[{extra}]'")
