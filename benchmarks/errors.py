"""What stops a benchmark."""


class BenchmarkError(RuntimeError):
    """A system could not be installed, loaded or run: the benchmark has no result without it."""
