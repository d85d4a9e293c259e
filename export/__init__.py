"""From a Hugging Face cross-encoder to a bundle: ONNX, quantized, measured against the original.

Needs the extra `export`; nothing here is imported by the runtime.
"""

from fastrerank import telemetry

telemetry.silence_onnxruntime()  # before any module here imports ONNX Runtime
