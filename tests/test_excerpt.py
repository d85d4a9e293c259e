import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from fastrerank import InvalidRequestError
from fastrerank import excerpt as module
from fastrerank.bundle import open_bundle
from fastrerank.excerpt import CHARACTERS_PER_TOKEN, MARGIN, excerpt, splits_at_spaces
from fastrerank.text_tokenizer import TextTokenizer
from fastrerank.tokenization import Pair, PairTokenizer

BUNDLE = open_bundle()
WORDS = [
    "llamas",
    "a",
    "Peru,",
    "3.14159",
    "naïve",
    "日本語の本",
    "\n",
    "\u00a0",
    "x" * 150,
    "new york",
    "",
]
long_texts = st.lists(st.sampled_from(WORDS), min_size=100, max_size=700).map(" ".join)


def trained(model, trainer, pre_tokenizer, normalizer=None) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.train_from_iterator([" ".join(WORDS)] * 4, trainer)
    return tokenizer


def byte_level():
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    return trained(models.BPE(), trainer, pre_tokenizers.ByteLevel(add_prefix_space=False))


def unigram():
    trainer = trainers.UnigramTrainer(
        vocab_size=90, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False
    )
    tokenizer = trained(models.Unigram(), trainer, pre_tokenizers.Metaspace(), normalizers.NFKC())
    tokenizer.add_tokens(["new york"])
    return tokenizer


def joins_words():
    """As Llama's and Gemma's: spaces become letters before anything could be split at them."""
    trainer = trainers.BpeTrainer(vocab_size=400, show_progress=False)
    spaces_are_letters = normalizers.Replace(" ", "▁")
    split = pre_tokenizers.Split(" ", "merged_with_previous")
    return trained(models.BPE(), trainer, split, spaces_are_letters)


KINDS = {"byte_level": byte_level, "unigram": unigram, "joins_words": joins_words}


@pytest.fixture(scope="module", params=["bert", *KINDS])
def path(request, tmp_path_factory):
    if request.param == "bert":
        return BUNDLE.verified(BUNDLE.manifest.tokenizer)
    path = tmp_path_factory.mktemp("tokenizer") / f"{request.param}.json"
    KINDS[request.param]().save(str(path))
    return path


@pytest.fixture(scope="module")
def tokenizer(path):
    return PairTokenizer(path, BUNDLE.manifest.template, 100)


@pytest.fixture(scope="module")
def oracle(path):
    return Tokenizer.from_file(str(path))


@settings(max_examples=60)
@given(long_texts, st.integers(1, 40), st.sampled_from(["end", "start"]))
def test_of_a_long_text_the_tokens_of_the_whole_are_read(tokenizer, oracle, text, limit, truncate):
    query = tokenizer.encode_query("a")
    (encoding,) = tokenizer.encode_pairs([Pair(query, text, max_tokens=limit, truncate=truncate)])
    whole = oracle.encode(text, add_special_tokens=False).ids
    expected = whole[:limit] if truncate == "end" else whole[-limit:]
    assert encoding.document.tolist() == expected
    assert encoding.truncated == (len(whole) > limit)


def test_tokenizers_that_join_words_are_told_from_those_that_split_them():
    bert = Tokenizer.from_file(str(BUNDLE.verified(BUNDLE.manifest.tokenizer)))
    assert [splits_at_spaces(t) for t in (bert, byte_level(), unigram())] == [True] * 3
    assert not splits_at_spaces(joins_words())
    assert not splits_at_spaces(Tokenizer(models.BPE()))


@pytest.mark.parametrize("truncate", ["end", "start"])
def test_what_lies_far_behind_the_tokens_that_are_read_is_left_out(truncate):
    text = " ".join(f"word{i}" for i in range(100_000))
    part = excerpt(text, 50, truncate)
    size = (50 + MARGIN) * CHARACTERS_PER_TOKEN
    assert size - 10 <= len(part) <= size + 10
    assert text.startswith(part) if truncate == "end" else text.endswith(part)


@pytest.mark.parametrize(
    ("text", "truncate"), [("word " * 100_000, "none"), ("x" * 500_000, "end"), ("x y", "end")]
)
def test_a_text_is_whole_where_all_of_it_counts_or_nothing_ends_a_word(text, truncate):
    assert excerpt(text, 50, truncate) == text


@given(st.sampled_from("x.日 \n"), st.integers(1000, 3000), st.sampled_from(["end", "start"]))
def test_no_more_of_a_text_is_tokenised_than_can_be_of_use(tokenizer, letter, length, truncate):
    """A text of punctuation alone took 500 bytes a character, 16 GiB for a request of 31 MiB."""
    seen = []

    def encode(texts):
        seen.extend(len(text) for text in texts)
        return TextTokenizer._encode(tokenizer._tokenizer, texts)

    text = letter * length
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MOST_CHARACTERS", 1000)
        patch.setattr(module, "MOST_PER_TOKEN", 1)
        patch.setattr(tokenizer._tokenizer, "_encode", encode)
        query = tokenizer.encode_query(text)
        (pair,) = tokenizer.encode_pairs([Pair(query, text, "documents[3]", None, truncate)])
        if length > 1000:
            message = rf"documents\[3\] has {length} characters, of which 1000 are read"
            with pytest.raises(InvalidRequestError, match=message):
                tokenizer.encode_pairs([Pair(query, text, "documents[3]", None, "none")])
    assert max(seen) <= 1000
    assert query.truncated >= (length > 1000)
    assert pair.truncated >= (length > 1000)
