"""Arguments that several commands share: how a model is run."""

import argparse
import functools
from collections.abc import Callable

from fastrerank.reranker import Reranker


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare how a model is run; `model_loader` heeds it."""
    parser.add_argument("--precision", default="auto", help="one that the bundle holds")
    parser.add_argument("--runtime", default="auto", help="onnxruntime or openvino")
    parser.add_argument("--threads", type=int, help="threads that score at once (default: cores)")
    parser.add_argument(
        "--max-length", type=int, help="tokens of a pair that are read (default: the model's limit)"
    )
    parser.add_argument(
        "--window",
        type=int,
        help="score documents of more than two times so many tokens by their best part of so many"
        " (default: the bundle's)",
    )


def model_loader(arguments: argparse.Namespace) -> Callable[..., Reranker]:
    """Return what opens a bundle, by its path or name, as `add_model_arguments` declared."""
    return functools.partial(
        Reranker,
        precision=arguments.precision,
        runtime=arguments.runtime,
        threads=arguments.threads,
        max_length=arguments.max_length,
        window=arguments.window,
    )
