"""`fastrerank export`: a Hugging Face cross-encoder becomes a bundle."""

import argparse
import signal
import sys
from pathlib import Path

from fastrerank.errors import MissingExtraError
from fastrerank.manifest import PRECISIONS

NAME = "export"
HELP = "turn a Hugging Face cross-encoder into a bundle of quantized ONNX"
EXAMPLES = """examples:
  fastrerank export ./my-cross-encoder ./my-bundle
  fastrerank export cross-encoder/ms-marco-MiniLM-L6-v2 ./minilm --license apache-2.0
  fastrerank export ./my-cross-encoder ./my-bundle --precision int8 --calibration pairs.jsonl

Every precision is compared with the original model, on pairs that come with fastrerank and on
those of --calibration (lines of {"query": "...", "documents": ["...", ...]}). One that drifts
beyond the limits fails the export with status 1, and nothing is left behind.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this command."""
    parser.add_argument("source", help="directory of the model, or a hub id")
    parser.add_argument("output", type=Path, help="directory of the bundle, to be made")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        action="append",
        help="write this one only (may be repeated; default: both)",
    )
    parser.add_argument("--name", help="name of the model in answers (default: the source's)")
    parser.add_argument("--revision", help="branch, tag or commit of a hub id")
    parser.add_argument("--license", help="licence of the weights, where the source states none")
    parser.add_argument("--max-length", type=int, help="tokens of a pair, at most the model's")
    parser.add_argument(
        "--window",
        type=int,
        help="tokens; documents of more than two windows count as their best one"
        " (default: document_window in the source's config.json, else as a whole)",
    )
    parser.add_argument("--label-column", type=int, help="of two labels, the relevant one (1)")
    parser.add_argument("--calibration", type=Path, help="pairs of your own to measure on, JSONL")
    parser.add_argument("--allow-drift", action="store_true", help="write it beyond the limits too")
    parser.add_argument(
        "--add",
        metavar="NAME",
        help="add the model as NAME to those in the output directory, sharing what is the same",
    )
    parser.add_argument("--force", action="store_true", help="replace an existing bundle")


def run(arguments: argparse.Namespace) -> int:
    """Write the bundle and return 0."""
    try:
        from fastrerank.export.options import ExportOptions
        from fastrerank.export.pipeline import export_bundle
    except ImportError as error:
        raise MissingExtraError.for_extra("export", f"`fastrerank export` ({error})") from error

    options = ExportOptions(
        precisions=tuple(dict.fromkeys(arguments.precision or PRECISIONS)),
        name=arguments.name,
        revision=arguments.revision,
        license=arguments.license,
        max_length=arguments.max_length,
        window=arguments.window,
        label_column=arguments.label_column,
        calibration=arguments.calibration,
        allow_drift=arguments.allow_drift,
        force=arguments.force,
        add=arguments.add,
    )
    # What an export leaves half done is removed when it ends by an exception, as on Ctrl-C.
    before = {
        each: signal.signal(each, lambda number, _: sys.exit(128 + number))
        for each in {signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}
        if signal.getsignal(each) is not signal.SIG_IGN  # as under nohup
    }
    try:
        export_bundle(
            arguments.source,
            arguments.output,
            options,
            report=lambda line: print(line, file=sys.stderr, flush=True),
        )
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    print(arguments.output)
    return 0
