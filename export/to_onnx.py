"""A torch cross-encoder to fp32 ONNX, through optimum."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
from optimum.exporters.onnx import onnx_export_from_model
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from fastrerank.errors import ExportError

from .quiet import quiet

# 20 is the first with Gelu as one operator; ONNX Runtime and OpenVINO both know it.
OPSET = 20


def export_onnx(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, task: str
) -> onnx.ModelProto:
    """Return the model as fp32 ONNX for one of optimum's tasks, batch and length dynamic.

    optimum's own comparison is left out: the parity gate scores real pairs afterwards.

    :raises ExportError: if optimum cannot export this architecture.
    """
    with tempfile.TemporaryDirectory() as directory:
        try:
            with quiet():
                onnx_export_from_model(
                    model,
                    Path(directory),
                    task=task,
                    opset=OPSET,
                    do_validation=False,
                    no_post_process=True,
                    preprocessors=[tokenizer],
                )
        except Exception as error:  # exporter, tracer and checker errors share no base class
            raise ExportError(
                f"optimum cannot export this {model.config.model_type} model: {error}"
            ) from error
        return onnx.load(Path(directory) / "model.onnx")
