"""sentence-transformers' CrossEncoder on torch, onnx and openvino."""

from collections.abc import Sequence
from typing import Any

import torch
from sentence_transformers import CrossEncoder


class SentenceTransformers:
    """`predict` with its own batch size; the logits are asked for in place of the sigmoid."""

    def __init__(self, model_dir: str, backend: str, model_kwargs: dict[str, Any]) -> None:
        self.model = CrossEncoder(
            model_dir,
            device="cpu",
            local_files_only=True,
            backend=backend,
            model_kwargs=model_kwargs,
            activation_fn=torch.nn.Identity(),
        )

    def score(self, query: str, documents: Sequence[str]) -> list[float]:
        """Return the logit of each document."""
        pairs = [(query, document) for document in documents]
        scores = self.model.predict(pairs, show_progress_bar=False, convert_to_tensor=True)
        return scores.float().tolist()


def load(
    model_dir: str, threads: int, backend: str, dtype: str = "", file: str = ""
) -> SentenceTransformers:
    """Return the cross-encoder on this backend, from the directory's own files."""
    torch.set_num_threads(threads)
    if backend == "torch":
        kwargs: dict[str, Any] = {"torch_dtype": getattr(torch, dtype)}
    elif backend == "onnx":
        import onnxruntime

        session_options = onnxruntime.SessionOptions()
        session_options.intra_op_num_threads = threads
        kwargs = {
            "file_name": file,
            "provider": "CPUExecutionProvider",
            "session_options": session_options,
        }
    else:
        kwargs = {"file_name": file, "ov_config": {"INFERENCE_NUM_THREADS": str(threads)}}
    return SentenceTransformers(model_dir, backend, kwargs)
