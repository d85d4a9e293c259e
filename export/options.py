"""The choices of one export, and what of them depends on the source."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fastrerank.errors import ExportError
from fastrerank.manifest import MANIFEST_NAME, PRECISIONS, manifest_name

from .source import SourceModel


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """The choices of one export; see `fastrerank export --help`."""

    precisions: tuple[str, ...] = PRECISIONS
    name: str | None = None
    revision: str | None = None
    license: str | None = None
    max_length: int | None = None
    window: int | None = None
    label_column: int | None = None
    calibration: Path | None = None
    allow_drift: bool = False
    force: bool = False
    add: str | None = None

    @property
    def stem(self) -> str:
        """What the names of the model's files begin with."""
        return self.add or "model"

    @property
    def manifest_name(self) -> str:
        """The file name of the manifest."""
        return manifest_name(self.add) if self.add else MANIFEST_NAME

    @property
    def card_name(self) -> str:
        """The file name of the card."""
        return f"{self.add}.md" if self.add else "README.md"


def allowed_max_length(asked: int | None, source: SourceModel) -> int:
    """Return the tokens of a pair that are read: those asked for, or all that the model can.

    :raises ExportError: if the model cannot read so many.
    """
    if asked is None:
        return source.max_length
    if not 8 <= asked <= source.max_length:
        raise ExportError(f"--max-length is {asked}: the model reads 8 to {source.max_length}")
    return asked


def stated_window(asked: int | None, source: SourceModel) -> int | None:
    """Return the window asked for, or the one that the checkpoint was made for, or None.

    :raises ExportError: if it is no number of tokens.
    """
    window = getattr(source.config, "document_window", None) if asked is None else asked
    if window is not None and (not isinstance(window, int) or window < 8):
        raise ExportError(f"window is {window!r}: pass a whole number of at least 8 tokens")
    return window


def relevant_label(asked: int | None, source: SourceModel) -> int:
    """Return the column of the label that means relevant: the one asked for, or the last.

    :raises ExportError: if the model has no such label.
    """
    labels: int = source.config.num_labels
    if asked is not None and not 0 <= asked < labels:
        raise ExportError(f"--label-column is {asked}: the model has {labels} labels")
    return labels - 1 if asked is None else asked
