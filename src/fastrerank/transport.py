"""An httpx transport that answers from a local model: official clients run on it unmodified."""

from __future__ import annotations

import sys
from types import ModuleType

from .api.routes import Models, answer, check_served, headers
from .errors import MissingExtraError

try:
    import anyio.to_thread
    import httpx
except ImportError as error:
    raise MissingExtraError.for_extra("httpx", "RerankTransport") from error

__all__ = ["RerankTransport"]


class RerankTransport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """A transport for `httpx.Client` and `httpx.AsyncClient` that opens no socket.

    `models` is one Reranker, which answers every model name, or a mapping from names to Rerankers,
    which answers an unknown name as the API does (an API whose requests name no model gets the
    first). Which API a request is for is told by its path and host (see
    `fastrerank.api.routes.route`), or by `api`, a name from `fastrerank.api.APIS`.

    Requests are answered and never raise. Closing the client leaves the models open.

    :raises InvalidRequestError: if `models` are no Rerankers, or `api` is no API.
    """

    def __init__(self, models: Models, *, api: str | None = None) -> None:
        check_served(models, api)
        self._models = models
        self._api = api

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Return the response to a request."""
        return self._respond(request, request.read())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the response to a request; the model runs in a thread, the event loop goes on."""
        body = await request.aread()
        return await anyio.to_thread.run_sync(self._respond, request, body)

    def _respond(self, request: httpx.Request, body: bytes) -> httpx.Response:
        status, content = answer(
            self._models,
            method=request.method,
            host=request.url.host,
            path=request.url.path,
            body=body,
            told=self._api,
        )
        # The response must be of the request's own kind: some clients (openai 3) have moved to
        # httpx2, a fork with the same interface.
        response: httpx.Response = _library(request).Response(
            status, headers=headers(status), content=content, request=request
        )
        return response


def _library(request: httpx.Request) -> ModuleType:
    """Return the module whose Request this is, or derives from."""
    homes = [each.__module__.partition(".")[0] for each in type(request).__mro__]
    return sys.modules["httpx2" if "httpx2" in homes else "httpx"]
