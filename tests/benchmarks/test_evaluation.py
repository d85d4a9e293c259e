import pytest

from benchmarks.errors import BenchmarkError
from benchmarks.evaluation import evaluate
from benchmarks.workloads import read_evaluation

pytest.importorskip("ir_measures")


def test_the_first_stage_order_scores_as_the_data_set_states(data):
    rows = list(read_evaluation(data / "eval/smoke.jsonl.gz"))
    scores = [[-float(rank) for rank in range(len(row["candidates"]))] for row in rows]
    assert evaluate(data, "smoke", rows, scores) == pytest.approx(0.8974, abs=5e-5)


def test_a_score_that_is_not_finite_is_refused(data):
    rows = list(read_evaluation(data / "eval/smoke.jsonl.gz"))
    with pytest.raises(BenchmarkError, match="not finite"):
        evaluate(data, "smoke", rows, [[float("nan")] * len(row["candidates"]) for row in rows])
