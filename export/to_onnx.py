"""A torch cross-encoder to fp32 ONNX, through optimum."""

from __future__ import annotations

import logging
import tempfile
import warnings
from pathlib import Path

import onnx
from optimum.exporters.onnx import onnx_export_from_model

from fastrerank.errors import ExportError

from .source import SourceModel

# 17 is the first with LayerNormalization; ONNX Runtime, OpenVINO and optimum all know it.
OPSET = 17


def export_onnx(source: SourceModel) -> onnx.ModelProto:
    """Return the model as fp32 ONNX, batch and length dynamic.

    optimum's own comparison is left out: the parity gate scores real pairs afterwards.

    :raises ExportError: if optimum cannot export this architecture.
    """
    loggers = [logging.getLogger(name) for name in ("optimum", "transformers", "torch.onnx")]
    levels = [logger.level for logger in loggers]
    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
        # Tracer warnings name lines of transformers; what they could break the gate measures.
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            onnx_export_from_model(
                source.model,
                Path(directory),
                task="text-classification",
                opset=OPSET,
                do_validation=False,
                no_post_process=True,
                preprocessors=[source.tokenizer],
            )
        except Exception as error:  # exporter, tracer and checker errors share no base class
            raise ExportError(f"optimum cannot export {source.about.name}: {error}") from error
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
        return onnx.load(Path(directory) / "model.onnx")
