"""fastembed's TextCrossEncoder, with a model of one's own."""

from collections.abc import Sequence

from fastembed.common.model_description import ModelSource
from fastembed.rerank.cross_encoder import TextCrossEncoder

NAME = "local/benchmark"


class FastEmbed:
    """`rerank` with its own batch size."""

    def __init__(self, model_dir: str, threads: int, file: str) -> None:
        TextCrossEncoder.add_custom_model(model=NAME, sources=ModelSource(hf=NAME), model_file=file)
        self.model = TextCrossEncoder(
            NAME,
            threads=threads,
            providers=["CPUExecutionProvider"],
            specific_model_path=model_dir,
        )

    def score(self, query: str, documents: Sequence[str]) -> list[float]:
        """Return the logit of each document."""
        return [float(score) for score in self.model.rerank(query, documents)]


def load(model_dir: str, threads: int, file: str) -> FastEmbed:
    """Return the cross-encoder of this ONNX file."""
    return FastEmbed(model_dir, threads, file)
