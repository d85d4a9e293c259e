"""The command `fastrerank`; what each of its commands does is in `commands/`."""

import argparse
import os
import sys
from collections.abc import Sequence

from . import __version__
from .commands import export, inspect, rerank, serve, tune, verify
from .errors import FastRerankError, InvalidRequestError

_COMMANDS = (rerank, export, verify, inspect, tune, serve)

FAILURE, USAGE = 1, 2
PIPE_CLOSED = 141  # as a shell reports a program that SIGPIPE ended


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0, 1 for a failure, 2 for wrong usage."""
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader has seen enough. What is left must not fail again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except InvalidRequestError as error:
        print(f"fastrerank: {error}", file=sys.stderr)
        return USAGE
    except (FastRerankError, OSError) as error:
        print(f"fastrerank: {error}", file=sys.stderr)
        return FAILURE
    except KeyboardInterrupt:
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastrerank", description="Rerank documents with a local cross-encoder, on the CPU."
    )
    parser.add_argument("--version", action="version", version=f"fastrerank {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        sub = commands.add_parser(
            command.NAME,
            help=command.HELP,
            description=command.HELP,
            epilog=command.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(sub)
        sub.set_defaults(run=command.run)
    return parser
