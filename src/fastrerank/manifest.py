"""`fastrerank.json`: all that the runtime needs to know of a model, written by the export."""

import dataclasses
import json
import types
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from .errors import BundleFormatError

MANIFEST_NAME = "fastrerank.json"
FORMAT = 1
PRECISIONS = ("fp32", "int8")
_MOST = 1 << 31  # numbers in a manifest are below: int64 holds them, and all that is made of them


def manifest_name(model: str) -> str:
    """Return the manifest's file name of one of several models in a directory."""
    return f"{model}.{MANIFEST_NAME}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """A file of the bundle: its path inside it, with /, its size in bytes and its SHA-256."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One piece of a pair, in order: fixed token `ids`, or a `part` that the caller fills.

    `type_id` is the token type of its tokens.
    """

    part: Literal["query", "document"] | None = None
    ids: list[int] = field(default_factory=list)
    type_id: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """One variant of the weights.

    `graph` takes any batch. `one_pair_graph`, where there is one, is the same function for ONNX
    Runtime and runs of one pair without padding. Both read their weights from `data`.
    `batch_invariant` says whether a pair scores the same in any batch; where it does not (dynamic
    int8: one activation range for the whole batch) the runtime gives every pair a run of its own.
    """

    graph: FileEntry
    one_pair_graph: FileEntry | None
    data: list[FileEntry]
    batch_invariant: bool
    pooled_position_only: bool
    pooled_position_note: str

    def files(self) -> list[FileEntry]:
        """Return the files of this precision."""
        graphs = [self.graph] if self.one_pair_graph is None else [self.graph, self.one_pair_graph]
        return [*graphs, *self.data]


def total_bytes(networks: Iterable[Precision]) -> int:
    """Return the size of the files of networks, what they share counted once."""
    sizes = {entry.path: entry.bytes for network in networks for entry in network.files()}
    return sum(sizes.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How far a precision's logits are from the original model's, over `pairs` pairs.

    `within_thresholds` is False only for a bundle that was made with --allow-drift.
    """

    pairs: int
    max_logit_difference: float
    mean_logit_difference: float
    spearman: float
    top10_overlap: float
    thresholds: dict[str, float]
    within_thresholds: bool

    def __str__(self) -> str:
        return (
            f"logits differ by {self.max_logit_difference:.2g} at most,"
            f" {self.mean_logit_difference:.2g} on average; Spearman {self.spearman:.4f},"
            f" top-10 overlap {self.top10_overlap:.3f}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenPair:
    """A pair and its logits by precision, as the machine that exported the bundle scored it."""

    query: str
    document: str
    logits: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """Pairs to prove a bundle with; `tolerance` is in logits, by precision, for any processor."""

    pairs: list[GoldenPair]
    tolerance: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the model came from; what is not known is None."""

    name: str
    revision: str | None
    license: str | None
    weights_sha256: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Similarity:
    """A bi-encoder whose cosine of query and document, times `weight`, is added to the logit.

    Its graphs return unit vectors of texts. It reads what the pair holds: the tokens of type 0 are
    the query's, special ones included; those of type 1, behind the pair's first token, the
    document's.
    """

    source: Source
    weight: float
    output: str
    precisions: dict[str, Precision]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The facts of one bundle.

    `max_length` counts the tokens of a pair, special tokens included. A document of more than two
    times `window` tokens is scored by its best window; with None, documents are read as a whole.
    `template` says how a pair is joined. `activation` turns outputs into 0-1: "sigmoid" of one
    label, or "softmax" of two, of which `label_column` is the relevant one. With `similarity`, the
    logit of a pair is the sum of what two networks say.
    """

    name: str
    family: str
    source: Source
    inputs: list[str]
    output: str
    max_length: int
    pad_id: int
    special_tokens: dict[str, str]
    template: list[Segment]
    labels: int
    label_column: int
    activation: Literal["sigmoid", "softmax"]
    tokenizer: FileEntry
    precisions: dict[str, Precision]
    made_with: dict[str, str]
    created: str
    window: int | None = None
    similarity: Similarity | None = None
    parity: dict[str, Parity] = field(default_factory=dict)
    golden: Golden | None = None
    other_files: list[FileEntry] = field(default_factory=list)
    format: int = FORMAT

    def files(self) -> list[FileEntry]:
        """Return every file that the manifest vouches for, once."""
        networks = [network for name in self.precisions for network in self.networks(name)]
        weights = [entry for network in networks for entry in network.files()]
        return list(dict.fromkeys([self.tokenizer, *weights, *self.other_files]))

    def networks(self, precision: str) -> list[Precision]:
        """Return what is run in a precision: the cross-encoder, and the bi-encoder if any."""
        beside = [self.similarity.precisions[precision]] if self.similarity else []
        return [self.precisions[precision], *beside]

    def to_json(self) -> str:
        """Return the text of `fastrerank.json`; `from_json` is its mirror."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Return the manifest that `text` states.

        :raises BundleFormatError: if it is not JSON, of a newer format, or lacks or misstates a
            field; the message names it.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BundleFormatError(f"{MANIFEST_NAME} is not JSON: {error}") from error
        found = data.get("format") if isinstance(data, dict) else None
        if isinstance(found, int) and found > FORMAT:
            raise BundleFormatError(
                f"{MANIFEST_NAME} has format {found}, this version reads up to {FORMAT}:"
                " pip install --upgrade fastrerank"
            )
        manifest: Manifest = _parse(cls, data, MANIFEST_NAME)
        _check(manifest)
        return manifest


def _check(manifest: Manifest) -> None:
    """Raise BundleFormatError where fields that parse alone contradict each other."""
    parts = [segment.part for segment in manifest.template if segment.part]
    types = [segment.type_id for segment in manifest.template]
    ids = [token for segment in manifest.template for token in segment.ids]
    first_output = manifest.labels == 1 and manifest.label_column == 0
    two_outputs = manifest.labels == 2 and manifest.label_column in (0, 1)
    faults = {
        f"format is {manifest.format}": manifest.format != FORMAT,
        f"precisions are {', '.join(manifest.precisions) or 'none'}": (
            not manifest.precisions or not manifest.precisions.keys() <= {*PRECISIONS}
        ),
        "golden.pairs is empty": manifest.golden is not None and not manifest.golden.pairs,
        "inputs is empty": not manifest.inputs,
        "a number is out of range": not all(
            0 <= number < _MOST for number in (manifest.max_length, manifest.pad_id, *types, *ids)
        ),
        "template needs one query and one document": sorted(parts) != ["document", "query"],
        f"labels is {manifest.labels} with label_column {manifest.label_column}": not (
            first_output or two_outputs
        ),
        f"max_length is {manifest.max_length}, of which special tokens take {len(ids)}": (
            manifest.max_length < len(ids) + 2
        ),
        f"window is {manifest.window}": manifest.window is not None and manifest.window < 1,
    }
    for fault, present in (faults | _similarity_faults(manifest)).items():
        if present:
            raise BundleFormatError(f"{MANIFEST_NAME}: {fault}: export the model again")


def _similarity_faults(manifest: Manifest) -> dict[str, bool]:
    similarity = manifest.similarity
    if similarity is None:
        return {}
    lacking = sorted({"input_ids", "attention_mask", "token_type_ids"} - set(manifest.inputs))
    return {
        f"similarity.weight is {similarity.weight}": not abs(similarity.weight) < _MOST,
        f"similarity has the precisions {', '.join(similarity.precisions)}": (
            similarity.precisions.keys() != manifest.precisions.keys()
        ),
        f"similarity with {manifest.labels} labels": manifest.labels != 1,
        f"similarity without the input {', '.join(lacking)}": bool(lacking),
    }


def _parse(kind: Any, data: Any, where: str) -> Any:
    """Return `data`, plain JSON, as a `kind`: a dataclass, list, dict, union, literal or scalar."""
    if dataclasses.is_dataclass(kind):
        return _parse_dataclass(kind, data, where)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is list and isinstance(data, list):
        return [_parse(arguments[0], value, f"{where}[{i}]") for i, value in enumerate(data)]
    if origin is dict and isinstance(data, dict):
        return {key: _parse(arguments[1], value, f"{where}.{key}") for key, value in data.items()}
    if origin in (Union, types.UnionType):
        return None if data is None else _parse(arguments[0], data, where)
    if origin is Literal and data in arguments:
        return data
    if kind is float and type(data) is int and abs(data) < _MOST:
        return float(data)
    if origin is None and type(data) is kind:
        return data
    raise BundleFormatError(f"{where} is {str(data)[:60]!r}, expected {kind}: export it again")


def _parse_dataclass(kind: Any, data: Any, where: str) -> Any:
    if not isinstance(data, dict):
        raise BundleFormatError(f"{where} is no JSON object: export it again")
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for item in dataclasses.fields(kind):
        if item.name in data:
            values[item.name] = _parse(hints[item.name], data[item.name], f"{where}.{item.name}")
        elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            raise BundleFormatError(f"{where} has no {item.name!r}: export it again")
    return kind(**values)
