"""Whatever JSON comes in, a valid answer or a valid error goes out."""

from __future__ import annotations

import copy
import json
from typing import Any

import jsonschema
import pytest
from api_schemas import BAD_STATUSES, ERRORS, REQUESTS, RESPONSES
from fake_reranker import FakeReranker
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastrerank.api import APIS, handle

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(width=32)  # with NaN and infinities, which Python's JSON knows
    | st.text(max_size=12)
    | st.sampled_from([10**40, "\ud800", "\0", "none", "end"])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)
TEXTS = st.text(max_size=30) | st.sampled_from(["", " ", "peru llama", "llama " * 80])
DOCUMENTS = st.one_of(
    st.lists(TEXTS, max_size=6),
    st.lists(st.fixed_dictionaries({"text": TEXTS, "title": JSON}), max_size=6),
    st.lists(TEXTS | st.fixed_dictionaries({"text": TEXTS}), max_size=4),
    st.lists(JSON, max_size=4),
)
# Values that a field may well take, so that many requests are accepted.
LIKELY: dict[str, st.SearchStrategy[Any]] = {
    "model": st.just("m"),
    "query": TEXTS,
    "documents": DOCUMENTS,
    "texts": st.lists(TEXTS, max_size=6),
    "top_n": st.integers(1, 9),
    "top_k": st.integers(1, 9),
    "truncate": st.sampled_from(["none", "start", "end"]),
    "rank_fields": st.lists(st.sampled_from(["text", "title", "other"]), max_size=3),
    "metadata": st.lists(TEXTS, max_size=6) | st.dictionaries(st.text(max_size=3), JSON),
    "parameters": st.fixed_dictionaries({}, optional={"truncate": st.just("END"), "k": JSON}),
    "extra_body": st.fixed_dictionaries({}, optional={"top_n": st.integers(0, 3), "query": TEXTS}),
    "max_tokens_per_doc": st.integers(1, 99),
    "max_tokens_per_document": st.integers(1, 99),
    "instruction": TEXTS,
    "user": TEXTS,
    "priority": st.integers(0, 999),
}


# A busy machine is no fault of the code: nothing here is about time.
CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def requests(api: str) -> st.SearchStrategy[Any]:
    fields = {name: LIKELY.get(name, st.booleans()) | st.none() | JSON for name in APIS[api].fields}
    likely = {name: LIKELY.get(name, st.booleans()) for name in APIS[api].fields}
    required = [name for name, field in APIS[api].fields.items() if field.required]
    good = st.fixed_dictionaries(
        {name: likely[name] for name in required},
        optional={name: likely[name] | st.none() for name in likely if name not in required},
    )
    bad = st.fixed_dictionaries({}, optional={**fields, "stray": JSON})
    return good | bad | JSON


# JSON Schema takes 2.0 for an integer; here, as in `rerank`, a count is a whole number as written.
STRICT = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    ),
)


def valid(request: Any, schema: dict[str, Any]) -> bool:
    return not any(STRICT(schema).iter_errors(request))


@pytest.mark.parametrize("api", APIS)
@given(data=st.data())
@CALM
def test_any_json_is_answered(api, data):
    request = data.draw(requests(api))
    before = copy.deepcopy(request)
    status, body = handle(FakeReranker(), api, request)
    assert repr(request) == repr(before)
    json.dumps(body, allow_nan=False)
    assert status == 200 or 400 <= status < 500
    assert status not in (408, 409, 429)


@pytest.mark.parametrize("api", RESPONSES)
@given(data=st.data())
@settings(CALM, max_examples=200)
def test_answers_and_errors_have_the_documented_form(api, data):
    request = data.draw(requests(api))
    status, body = handle(FakeReranker(), api, request)
    jsonschema.validate(body, RESPONSES[api] if status == 200 else ERRORS[api])
    assert status == 200 or status in BAD_STATUSES[api]
    if not valid(request, REQUESTS[api]):
        # A merged extra_body can supply what the request lacks.
        assert status != 200 or (isinstance(request, dict) and request.get("extra_body"))


@pytest.mark.parametrize("api", RESPONSES)
@given(data=st.data())
@CALM
def test_a_refused_request_that_fits_the_schema_has_a_stated_reason(api, data):
    """The schema is refused more by what it cannot say: lengths, merged fields, NaN."""
    request = data.draw(requests(api))
    status, body = handle(FakeReranker(), api, request)
    if status == 200 or not valid(request, REQUESTS[api]):
        return
    told = json.dumps(body)
    reasons = ("is long", "is too long", "metadata", "extra_body", "plain JSON", "documents[")
    assert any(reason in told for reason in reasons) or request.get("extra_body")


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("field", ["top_n", "top_k", "max_tokens_per_doc", "priority", "documents"])
@pytest.mark.parametrize("sign", [1, -1])
def test_an_integer_too_long_to_print_is_answered(api, field, sign):
    huge = sign * 10**5000
    value = [{"text": "d", "n": huge}] if field == "documents" else huge
    request = {"model": "m", "query": "q", "documents": ["d"], "texts": ["d"], field: value}
    status, body = handle(FakeReranker(), api, request)
    json.dumps(body, allow_nan=False)
    assert 200 <= status < 500


@pytest.mark.parametrize("api", APIS)
def test_deep_nesting_is_answered(api):
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    base = {"model": "m", "query": "q", "documents": ["d"], "texts": ["d"]}
    cases = [
        deep,
        {**base, "query": deep},
        {**base, "documents": [{"text": "d", "title": deep}], "return_documents": True},
        {**base, "metadata": {"a": deep}},
        {**base, "parameters": {"a": deep}},
    ]
    for request in cases:
        status, body = handle(FakeReranker(), api, request)
        json.dumps(body, allow_nan=False)
        assert 200 <= status < 500
