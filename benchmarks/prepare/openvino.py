"""openvino.py TARGET: adds openvino/ to a checkpoint, by sentence-transformers."""

import sys

from sentence_transformers import CrossEncoder

CrossEncoder(
    sys.argv[1], backend="openvino", local_files_only=True, model_kwargs={"export": True}
).save_pretrained(sys.argv[1])
