"""The whole export, in order: source, fp32 graph, int8 graph, parity, manifest, bundle."""

from __future__ import annotations

import datetime
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import onnx
from tokenizers import Tokenizer

from fastrerank.bundle import models_in, open_bundle, sha256
from fastrerank.errors import ExportError, ParityError
from fastrerank.manifest import (
    MANIFEST_NAME,
    FileEntry,
    Golden,
    GoldenPair,
    Manifest,
    Parity,
    Precision,
    manifest_name,
)
from fastrerank.reranker import Reranker

from .card import write_card
from .encode import encode
from .graph import Array
from .one_pair import specialize_for_one_pair
from .optimize import optimize
from .parity import PairSet, measure, original_logits, read_calibration
from .pooled import PooledReport, compute_pooled_position_only
from .quantize import quantize_int8
from .sample_pairs import golden_pairs, sample_pairs
from .shared_data import save_sharing_data
from .source import SourceModel, load_source
from .template import pair_template
from .to_onnx import export_onnx

PRECISIONS = ("fp32", "int8")

# How far a golden pair's logit may be off on another processor, in spreads (standard deviations) of
# the original's logits. fp32 sums in another order; int8 then rounds activations to other steps.
# Measured between AVX-512, AVX2 and SSE: export/README.md.
GOLDEN_TOLERANCE = {"fp32": 1e-3, "int8": 0.15}

# Pairs whose activations show which channels are outliers; more change nothing.
CALIBRATION_PAIRS = 48


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


def export_bundle(
    source: str, output: Path, options: ExportOptions, report: Callable[[str], None]
) -> Manifest:
    """Write the bundle of a cross-encoder to `output` and return its manifest.

    The directory appears whole or not at all. With `add`, the model is added to those that
    `output` already holds under names of their own, and reads from their files what is the same.
    `report` is given a line for each step.

    :raises ExportError: if the source cannot be exported, or `output` exists and neither `force`
        nor `add` allows that.
    :raises ParityError: if a precision drifts beyond its thresholds and not `allow_drift`.
    """
    _check_output(output, options)
    step = _Steps(report)
    beside = next(each for each in output.absolute().parents if each.is_dir())
    with tempfile.TemporaryDirectory(dir=beside, prefix=f".{output.name}.") as scratch:
        directory = Path(scratch) / "bundle"
        if options.add and output.exists():
            shutil.copytree(output, directory)
        else:
            directory.mkdir()
        others = models_in(directory)
        manifest = _write_bundle(source, directory, options, step)
        with step("put in place"):
            _check_output(output, options)  # again: minutes have passed
            if options.add and models_in(output) != others:
                raise ExportError(f"{output} was changed during the export: export again")
            output.parent.mkdir(parents=True, exist_ok=True)
            _put_in_place(directory, output, Path(scratch) / "replaced")
    return manifest


def _write_bundle(source: str, directory: Path, options: ExportOptions, step: _Steps) -> Manifest:
    with step(f"load {source}"):
        model = load_source(source, revision=options.revision, license_name=options.license)
    with step("export fp32 ONNX"):
        graph = export_onnx(model)
    with step("optimise the graph"):
        graph = optimize(graph)
    with step("last layer for the pooled position only") as note:
        graph, pooled = compute_pooled_position_only(graph)
        note(pooled.reason if pooled.applied else f"not applied: {pooled.reason}")
    pairs = sample_pairs()
    if options.calibration is not None:
        pairs += read_calibration(options.calibration)
    variants: dict[str, Precision] = {}
    for precision in options.precisions:
        with step(f"write {precision}") as note:
            variants[precision] = _write_precision(
                precision, graph, model, pairs, pooled, directory, options.stem
            )
            note(f"{sum(file.bytes for file in variants[precision].files()) / 1e6:.1f} MB")
    manifest = _manifest(model, graph, directory, variants, options)
    path = directory / options.manifest_name
    path.write_text(manifest.to_json(), encoding="utf-8")
    manifest = _measured(manifest, model, path, pairs, step)
    _judge(manifest, options.allow_drift, step.report)
    card = directory / options.card_name
    place = f"path/to/{options.manifest_name}" if options.add else "path/to/this/directory"
    write_card(manifest, place, model.path / "README.md", card)
    manifest = replace(manifest, other_files=[_entry(card, directory)])
    path.write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def _write_precision(
    precision: str,
    graph: onnx.ModelProto,
    source: SourceModel,
    pairs: PairSet,
    pooled: PooledReport,
    directory: Path,
    stem: str,
) -> Precision:
    """Write the graphs of one precision, their weights stored once beside them."""
    others = [
        bundle.path / bundle.manifest.precisions[precision].graph.path
        for bundle in (open_bundle(directory / manifest_name(m)) for m in models_in(directory))
        if precision in bundle.manifest.precisions
    ]
    stem = f"{stem}.{precision}"
    graphs = {f"{stem}.onnx": graph}
    if precision == "int8":
        inputs = [value.name for value in graph.graph.input]
        quantized = quantize_int8(graph, _calibration_inputs(source, pairs, inputs))
        one_pair = specialize_for_one_pair(quantized)
        graphs = {f"{stem}.onnx": quantized, f"{stem}.one-pair.onnx": one_pair}
    data = save_sharing_data(graphs, directory, f"{stem}.data", others)
    first, *second = [_entry(directory / name, directory) for name in graphs]
    return Precision(
        graph=first,
        one_pair_graph=second[0] if second else None,
        data=[_entry(directory / name, directory) for name in data],
        batch_invariant=precision != "int8",
        pooled_position_only=pooled.applied,
        pooled_position_note=pooled.reason,
    )


def _calibration_inputs(
    source: SourceModel, pairs: PairSet, names: list[str]
) -> list[dict[str, Array]]:
    """Return the inputs of pairs spread evenly over `pairs`, one pair each."""
    every = max(1, len(pairs.pairs) // CALIBRATION_PAIRS)
    found = [
        encode(source.tokenizer, [pair], source.max_length, "np") for pair in pairs.pairs[::every]
    ]
    # Token types that a tokenizer does not give are zeros.
    return [{name: each.get(name, 0 * each["input_ids"]) for name in names} for each in found]


def _manifest(
    source: SourceModel,
    graph: onnx.ModelProto,
    directory: Path,
    variants: dict[str, Precision],
    options: ExportOptions,
) -> Manifest:
    tokenizer = _write_tokenizer(source, directory, options)
    labels = source.config.num_labels
    label_column = labels - 1 if options.label_column is None else options.label_column
    if not 0 <= label_column < labels:
        raise ExportError(f"--label-column is {label_column}: the model has {labels} labels")
    special = source.tokenizer.special_tokens_map
    return Manifest(
        name=options.name or source.about.name.rsplit("/", 1)[-1],
        family=source.config.model_type,
        source=source.about,
        inputs=[value.name for value in graph.graph.input],
        output=graph.graph.output[0].name,
        max_length=_max_length(source, options.max_length),
        pad_id=source.tokenizer.pad_token_id or 0,
        special_tokens={name: text for name, text in special.items() if isinstance(text, str)},
        template=pair_template(source.tokenizer),
        labels=labels,
        label_column=label_column,
        activation="sigmoid" if labels == 1 else "softmax",
        tokenizer=_entry(tokenizer, directory),
        precisions=variants,
        made_with=_versions(),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        window=_window(source, options.window),
    )


def _write_tokenizer(source: SourceModel, directory: Path, options: ExportOptions) -> Path:
    tokenizer = Tokenizer.from_str(source.tokenizer.backend_tokenizer.to_str())
    tokenizer.no_truncation()  # the runtime cuts and pads; what others left here would mislead
    tokenizer.no_padding()
    text = tokenizer.to_str(pretty=True)
    path = directory / "tokenizer.json"
    if path.exists() and path.read_text(encoding="utf-8") != text:
        path = directory / f"{options.stem}.tokenizer.json"
    path.write_text(text, encoding="utf-8")
    return path


def _max_length(source: SourceModel, asked: int | None) -> int:
    if asked is None:
        return source.max_length
    if not 8 <= asked <= source.max_length:
        raise ExportError(f"--max-length is {asked}: the model reads 8 to {source.max_length}")
    return asked


def _window(source: SourceModel, asked: int | None) -> int | None:
    """Return the window asked for, or the one that the checkpoint was made for, or None."""
    window = getattr(source.config, "document_window", None) if asked is None else asked
    if window is not None and (not isinstance(window, int) or window < 8):
        raise ExportError(f"window is {window!r}: pass a whole number of at least 8 tokens")
    return window


def _measured(
    manifest: Manifest, source: SourceModel, path: Path, pairs: PairSet, step: _Steps
) -> Manifest:
    """Return the manifest, which lies at `path`, with parity and golden pairs of each precision."""
    with step(f"score {len(pairs.pairs)} pairs with the original model"):
        original = original_logits(
            source,
            pairs.pairs,
            max_length=manifest.max_length,
            label_column=manifest.label_column,
        )
    parity: dict[str, Parity] = {}
    golden = [GoldenPair(query=q, document=d, logits={}) for q, d in golden_pairs()]
    for precision in manifest.precisions:
        with (
            step(f"score them with {precision}") as note,
            # As the original reads them: documents as a whole.
            Reranker(path, precision=precision, window=manifest.max_length) as reranker,
        ):
            exported = reranker.score(pairs.pairs, raw=True)
            parity[precision] = measure(original, exported, pairs, precision)
            note(str(parity[precision]))
            logits = reranker.score([(pair.query, pair.document) for pair in golden], raw=True)
            for pair, logit in zip(golden, logits, strict=True):
                pair.logits[precision] = round(float(logit), 6)
    spread = float(original.std())
    # Not below the digits that logits are stored with.
    tolerance = {
        name: max(round(GOLDEN_TOLERANCE[name] * spread, 6), 1e-5) for name in manifest.precisions
    }
    return replace(manifest, parity=parity, golden=Golden(pairs=golden, tolerance=tolerance))


def _judge(manifest: Manifest, allow_drift: bool, report: Callable[[str], None]) -> None:
    for precision, parity in manifest.parity.items():
        if parity.within_thresholds:
            continue
        limits = ", ".join(f"{name} {limit:g}" for name, limit in parity.thresholds.items())
        message = f"{precision} drifts from the original: {parity}; limits: {limits}"
        if not allow_drift:
            raise ParityError(f"{message}. No bundle was written; --allow-drift writes it anyway")
        report(f"warning: {message} (kept, as --allow-drift says)")


def _entry(path: Path, directory: Path) -> FileEntry:
    return FileEntry(
        path=path.relative_to(directory).as_posix(), bytes=path.stat().st_size, sha256=sha256(path)
    )


def _versions() -> dict[str, str]:
    packages = ("fastrerank", "torch", "transformers", "optimum-onnx", "onnx", "onnxruntime")
    versions = {package: version(package) for package in (*packages, "tokenizers", "numpy")}
    return {"python": platform.python_version(), "machine": platform.machine(), **versions}


def _check_output(output: Path, options: ExportOptions) -> None:
    if options.add and not re.fullmatch(r"[\w-]+", options.add):
        raise ExportError(f"--add is {options.add!r}: pass letters, digits, - and _")
    if not output.exists() and not output.is_symlink():
        return
    if options.add:
        names = models_in(output)
        if not names and (not output.is_dir() or any(output.iterdir())):
            raise ExportError(f"{output} holds no models with names of their own to add one to")
        if options.add in names:
            raise ExportError(f"{output} has a model {options.add!r}: choose another name")
        return
    if not options.force:
        raise ExportError(f"{output} exists: choose another directory, or pass --force")
    if not (output / MANIFEST_NAME).is_file():
        raise ExportError(f"{output} is no bundle, --force does not replace it: remove it yourself")


def _put_in_place(directory: Path, output: Path, replaced: Path) -> None:
    directory.chmod(0o755)
    if output.exists():
        output.rename(replaced)
    try:
        directory.rename(output)
    except OSError:
        if replaced.exists():
            replaced.rename(output)
        raise


class _Steps:
    """Reports each step with its time when it is done."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self.report = report

    @contextmanager
    def __call__(self, name: str) -> Iterator[Callable[[str], None]]:
        notes: list[str] = []
        start = time.perf_counter()
        yield notes.append
        seconds = time.perf_counter() - start
        self.report(": ".join([f"[{seconds:6.1f} s] {name}", *notes]))
