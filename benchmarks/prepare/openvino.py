"""openvino.py TARGET CALIBRATION: openvino/ in fp32 and int8, by sentence-transformers."""

import os
import sys

# Before the library is imported, which reads it: its dataset is a directory here.
os.environ["HF_DATASETS_OFFLINE"] = "1"

from sentence_transformers import CrossEncoder, export_static_quantized_openvino_model

target, calibration = sys.argv[1:]
encoder = CrossEncoder(
    target, backend="openvino", local_files_only=True, model_kwargs={"export": True}
)
encoder.save_pretrained(target)
export_static_quantized_openvino_model(
    encoder,
    quantization_config=None,
    model_name_or_path=target,
    dataset_name=calibration,
    dataset_config_name="default",
    dataset_split="train",
    column_name="pair",
)
