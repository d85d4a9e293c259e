import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from fastrerank import InferenceError, InvalidRequestError
from fastrerank.bundle import open_bundle
from fastrerank.collate import collate
from fastrerank.tokenization import Pair, PairTokenizer

BUNDLE = open_bundle()
PATH = BUNDLE.verified(BUNDLE.manifest.tokenizer)
TEMPLATE = BUNDLE.manifest.template
CLS, SEP = 101, 102

texts = st.text(st.sampled_from("abc déf 日本 \n.,'\x00"), max_size=60)
long_texts = st.lists(st.sampled_from(["alpha", "beta", "gamma"]), max_size=80).map(" ".join)


@pytest.fixture(scope="module")
def oracle() -> Tokenizer:
    """The tokenizer's own way to join a pair."""
    tokenizer = Tokenizer.from_file(str(PATH))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def encode(tokenizer, query, document, **options):
    return tokenizer.encode_pairs([Pair(tokenizer.encode_query(query), document, **options)])[0]


def arrays(encoding):
    names = ["input_ids", "token_type_ids", "attention_mask"]
    batch = collate([encoding], names, 0, encoding.length)
    return {name: array[0].tolist() for name, array in batch.items()}


@given(texts, texts)
def test_a_pair_that_fits_is_joined_as_the_tokenizer_joins_it(oracle, query, document):
    found = arrays(encode(PairTokenizer(PATH, TEMPLATE, 512), query, document))
    expected = oracle.encode(query, document)
    assert found["input_ids"] == expected.ids
    assert found["token_type_ids"] == expected.type_ids
    assert found["attention_mask"] == expected.attention_mask


@given(long_texts, long_texts, st.integers(5, 64), st.sampled_from(["end", "start"]))
def test_a_cut_pair_keeps_special_tokens_and_the_query_up_to_its_share(
    query, document, max_length, side
):
    tokenizer = PairTokenizer(PATH, TEMPLATE, max_length)
    encoding = encode(tokenizer, query, document, truncate=side)
    ids = arrays(encoding)["input_ids"]
    query_tokens, document_tokens = tokenizer.count_tokens([query, document])
    kept = min(query_tokens, max(1, (max_length - 3) * 3 // 4))
    assert len(ids) == encoding.length <= max_length
    assert [i for i, token in enumerate(ids) if token in (CLS, SEP)] == [0, kept + 1, len(ids) - 1]
    assert encoding.query.truncated == (query_tokens > kept)
    assert encoding.truncated == (document_tokens > max_length - 3 - kept)
    assert encoding.truncated or len(encoding.document) == document_tokens


def test_a_query_keeps_three_quarters_of_what_special_tokens_leave():
    query = PairTokenizer(PATH, TEMPLATE, 512).encode_query("a " * 600)
    assert query.before[[0, -1]].tolist() == [CLS, SEP]
    assert (len(query.before) - 2, query.room) == (381, 128)


def test_truncation_side_decides_which_end_is_kept():
    tokenizer = PairTokenizer(PATH, TEMPLATE, 16)
    document = " ".join(str(n) for n in range(30))
    end, start = (encode(tokenizer, "q", document, truncate=side) for side in ("end", "start"))
    whole = encode(PairTokenizer(PATH, TEMPLATE, 512), "q", document).document
    assert end.document.tolist() == whole[:12].tolist()
    assert start.document.tolist() == whole[-12:].tolist()


def test_a_token_limit_for_documents_cuts_within_the_room():
    tokenizer = PairTokenizer(PATH, TEMPLATE, 512)
    encoding = encode(tokenizer, "q", "one two three four", max_tokens=3)
    assert encoding.truncated
    assert len(encoding.document) == 3
    assert not encode(tokenizer, "q", "one two three", max_tokens=3).truncated


def test_without_truncation_what_does_not_fit_is_named():
    tokenizer = PairTokenizer(PATH, TEMPLATE, 16)
    with pytest.raises(InvalidRequestError, match="doc 7 has 40 tokens, 12 fit") as caught:
        encode(tokenizer, "q", "a " * 40, truncate="none", name="doc 7")
    assert caught.value.param == "doc 7"
    with pytest.raises(InvalidRequestError, match="query has 40 tokens"):
        tokenizer.encode_query("a " * 40, None, "none")


def test_an_instruction_follows_the_query_and_an_empty_one_changes_nothing():
    tokenizer = PairTokenizer(PATH, TEMPLATE, 512)
    plain, empty, joined = (tokenizer.encode_query("q", i) for i in (None, "", "be recent"))
    assert plain.before.tolist() == empty.before.tolist()
    assert joined.before.tolist() == tokenizer.encode_query("q\nbe recent").before.tolist()


@pytest.mark.parametrize("max_length", [1, 3, 4])
def test_a_length_without_room_is_refused(max_length):
    with pytest.raises(InvalidRequestError, match="at least 5 are needed"):
        PairTokenizer(PATH, TEMPLATE, max_length)


def test_a_tokenizer_that_would_cut_and_pad_by_itself_does_neither(oracle, tmp_path):
    path = tmp_path / "tokenizer.json"
    other = Tokenizer.from_str(oracle.to_str())
    other.enable_truncation(2)
    other.enable_padding(length=9)
    other.save(str(path))
    texts = ["", "one", "one two three"]
    assert PairTokenizer(path, TEMPLATE, 512).count_tokens(texts) == [0, 1, 3]


@settings(max_examples=20)
@given(st.lists(texts, min_size=1, max_size=6))
def test_a_batch_is_padded_on_the_right(documents):
    tokenizer = PairTokenizer(PATH, TEMPLATE, 512)
    query = tokenizer.encode_query("a query")
    encodings = tokenizer.encode_pairs([Pair(query, text) for text in documents])
    longest = max(encoding.length for encoding in encodings)
    batch = collate(encodings, ["input_ids", "attention_mask", "position_ids"], 7, longest)
    for row, encoding in enumerate(encodings):
        alone = arrays(encoding)["input_ids"]
        padded = batch["input_ids"][row]
        assert padded[: len(alone)].tolist() == alone
        assert (padded[len(alone) :] == 7).all()
        assert batch["attention_mask"][row].sum() == len(alone)
    assert (batch["position_ids"] == np.arange(batch["input_ids"].shape[1])).all()


def test_a_panic_of_the_tokenizer_is_an_error_of_ours(monkeypatch):
    """It is no Exception, and would pass through everything that catches those."""

    class PanicException(BaseException): ...

    tokenizer = PairTokenizer(PATH, TEMPLATE, 512)
    for error, expected in (
        (PanicException, InferenceError),
        (KeyboardInterrupt, KeyboardInterrupt),
    ):

        class Broken:
            def encode_batch_fast(self, *_, error=error, **__):
                raise error("retry-limit-in-match over")

        monkeypatch.setattr(tokenizer._tokenizer, "_tokenizer", Broken())
        with pytest.raises(expected, match="retry-limit"):
            tokenizer.count_tokens(["text"])
