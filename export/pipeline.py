"""The whole export, in order: source, fp32 graph, int8 graph, parity, manifest, bundle."""

from __future__ import annotations

import datetime
import platform
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
from tokenizers import Tokenizer
from transformers import BatchEncoding

from fastrerank.bundle import models_in, open_bundle, sha256
from fastrerank.collate import check_inputs
from fastrerank.errors import BundleFormatError, ExportError
from fastrerank.manifest import (
    FileEntry,
    Manifest,
    Precision,
    Similarity,
    manifest_name,
    total_bytes,
)

from .card import write_card
from .encode import encode
from .graph import Array
from .judge import judge, measured
from .one_pair import specialize_for_one_pair
from .optimize import optimize
from .options import ExportOptions, allowed_max_length, relevant_label, stated_window
from .output import appearing
from .parity import Logits, PairSet, original_logits, read_calibration
from .pooled import PooledReport, compute_pooled_position_only
from .quantize import quantize_int8
from .sample_pairs import sample_pairs
from .shared_data import save_sharing_data
from .similarity import (
    VECTOR,
    SimilarityModel,
    add_mean_of_tokens,
    inputs_of,
    load_similarity,
    original_cosines,
    texts_of,
)
from .source import SourceModel, load_source
from .steps import Steps
from .template import pair_template
from .to_onnx import export_onnx

# Pairs whose activations show which channels are outliers; more change nothing.
CALIBRATION_PAIRS = 48


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
class _Network:
    """A network as an fp32 graph; `calibration` holds inputs of real texts, one a run."""

    graph: onnx.ModelProto
    pooled: PooledReport
    calibration: list[dict[str, Array]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Exported:
    """A cross-encoder, and a bi-encoder beside it where there is one, before their precisions.

    `original` holds the logits of the model in torch, float32 [pairs].
    """

    source: SourceModel
    max_length: int
    window: int | None
    label_column: int
    network: _Network
    similarity: SimilarityModel | None
    vectors: _Network | None
    pairs: PairSet
    original: Logits


def _write_bundle(source: str, directory: Path, options: ExportOptions, step: Steps) -> Manifest:
    exported = _export(source, options, step)
    if "fp32" not in options.precisions:
        # The limits of int8 are wide enough for a graph that is wrong by itself.
        with tempfile.TemporaryDirectory() as scratch:
            fp32 = replace(options, precisions=("fp32",), add=None)
            alone = _write_model(exported, Path(scratch), fp32, step)
            judge(alone, exported.original, step.report, allow_drift=options.allow_drift)
    manifest = _write_model(exported, directory, options, step)
    judge(manifest, exported.original, step.report, allow_drift=options.allow_drift)
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
        max_length = allowed_max_length(options.max_length, model)
        window = stated_window(options.window, model)
        label_column = relevant_label(options.label_column, model)
        similarity = load_similarity(model.path, model.config, model.tokenizer)
    if model.config.num_labels == 2:
        name = (model.config.id2label or {}).get(label_column)
        step.report(f"relevance is label {label_column} of two, {name!r} (--label-column)")
    pairs = sample_pairs()
    if options.calibration is not None:
        pairs += read_calibration(options.calibration)
    encoded = encode(model.tokenizer, pairs.pairs, max_length, "np")
    network = _network(model, encoded, step)
    vectors = _vectors(model, similarity, encoded, step) if similarity else None
    with step(f"score {len(pairs.pairs)} pairs with the original model"):
        original = original_logits(
            model, pairs.pairs, max_length=max_length, label_column=label_column
        )
        if similarity:
            original += np.float32(similarity.weight) * original_cosines(similarity, encoded)
    return _Exported(
        source=model,
        max_length=max_length,
        window=window,
        label_column=label_column,
        network=network,
        similarity=similarity,
        vectors=vectors,
        pairs=pairs,
        original=original,
    )


def _network(source: SourceModel, encoded: BatchEncoding, step: Steps) -> _Network:
    """Return the cross-encoder."""
    with step("export fp32 ONNX"):
        graph = export_onnx(source.model, source.tokenizer, "text-classification")
        inputs = [value.name for value in graph.graph.input]
        try:
            check_inputs(inputs)
        except BundleFormatError as error:
            raise ExportError(f"{source.about.name}: {error}") from error
    with step("optimise the graph"):
        graph = optimize(graph)
    with step("last layer for the pooled position only") as note:
        graph, pooled = compute_pooled_position_only(graph)
        note(pooled.reason if pooled.applied else f"not applied: {pooled.reason}")
    calibration = _calibration_inputs(encoded, inputs)
    return _Network(graph=graph, pooled=pooled, calibration=calibration)


def _vectors(
    source: SourceModel, similarity: SimilarityModel, encoded: BatchEncoding, step: Steps
) -> _Network:
    """Return the bi-encoder."""
    with step(f"the same for the bi-encoder, {similarity.about.name}"):
        graph = export_onnx(similarity.model, source.tokenizer, "feature-extraction")
        graph = optimize(add_mean_of_tokens(graph))
    texts = [text for pair in texts_of(_some(encoded)) for text in pair]
    return _Network(
        graph=graph,
        pooled=PooledReport(applied=False, reason="the mean of all positions is read"),
        calibration=[inputs_of(text) for text in texts],
    )


def _write_model(
    exported: _Exported, directory: Path, options: ExportOptions, step: Steps
) -> Manifest:
    """Write graphs, weights, tokenizer and manifest, and return it with what was measured."""
    variants: dict[str, Precision] = {}
    similarity: dict[str, Precision] = {}
    for precision in options.precisions:
        with step(f"write {precision}") as note:
            stem = f"{options.stem}.{precision}"
            variants[precision] = _write_network(precision, exported.network, directory, stem)
            written = [variants[precision]]
            if exported.vectors:
                stem = f"{options.stem}.similarity.{precision}"
                similarity[precision] = _write_network(
                    precision, exported.vectors, directory, stem, written
                )
                written.append(similarity[precision])
            note(f"{total_bytes(written) / 1e6:.1f} MB")
            if precision == "int8":
                note(_quantized([directory / part.graph.path for part in written]))
    manifest = _manifest(exported, directory, variants, similarity, options)
    path = directory / options.manifest_name
    path.write_text(manifest.to_json(), encoding="utf-8")
    return measured(manifest, path, exported.pairs, exported.original, step)


def _write_network(
    precision: str,
    network: _Network,
    directory: Path,
    stem: str,
    written: Sequence[Precision] = (),
) -> Precision:
    """Write the graphs of one precision, their weights stored once beside them.

    What the other models in the directory and those `written` before have too is read from there.
    """
    others = [
        directory / part.graph.path for part in (*_networks_in(directory, precision), *written)
    ]
    graphs = {f"{stem}.onnx": network.graph}
    if precision == "int8":
        quantized = quantize_int8(network.graph, network.calibration)
        one_pair = specialize_for_one_pair(quantized)
        graphs = {f"{stem}.onnx": quantized, f"{stem}.one-pair.onnx": one_pair}
    data = save_sharing_data(graphs, directory, f"{stem}.data", others)
    first, *second = [_entry(directory / name, directory) for name in graphs]
    return Precision(
        graph=first,
        one_pair_graph=second[0] if second else None,
        data=[_entry(directory / name, directory) for name in data],
        batch_invariant=precision != "int8",
        pooled_position_only=network.pooled.applied,
        pooled_position_note=network.pooled.reason,
    )


def _networks_in(directory: Path, precision: str) -> Iterator[Precision]:
    """Yield what the models of a directory have of one precision."""
    for model in models_in(directory):
        manifest = open_bundle(directory / manifest_name(model)).manifest
        if precision in manifest.precisions:
            yield from manifest.networks(precision)


def _quantized(graphs: Iterable[Path]) -> str:
    """Return how much of the graphs is in int8, for who wonders why they are no faster."""
    nodes = [n for path in graphs for n in onnx.load(path, load_external_data=False).graph.node]
    count = sum(node.op_type == "MatMulInteger" for node in nodes)
    return f"{count or 'NONE of its'} matrix products in int8"


def _some(encoded: BatchEncoding) -> dict[str, Array]:
    """Return the inputs of pairs spread evenly over all."""
    every = max(1, len(encoded["input_ids"]) // CALIBRATION_PAIRS)
    return {name: values[::every] for name, values in encoded.items()}


def _calibration_inputs(encoded: BatchEncoding, inputs: Sequence[str]) -> list[dict[str, Array]]:
    """Return the graph's inputs for some of the pairs, one pair each."""
    given = _some(encoded)
    shape = given["input_ids"].shape
    # What the runtime gives where a tokenizer gives nothing.
    absent = {
        "token_type_ids": np.zeros(shape, np.int64),
        "position_ids": np.broadcast_to(np.arange(shape[1]), shape),
    }
    known = absent | given
    lengths = given["attention_mask"].sum(axis=1)
    return [
        {name: known[name][row : row + 1, :length] for name in inputs}
        for row, length in enumerate(lengths)
    ]


def _manifest(
    exported: _Exported,
    directory: Path,
    variants: dict[str, Precision],
    similarity: dict[str, Precision],
    options: ExportOptions,
) -> Manifest:
    source, graph = exported.source, exported.network.graph.graph
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
        similarity=Similarity(
            source=exported.similarity.about,
            weight=exported.similarity.weight,
            output=VECTOR,
            precisions=similarity,
        )
        if exported.similarity
        else None,
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


def _entry(path: Path, directory: Path) -> FileEntry:
    return FileEntry(
        path=path.relative_to(directory).as_posix(), bytes=path.stat().st_size, sha256=sha256(path)
    )


def _versions() -> dict[str, str]:
    packages = ("fastrerank", "torch", "transformers", "optimum-onnx", "onnx", "onnxruntime")
    versions = {package: version(package) for package in (*packages, "tokenizers", "numpy")}
    return {"python": platform.python_version(), "machine": platform.machine(), **versions}
