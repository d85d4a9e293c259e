"""`fastrerank verify`: a bundle proved intact, and scoring as it did where it was made."""

import argparse
import sys

import numpy as np

from fastrerank.bundle import Bundle, open_bundle
from fastrerank.errors import BundleIntegrityError
from fastrerank.manifest import Golden
from fastrerank.reranker import Reranker

from .terminal import printable

NAME = "verify"
HELP = "check every file of a bundle by its hash and score its golden pairs"
EXAMPLES = """examples:
  fastrerank verify ./my-bundle
  fastrerank verify            # the bundled model
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this command."""
    parser.add_argument("bundle", nargs="?", help="path or name (default: the bundled model)")


def run(arguments: argparse.Namespace) -> int:
    """Print what was proved and return 0; 1 if a golden pair scores differently.

    :raises BundleError: if a file is missing or changed.
    """
    bundle = open_bundle(arguments.bundle)
    manifest = bundle.manifest
    for entry in manifest.files():
        bundle.verified(entry)
        path = printable(entry.path, sys.stdout)
        print(f"ok    {path}  {entry.bytes:,} bytes  sha256 {entry.sha256[:16]}...")
    if manifest.golden is None:
        print("no golden pairs in the manifest: scores were not checked")
        return 0
    matches = [_scores_match(bundle, p, manifest.golden) for p in manifest.precisions]
    return 0 if all(matches) else 1


def _scores_match(bundle: Bundle, precision: str, golden: Golden) -> bool:
    pairs = [(pair.query, pair.document) for pair in golden.pairs]
    try:
        expected = np.array([pair.logits[precision] for pair in golden.pairs])
        tolerance = golden.tolerance[precision]
    except KeyError as error:
        raise BundleIntegrityError(f"the manifest has no golden logits for {error}") from error
    # The golden logits are ONNX Runtime's, of whole documents.
    with Reranker(
        bundle.manifest_path,
        precision=precision,
        runtime="onnxruntime",
        window=bundle.manifest.max_length,
    ) as reranker:
        logits = reranker.score(pairs, raw=True)
    largest = float(np.abs(logits - expected).max())
    passed = largest <= tolerance
    print(
        f"{'ok   ' if passed else 'WRONG'} {precision}: {len(pairs)} golden pairs, logits differ by"
        f" {largest:.2g} at most (allowed: {tolerance:g})"
    )
    return passed
