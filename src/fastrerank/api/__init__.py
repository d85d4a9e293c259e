"""The rerank APIs over a local model: a request body in, a status and a response body out.

One file for each API states its fields, its answer and its errors; `APIS` lists them. `spec` says
what an API is made of, `fields` how a request is checked, `forms` what several share.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..errors import ClosedError, InvalidRequestError
from .cohere import COHERE, COHERE_V1
from .contextual import CONTEXTUAL
from .fields import Json, Path, Problem, RefusedError
from .generic import GENERIC
from .infinity import INFINITY
from .jina import JINA
from .pinecone import PINECONE
from .portkey import PORTKEY
from .spec import Api
from .tei import TEI
from .together import TOGETHER
from .voyage import VOYAGE

if TYPE_CHECKING:
    from ..reranker import Reranker

__all__ = ["APIS", "handle", "respond"]

APIS: dict[str, Api] = {
    api.name: api
    for api in (
        TOGETHER,
        GENERIC,
        PORTKEY,
        CONTEXTUAL,
        COHERE,
        COHERE_V1,
        JINA,
        VOYAGE,
        PINECONE,
        INFINITY,
        TEI,
    )
}

_log = logging.getLogger("fastrerank")


def handle(reranker: Reranker, api: str, request: Mapping[str, Any]) -> tuple[int, Json]:
    """Return the status and the body with which the API named `api` answers a request body.

    `request` is the JSON of the body and is not changed; any model name is answered with this
    reranker and echoed. What comes back takes `json.dumps(..., allow_nan=False)`. Never raises: a
    bad request, a failure and a name that is none of `APIS` are answers too.
    """
    if not isinstance(api, str) or api not in APIS:
        message = f"{api!r} is no API; use one of {', '.join(APIS)}"
        return GENERIC.refuse(Problem(kind="path", message=message))
    return respond(APIS[api], lambda _: reranker, request)


def respond(api: Api, find: Callable[[str | None], Reranker], request: object) -> tuple[int, Json]:
    """Return the status and the body that answer a request with the model that `find` returns.

    `find` gets the name in the request (None where the API has none) and may raise RefusedError.
    """
    try:
        fields = api.read(request)
        return 200, api.answer(find(fields.get("model")), fields)
    except RefusedError as refused:
        return api.refuse(refused.problem)
    except InvalidRequestError as error:
        # A request that passed the API's own checks can only be too long for `rerank`.
        return api.refuse(_too_long(error, api))
    except ClosedError:
        return api.refuse(Problem(kind="closed", message="the reranker is closed"))
    except Exception:
        # The caller learns that it failed; what failed is for the log of the process.
        _log.exception("answering a %s request failed", api.name)
        message = "the reranker failed; its log says why"
        return api.refuse(Problem(kind="internal", message=message))


def _too_long(error: InvalidRequestError, api: Api) -> Problem:
    """Return the problem with the name that the API has for the argument of `rerank`."""
    problem = Problem(kind="too_long", path=_path(error.param, api), message=str(error))
    if error.param is None or problem.param is None:
        return problem
    return replace(problem, message=problem.message.replace(error.param, problem.param, 1))


def _path(param: str | None, api: Api) -> Path:
    """Return the place in a request that an argument of `rerank` ("documents[1]") came from."""
    if param is None:
        return ()
    name, *indices = re.findall(r"[^\[\].]+", param)
    return (api.names.get(name, name), *(int(i) if i.isdigit() else i for i in indices))
