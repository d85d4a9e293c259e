"""The rerank APIs over HTTP, as an ASGI application for those who outgrow one process."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from .api.routes import Models, answer, refusal, route
from .errors import MissingExtraError

try:
    from anyio import CapacityLimiter, to_thread
    from starlette.applications import Starlette
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Mount, Route, request_response
except ImportError as error:
    raise MissingExtraError.for_extra("serve", "fastrerank.asgi") from error

__all__ = ["create_app"]

MAX_REQUEST_BYTES = 32 * 2**20
# One request already uses every core that the model may use. A second one is read, tokenized and
# written beside it; more would only hold memory.
CONCURRENCY = 2


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
    """
    limiter = CapacityLimiter(concurrency)
    key = api_key.encode() if api_key is not None else None

    async def health(request: Request) -> Response:  # noqa: ARG001 - starlette's signature
        names = list(models) if isinstance(models, Mapping) else [models.model_name]
        return JSONResponse({"status": "ok", "models": names})

    async def rerank(request: Request) -> Response:
        host, path = request.url.hostname or "", request.scope["path"]
        spoken, _ = route(host, path, api)
        if key is not None and not _has_key(request, key):
            message = "the API key is missing or wrong; send it as Authorization: Bearer KEY"
            return _json(*refusal(spoken, "key", message))
        try:
            body = await _read(request, max_request_bytes)
        except ClientDisconnect:
            return Response(status_code=400)  # which nobody reads
        if body is None:
            message = f"the request body may have {max_request_bytes} bytes at most"
            return _json(*refusal(spoken, "size", message))
        return _json(
            *await to_thread.run_sync(
                lambda: answer(
                    models, method=request.method, host=host, path=path, body=body, told=api
                ),
                limiter=limiter,
            )
        )

    return Starlette(routes=[Route("/health", health), Mount("/", app=request_response(rerank))])


def _has_key(request: Request, key: bytes) -> bool:
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    given = [bearer.strip()] if scheme.lower() == "bearer" else []
    given += [request.headers.get(name, "") for name in ("x-portkey-api-key", "api-key")]
    # Every one is compared, in a time that does not tell how much of it is right.
    return any([hmac.compare_digest(each.encode("latin-1"), key) for each in given])  # noqa: C419


async def _read(request: Request, limit: int) -> bytes | None:
    """Return the body, or None when it is longer than the limit, without reading the rest."""
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            return None
    return bytes(body)


def _json(status: int, body: bytes) -> Response:
    return Response(body, status_code=status, media_type="application/json")
