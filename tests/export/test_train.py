"""Training on the smoke data: a few steps, and a resume that changes nothing."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs pip install 'fastrerank[train]'")
transformers = pytest.importorskip("transformers", reason="needs pip install 'fastrerank[train]'")
safetensors = pytest.importorskip(
    "safetensors.torch", reason="needs pip install 'fastrerank[train]'"
)
pytest.importorskip("Stemmer", reason="needs pip install 'fastrerank[train]'")

from fastrerank.export.train import (  # noqa: E402 - after the skips
    average,
    calibrate,
    evaluate,
    loop,
    mine,
    model,
    sample,
    tokens,
    validate,
    weights,
)
from fastrerank.export.train.data import read_jsonl  # noqa: E402
from fastrerank.export.train.settings import EXIT_AFTER, Settings  # noqa: E402
from fastrerank.export.train.similarity import Similarity  # noqa: E402

from fastrerank.windows import spans  # noqa: E402


def write_jsonl(path: Path, rows: list[dict]) -> None:
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


@pytest.fixture(scope="module")
def smoke_folder(tmp_path_factory, data):
    """The smoke data as a training set: relevant candidates against all others."""
    folder = tmp_path_factory.mktemp("smoke")
    rows, texts = [], {}
    for row in read_jsonl(data / "eval/smoke.jsonl.gz"):
        texts.update({c["doc_id"]: c["text"] for c in row["candidates"]})
        relevant = {d for d, label in row["qrels"].items() if label > 0}
        shown = [c["doc_id"] for c in row["candidates"]]
        negatives = [d for d in shown if d not in relevant]
        rows.append(
            {
                "query_id": row["query_id"],
                "query": row["query"],
                "positives": [{"doc_id": d} for d in shown if d in relevant],
                "negatives": [
                    {"doc_id": d, "source": "judged" if d in row["qrels"] else "bm25"}
                    for d in negatives
                ],
            }
        )
    write_jsonl(folder / "selqa.jsonl.gz", [r for r in rows if r["positives"]])
    write_jsonl(
        folder / "passages.jsonl.gz",
        [{"doc_id": d, "text": t, "source": "selqa"} for d, t in texts.items()],
    )
    return folder


@pytest.fixture(scope="module")
def mined(smoke_folder, tmp_path_factory):
    pytest.importorskip(model.BASE_PACKAGE, reason="needs pip install 'fastrerank[train]'")
    return mine.prepare(smoke_folder, tmp_path_factory.mktemp("cache"))


def trainer_of(mined, **settings):
    settings = Settings(**{"lists": 2, "part": 1, "warmup": 2, "supervise": (0, 2), **settings})
    packed = model.Packed(model.load(model.base_folder(), seed=settings.seed), EXIT_AFTER)
    return loop.Trainer(packed, mined, sample.Sampler(mined, sample.Mix(), 1), settings)


@pytest.mark.slow
def test_validation_reads_long_documents_as_a_bundle_does(mined):
    """By their best window: one that holds the answer makes up for all others."""
    packed = model.Packed(model.load(model.base_folder(), seed=0))
    rng = np.random.default_rng(0)
    query = mined.query_ids[0]
    short, long = (rng.integers(2000, 20000, n) for n in (2 * model.WINDOW, 500))
    parts = [long[s] for s in spans(validate.MAX_LENGTH - len(query) - 3, model.WINDOW, 500)]
    found = validate.score_documents(packed, [(query, short), (query, long), (query, short[:9])])
    alone = [
        validate.score_pairs(packed, [tokens.pair(query, text, validate.MAX_LENGTH)])[0, 0]
        for text in (short, *parts, short[:9])
    ]
    expected = [alone[0], max(alone[1:-1]), alone[-1]]
    np.testing.assert_allclose(found[0], expected, atol=0.02)  # bf16, other batches


@pytest.mark.slow
def test_validation_adds_the_cosine_of_each_window(mined):
    packed = model.Packed(model.load(model.base_folder(), seed=0))
    query, beside = mined.query_ids[0], Similarity(4.0)
    long = np.concatenate([mined.passage_ids[i] for i in range(12)])
    parts = [long[s] for s in spans(len(long), model.WINDOW, validate.MAX_LENGTH)]
    assert len(parts) > 1
    whole, *alone = (
        validate.score_documents(packed, [(query, text)], beside)[0, 0] for text in (long, *parts)
    )
    np.testing.assert_allclose(whole, max(alone), atol=0.02)
    short = mined.passage_ids[3]
    added = validate.score_documents(packed, [(query, short)], beside) - (
        validate.score_documents(packed, [(query, short)])
    )
    np.testing.assert_allclose(added[0], 4 * mined.cosines(0, np.array([3])), atol=0.02)


@pytest.mark.slow
def test_training_beside_a_bi_encoder_starts_from_its_cosines(mined):
    """The logit learns what is left of the teacher: nothing, where the teacher is the cosine."""
    settings = {"lexical": 0.0, "supervision": 0.0, "rate": 0.0, "head_rate": 0.0}
    alone, beside = (trainer_of(mined, similarity=s, **settings) for s in (0.0, 20.0))
    for each in (alone, beside):
        torch.nn.init.zeros_(each.packed.model.classifier.weight)
    assert beside.take_step()["distillation"] < 1e-3 < alone.take_step()["distillation"]


@pytest.mark.slow
def test_resumed_run_takes_the_same_steps(mined, tmp_path):
    whole = trainer_of(mined)
    losses = [whole.take_step()["loss"] for _ in range(6)]

    loop.run(trainer_of(mined, steps=3), tmp_path / "run")
    resumed = trainer_of(mined)
    resumed.restore(torch.load(tmp_path / "run/last.pt", weights_only=True))
    assert [resumed.take_step()["loss"] for _ in range(3)] == losses[3:]
    for ours, theirs in zip(resumed.average, whole.average, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.slow
def test_a_former_release_joins_the_teacher(mined):
    alone = trainer_of(mined)
    released = model.Packed(model.load(model.base_folder(), seed=5))
    joined = loop.Trainer(alone.packed, mined, alone.sampler, alone.settings, released)
    lists = [alone.sampler[n] for n in range(2)]
    batches, places = alone._batches(lists, 96)
    known, both = (t._teacher(lists, batches, places) for t in (alone, joined))
    with torch.inference_mode():
        logits = released(batches)[0, places]
    expected = alone.settings.softness * (known + alone.settings.released * logits)
    torch.testing.assert_close(both, expected, atol=1e-5, rtol=1e-5)
    assert joined.take_step()["distillation"] != alone.take_step()["distillation"]


@pytest.mark.slow
def test_a_long_text_is_embedded_piece_by_piece(mined):
    encoder = model.Packed(model.load(model.base_folder()), dtype=torch.float32)
    rng = np.random.default_rng(0)
    long = rng.integers(2000, 20_000, mine.EMBEDDED_TOKENS + 100).astype(np.uint16)
    pieces = [long[: mine.EMBEDDED_TOKENS], long[mine.EMBEDDED_TOKENS :]]
    starts = np.cumsum([0, len(long), *map(len, pieces)])
    ids = tokens.TokenIds(flat=np.concatenate([long, *pieces]), starts=starts)
    whole, *parts = mine.embed(encoder, ids).astype(np.float32)
    weighted = sum((len(p) + 2) * v for p, v in zip(pieces, parts, strict=True))
    np.testing.assert_allclose(whole, weighted / np.linalg.norm(weighted), atol=2e-3)


@pytest.mark.slow
def test_packed_forward_is_that_of_transformers(mined):
    classifier = model.load(model.base_folder()).eval()
    rows = [np.array([101, 2054, 102, *range(2000, 2000 + n), 102]) for n in (5, 9, 12)]
    ids, type_ids, lengths = model.pad(rows, [3, 3, 3])
    mask = torch.arange(ids.shape[1]) < lengths[:, None]
    with torch.inference_mode():
        expected = classifier(
            input_ids=ids, token_type_ids=type_ids, attention_mask=mask.long()
        ).logits.squeeze(-1)
        logits = model.Packed(classifier, dtype=torch.float32)([(ids, type_ids, lengths)])[0]
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_a_release_is_a_calibrated_transformers_model(mined, tmp_path, data):
    trainer = trainer_of(mined)
    trainer.take_step()
    trainer.take_step()
    checkpoint = tmp_path / "last.pt"
    loop.write_checkpoint(trainer, checkpoint)
    mean = average.averaged([checkpoint, checkpoint], EXIT_AFTER).model
    calibrate.apply(mean, 2.0, -1.0)
    model.save(mean, tmp_path / "hf")

    figures = dict(
        evaluate.evaluate(
            tmp_path / "hf", data, tmp_path / "runs", bi_encoder=False, sets=["smoke"]
        )
    )
    assert 0 < figures["smoke"]["nDCG@10"] <= 1

    trainer.swap_average()
    pair = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")(
        "who wrote it?", "She wrote it in 1818.", return_tensors="pt"
    )
    loaded = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "hf")
    assert loaded.config.id2label == {0: "RELEVANCE"}
    with torch.inference_mode():
        logit = loaded.float()(**pair).logits
        plain = trainer.packed.model.eval()(**pair).logits
    torch.testing.assert_close(logit, 2 * plain - 1, atol=0.01, rtol=0.01)


@pytest.mark.slow
def test_a_packed_model_is_unpacked_as_it_was(mined, tmp_path):
    trainer = trainer_of(mined)
    trainer.take_step()
    calibrate.apply(trainer.packed.model, 0.5, -2.0)
    model.save(trainer.packed.model, tmp_path / "release")
    (tmp_path / "release/training.json").write_text('{"scale": 0.5, "offset": -2.0}')
    weights.pack(tmp_path / "release", tmp_path / "packed.safetensors")
    (tmp_path / "packed.md").write_text("# What it is")
    weights.unpack(tmp_path / "packed.safetensors", tmp_path / "again")
    assert (tmp_path / "again/README.md").read_text() == "# What it is"
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (tmp_path / "again" / name).read_bytes() == (
            tmp_path / "release" / name
        ).read_bytes()
    calibrate.undo(trainer.packed.model, 0.5, -2.0)
    to_train = weights.load_to_train(tmp_path / "again")
    for ours, theirs in zip(to_train.parameters(), trainer.packed.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=2e-3)


@pytest.mark.slow
def test_a_packed_model_is_unpacked_with_the_bi_encoder_beside_it(mined, tmp_path):
    trainer = trainer_of(mined)
    calibrate.apply(trainer.packed.model, 0.5, -2.0)
    model.save(trainer.packed.model, tmp_path / "release")
    (tmp_path / "release/training.json").write_text('{"scale": 0.5, "offset": -2.0}')
    weights.pack(tmp_path / "release", tmp_path / "packed.safetensors")
    stated = {"cross_encoder": "packed.safetensors", "similarity": 6.0}
    (tmp_path / "both.json").write_text(json.dumps({**stated, "scale": 0.4, "offset": -1.0}))
    (tmp_path / "both.md").write_text("# Both")
    weights.unpack(tmp_path / "both.json", tmp_path / "both")
    stated = json.loads((tmp_path / "both/config.json").read_text())["similarity"]
    assert stated["weight"] == 6.0
    assert (tmp_path / "both" / stated["folder"] / "model.safetensors").is_file()
    alone, beside = (
        transformers.BertForSequenceClassification.from_pretrained(tmp_path / name).classifier
        for name in ("release", "both")
    )
    torch.testing.assert_close(beside.weight, 0.8 * alone.weight, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(beside.bias, (alone.bias + 2) * 0.8 - 1, atol=1e-3, rtol=1e-3)
    with pytest.raises(ValueError, match="bi-encoder beside it"):
        weights.pack(tmp_path / "both", tmp_path / "again.safetensors")
    model.save(weights.load_to_train(tmp_path / "both"), tmp_path / "without")
    assert "similarity" not in json.loads((tmp_path / "without/config.json").read_text())


@pytest.mark.slow
def test_a_file_that_lacks_weights_is_not_unpacked(mined, tmp_path):
    bias = {"bert.encoder.layer.0.output.dense.bias": torch.zeros(384)}
    safetensors.save_file(bias, tmp_path / "part")
    with pytest.raises(ValueError, match="no packed model"):
        weights.unpack(tmp_path / "part", tmp_path / "out")
