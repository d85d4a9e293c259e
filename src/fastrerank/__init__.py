"""Rerank documents for a query inside your own process: quantized ONNX cross-encoders on CPU."""

from .errors import (
    BundleError,
    BundleFormatError,
    BundleIntegrityError,
    BundleNotFoundError,
    ClosedError,
    ExportError,
    FastRerankError,
    InferenceError,
    InvalidRequestError,
    MissingExtraError,
    ParityError,
)
from .request import RerankRequest
from .reranker import Reranker
from .response import RerankResponse, RerankResult, Usage

__version__ = "0.1.0"

__all__ = [
    "BundleError",
    "BundleFormatError",
    "BundleIntegrityError",
    "BundleNotFoundError",
    "ClosedError",
    "ExportError",
    "FastRerankError",
    "InferenceError",
    "InvalidRequestError",
    "MissingExtraError",
    "ParityError",
    "RerankRequest",
    "RerankResponse",
    "RerankResult",
    "Reranker",
    "Usage",
]
