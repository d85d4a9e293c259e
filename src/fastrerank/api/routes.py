"""From an HTTP request to its answer: which API it is for, and which model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Union

from ..errors import InvalidRequestError
from ..plain_json import refuse_constant
from . import APIS, respond
from .cohere import COHERE
from .fields import Json, Problem, must_be
from .generic import GENERIC
from .spec import STATUS, Api

if TYPE_CHECKING:
    from ..reranker import Reranker

METHOD = "POST"
Models = Union["Reranker", Mapping[str, "Reranker"]]


def check_served(models: object, api: object) -> None:
    """Raise InvalidRequestError unless requests can be answered with these models and this API."""
    served = models if isinstance(models, Mapping) else {"": models}
    if not served or not all(isinstance(n, str) and _reranks(m) for n, m in served.items()):
        raise InvalidRequestError(
            f"models is {str(models)[:80]}: pass a Reranker, or a mapping from names to Rerankers",
            param="models",
        )
    if api is not None and api not in tuple(APIS):
        raise InvalidRequestError(
            f"api is {api!r}: use one of {', '.join(APIS)}, or leave it out", param="api"
        )


def _reranks(model: object) -> bool:
    return callable(getattr(model, "rerank", None)) and not isinstance(model, type)


def route(host: str, path: str, told: str | None = None) -> tuple[Api, bool]:
    """Return the API that a request is for, and whether its path is that API's endpoint.

    In order: the API named by `told`; one that the path begins with, as in `/together/v1/rerank`;
    those whose official host this is; for any other host Cohere at `/v2/rerank`, else the generic.
    """
    path = "/" + path.strip("/")
    candidates = _candidates(host.lower(), _name(path, told))
    for api in candidates:
        if path.endswith(api.path):
            return api, True
    return candidates[-1], False


def _name(path: str, told: str | None) -> str:
    return told or path.strip("/").split("/")[0]


def _candidates(host: str, name: str) -> list[Api]:
    # "cohere" stands for its versions too, which differ by path.
    named = [api for api in APIS.values() if api.name == name or api.name.startswith(f"{name}-")]
    return named or [api for api in APIS.values() if host in api.hosts] or [COHERE, GENERIC]


def answer(
    models: Models, *, method: str, host: str, path: str, body: bytes, told: str | None = None
) -> tuple[int, bytes]:
    """Return the status and the JSON body of the response; never raises."""
    api, found = route(host, path, told)
    if not found:
        ends = dict.fromkeys(each.path for each in _candidates(host.lower(), _name(path, told)))
        message = f"{path} is no endpoint of this API; use one that ends with {' or '.join(ends)}"
        return refusal(api, "path", message)
    if method != METHOD:
        return refusal(api, "method", f"{method} is not supported here; use {METHOD}")
    try:
        request = json.loads(body, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        return refusal(api, "syntax", f"the request body is no JSON: {error}")
    return _encode(*respond(api, _finder(models, api), request))


def headers(status: int) -> dict[str, str]:
    """Return the headers of a response; 401 has to name the scheme and 405 the method to use."""
    told = {STATUS["key"]: {"www-authenticate": "Bearer"}, STATUS["method"]: {"allow": METHOD}}
    return {"content-type": "application/json", **told.get(status, {})}


def refusal(api: Api, kind: str, message: str) -> tuple[int, bytes]:
    """Return the status and the JSON body that tell a problem in the form of this API."""
    return _encode(*api.refuse(Problem(kind=kind, message=message)))


def _encode(status: int, body: Json) -> tuple[int, bytes]:
    # ASCII, so that a lone surrogate in an echoed document can be sent.
    return status, json.dumps(body, allow_nan=False, separators=(",", ":")).encode("ascii")


def _finder(models: Models, api: Api) -> Callable[[str | None], Reranker]:
    if not isinstance(models, Mapping):
        return lambda _: models

    def find(name: str | None) -> Reranker:
        if name is None and (len(models) == 1 or "model" not in api.fields):
            return next(iter(models.values()))
        if name is None or name not in models:
            raise must_be(("model",), "one of " + ", ".join(models), name, "model")
        return models[name]

    return find
