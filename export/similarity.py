"""The bi-encoder beside a cross-encoder, where the checkpoint states one: loaded, exported, asked.

`config.json` states it as `"similarity": {"folder": ..., "weight": ..., "name": ..., "license":
...}`: a folder of the checkpoint that holds an encoder whose mean over the tokens, scaled to length
1, is a text's vector. `weight` times the cosine of query and document is added to the logit.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch.nn import functional as F  # noqa: N812 - torch's own name for it
from transformers import (
    AutoConfig,
    AutoModel,
    BatchEncoding,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from fastrerank.bundle import sha256
from fastrerank.errors import ExportError
from fastrerank.manifest import Segment, Source

from .graph import Array
from .quiet import quiet
from .template import pair_template

VECTOR = "vector"


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarityModel:
    """A bi-encoder in torch, float32, in evaluation mode."""

    about: Source
    model: PreTrainedModel
    weight: float


def load_similarity(
    path: Path, config: PretrainedConfig, tokenizer: PreTrainedTokenizerFast
) -> SimilarityModel | None:
    """Return the bi-encoder that the checkpoint in `path` states, None if it states none.

    :raises ExportError: if it cannot be loaded, or pairs do not show where their document begins.
    """
    stated = getattr(config, "similarity", None)
    if stated is None:
        return None
    folder, weight = _checked(stated, path)
    _check_template(pair_template(tokenizer))
    if config.num_labels != 1:
        raise ExportError(f"similarity is for models of one label, not of {config.num_labels}")
    weights = sorted(folder.glob("*.safetensors"))
    try:
        with quiet():  # a pooler that is lacking or left over is none of the vector's
            model, report = AutoModel.from_pretrained(
                folder,
                config=AutoConfig.from_pretrained(folder, trust_remote_code=False),
                dtype=torch.float32,
                output_loading_info=True,
                trust_remote_code=False,
                use_safetensors=True,
            )
    except Exception as error:  # readers of weights and models raise anything
        raise ExportError(f"the bi-encoder in {folder} cannot be loaded: {error}") from error
    lacking = [name for name in report["missing_keys"] if not name.startswith("pooler.")]
    if lacking:
        raise ExportError(f"the bi-encoder in {folder} has no weights for {', '.join(lacking[:5])}")
    _check_reads_the_same(model, folder, config, tokenizer)
    stated_license = stated.get("license")
    if not isinstance(stated_license, str | None):
        raise ExportError(f"similarity has the license {stated_license!r}: pass one string")
    about = Source(
        name=str(stated.get("name") or folder.name),
        revision=None,
        license=stated_license,
        weights_sha256={file.name: sha256(file) for file in weights},
    )
    return SimilarityModel(about=about, model=model.eval(), weight=weight)


def _checked(stated: dict[str, Any], path: Path) -> tuple[Path, float]:
    try:
        folder, weight = path / stated["folder"], float(stated["weight"])
    except (KeyError, TypeError, ValueError) as error:
        raise ExportError(
            f'similarity is {stated!r:.200} in config.json: pass {{"folder": ..., "weight": ...}}'
        ) from error
    if not folder.resolve().is_relative_to(path.resolve()) or not folder.is_dir():
        raise ExportError(f"similarity names the folder {stated['folder']!r}: {path} has none such")
    if not np.isfinite(weight):
        raise ExportError(f"similarity has the weight {weight}: pass a finite number")
    return folder, weight


def _check_reads_the_same(
    model: PreTrainedModel,
    folder: Path,
    config: PretrainedConfig,
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    """Refuse an encoder that cannot read the cross-encoder's tokens, or so many of them."""
    fault = ""
    if "token_type_ids" not in inspect.signature(model.forward).parameters:
        fault = f"is a {model.config.model_type}, which reads no token types: pass a BERT"
    elif model.config.vocab_size < len(tokenizer):
        fault = f"knows {model.config.vocab_size} tokens, the tokenizer has {len(tokenizer)}"
    elif (reads := _positions(model.config)) < _positions(config):
        fault = f"reads {reads} tokens, the cross-encoder {_positions(config)}"
    if fault:
        raise ExportError(f"the bi-encoder in {folder} {fault}")


def _positions(config: PretrainedConfig) -> int:
    return getattr(config, "max_position_embeddings", 0)


def _check_template(template: Sequence[Segment]) -> None:
    """Refuse pairs that do not read as [CLS] query [SEP] (type 0) document [SEP] (type 1)."""
    parts = [(segment.part or len(segment.ids), segment.type_id) for segment in template]
    if parts != [(1, 0), ("query", 0), (1, 0), ("document", 1), (1, 1)]:
        raise ExportError(
            "similarity needs pairs of the form [CLS] query [SEP] document [SEP] whose token types"
            f" tell the two apart; this tokenizer makes {parts}"
        )


def add_mean_of_tokens(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the encoder with the unit vector of each text as its only output.

    The sum over the tokens has the direction of their mean.
    """
    graph = model.graph
    states = graph.output[0].name
    axis = helper.make_tensor("vector/tokens", TensorProto.INT64, [1], [1])
    last = helper.make_tensor("vector/last", TensorProto.INT64, [1], [-1])
    graph.initializer.extend([axis, last])
    graph.node.extend(
        [
            helper.make_node("Cast", ["attention_mask"], ["vector/mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["vector/mask", "vector/last"], ["vector/counted"]),
            helper.make_node("Mul", [states, "vector/counted"], ["vector/kept"]),
            helper.make_node(
                "ReduceSum", ["vector/kept", "vector/tokens"], ["vector/sum"], keepdims=0
            ),
            helper.make_node("ReduceL2", ["vector/sum", "vector/last"], ["vector/length"]),
            helper.make_node("Div", ["vector/sum", "vector/length"], [VECTOR]),
        ]
    )
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(VECTOR, TensorProto.FLOAT, ["batch", None]))
    return model


def texts_of(pairs: Mapping[str, Any]) -> list[tuple[Array, Array]]:
    """Return the ids of query and document of each pair, as texts of their own."""
    found: list[tuple[Array, Array]] = []
    rows = (np.asarray(pairs[name]) for name in ("input_ids", "token_type_ids", "attention_mask"))
    for ids, types, mask in zip(*rows, strict=True):
        kept, kinds = ids[mask == 1], types[mask == 1]
        found.append((kept[kinds == 0], np.concatenate([kept[:1], kept[kinds == 1]])))
    return found


def inputs_of(ids: Array) -> dict[str, Array]:
    """Return the graph's inputs for one text, int64 [1, length]."""
    row = ids[np.newaxis]
    return {"input_ids": row, "attention_mask": np.ones_like(row), "token_type_ids": 0 * row}


def original_cosines(similarity: SimilarityModel, pairs: BatchEncoding) -> Array:
    """Return the cosine of query and document of each pair in torch, float32 [pairs]."""
    known: dict[bytes, torch.Tensor] = {}

    def vector(ids: Array) -> torch.Tensor:
        if ids.tobytes() not in known:
            inputs = {name: torch.from_numpy(row) for name, row in inputs_of(ids).items()}
            with torch.inference_mode():
                states = similarity.model(**inputs).last_hidden_state[0]
            known[ids.tobytes()] = F.normalize(states.mean(dim=0), dim=0)
        return known[ids.tobytes()]

    cosines = [float(vector(query) @ vector(document)) for query, document in texts_of(pairs)]
    return np.array(cosines, dtype=np.float32)
