"""A real uvicorn on the loopback interface, for the length of a `with`."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import uvicorn

from fastrerank.asgi import create_app


@contextlib.contextmanager
def served(models: Any, *, grace: int | None = None, **settings: Any) -> Iterator[str]:
    """Serve the models and yield the URL; `grace` is in seconds, for requests at the end."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        app = create_app(models, **settings)
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=grace)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            # The socket is bound: what connects before uvicorn listens on it would be refused.
            while not server.started:
                assert thread.is_alive(), "uvicorn did not start"
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
