"""Text from bundles and documents, made fit to be printed."""


def printable(text: str, encoding: str | None) -> str:
    """Return one line with "?" for what the encoding lacks, and for what a terminal would obey."""
    encoding = encoding or "utf-8"
    line = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    return line.encode(encoding, "replace").decode(encoding)
