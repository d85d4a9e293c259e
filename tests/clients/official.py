"""What the tests of the official clients share.

A client that is not installed skips its tests, except where FASTRERANK_REQUIRE_CLIENTS says that it
must be there (`run.py` and CI set it): then it is a failure, so that nothing is skipped unseen.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType

import httpx
import pytest

from fastrerank.transport import RerankTransport

# litellm would fetch its table of prices when it is imported.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ.pop("CO_API_URL", None)

QUERY = "What animals can I find near Peru?"
DOCUMENTS = [
    "The giant panda is a bear species endemic to China.",
    "The llama is a domesticated South American camelid, used as a pack animal by Andean cultures.",
    "",
    "Photosynthesis turns light into sugar; größer, 東京, 🦙.",
    "The guanaco is a camelid native to South America, closely related to the llama.",
]


def client(name: str) -> ModuleType:
    """Return the client's module, or skip what needs it, or fail where it is required."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        required = os.environ.get("FASTRERANK_REQUIRE_CLIENTS", "")
        if required == "all" or name in required.split(","):
            raise
        pytest.skip(
            f"{name} is not installed: python tests/clients/run.py", allow_module_level=True
        )


class CountingTransport(RerankTransport):
    """Counts the requests that it gets: a client that retries sends more than one."""

    requests = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        return super().handle_request(request)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        return await super().handle_async_request(request)
