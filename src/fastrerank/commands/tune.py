"""`fastrerank tune`: the fastest plan for a bundle on this machine, measured and kept."""

import argparse
import sys

from fastrerank.bundle import open_bundle
from fastrerank.plan_store import store_plans
from fastrerank.tuning import tune

from .terminal import printable

NAME = "tune"
HELP = "measure how this machine scores a bundle fastest, and keep the plan for later loads"
EXAMPLES = """examples:
  fastrerank tune ./my-bundle
  fastrerank tune              # the bundled model

It takes under a minute, with large models a few. Let the machine be otherwise idle. The plan is
kept in the user's cache directory ($XDG_CACHE_HOME/fastrerank) for this bundle, processor and these
versions; delete it there to go back to the defaults.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this command."""
    parser.add_argument("bundle", nargs="?", help="path or name (default: the bundled model)")


def run(arguments: argparse.Namespace) -> int:
    """Print what was measured, keep it, and return 0.

    :raises BundleError: if the bundle cannot be loaded.
    """
    bundle = open_bundle(arguments.bundle)
    tuned = tune(bundle, lambda line: print(f"tune: {line}", file=sys.stderr))
    for entry in tuned:
        plan, speed = entry.plan, entry.documents_per_second
        print(
            f"{plan.precision} on {plan.runtime}: {speed:.0f} documents/s with {plan.threads}"
            f" threads, {plan.token_budget} tokens a batch, lengths to a multiple of"
            f" {plan.length_multiple}; {speed / entry.default_documents_per_second:.2f} times the"
            " default"
        )
    path = store_plans(bundle.manifest, [entry.plan for entry in tuned])
    print(f"kept in {printable(str(path), sys.stdout)}")
    return 0
