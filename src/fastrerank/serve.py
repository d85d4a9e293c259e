"""The command `fastrerank serve`: the rerank APIs over HTTP, from bundles on this machine."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from .api import APIS
from .errors import InvalidRequestError, MissingExtraError
from .reranker import Reranker

KEY_VARIABLE = "FASTRERANK_API_KEY"
_SHUTDOWN_SECONDS = 30  # for requests under way to end, after SIGTERM or Ctrl-C

EXAMPLES = f"""\
examples:
  fastrerank serve
  fastrerank serve path/to/bundle --port 9000
  fastrerank serve small=path/to/small large=path/to/large
  {KEY_VARIABLE}=secret fastrerank serve --host 0.0.0.0

A client reaches any API by its name in the path: http://127.0.0.1:8000/together/v1/rerank,
/cohere/v2/rerank, /tei/rerank and so on; /v1/rerank is the generic API, /v2/rerank Cohere's.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `serve` to a parser."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.add_argument(
        "models",
        nargs="*",
        metavar="[NAME=]BUNDLE",
        help="what to serve (the bundled model if none); one alone answers every model name",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port (default: %(default)s)")
    parser.add_argument("--api", choices=sorted(APIS), help="the one API to speak, at any path")
    parser.add_argument("--threads", type=int, help="cores to use (default: those available)")
    parser.add_argument(
        "--concurrency", type=int, default=2, help="requests scored at a time (default: 2)"
    )
    parser.add_argument(
        "--max-request-mib", type=int, default=32, help="largest request in MiB (default: 32)"
    )


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C and return the exit status."""
    try:
        import uvicorn
    except ImportError as error:
        raise MissingExtraError.for_extra("serve", "fastrerank serve") from error
    from .asgi import create_app

    app = create_app(
        load(args.models, threads=args.threads),
        api=args.api,
        api_key=os.environ.get(KEY_VARIABLE) or None,
        concurrency=args.concurrency,
        max_request_bytes=args.max_request_mib * 2**20,
    )
    uvicorn.run(
        app,
        host=args.host,
        port=args.port,
        log_level="info",
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )
    return 0


def load(models: Sequence[str], *, threads: int | None = None) -> Reranker | dict[str, Reranker]:
    """Return the reranker, or several by name, that `[NAME=]BUNDLE` arguments ask for.

    :raises InvalidRequestError: if two have the same name.
    """
    if not models:
        return Reranker(threads=threads)
    if len(models) == 1 and "=" not in models[0]:
        return Reranker(models[0], threads=threads)
    served: dict[str, Reranker] = {}
    for model in models:
        name, _, bundle = model.rpartition("=")
        name = name or Path(bundle).name
        if name in served:
            raise InvalidRequestError(f"{name!r} is served twice: name them NAME=BUNDLE")
        served[name] = Reranker(bundle, threads=threads)
    return served
