"""`fastrerank serve`: the rerank APIs over HTTP, from bundles on this machine."""

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from fastrerank.api import APIS
from fastrerank.errors import InvalidRequestError, MissingExtraError
from fastrerank.manifest import manifest_name
from fastrerank.request import check_count
from fastrerank.reranker import Reranker

from .arguments import add_model_arguments, model_loader

NAME = "serve"
HELP = "answer rerank APIs over HTTP (needs the extra: pip install 'fastrerank[serve]')"
KEY_VARIABLE = "FASTRERANK_API_KEY"
SHUTDOWN_SECONDS = 30
MAX_CONNECTIONS = 128  # more are answered with 503 before their bodies are held in memory
EXAMPLES = f"""examples:
  fastrerank serve
  fastrerank serve path/to/bundle --port 9000
  fastrerank serve small=path/to/small large=path/to/large
  {KEY_VARIABLE}=secret fastrerank serve --host 0.0.0.0

An API is reached by its name in the path: http://127.0.0.1:8000/together/v1/rerank,
/cohere/v2/rerank, /tei/rerank and so on; /v1/rerank is the generic API, /v2/rerank is Cohere's.
/health needs no key. SIGTERM and Ctrl-C leave the requests under way {SHUTDOWN_SECONDS} s to end.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this command."""
    parser.add_argument(
        "models",
        nargs="*",
        metavar="[NAME=]BUNDLE",
        help="what to serve (default: the bundled model); one alone answers every model name",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port (default: %(default)s)")
    parser.add_argument("--api", choices=sorted(APIS), help="speak this API alone")
    add_model_arguments(parser)
    parser.add_argument(
        "--concurrency", type=int, default=2, help="requests scored at once (default: %(default)s)"
    )
    parser.add_argument(
        "--max-request-mib", type=int, default=8, help="largest request (default: %(default)s)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM, and return 0 (newer uvicorns end the process by SIGTERM)."""
    try:
        import uvicorn
    except ImportError as error:
        raise MissingExtraError.for_extra("serve", "fastrerank serve") from error
    from fastrerank.asgi import create_app

    check_count("concurrency", arguments.concurrency)
    check_count("max_request_mib", arguments.max_request_mib)
    if not 0 <= arguments.port < 1 << 16:
        raise InvalidRequestError(f"port is {arguments.port}: pass 0 to 65535", param="port")
    app = create_app(
        _loaded(arguments.models, model_loader(arguments)),
        api=arguments.api,
        api_key=_api_key(),
        concurrency=arguments.concurrency,
        max_request_bytes=arguments.max_request_mib * 2**20,
    )
    uvicorn.run(
        app,
        host=arguments.host,
        port=arguments.port,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        limit_concurrency=MAX_CONNECTIONS,
    )
    return 0


def _api_key() -> str | None:
    """Return the key that is asked for, or None: from the environment, for arguments can be read.

    :raises InvalidRequestError: if it is set and empty, as by a secret that has no value.
    """
    key = os.environ.get(KEY_VARIABLE)
    if key is not None and not key.strip():
        raise InvalidRequestError(
            f"{KEY_VARIABLE} is empty: set a key, or unset it to ask for none"
        )
    return key and key.strip()


def _loaded(models: Sequence[str], load: Callable[..., Reranker]) -> Reranker | dict[str, Reranker]:
    """Return the one reranker, or several by name, that `[NAME=]BUNDLE` arguments ask for."""
    if not models:
        return load()
    if len(models) == 1 and "=" not in models[0]:
        return load(models[0])
    served: dict[str, Reranker] = {}
    for model in models:
        name, bundle = _name_and_bundle(model)
        if name in served:
            raise InvalidRequestError(f"{name!r} is served twice: name them NAME=BUNDLE")
        served[name] = load(bundle)
    return served


def _name_and_bundle(model: str) -> tuple[str, str]:
    """Return the name to serve a `[NAME=]BUNDLE` under, without NAME= that of its path."""
    name, equals, bundle = model.partition("=")
    if equals and name and not {"/", os.sep} & set(name):  # else a path that holds a =
        return name, bundle
    return Path(model).resolve().name.removesuffix(manifest_name("")), model
