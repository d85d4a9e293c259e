"""The model to be exported: found, loaded in torch, and refused where it is no cross-encoder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from fastrerank.bundle import sha256
from fastrerank.errors import ExportError
from fastrerank.manifest import Source

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceModel:
    """A cross-encoder in torch, float32, in evaluation mode, with its tokenizer."""

    path: Path
    about: Source
    config: PretrainedConfig
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast

    @property
    def max_length(self) -> int:
        """The tokens of a pair that the model can read: positions and tokenizer both allow them."""
        positions = getattr(self.config, "max_position_embeddings", None) or 512
        if self.config.model_type == "mpnet":
            positions -= 2  # whatever its padding id
        elif self.config.model_type in _POSITIONS_AFTER_PADDING:
            positions -= (self.config.pad_token_id or 0) + 1
        rope = getattr(self.config, "rope_scaling", None) or {}
        if "longrope" in (rope.get("rope_type"), rope.get("type")):
            # Beyond these, other frequencies are taken; a graph holds those of short texts.
            short = getattr(self.config, "original_max_position_embeddings", None)
            positions = rope.get("original_max_position_embeddings") or short or positions
        # Tokenizers without a limit state one of 1e30.
        return int(min(positions, self.tokenizer.model_max_length))


# Their position numbers start behind the padding id: padding id + 1 positions are never used.
_POSITIONS_AFTER_PADDING = (
    *("roberta", "xlm-roberta", "xlm-roberta-xl", "roberta-prelayernorm", "camembert"),
    *("data2vec-text", "esm", "ibert", "longformer", "xmod"),
)


def load_source(
    source: str, *, revision: str | None = None, license_name: str | None = None
) -> SourceModel:
    """Return the cross-encoder in a local directory, or that of a hub id where there is a network.

    :raises ExportError: if there is none, or it lacks weights, a tokenizer, or a ranking head.
    """
    path, revision = _local(source, revision)
    config = _config(path, source)
    _check_head(config, source)
    _check_family(config, source)
    weights = sorted(file for pattern in _WEIGHTS for file in path.glob(pattern))
    if not weights:
        raise ExportError(f"{source} has no weights: none of {', '.join(_WEIGHTS)} is in {path}")
    tokenizer = _tokenizer(path, source)
    # Decoders look for it to find the last token: it has to be the one that pairs are padded with.
    # Others count positions from it, as they were trained.
    if config.model_type not in _POSITIONS_AFTER_PADDING or config.pad_token_id is None:
        config.pad_token_id = tokenizer.pad_token_id
    try:
        model, report = AutoModelForSequenceClassification.from_pretrained(
            path,
            config=config,
            dtype=torch.float32,
            output_loading_info=True,
            trust_remote_code=False,
        )
    except Exception as error:  # readers of weights and models raise anything
        raise ExportError(
            f"{source} cannot be loaded, {', '.join(file.name for file in weights)} and config.json"
            f" may be damaged or cut short: {type(error).__name__}: {error}"
        ) from error
    if report["missing_keys"]:
        raise ExportError(
            f"{source} has no weights for {', '.join(sorted(report['missing_keys'])[:5])}:"
            " its head was never trained; pass a model that was fine-tuned to rank"
        )
    about = Source(
        name=source if not Path(source).is_dir() else path.resolve().name,
        revision=revision,
        license=license_name or _stated_license(path),
        weights_sha256={file.name: sha256(file) for file in weights},
    )
    return SourceModel(
        path=path, about=about, config=config, model=model.eval(), tokenizer=tokenizer
    )


def _local(source: str, revision: str | None) -> tuple[Path, str | None]:
    """Return the directory of `source`, downloaded if it is a hub id, and its revision."""
    path = Path(source)
    if path.is_dir():
        if revision is not None:
            raise ExportError(f"{source} is a directory: --revision is for hub ids")
        return path, None
    if path.exists() or source.startswith((".", "/")) or source.count("/") > 1:
        raise ExportError(f"{source} is no directory and no hub id: pass one of them")
    from huggingface_hub import snapshot_download

    try:
        snapshot = Path(
            snapshot_download(
                source,
                revision=revision,
                allow_patterns=["*.json", "*.txt", "*.model", "README.md", *_WEIGHTS],
            )
        )
    except Exception as error:  # hub, network and cache errors share no base class
        raise ExportError(
            f"there is no directory {source!r}, and the hub gives no model of that name: {error}"
        ) from error
    return snapshot, snapshot.name  # the hub's cache names a snapshot by its commit


def _config(path: Path, source: str) -> PretrainedConfig:
    if not (path / "config.json").is_file():
        raise ExportError(f"{source} is no model: there is no config.json in {path}")
    try:
        return AutoConfig.from_pretrained(path, trust_remote_code=False)
    except Exception as error:  # it raises whatever its content leads to
        raise ExportError(f"{source} has no usable config.json: {error}") from error


def _check_head(config: PretrainedConfig, source: str) -> None:
    architecture = (config.architectures or ["no architecture"])[0]
    if not architecture.endswith("ForSequenceClassification"):
        raise ExportError(
            f"{source} is {architecture}: a ranking head is a ...ForSequenceClassification with"
            " one or two labels"
        )
    if config.num_labels not in (1, 2):
        raise ExportError(
            f"{source} has {config.num_labels} labels"
            f" ({', '.join(map(str, (config.id2label or {}).values()))}):"
            " a ranking head has one, or two of which one means relevant"
        )


def _check_family(config: PretrainedConfig, source: str) -> None:
    """Refuse what a graph of single pairs, padded to a batch, cannot be."""
    if config.is_encoder_decoder:
        raise ExportError(
            f"{source} is an encoder-decoder ({config.model_type}): it reads its score where its"
            " end token stands, which a document may hold too; pass an encoder or a decoder"
        )
    if getattr(config, "attention_type", None) == "block_sparse":
        raise ExportError(
            f"{source} looks at blocks of long texts only, which no graph does: set"
            ' "attention_type" to "original_full" in its config.json to export it with whole'
            " attention"
        )


def _tokenizer(path: Path, source: str) -> PreTrainedTokenizerFast:
    if not any(path.glob("tokenizer*")) and not any(path.glob("vocab*")):
        raise ExportError(f"{source} has no tokenizer: no tokenizer.json or vocab file in {path}")
    _check_tokenizer_files(path, source)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, use_fast=True, trust_remote_code=False)
    except Exception as error:  # a tokenizer's readers raise anything
        raise ExportError(f"{source} has no usable tokenizer: {error}") from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ExportError(
            f"{source} has a {type(tokenizer).__name__} without a tokenizer.json: convert it to a"
            " fast tokenizer with transformers first"
        )
    if tokenizer.pad_token_id is None:
        raise ExportError(
            f'{source} has a tokenizer without a padding token: name one as "pad_token" in its'
            " tokenizer_config.json"
        )
    tokenizer.truncation_side = "right"  # as the runtime cuts
    return tokenizer


def _check_tokenizer_files(path: Path, source: str) -> None:
    """Refuse a tokenizer made of a file of this machine, which would be copied into the bundle."""
    try:
        stated = json.loads((path / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return  # absent, or for transformers to complain of
    for key, name in stated.items() if isinstance(stated, dict) else ():
        if not key.endswith("_file") or not isinstance(name, str) or not Path(name).is_file():
            continue
        if not Path(name).resolve().is_relative_to(path.resolve()):
            raise ExportError(
                f"{source} names {name!r} as {key} in its tokenizer_config.json, a file of this"
                " machine: remove that line"
            )


def _stated_license(path: Path) -> str | None:
    """Return the licence in the front matter of the model card, None if there is none."""
    card = path / "README.md"
    if not card.is_file():
        return None
    from huggingface_hub import metadata_load

    try:
        license_name = (metadata_load(card) or {}).get("license")
    except Exception:  # front matter that is no YAML, or no mapping
        return None
    # Nothing else is written out: YAML can make gigabytes of a few references to one another.
    names = license_name if isinstance(license_name, list) else [license_name]
    return ", ".join(name for name in names if isinstance(name, str)) or None
