"""A bundle's precisions measured against the original model, and judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fastrerank.errors import ParityError
from fastrerank.manifest import Golden, GoldenPair, Manifest, Parity
from fastrerank.reranker import Reranker

from .parity import Logits, PairSet, measure
from .sample_pairs import golden_pairs
from .steps import Steps

# How far a golden pair's logit may be off on another processor, in spreads (standard deviations) of
# the original's logits. fp32 sums in another order; int8 then rounds activations to other steps.
# Measured between AVX-512, AVX2 and SSE: export/README.md.
GOLDEN_TOLERANCE = {"fp32": 1e-3, "int8": 0.15}


def measured(
    manifest: Manifest, path: Path, pairs: PairSet, original: Logits, step: Steps
) -> Manifest:
    """Return the manifest, which lies at `path`, with parity and golden pairs of each precision.

    `original` holds the original model's logits of `pairs`.
    """
    parity: dict[str, Parity] = {}
    golden = [GoldenPair(query=q, document=d, logits={}) for q, d in golden_pairs()]
    for precision in manifest.precisions:
        with (
            step(f"score them with {precision}") as note,
            # As the original reads them: documents as a whole.
            Reranker(path, precision=precision, window=manifest.max_length) as reranker,
        ):
            logits = reranker.score(pairs.pairs, raw=True)
            parity[precision] = measure(original, logits, pairs, precision)
            note(str(parity[precision]))
            logits = reranker.score([(pair.query, pair.document) for pair in golden], raw=True)
            for pair, logit in zip(golden, logits, strict=True):
                pair.logits[precision] = round(float(logit), 6)
    spread = float(original.std())
    # Not below the digits that logits are stored with.
    tolerance = {
        name: max(round(GOLDEN_TOLERANCE[name] * spread, 6), 1e-5) for name in manifest.precisions
    }
    return replace(manifest, parity=parity, golden=Golden(pairs=golden, tolerance=tolerance))


def judge(
    manifest: Manifest, original: Logits, report: Callable[[str], None], *, allow_drift: bool
) -> None:
    """Refuse, or with `allow_drift` report, each precision that is beyond its limits.

    :raises ParityError: if one is.
    """
    for precision, parity in manifest.parity.items():
        if parity.within_thresholds:
            continue
        limits = ", ".join(f"{name} {limit:.3g}" for name, limit in parity.thresholds.items())
        message = (
            f"{precision} drifts from the original: {parity}; the original's logits have a spread"
            f" of {float(original.std()):.3g}; limits: {limits}"
        )
        if not allow_drift:
            raise ParityError(f"{message}. No bundle was written; --allow-drift writes it anyway")
        report(f"warning: {message} (kept, as --allow-drift says)")
