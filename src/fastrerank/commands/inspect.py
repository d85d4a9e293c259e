"""`fastrerank inspect`: what is in a bundle."""

import argparse
import json
import sys
from dataclasses import asdict

from fastrerank.bundle import open_bundle
from fastrerank.manifest import Manifest, Segment, total_bytes
from fastrerank.plan import choose
from fastrerank.plan_store import stored_plans

from .terminal import check_output, printable

NAME = "inspect"
HELP = "print what is in a bundle, where it came from and how close it is to the original"
EXAMPLES = """examples:
  fastrerank inspect ./my-bundle
  fastrerank inspect           # the bundled model
  fastrerank inspect --json ./my-bundle | jq .parity
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this command."""
    parser.add_argument("bundle", nargs="?", help="path or name (default: the bundled model)")
    parser.add_argument("--json", action="store_true", help="the manifest itself")


def run(arguments: argparse.Namespace) -> int:
    """Print the manifest's facts and return 0."""
    check_output()
    manifest = open_bundle(arguments.bundle).manifest
    if arguments.json:
        print(json.dumps(asdict(manifest), indent=2))  # ASCII, for any pipe
        return 0
    choice = choose(manifest, tuned=stored_plans(manifest))
    facts = _facts(manifest) | {
        "runs here": f"{choice.plan.precision} on {choice.plan.runtime}: {choice.reason}"
    }
    for name, value in facts.items():
        print(f"{name:<16} {printable(value, sys.stdout)}")
    for precision, variant in manifest.precisions.items():
        print(f"\n{precision}: {total_bytes(manifest.networks(precision)) / 1e6:.1f} MB")
        note = printable(variant.pooled_position_note, sys.stdout)
        print(f"  last layer for the pooled position only: {note}")
        if parity := manifest.parity.get(precision):
            print(f"  against the original over {parity.pairs} pairs: {parity}")
            if not parity.within_thresholds:
                print(
                    f"  BEYOND ITS LIMITS {json.dumps(parity.thresholds)}: --allow-drift was used"
                )
    return 0


def _facts(manifest: Manifest) -> dict[str, str]:
    source = manifest.source
    return {
        "name": manifest.name,
        "family": manifest.family,
        "source": f"{source.name}, revision {source.revision or 'not stated'}",
        "licence": source.license or "not stated by the source",
        "max length": f"{manifest.max_length} tokens a pair",
        "window": f"{manifest.window} tokens: of a document of more than two the best one counts"
        if manifest.window
        else "none: documents are read as a whole",
        "pair": " ".join(_segment_text(segment) for segment in manifest.template),
        "inputs": ", ".join(manifest.inputs),
        "score": f"{manifest.activation} of {manifest.labels} label(s)",
        "similarity": _similarity(manifest),
        "made": manifest.created,
        "made with": ", ".join(f"{k} {v}" for k, v in manifest.made_with.items()),
    }


def _similarity(manifest: Manifest) -> str:
    if (found := manifest.similarity) is None:
        return "none: the cross-encoder's logit is the score's"
    return (
        f"the bi-encoder {found.source.name} ({found.source.license or 'licence not stated'}):"
        f" {found.weight:.3g} times its cosine is added to the cross-encoder's logit"
    )


def _segment_text(segment: Segment) -> str:
    return segment.part or "".join(f"<{token}>" for token in segment.ids)
