"""The whole export, in order: source, fp32 graph, int8 graph, parity, manifest, bundle."""

from __future__ import annotations

import datetime
import platform
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
from tokenizers import Tokenizer

from fastrerank.bundle import models_in, open_bundle, sha256
from fastrerank.collate import check_inputs
from fastrerank.errors import BundleFormatError, ExportError, ParityError
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
from .output import appearing
from .parity import Logits, PairSet, measure, original_logits, read_calibration
from .pooled import PooledReport, compute_pooled_position_only
from .quantize import quantize_int8
from .sample_pairs import golden_pairs, sample_pairs
from .shared_data import save_sharing_data
from .source import SourceModel, load_source
from .steps import Steps
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
    step = Steps(report)
    with appearing(output, options.add, force=options.force) as directory:
        return _write_bundle(source, directory, options, step)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Exported:
    """A cross-encoder as an fp32 graph, and what every precision of it is made and judged by.

    `original` holds the logits of the model in torch, float32 [pairs].
    """

    source: SourceModel
    max_length: int
    window: int | None
    label_column: int
    graph: onnx.ModelProto
    pooled: PooledReport
    pairs: PairSet
    original: Logits


def _write_bundle(source: str, directory: Path, options: ExportOptions, step: Steps) -> Manifest:
    exported = _export(source, options, step)
    if "fp32" not in options.precisions:
        # The limits of int8 are wide enough for a graph that is wrong by itself.
        with tempfile.TemporaryDirectory() as scratch:
            fp32 = replace(options, precisions=("fp32",), add=None)
            _judge(_write_model(exported, Path(scratch), fp32, step), fp32, exported, step.report)
    manifest = _write_model(exported, directory, options, step)
    _judge(manifest, options, exported, step.report)
    card = directory / options.card_name
    place = f"path/to/{options.manifest_name}" if options.add else "path/to/this/directory"
    write_card(manifest, place, exported.source.path / "README.md", card)
    manifest = replace(manifest, other_files=[_entry(card, directory)])
    (directory / options.manifest_name).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def _export(source: str, options: ExportOptions, step: Steps) -> _Exported:
    with step(f"load {source}"):
        model = load_source(source, revision=options.revision, license_name=options.license)
        # What is asked for is checked before minutes pass.
        max_length = _max_length(model, options.max_length)
        window = _window(model, options.window)
        label_column = _label_column(model, options.label_column)
    if model.config.num_labels == 2:
        name = (model.config.id2label or {}).get(label_column)
        step.report(f"relevance is label {label_column} of two, {name!r} (--label-column)")
    pairs = sample_pairs()
    if options.calibration is not None:
        pairs += read_calibration(options.calibration)
    with step("export fp32 ONNX"):
        graph = export_onnx(model)
        try:
            check_inputs([value.name for value in graph.graph.input])
        except BundleFormatError as error:
            raise ExportError(f"{source}: {error}") from error
    with step("optimise the graph"):
        graph = optimize(graph)
    with step("last layer for the pooled position only") as note:
        graph, pooled = compute_pooled_position_only(graph)
        note(pooled.reason if pooled.applied else f"not applied: {pooled.reason}")
    with step(f"score {len(pairs.pairs)} pairs with the original model"):
        original = original_logits(
            model, pairs.pairs, max_length=max_length, label_column=label_column
        )
    return _Exported(
        source=model,
        max_length=max_length,
        window=window,
        label_column=label_column,
        graph=graph,
        pooled=pooled,
        pairs=pairs,
        original=original,
    )


def _write_model(
    exported: _Exported, directory: Path, options: ExportOptions, step: Steps
) -> Manifest:
    """Write graphs, weights, tokenizer and manifest, and return it with what was measured."""
    variants: dict[str, Precision] = {}
    for precision in options.precisions:
        with step(f"write {precision}") as note:
            variants[precision] = _write_precision(precision, exported, directory, options.stem)
            note(f"{sum(file.bytes for file in variants[precision].files()) / 1e6:.1f} MB")
            if precision == "int8":
                note(_quantized(directory / variants[precision].graph.path))
    manifest = _manifest(exported, directory, variants, options)
    path = directory / options.manifest_name
    path.write_text(manifest.to_json(), encoding="utf-8")
    return _measured(manifest, exported, path, step)


def _write_precision(precision: str, exported: _Exported, directory: Path, stem: str) -> Precision:
    """Write the graphs of one precision, their weights stored once beside them."""
    others = [
        bundle.path / bundle.manifest.precisions[precision].graph.path
        for bundle in (open_bundle(directory / manifest_name(m)) for m in models_in(directory))
        if precision in bundle.manifest.precisions
    ]
    stem = f"{stem}.{precision}"
    graphs = {f"{stem}.onnx": exported.graph}
    if precision == "int8":
        quantized = quantize_int8(exported.graph, _calibration_inputs(exported))
        one_pair = specialize_for_one_pair(quantized)
        graphs = {f"{stem}.onnx": quantized, f"{stem}.one-pair.onnx": one_pair}
    data = save_sharing_data(graphs, directory, f"{stem}.data", others)
    first, *second = [_entry(directory / name, directory) for name in graphs]
    return Precision(
        graph=first,
        one_pair_graph=second[0] if second else None,
        data=[_entry(directory / name, directory) for name in data],
        batch_invariant=precision != "int8",
        pooled_position_only=exported.pooled.applied,
        pooled_position_note=exported.pooled.reason,
    )


def _quantized(graph: Path) -> str:
    """Return how much of a graph is in int8, for who wonders why it is no faster."""
    nodes = onnx.load(graph, load_external_data=False).graph.node
    count = sum(node.op_type == "MatMulInteger" for node in nodes)
    return f"{count or 'NONE of its'} matrix products in int8"


def _calibration_inputs(exported: _Exported) -> list[dict[str, Array]]:
    """Return the inputs of pairs spread evenly over all, one pair each."""
    source, pairs = exported.source, exported.pairs.pairs
    every = max(1, len(pairs) // CALIBRATION_PAIRS)
    inputs: list[dict[str, Array]] = []
    for pair in pairs[::every]:
        given: dict[str, Array] = dict(encode(source.tokenizer, [pair], exported.max_length, "np"))
        ids = given["input_ids"]
        # What the runtime gives where a tokenizer gives nothing.
        absent = {"token_type_ids": 0 * ids, "position_ids": np.arange(ids.size)[np.newaxis]}
        known = absent | given
        inputs.append({value.name: known[value.name] for value in exported.graph.graph.input})
    return inputs


def _manifest(
    exported: _Exported,
    directory: Path,
    variants: dict[str, Precision],
    options: ExportOptions,
) -> Manifest:
    source, graph = exported.source, exported.graph.graph
    tokenizer = _write_tokenizer(source, directory, options)
    special = source.tokenizer.special_tokens_map
    labels = source.config.num_labels
    return Manifest(
        name=options.name or source.about.name.rsplit("/", 1)[-1],
        family=source.config.model_type,
        source=source.about,
        inputs=[value.name for value in graph.input],
        output=graph.output[0].name,
        max_length=exported.max_length,
        pad_id=source.tokenizer.pad_token_id or 0,
        special_tokens={name: text for name, text in special.items() if isinstance(text, str)},
        template=pair_template(source.tokenizer),
        labels=labels,
        label_column=exported.label_column,
        activation="sigmoid" if labels == 1 else "softmax",
        tokenizer=_entry(tokenizer, directory),
        precisions=variants,
        made_with=_versions(),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        window=exported.window,
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


def _label_column(source: SourceModel, asked: int | None) -> int:
    labels: int = source.config.num_labels
    if asked is not None and not 0 <= asked < labels:
        raise ExportError(f"--label-column is {asked}: the model has {labels} labels")
    return labels - 1 if asked is None else asked


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


def _measured(manifest: Manifest, exported: _Exported, path: Path, step: Steps) -> Manifest:
    """Return the manifest, which lies at `path`, with parity and golden pairs of each precision."""
    pairs = exported.pairs
    parity: dict[str, Parity] = {}
    golden = [GoldenPair(query=q, document=d, logits={}) for q, d in golden_pairs()]
    for precision in manifest.precisions:
        with (
            step(f"score them with {precision}") as note,
            # As the original reads them: documents as a whole.
            Reranker(path, precision=precision, window=manifest.max_length) as reranker,
        ):
            logits = reranker.score(pairs.pairs, raw=True)
            parity[precision] = measure(exported.original, logits, pairs, precision)
            note(str(parity[precision]))
            logits = reranker.score([(pair.query, pair.document) for pair in golden], raw=True)
            for pair, logit in zip(golden, logits, strict=True):
                pair.logits[precision] = round(float(logit), 6)
    spread = float(exported.original.std())
    # Not below the digits that logits are stored with.
    tolerance = {
        name: max(round(GOLDEN_TOLERANCE[name] * spread, 6), 1e-5) for name in manifest.precisions
    }
    return replace(manifest, parity=parity, golden=Golden(pairs=golden, tolerance=tolerance))


def _judge(
    manifest: Manifest, options: ExportOptions, exported: _Exported, report: Callable[[str], None]
) -> None:
    for precision, parity in manifest.parity.items():
        if parity.within_thresholds:
            continue
        limits = ", ".join(f"{name} {limit:.3g}" for name, limit in parity.thresholds.items())
        spread = float(exported.original.std())
        message = (
            f"{precision} drifts from the original: {parity}; the original's logits have a spread"
            f" of {spread:.3g}; limits: {limits}"
        )
        if not options.allow_drift:
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
