"""The bi-encoder beside a model, as the bundle adds it: its cosine of query and text."""

from collections.abc import Sequence

import numpy as np

from . import tokens
from .mine import embed
from .model import Packed, base_folder, load

TextPair = tuple[np.ndarray, np.ndarray]  # ids of a query and of a text, without special tokens


class Similarity:
    """`weight` times the cosine of the start's vectors."""

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self._encoder = Packed(load(base_folder()))

    def __call__(self, pairs: Sequence[TextPair]) -> np.ndarray:
        """Return what is added to the logit of each pair, float32 [pairs]."""
        queries, texts = (self._vectors([pair[part] for pair in pairs]) for part in (0, 1))
        return self.weight * np.einsum("ij,ij->i", queries, texts)

    def _vectors(self, texts: Sequence[np.ndarray]) -> np.ndarray:
        """Return unit vectors, float32 [texts, hidden]; of equal texts made once."""
        rows = {text.tobytes(): text for text in texts}
        place = {content: row for row, content in enumerate(rows)}
        vectors = embed(self._encoder, tokens.TokenIds.of(list(rows.values())))
        return vectors.astype(np.float32)[[place[text.tobytes()] for text in texts]]
