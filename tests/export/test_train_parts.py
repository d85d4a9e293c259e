"""The parts of the training recipe that need no model."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs pip install 'fastrerank[train]'")
pytest.importorskip("Stemmer", reason="needs pip install 'fastrerank[train]'")

from fastrerank.export.train import bm25, calibrate, data, loop, mine, tokens, validate  # noqa: E402
from fastrerank.export.train.loss import LossWeights, list_loss  # noqa: E402
from fastrerank.export.train.mine import Mined, pool_rows  # noqa: E402
from fastrerank.export.train.sample import FALSE_NEGATIVE_MARGIN, Mix, Sampler  # noqa: E402
from fastrerank.export.train.settings import Settings  # noqa: E402
from hypothesis import given, settings  # noqa: E402 - after the skips
from hypothesis import strategies as st  # noqa: E402

WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]


def made_up(queries=12, passages=200, seed=0):
    """A mined corpus of random texts and vectors; query i has passage i as its positive."""
    rng = np.random.default_rng(seed)
    corpus = data.Corpus()
    for _ in range(passages):
        corpus.add(" ".join(rng.choice(WORDS, 6)), "clapnq")
    for i in range(queries):
        negatives = tuple(int(n) for n in rng.choice(np.arange(queries, passages), 8, False))
        corpus.queries.append(
            data.Query(
                set_name="clapnq",
                pool="clapnq",
                text=" ".join(rng.choice(WORDS, 3)),
                positives=(i,),
                negatives=negatives[3:],
                judged=negatives[:3],
                held_out=i < 2,
            )
        )
    vectors = rng.normal(size=(passages, 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    asked = vectors[:queries] + 0.4 * rng.normal(size=(queries, 16))
    asked /= np.linalg.norm(asked, axis=1, keepdims=True)
    return Mined(
        corpus=corpus,
        query_ids=None,
        passage_ids=None,
        query_vectors=asked.astype(np.float16),
        passage_vectors=vectors.astype(np.float16),
        neighbours=np.argsort(-asked @ vectors.T, axis=1)[:, :100].astype(np.int32),
        bm25=bm25.Bm25(corpus.texts),
    )


MINED = made_up()


@given(st.integers(0, 100_000))
def test_a_list_is_its_positive_and_distinct_others(number):
    item = Sampler(MINED, Mix(), 1)[number]
    query = MINED.corpus.queries[item.query]
    assert item.candidates[0] in query.positives
    assert len(set(item.candidates.tolist())) == Mix().size
    assert not set(item.candidates[1:].tolist()) & {0, 1, *query.positives}  # 0, 1: held out
    assert not query.held_out
    assert item.judged.tolist() == [int(c) in query.judged for c in item.candidates]


def test_a_list_is_the_same_whenever_it_is_asked_for():
    first, second = Sampler(MINED, Mix(), 1), Sampler(MINED, Mix(), 1)
    assert first[3].candidates.tolist() != first[4].candidates.tolist()
    for number in (4, 25_000, 3):
        assert first[number].candidates.tolist() == second[number].candidates.tolist()


@given(st.integers(0, 10_000))
def test_near_unjudged_neighbours_are_left_out_as_likely_answers(number):
    item = Sampler(MINED, Mix(any_set=0), 1)[number]
    cosines = MINED.cosines(item.query, item.candidates)
    others = cosines[1:][~item.judged[1:]]
    assert (others <= FALSE_NEGATIVE_MARGIN * cosines[0]).all()


def test_every_training_query_is_used_before_one_comes_again():
    sampler = Sampler(MINED, Mix(), 1)
    count = np.bincount([sampler[n].query for n in range(20_000)], minlength=12)
    assert count[:2].tolist() == [0, 0]
    assert count[2:].min() == count[2:].max() == 2000


def test_held_out_queries_take_those_along_that_share_a_positive():
    rows = [{"positives": [{"doc_id": f"d{i // 2}"}]} for i in range(40)]
    chosen = data._held_out(rows, 6, np.random.default_rng(0))
    assert 6 <= len(chosen) <= 7
    assert all(i ^ 1 in chosen for i in chosen)


def test_windows_join_neighbours_and_move_the_labels():
    corpus = data.Corpus()
    for i in range(8):
        corpus.add(f"s{i} " + "word " * 19, "selqa")
    corpus.queries.append(
        data.Query(
            set_name="selqa", pool="selqa", text="q", positives=(1,), judged=(0, 2), negatives=(7,)
        )
    )
    data.add_windows(corpus)
    window, paragraph, page = corpus.queries[1:]
    assert window.set_name == window.pool == "selqa-window"
    assert [corpus.texts[p].split()[0] for p in window.positives] == ["s0"]
    assert [corpus.texts[n].split()[0] for n in window.negatives] == ["s6"]
    assert paragraph.set_name == paragraph.pool == "selqa-paragraph"
    assert [corpus.texts[p].split()[0] for p in paragraph.positives] == ["s0"]
    assert [corpus.texts[n].split()[0] for n in paragraph.negatives] == ["s7"]
    assert page.set_name == page.pool == "selqa-page"
    assert [len(corpus.texts[p].split()) for p in page.positives] == [8 * 20]
    assert page.negatives == ()  # all of them are on the page


def test_windows_around_what_validation_asks_for_are_not_shown():
    corpus = data.Corpus()
    for i in range(40):
        corpus.add(f"s{i} " + "word " * 19, "selqa")
    for positive, held_out in ((1, True), (2, False), (39, False)):
        corpus.queries.append(
            data.Query(
                set_name="selqa",
                pool="selqa",
                text="q",
                positives=(positive,),
                held_out=held_out,
            )
        )
    data.add_windows(corpus)
    data.add_cloze(corpus)
    data.add_keywords(corpus)
    hidden = corpus.held_out_positives()
    assert {corpus.texts[p].split()[0] for p in hidden} == {"s0", "s1"}
    assert len(hidden) == 1 + len(data.WINDOW_WORDS)
    asked = [query for query in corpus.queries if not query.held_out]
    assert {query.set_name for query in asked} >= {"selqa", "selqa-window", "selqa-page"}
    assert all(hidden.isdisjoint(query.positives) for query in asked)


def test_cloze_queries_are_cut_out_of_their_passage():
    corpus = data.Corpus()
    text = "A b c d e f. Seven eight nine ten eleven. Short one. And the last of all here."
    corpus.add(text, "pubmedqa")
    data.add_cloze(corpus)
    assert len(corpus.queries) == 3
    for query in corpus.queries:
        rest = corpus.texts[query.positives[0]]
        assert query.text not in rest
        assert query.excluded == (0,)
        assert sorted(f"{query.text}. {rest}".split()) == sorted(text.split())


def test_keyword_queries_are_words_of_their_passage_in_its_order():
    corpus = data.Corpus()
    for first in "xyz":
        corpus.add("the " + " ".join(f"{first}{second}word" for second in "abcdefghij"), "clapnq")
    corpus.add("the few words", "clapnq")
    data.add_keywords(corpus)
    assert len(corpus.queries) == 6  # two of each passage that has words enough
    for query in corpus.queries:
        words, passage = query.text.split(), corpus.texts[query.positives[0]].split()
        assert data.KEYWORDS[0] <= len(words) <= data.KEYWORDS[1]
        assert "the" not in words  # in every passage: says nothing
        assert [w for w in passage if w in words] == words
        assert query.pool == data.EVERYTHING


def test_the_pool_of_everything_leaves_out_what_a_cloze_left_over():
    names = np.array(["clapnq", "cloze", "selqa", "clapnq"])
    assert list(pool_rows(names, data.EVERYTHING)) == [0, 2, 3]
    assert list(pool_rows(names, "clapnq")) == [0, 3]


def test_coverage_is_a_share_and_highest_where_all_words_occur():
    index = bm25.Bm25(["the red fox jumps", "a red wall", "blue sky"])
    scores = index.coverage("Red foxes?", np.arange(3))
    assert 1 > scores[0] > scores[1] > scores[2] == 0


def test_coverage_of_a_query_without_known_words_is_zero():
    index = bm25.Bm25(["red fox", "blue sky"])
    assert index.coverage("unheard", np.arange(2)).tolist() == [0, 0]


def terms(logits, teacher, judged=None, supervised=True):
    logits, teacher = torch.tensor([logits]), torch.tensor([teacher])
    judged = torch.tensor([judged or [False] * logits.shape[1]])
    return list_loss(
        logits, teacher, judged, torch.tensor([supervised]), LossWeights(supervision=1.0)
    )


def test_loss_is_nothing_but_supervision_where_the_model_is_its_teacher():
    out = terms([3.0, 1.0, 0.0], [5.0, 3.0, 2.0])
    assert out["distillation"] == pytest.approx(0, abs=1e-6)
    assert out["regression"] == pytest.approx(0, abs=1e-6)
    total = sum(math.exp(x) for x in (3, 1, 0))
    assert out["supervision"] == pytest.approx(-math.log(math.exp(3) / total), abs=1e-6)


def test_loss_does_not_ask_the_teacher_about_what_people_judged():
    high = terms([3.0, 1.0, 0.0], [5.0, 9.0, 2.0], [False, True, False])
    low = terms([3.0, 1.0, 0.0], [5.0, -9.0, 2.0], [False, True, False])
    assert high["loss"] == low["loss"]


def test_unsupervised_lists_learn_from_the_teacher_alone():
    out = terms([0.0, 1.0, 2.0], [0.0, 1.0, 2.0], supervised=False)
    assert out["loss"] == pytest.approx(0, abs=1e-6)


@given(st.lists(st.integers(3, 200), min_size=1, max_size=80), st.integers(200, 4000))
def test_chunks_hold_every_index_once_within_the_budget(lengths, budget):
    groups = list(tokens.chunks(lengths, budget))
    assert sorted(i for g in groups for i in g) == list(range(len(lengths)))
    for group in groups:
        padded = max(lengths[i] for i in group) * len(group)
        assert padded <= budget
        assert len(group) == 1 or padded - sum(lengths[i] for i in group) <= 0.08 * padded


def test_pair_cuts_the_document_only():
    ids, start = tokens.pair(np.array([7, 8]), np.arange(50), 10)
    assert ids.tolist() == [101, 7, 8, 102, 0, 1, 2, 3, 4, 102]
    assert start == 4


def test_ndcg_gives_no_credit_for_ties():
    assert validate.ndcg(np.zeros(3), np.array([True, False, False])) == pytest.approx(0.5)
    assert validate.ndcg(np.array([2, 1, 0]), np.array([True, False, True])) == pytest.approx(
        1.5 / (1 + 1 / math.log2(3))
    )


def test_rate_rises_stays_and_falls():
    settings = Settings(warmup=10, decay_from=50, steps=100)
    assert [settings.rate_factor_at(s) for s in (0, 4, 30, 50, 75)] == [0.1, 0.5, 1, 1, 0.5]
    assert settings.rate_factor_at(99) == 0.02


@pytest.mark.parametrize("wrong", [{"lists": 6}, {"warmup": 0}, {"part": 0}, {"steps": -1}])
def test_settings_that_no_run_can_be_made_of_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Settings(**wrong)


def test_figures_of_steps_that_are_taken_again_are_dropped(tmp_path):
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text('{"step": 20}\n{"step": 40}\n{"step": 60}\n{"st')
    loop._forget_later(metrics, 40)
    assert metrics.read_text() == '{"step": 20}\n{"step": 40}\n'


class Saved:
    """A trainer whose state is a number, and that may be killed while it is written."""

    def __init__(self, number):
        self.number = number

    def state(self):
        return {"number": self.number}


def test_a_kill_at_any_time_leaves_a_whole_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    loop.write_checkpoint(Saved(1), path)
    loop.write_checkpoint(Saved(2), path)

    def killed(*arguments):
        raise KeyboardInterrupt

    for place in ("replace", "hardlink_to"):
        with monkeypatch.context() as patch:
            patch.setattr(type(path), place, killed)
            with pytest.raises(KeyboardInterrupt):
                loop.write_checkpoint(Saved(3), path)
        assert torch.load(path, weights_only=True) == {"number": 2}
    loop.write_checkpoint(Saved(4), path)
    assert torch.load(path, weights_only=True) == {"number": 4}
    assert torch.load(tmp_path / "last-previous.pt", weights_only=True) == {"number": 2}


def test_a_cache_of_other_data_is_refused(tmp_path):
    folder, cache = tmp_path / "train", tmp_path / "cache"
    cache.mkdir()
    (cache / "done.json").write_text('{"passages": 3, "queries": 2}')
    with pytest.raises(FileNotFoundError, match="no training data"):
        mine.prepare(folder, cache)
    folder.mkdir()
    (folder / "passages.jsonl.gz").write_bytes(b"")
    with pytest.raises(ValueError, match="other data"):
        mine.prepare(folder, cache)


@given(st.floats(0.2, 4), st.floats(-3, 3))
@settings(max_examples=20)
def test_calibration_finds_scale_and_offset(scale, offset):
    logits = np.repeat(np.linspace(-4, 4, 200), 2)
    p = calibrate.sigmoid(scale * logits + offset)
    relevant = np.tile([1.0, 0.0], 200)
    weights = np.where(relevant == 1, p, 1 - p)
    rng = np.random.default_rng(0)
    drawn = rng.choice(len(logits), 60_000, p=weights / weights.sum())
    found = calibrate.fit(logits[drawn], relevant[drawn])
    assert found == pytest.approx((scale, offset), rel=0.1, abs=0.1)


def test_calibration_refuses_logits_that_do_not_rank():
    with pytest.raises(ValueError, match="train the model first"):
        calibrate.fit(np.array([0.0, 1.0, 2.0, 3.0]), np.array([1.0, 1.0, 0.0, 1.0]))
