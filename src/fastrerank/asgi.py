"""The rerank APIs over HTTP, as an ASGI application for those who outgrow one process."""

from __future__ import annotations

import functools
import hmac
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from .abandoned import abandoned_when
from .api.routes import Models, answer, check_served, headers, refusal, route
from .errors import InvalidRequestError, MissingExtraError
from .request import check_count

try:
    from anyio import (
        CapacityLimiter,
        create_task_group,
        get_cancelled_exc_class,
        move_on_after,
        sleep,
        to_thread,
    )
    from starlette.applications import Starlette
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route
    from starlette.types import Receive, Scope, Send
except ImportError as error:
    raise MissingExtraError.for_extra("serve", "fastrerank.asgi") from error

__all__ = ["create_app"]

MAX_REQUEST_BYTES = 8 * 2**20
# One request already uses every core that the model may use. A second one is read, tokenized and
# written beside it; more would only hold memory.
CONCURRENCY = 2
_SECONDS_TO_ANSWER = 1.0  # who still waits when the server ends
# Of a request that is refused, for a client that reads the answer only when it has sent all.
_MOST_DISCARDED_BYTES = 64 * 2**20
_SECONDS_TO_DISCARD = 5.0


def create_app(
    models: Models,
    *,
    api: str | None = None,
    api_key: str | None = None,
    max_request_bytes: int = MAX_REQUEST_BYTES,
    concurrency: int = CONCURRENCY,
) -> Starlette:
    """Return an application that answers rerank requests from `models`, and /health.

    `models` and `api` are RerankTransport's. With `api_key` a request must bring it, as Bearer or
    in its client's own header. At most `concurrency` requests are scored at a time; others wait.
    What a client that has gone asked for is not scored, or not to its end.

    :raises InvalidRequestError: if an argument is wrong.
    """
    check_served(models, api)
    concurrency = check_count("concurrency", concurrency) or CONCURRENCY
    max_request_bytes = check_count("max_request_bytes", max_request_bytes) or MAX_REQUEST_BYTES
    if api_key is not None and not _can_be_sent(api_key):
        raise InvalidRequestError(
            "api_key must be a string of printable characters, without spaces at its ends;"
            " None asks for no key",
            param="api_key",
        )

    async def health(request: Request) -> Response:  # noqa: ARG001 - starlette's signature
        names = list(models) if isinstance(models, Mapping) else [models.model_name]
        return JSONResponse({"status": "ok", "models": names})

    rerank = _Rerank(models, api, api_key, max_request_bytes, CapacityLimiter(concurrency))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        # The process may end at once afterwards, and with it what it has not sent.
        with move_on_after(_SECONDS_TO_ANSWER):
            while rerank.under_way:
                await sleep(0.01)

    routes = [Route("/health", health), Route("/{path:path}", rerank)]
    return Starlette(routes=routes, lifespan=lifespan)


@dataclass(frozen=True, slots=True)
class _Rerank:
    """The endpoint of every API; an ASGI application, so that it gets every method."""

    models: Models
    api: str | None
    api_key: str | None
    max_request_bytes: int
    limiter: CapacityLimiter
    under_way: set[int] = field(default_factory=set)  # ids of requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        self.under_way.add(id(request))
        try:
            if answered := await self._answer(request):
                status, body = answered
                response = Response(body, status_code=status, headers=headers(status))
                await response(scope, receive, send)
        except ClientDisconnect:
            return
        finally:
            self.under_way.discard(id(request))

    async def _answer(self, request: Request) -> tuple[int, bytes] | None:
        """Return the status and the body, or None where the client has gone."""
        host = _host(request)
        path = f"/{request.path_params['path']}"  # without the prefix that this is mounted at
        api, _ = route(host, path, self.api)
        chunks = request.stream()
        try:
            if self.api_key is not None and not _has_key(request, self.api_key.encode()):
                await _discard(request, chunks)
                message = "the API key is missing or wrong; send it as Authorization: Bearer KEY"
                return refusal(api, "key", message)
            body = await _read(request, chunks, self.max_request_bytes)
            if body is None:
                await _discard(request, chunks)
                message = f"the request body may have {self.max_request_bytes} bytes at most"
                return refusal(api, "size", message)
            call = functools.partial(
                answer,
                self.models,
                method=request.method,
                host=host,
                path=path,
                body=body,
                told=self.api,
            )
            async with self.limiter:
                if await request.is_disconnected():
                    return None
                return await _while_connected(request, call)
        except get_cancelled_exc_class():
            # The server ends and has waited long enough. Its task ends with this answer.
            return refusal(api, "closed", "the server is stopping: send the request again")


async def _while_connected(
    request: Request, call: Callable[[], tuple[int, bytes]]
) -> tuple[int, bytes]:
    """Return the answer of a call in a thread, which is abandoned when the client goes."""
    gone = threading.Event()

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone.set()

    try:
        async with create_task_group() as group:
            group.start_soon(watch)
            with abandoned_when(gone.is_set):
                # A turn is taken already: the thread itself needs no other.
                answered = await to_thread.run_sync(call, limiter=CapacityLimiter(1))
            group.cancel_scope.cancel()
    finally:
        gone.set()  # a task that is cancelled does not end its thread
    return answered


def _can_be_sent(key: object) -> bool:
    return isinstance(key, str) and key.isprintable() and key != "" and key == key.strip()


def _has_key(request: Request, key: bytes) -> bool:
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    given = [bearer.strip()] if scheme.lower() == "bearer" else []
    given += [request.headers.get(name, "") for name in ("x-portkey-api-key", "api-key")]
    # Every one is compared, in a time that does not tell how much of it is right.
    return any([hmac.compare_digest(each.encode("latin-1"), key) for each in given])  # noqa: C419


def _host(request: Request) -> str:
    """Return the host that the request is for, empty where its header names none."""
    try:
        return request.url.hostname or ""
    except ValueError:  # urllib's, for [::1 without its end: older starlettes do not refuse it
        return ""


async def _read(request: Request, chunks: AsyncGenerator[bytes, None], limit: int) -> bytes | None:
    """Return the body, or None when it is longer than the limit, without reading the rest."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        return None
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > limit:
            return None
    return bytes(body)


async def _discard(request: Request, chunks: AsyncGenerator[bytes, None]) -> None:
    """Read what is left of the body, as far as the bounds allow, and keep none of it.

    A connection that is closed with unread data is reset, and the answer on its way is lost.
    """
    if "expect" in request.headers:  # such a client waits to be asked for the body
        return
    left = _MOST_DISCARDED_BYTES
    with move_on_after(_SECONDS_TO_DISCARD):
        async for chunk in chunks:
            left -= len(chunk)
            if left < 0:
                return
