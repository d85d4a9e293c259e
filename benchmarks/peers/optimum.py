"""optimum's ORTModelForSequenceClassification, in the batches that its users write."""

from collections.abc import Sequence

import onnxruntime
import torch
from optimum.onnxruntime import ORTModelForSequenceClassification
from transformers import AutoTokenizer

BATCH = 32  # optimum has no batches of its own; this is the size of sentence-transformers


class Optimum:
    """Tokenizer and model, batch by batch, in the order of arrival."""

    def __init__(self, model_dir: str, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.tokenizer = AutoTokenizer.from_pretrained(model_dir, local_files_only=True)
        self.model = ORTModelForSequenceClassification.from_pretrained(
            model_dir,
            subfolder="onnx",
            file_name="model.onnx",
            local_files_only=True,
            provider="CPUExecutionProvider",
            session_options=options,
        )

    def score(self, query: str, documents: Sequence[str]) -> list[float]:
        """Return the logit of each document."""
        scores: list[float] = []
        for start in range(0, len(documents), BATCH):
            part = list(documents[start : start + BATCH])
            inputs = self.tokenizer(
                [query] * len(part), part, padding=True, truncation=True, return_tensors="pt"
            )
            with torch.inference_mode():
                scores += self.model(**inputs).logits[:, 0].tolist()
        return scores


def load(model_dir: str, threads: int) -> Optimum:
    """Return the model of the directory's onnx/model.onnx."""
    torch.set_num_threads(threads)
    return Optimum(model_dir, threads)
