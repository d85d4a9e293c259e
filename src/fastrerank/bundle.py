"""A bundle directory: found, read, and proved intact."""

import hashlib
from dataclasses import dataclass
from os import PathLike
from pathlib import Path, PurePosixPath

from .errors import BundleFormatError, BundleIntegrityError, BundleNotFoundError
from .manifest import MANIFEST_NAME, FileEntry, Manifest, Precision, manifest_name
from .onnx_file import external_data_paths
from .workers import at_once

DEFAULT_MODEL = "default"
_MODELS = Path(__file__).parent / "models"  # installed with the package


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A bundle on disk: its manifest, beside which its files lie."""

    manifest_path: Path
    manifest: Manifest

    @property
    def path(self) -> Path:
        """The directory."""
        return self.manifest_path.parent

    @property
    def reference(self) -> str | Path:
        """What opens it again from any directory: its name if it is bundled, else its path."""
        if self.path == _MODELS:
            return self.manifest_path.name.removesuffix(manifest_name(""))
        return self.manifest_path.absolute()

    def verified(self, entry: FileEntry) -> Path:
        """Return the path of a file of the bundle after its size and SHA-256 were checked.

        :raises BundleIntegrityError: if it is missing, differs, or lies outside the bundle.
        """
        path = self._inside(entry.path)
        if not path.is_file():
            raise BundleIntegrityError(f"{path} is missing: export or copy the bundle again")
        size = path.stat().st_size
        if size != entry.bytes or sha256(path) != entry.sha256:
            raise BundleIntegrityError(
                f"{path} ({size} bytes) is not the file that {self.manifest_path.name} names"
                f" ({entry.bytes} bytes, sha256 {entry.sha256[:12]}...): it was changed or cut"
                " short; export or copy the bundle again"
            )
        return path

    def onnx_paths(self, precision: str, *, one_pair: bool) -> list[Path]:
        """Return the .onnx files of a precision, after all that they read was checked.

        The cross-encoder's comes first, then the bi-encoder's, if there is one. With `one_pair`,
        they are the graphs that were made for runs of one pair, where there are such.

        :raises BundleIntegrityError: as `verified`, and if a graph reads a file that the manifest
            does not name for it.
        :raises BundleFormatError: if one is no ONNX file.
        """
        networks = self.manifest.networks(precision)
        graphs = [(one_pair and network.one_pair_graph) or network.graph for network in networks]
        data = [entry for network in networks for entry in network.data]
        entries = list(dict.fromkeys([*graphs, *data]))  # networks share data
        paths = at_once(self.verified, entries, threads=len(networks))
        path_of = dict(zip(entries, paths, strict=True))
        models = [path_of[entry] for entry in graphs]
        for model, network in zip(models, networks, strict=True):
            self._check_external_data(model, network)
        return models

    def _check_external_data(self, model: Path, network: Precision) -> None:
        named = [self._inside(entry.path) for entry in network.data]
        for location in external_data_paths(model):
            if self._inside(location) not in named:
                raise BundleIntegrityError(
                    f"{model} reads external data from {location!r}, which"
                    f" {self.manifest_path.name} does not name: do not use this bundle unless you"
                    " trust who made it"
                )

    def _inside(self, relative: str) -> Path:
        """Return the path of a file of the bundle, refused if it leaves the directory."""
        parts = PurePosixPath(relative)
        root = self.path.resolve()
        path = self.path / relative
        unsafe = parts.is_absolute() or ".." in parts.parts or "\\" in relative or not parts.parts
        # What cannot be printed cannot be encoded, or ends a name early.
        unsafe = unsafe or ":" in relative or not relative.isprintable() or len(relative) > 255
        if unsafe or not path.resolve().is_relative_to(root):
            raise BundleIntegrityError(
                f"{relative[:255]!r} lies outside the bundle {self.path}: absolute paths, '..',"
                " links out of it and names that no file has are refused"
            )
        return path


def open_bundle(model: str | PathLike[str] | None = None) -> Bundle:
    """Return the bundle at a path, the bundled model of that name, or the default for None.

    The path is that of a directory, or of a manifest where a directory holds several models; a
    directory with the name of a bundled model is "./NAME". The manifest is read; files are checked
    when they are used.

    :raises BundleNotFoundError: if there is none.
    :raises BundleFormatError: if its manifest cannot be used.
    """
    path = _find(DEFAULT_MODEL if model is None else model)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BundleFormatError(f"{path} is not UTF-8: {error}") from error
    try:
        manifest = Manifest.from_json(text)
    except BundleFormatError as error:
        raise BundleFormatError(f"{path.parent}: {error}") from error
    return Bundle(manifest_path=path, manifest=manifest)


def models_in(directory: Path) -> list[str]:
    """Return the names of the models that share a directory, a manifest each."""
    suffix = manifest_name("")
    return sorted(path.name.removesuffix(suffix) for path in directory.glob(f"*{suffix}"))


def _find(model: str | PathLike[str]) -> Path:
    """Return the path of the manifest."""
    names = models_in(_MODELS)
    if isinstance(model, str) and model in names:  # whatever the working directory holds
        return _MODELS / manifest_name(model)
    path = Path(model)
    try:
        if (path / MANIFEST_NAME).is_file():
            return path / MANIFEST_NAME
        if path.name.endswith(MANIFEST_NAME) and path.is_file():
            return path
    except OSError as error:  # of a name that is too long, say
        raise BundleNotFoundError(
            f"{str(model)[:80]!r} is no path of a bundle: {error.strerror}"
        ) from error
    if path.is_dir() and (found := models_in(path)):
        raise BundleNotFoundError(
            f"{path} holds several models: pass the manifest of one, such as"
            f" {path / manifest_name(found[0])}"
        )
    if path.is_dir():
        raise BundleNotFoundError(
            f"{path} is no bundle, it has no {MANIFEST_NAME}: make one of a Hugging Face"
            f" cross-encoder with `fastrerank export {path} OUTPUT`"
        )
    if str(model) in names:
        raise BundleNotFoundError(
            f"there is no bundle at the path {str(model)!r}: pass a string for the bundled model"
        )
    raise BundleNotFoundError(
        f"there is no bundle at {str(model)!r}, and no bundled model of that name"
        f" (there is: {', '.join(names) or 'none'}): pass the path of a directory that holds"
        f" {MANIFEST_NAME}; `fastrerank export` makes one of a Hugging Face model"
    )


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
