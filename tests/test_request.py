import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastrerank import InvalidRequestError, RerankRequest
from fastrerank.documents import ranked_text
from fastrerank.text_tokenizer import well_formed


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("query", None),
        ("query", b"bytes"),
        ("query", 3),
        ("top_n", 0),
        ("top_n", -1),
        pytest.param("top_n", -(10**5000), id="top_n-thousands of digits"),
        ("top_n", True),
        ("top_n", 2.0),
        ("top_n", float("nan")),
        ("top_n", "2"),
        ("max_tokens_per_doc", 0),
        ("max_tokens_per_doc", False),
        ("return_documents", 1),
        ("return_documents", None),
        ("rank_fields", "text"),
        ("rank_fields", []),
        ("rank_fields", [1]),
        ("truncate", "middle"),
        ("truncate", None),
        ("truncate", True),
        ("instruction", 5),
        ("documents", "one string"),
        ("documents", b"bytes"),
        ("documents", bytearray(b"bytes")),
        ("documents", {"text": "one mapping"}),
        ("documents", None),
        ("documents", 7),
        ("documents", np.array("one string")),
        ("documents", np.array([["a", "table"]])),
        ("documents", {"a", "set"}),
        ("documents", frozenset({"b"})),
    ],
)
def test_a_wrong_value_is_named_with_the_way_out(field, value):
    with pytest.raises(InvalidRequestError) as caught:
        RerankRequest(**{"query": "q", "documents": ["d"], field: value})
    assert caught.value.param == field
    assert str(caught.value).startswith(f"{field} is ")
    assert ": " in str(caught.value)


@pytest.mark.parametrize("bad", [None, 3, b"bytes", ["list"], 1.5])
def test_a_document_that_is_neither_string_nor_mapping_is_named(bad):
    with pytest.raises(InvalidRequestError) as caught:
        RerankRequest(query="q", documents=["fine", bad])
    assert caught.value.param == "documents[1]"


@pytest.mark.parametrize("documents", [("a", "b"), iter(["a", "b"]), {"a": 1, "b": 2}.keys()])
def test_any_iterable_of_documents_is_taken(documents):
    assert list(RerankRequest(query="q", documents=documents).documents) == ["a", "b"]


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.uint64])
def test_numpy_integers_are_counts_and_become_plain_ones(kind):
    """Kept as they are they would overflow: -np.uint64(3) is no index."""
    request = RerankRequest(query="q", documents=[], top_n=kind(3), max_tokens_per_doc=kind(4))
    assert (request.top_n, request.max_tokens_per_doc) == (3, 4)
    assert {type(request.top_n), type(request.max_tokens_per_doc)} == {int}


def test_an_unknown_field_of_a_mapping_is_named_with_the_known_ones():
    with pytest.raises(InvalidRequestError, match=r"requests\[2\].*'topn'.*top_n"):
        RerankRequest.from_mapping({"query": "q", "documents": [], "topn": 1}, "requests[2]")
    with pytest.raises(InvalidRequestError, match="no 'documents'"):
        RerankRequest.from_mapping({"query": "q"}, "requests[0]")


DOCUMENT = {"title": "Peru", "text": "A country.", "tags": ["andes", "é"], "year": 1821}


@pytest.mark.parametrize(
    ("rank_fields", "text"),
    [
        (None, "A country."),
        (["text"], "text: A country."),
        (["title", "text"], "title: Peru\ntext: A country."),
        (["text", "title"], "text: A country.\ntitle: Peru"),
        (["tags", "year"], 'tags: ["andes","é"]\nyear: 1821'),
        (["missing", "title"], "title: Peru"),
        (["missing"], ""),
    ],
)
def test_a_mapping_is_scored_by_its_text_or_by_the_fields_named(rank_fields, text):
    assert ranked_text(DOCUMENT, 0, rank_fields).text == text


@pytest.mark.parametrize(
    ("fields", "head"), [(["a", "b"], "a: 1\n"), (["a", "c"], ""), (["b"], ""), (["c"], "")]
)
def test_the_fields_before_the_last_that_is_there_are_the_head(fields, head):
    text, length = ranked_text({"a": "1", "b": "2"}, 0, fields)
    assert text[:length] == head


def test_rank_fields_mean_nothing_for_strings():
    assert ranked_text("as it is", 0, ["title"]).text == "as it is"


@pytest.mark.parametrize("document", [{}, {"title": "t"}, {"text": None}, {"text": 3}])
def test_a_mapping_without_text_is_an_error(document):
    with pytest.raises(InvalidRequestError, match=r"documents\[4\].*rank_fields"):
        ranked_text(document, 4, None)


def test_a_field_without_json_form_is_an_error():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    for value in (object(), deep):
        with pytest.raises(InvalidRequestError, match=r"documents\[0\]\['x'\]"):
            ranked_text({"x": value}, 0, ["x"])


@given(st.text(st.characters()))
def test_well_formed_text_can_be_utf8_and_valid_text_is_unchanged(text):
    result = well_formed(text)
    result.encode()
    if not any("\ud800" <= c <= "\udfff" for c in text):
        assert result == text


def test_a_surrogate_pair_becomes_its_character():
    assert well_formed("\ud83d\ude00 \ud83d") == "😀 �"
