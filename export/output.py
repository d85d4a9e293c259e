"""The directory that an export makes: whether it may, and how it appears whole or not at all."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastrerank.bundle import models_in
from fastrerank.errors import ExportError
from fastrerank.manifest import MANIFEST_NAME


@contextmanager
def appearing(output: Path, add: str | None, *, force: bool) -> Iterator[Path]:
    """Give a directory to be filled, which takes the place of `output` when all went well.

    With `add`, the name of a model to be added, it begins as a copy of `output`. If `output` is a
    link, the directory that it points to is replaced.

    :raises ExportError: if `output` exists and neither `add` nor `force` allows that, or if it
        changes meanwhile.
    """
    output = output.resolve()
    _check(output, add, force=force)
    beside = next(each for each in output.parents if each.is_dir())
    with tempfile.TemporaryDirectory(dir=beside, prefix=f".{output.name}.") as scratch:
        directory = Path(scratch) / "bundle"
        if add and output.exists():
            shutil.copytree(output, directory)
        else:
            directory.mkdir()
        others = models_in(directory)
        yield directory
        _check(output, add, force=force)  # again: minutes have passed
        if add and models_in(output) != others:
            raise ExportError(f"{output} was changed during the export: export again")
        output.parent.mkdir(parents=True, exist_ok=True)
        _put_in_place(directory, output, Path(scratch) / "replaced")


def _check(output: Path, add: str | None, *, force: bool) -> None:
    if add is not None and not re.fullmatch(r"[\w-]+", add):
        raise ExportError(f"--add is {add!r}: pass letters, digits, - and _")
    if not output.exists():
        if not (there := next(each for each in output.parents if each.exists())).is_dir():
            raise ExportError(f"{output} cannot be made: {there} is no directory")
        return
    if output.is_mount():
        raise ExportError(f"{output} is a mount, which cannot be replaced: name a directory in it")
    if add:
        names = models_in(output)
        if not names and (not output.is_dir() or any(output.iterdir())):
            raise ExportError(f"{output} holds no models with names of their own to add one to")
        if add in names:
            raise ExportError(f"{output} has a model {add!r}: choose another name")
        return
    if not force:
        raise ExportError(f"{output} exists: choose another directory, or pass --force")
    if not (output / MANIFEST_NAME).is_file():
        raise ExportError(f"{output} is no bundle, --force does not replace it: remove it yourself")


def _put_in_place(directory: Path, output: Path, replaced: Path) -> None:
    try:
        if output.exists():
            output.rename(replaced)
        directory.rename(output)
    except BaseException:  # Ctrl-C among them: what was there must not be lost
        if replaced.exists() and not output.exists():
            replaced.rename(output)
        raise
