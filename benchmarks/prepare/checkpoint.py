"""checkpoint.py SOURCE TARGET: fp32 weights, ONNX and int8 ONNX, by sentence-transformers."""

import json
import shutil
import sys
from pathlib import Path

import torch
from sentence_transformers import CrossEncoder, export_dynamic_quantized_onnx_model
from transformers import AutoModelForSequenceClassification

source, target = Path(sys.argv[1]), Path(sys.argv[2])

# fp16 on disk would be loaded as such by some libraries, which processors are slow at.
model = AutoModelForSequenceClassification.from_pretrained(
    source, dtype=torch.float32, attn_implementation="eager", local_files_only=True
)
model.save_pretrained(target)
for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
    shutil.copyfile(source / name, target / name)

encoder = CrossEncoder(
    str(target),
    backend="onnx",
    local_files_only=True,
    model_kwargs={"provider": "CPUExecutionProvider", "export": True},
)
encoder.save_pretrained(str(target))
export_dynamic_quantized_onnx_model(encoder, "avx512_vnni", str(target))

# The tokenizer was saved with a cut at 128 tokens, which some libraries follow and others do not.
config_file, tokenizer_file = target / "tokenizer_config.json", target / "tokenizer.json"
config = json.loads(config_file.read_text())
for key in ("max_length", "stride", "truncation_strategy"):
    config.pop(key, None)
config_file.write_text(json.dumps(config, indent=2))
tokenizer = json.loads(tokenizer_file.read_text()) | {"truncation": None, "padding": None}
tokenizer_file.write_text(json.dumps(tokenizer, ensure_ascii=False))
