"""Small checkpoints with random weights, and their export."""

from pathlib import Path

import torch
from fastrerank.export.options import ExportOptions
from fastrerank.export.pipeline import export_bundle
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    BertTokenizerFast,
)

from fastrerank.bundle import open_bundle

TOKENIZER = open_bundle().path / "tokenizer.json"
SMALL = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "max_position_embeddings": 64,
}


def save_checkpoint(directory: Path, kind=BertForSequenceClassification, labels=1, **config):
    torch.manual_seed(7)
    settings = BertConfig(vocab_size=30522, num_labels=labels, **{**SMALL, **config})
    model = kind(settings)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("weight") and weight.ndim == 2:
                weight.normal_(std=0.15)  # logits that differ between pairs
    model.save_pretrained(directory)
    BertTokenizerFast(tokenizer_file=str(TOKENIZER)).save_pretrained(directory)
    return directory


def save_family(directory: Path, family: str, **config) -> Path:
    settings = AutoConfig.for_model(family, vocab_size=30522, num_labels=1, **SMALL, **config)
    torch.manual_seed(3)
    AutoModelForSequenceClassification.from_config(settings).save_pretrained(directory)
    names = ["input_ids", "attention_mask"]
    tokenizer = BertTokenizerFast(tokenizer_file=str(TOKENIZER), model_input_names=names)
    tokenizer.save_pretrained(directory)
    return directory


def export(source: Path, output: Path, **options) -> list[str]:
    lines: list[str] = []
    export_bundle(str(source), output, ExportOptions(**options), report=lines.append)
    return lines
