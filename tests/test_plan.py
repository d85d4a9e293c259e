"""Which runtime and precision are taken, and the plans that tune leaves behind."""

import dataclasses
import importlib.util
import json
import os
from contextlib import ExitStack
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastrerank import InvalidRequestError, MissingExtraError, Reranker, plan_store, tuning
from fastrerank.bundle import open_bundle
from fastrerank.cli import main
from fastrerank.plan import Plan, choose, may_replace, plans
from fastrerank.plan_store import plan_path, store_plans, stored_plans
from fastrerank.processor import Processor, this_processor
from fastrerank.tuning import tune

PLAIN = Processor(name="plain", flags=frozenset({"avx2"}))
BF16 = Processor(name="bf16", flags=frozenset({"avx512_bf16"}))
AMX = Processor(name="amx", flags=frozenset({"avx512_bf16", "amx_bf16"}))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def pretend(monkeypatch, *, openvino):
    spec = ModuleSpec("openvino", None, origin="openvino/__init__.py") if openvino else None
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)


@pytest.fixture(params=[False, True], ids=["alone", "with openvino"])
def installed(request, monkeypatch):
    pretend(monkeypatch, openvino=request.param)
    return request.param


def manifest(*precisions):
    whole = open_bundle().manifest
    variants = {
        name: dataclasses.replace(whole.precisions["int8"], batch_invariant=name != "int8")
        for name in precisions
    }
    return dataclasses.replace(whole, precisions=variants)


@pytest.mark.parametrize(
    ("precisions", "processor", "runtime", "precision"),
    [
        (["int8"], PLAIN, "onnxruntime", "int8"),
        (["int8"], BF16, "onnxruntime", "int8"),
        (["int8"], AMX, "openvino", "bf16"),
        (["fp32"], AMX, "onnxruntime", "fp32"),  # bf16 would change its scores
        (["fp32", "int8"], AMX, "openvino", "bf16"),
        (["fp32", "int8"], PLAIN, "onnxruntime", "int8"),
    ],
)
def test_auto_takes_openvino_where_it_is_faster_and_as_exact(
    installed, precisions, processor, runtime, precision
):
    choice = choose(manifest(*precisions), processor=processor)
    if installed:
        assert (choice.plan.runtime, choice.plan.precision) == (runtime, precision)
    else:
        assert choice.plan.runtime == "onnxruntime"
        assert choice.reason == "openvino is not installed"


@pytest.mark.parametrize("asked", [{"precision": "fp32"}, {"runtime": "onnxruntime"}])
@pytest.mark.parametrize("processor", [PLAIN, AMX])
def test_what_was_asked_for_is_the_reason(installed, asked, processor):
    assert choose(manifest("fp32", "int8"), processor=processor, **asked).reason == "asked for"


@pytest.mark.parametrize("processor", [BF16, AMX])
def test_weights_in_fp32_alone_are_never_multiplied_in_bf16_unasked(monkeypatch, processor):
    pretend(monkeypatch, openvino=True)
    plan = choose(manifest("fp32"), runtime="openvino", processor=processor).plan
    assert plan.precision == "fp32"
    assert "bf16 would change" in choose(manifest("fp32"), processor=processor).reason


@pytest.mark.parametrize(
    ("precisions", "processor", "taken"),
    [
        (["int8"], PLAIN, {"int8", "fp32"}),
        (["int8"], BF16, {"int8", "bf16", "fp32"}),
        (["fp32", "int8"], AMX, {"bf16", "fp32"}),  # by default bf16: int8 is less exact
        (["fp32"], AMX, {"fp32"}),
    ],
)
def test_tune_may_take_what_is_no_less_exact_than_the_default(
    monkeypatch, precisions, processor, taken
):
    pretend(monkeypatch, openvino=True)
    default, *others = plans(manifest(*precisions), processor)
    found = {default, *(plan for plan in others if may_replace(default, plan))}
    assert {plan.precision for plan in found} == taken


def test_openvino_computes_with_the_most_exact_weights(monkeypatch):
    pretend(monkeypatch, openvino=True)
    for precisions, weights in ((["int8"], "int8"), (["fp32", "int8"], "fp32")):
        offered = plans(manifest(*precisions), BF16)
        assert {p.weights for p in offered if p.runtime == "openvino"} == {weights}


@pytest.mark.parametrize(
    ("choices", "processor", "helps"),
    [
        ({"runtime": "openvino"}, PLAIN, True),
        ({"precision": "fp32"}, PLAIN, True),
        ({"precision": "bf16"}, BF16, True),
        ({"precision": "bf16"}, PLAIN, False),
        ({"precision": "int4"}, BF16, False),
        ({"runtime": "onnxruntime", "precision": "bf16"}, BF16, False),
    ],
)
def test_a_runtime_that_would_help_says_how_to_install_it(monkeypatch, choices, processor, helps):
    pretend(monkeypatch, openvino=False)
    expected = MissingExtraError if helps else InvalidRequestError
    with pytest.raises(expected) as caught:
        choose(manifest("int8"), **choices, processor=processor)
    assert ("pip install 'fastrerank[openvino]'" in str(caught.value)) == helps


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"runtime": "tvm"}, "runtime is 'tvm'; there is: onnxruntime, openvino"),
        ({"precision": "int4"}, r"there is: int8 \(onnxruntime\); bf16, fp32 \(openvino\)"),
        ({"runtime": "openvino", "precision": "int8"}, "'int8' with runtime 'openvino'; there is:"),
        ({"runtime": "onnxruntime", "precision": "bf16"}, "'bf16' with runtime 'onnxruntime'"),
    ],
)
def test_a_combination_that_is_not_there_is_answered_with_those_that_are(
    monkeypatch, choices, message
):
    pretend(monkeypatch, openvino=True)
    with pytest.raises(InvalidRequestError, match=message):
        choose(manifest("int8"), processor=BF16, **choices)


def test_a_measured_plan_goes_first_and_what_is_asked_for_before_it(installed):
    tuned = [
        dataclasses.replace(plan, token_budget=7)
        for plan in reversed(plans(manifest("fp32", "int8"), BF16))
    ]
    model = manifest("fp32", "int8")
    assert choose(model, tuned=tuned, processor=BF16).plan == tuned[0]
    int8 = choose(model, precision="int8", tuned=tuned, processor=BF16)
    assert (int8.plan.precision, int8.plan.token_budget) == ("int8", 7)
    assert "tune" in int8.reason


@pytest.mark.parametrize("change", [{"precision": "int2", "weights": "int2"}, {"weights": "int2"}])
def test_a_plan_for_what_is_no_longer_there_is_passed_over(installed, change):
    default = plans(manifest("int8"), PLAIN)[0]
    gone = dataclasses.replace(default, **change)
    assert choose(manifest("int8"), tuned=[gone], processor=PLAIN).plan == default


def test_stored_plans_are_found_by_bundle_and_used(tiny_bundle):
    model = open_bundle(tiny_bundle).manifest
    assert stored_plans(model) == []
    plan = dataclasses.replace(plans(model)[0], precision="fp32", weights="fp32", token_budget=64)
    store_plans(model, [plan])
    assert stored_plans(model) == [plan]
    assert stored_plans(dataclasses.replace(model, name="another")) == []
    with Reranker(tiny_bundle) as reranker:
        assert (reranker.precision, reranker.runtime_reason) == (
            "fp32",
            "measured here by `fastrerank tune`",
        )


@pytest.mark.parametrize(
    ("fact", "other"), [("this_processor", AMX), ("usable_cores", 999), ("_version", "0")]
)
def test_plans_of_another_machine_or_version_are_not_taken(tiny_bundle, monkeypatch, fact, other):
    model = open_bundle(tiny_bundle).manifest
    store_plans(model, plans(model))
    assert stored_plans(model) == plans(model)
    monkeypatch.setattr(plan_store, fact, lambda *_: other)
    assert stored_plans(model) == []


def test_plans_stay_as_they_were_where_others_cannot_be_written(tiny_bundle, monkeypatch):
    model = open_bundle(tiny_bundle).manifest
    store_plans(model, plans(model))
    write_text = Path.write_text

    def full(path, text, **options):
        write_text(path, text[:20], **options)
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="no space"):
        store_plans(model, plans(model)[:1])
    assert stored_plans(model) == plans(model)


@given(
    content=st.binary()
    | st.text().map(str.encode)
    | st.sampled_from([b'{"plans": [{}]}', b"[" * 200_000])
)
def test_a_broken_plan_file_changes_nothing(content):
    model = open_bundle().manifest
    path = plan_path(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    assert stored_plans(model) == []


@pytest.mark.parametrize(
    "change",
    [
        *({"threads": 0}, {"token_budget": "many"}, {"length_multiple": 1.5}, {"other": 1}),
        {"length_multiple": 10**30},
    ],
)
def test_a_plan_with_wrong_values_is_passed_over(change):
    model = open_bundle().manifest
    path = store_plans(model, plans(model))
    content = json.loads(path.read_text())
    content["plans"][0] |= change
    path.write_text(json.dumps(content))
    assert stored_plans(model) == []


def test_a_pipe_in_the_place_of_a_plan_is_not_waited_for():
    model = open_bundle().manifest
    path = plan_path(model)
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    assert stored_plans(model) == []


def test_a_directory_of_its_name_is_not_openvino(monkeypatch):
    namespace = ModuleSpec("openvino", None, is_package=True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: namespace)
    assert {plan.runtime for plan in plans(manifest("fp32", "int8"), AMX)} == {"onnxruntime"}
    with pytest.raises(MissingExtraError, match="openvino"):
        choose(manifest("int8"), runtime="openvino", processor=AMX)


def test_a_plan_of_another_processor_of_that_name_is_not_taken(monkeypatch):
    model = open_bundle().manifest
    store_plans(model, plans(model))
    assert stored_plans(model) == plans(model)
    same_name = dataclasses.replace(this_processor(), flags=frozenset({"other"}))
    monkeypatch.setattr(plan_store, "this_processor", lambda: same_name)
    assert stored_plans(model) == []


def test_a_plan_is_kept_as_it_is():
    model = open_bundle().manifest
    plan = Plan(runtime="onnxruntime", precision="int8", weights="int8", threads=3, token_budget=99)
    store_plans(model, [plan])
    assert stored_plans(model) == [plan]


def test_the_processor_is_read_from_its_first_core(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("model name\t: Fast\nflags\t\t: fpu amx_bf16\n\nmodel name\t: Slow\n")
    assert this_processor(cpuinfo) == Processor(name="Fast", flags=frozenset({"fpu", "amx_bf16"}))
    assert this_processor(tmp_path / "none").flags == frozenset()


def test_tune_keeps_a_plan_that_is_then_used(tiny_bundle, capsys):
    assert main(["tune", str(tiny_bundle)]) == 0
    captured = capsys.readouterr()
    assert "documents/s" in captured.out
    assert "comparing" in captured.err
    model = open_bundle(tiny_bundle).manifest
    kept = stored_plans(model)
    assert {plan.runtime for plan in kept} <= {plan.runtime for plan in plans(model)}
    assert len(kept) == len({(plan.runtime, plan.precision) for plan in kept}) > 0
    with Reranker(tiny_bundle) as reranker:
        assert "tune" in reranker.runtime_reason
        assert (reranker.runtime, reranker.precision) == (kept[0].runtime, kept[0].precision)


IMPROVED = 1  # the token budget of a plan that was improved


@pytest.fixture
def seconds(monkeypatch):
    """How long plans take on a bench: one second, or what is put in for (precision, budget)."""
    taken = {}

    class Bench:
        def __init__(self, *_):
            pass

        def best_times(self, candidates, _):
            return {p: taken.get((p.precision, p.token_budget), 1.0) for p in candidates}

        def improved(self, plan, *_):
            return dataclasses.replace(plan, token_budget=IMPROVED)

    monkeypatch.setattr(tuning, "_Bench", Bench)
    return taken


@pytest.mark.parametrize(
    ("times", "kept"),
    [
        ({("fp32", 384): 0.6, ("fp32", IMPROVED): 0.5}, [("fp32", IMPROVED), ("int8", 96)]),
        ({("int8", IMPROVED): 1.2}, [("int8", 96), ("fp32", 384)]),
        ({("fp32", 384): 3.0, ("fp32", IMPROVED): 0.1}, [("int8", 96)]),
        ({("int8", 96): 0.998, ("fp32", 384): 0.996}, [("int8", 96), ("fp32", 384)]),
        ({("int8", 96): 1.06, ("fp32", 384): 0.98}, [("int8", IMPROVED), ("fp32", 384)]),
    ],
    ids=["faster", "slower", "hopeless", "hardly faster", "improved to as fast"],
)
def test_tune_keeps_what_is_faster_the_fastest_first(
    tiny_bundle, monkeypatch, seconds, times, kept
):
    pretend(monkeypatch, openvino=False)
    seconds.update(times)
    assert main(["tune", str(tiny_bundle)]) == 0
    found = stored_plans(open_bundle(tiny_bundle).manifest)
    assert [(plan.precision, plan.token_budget) for plan in found] == kept


def test_tune_does_not_trade_exactness_for_speed(tiny_bundle, monkeypatch, seconds):
    pretend(monkeypatch, openvino=True)
    monkeypatch.setattr("fastrerank.plan.this_processor", lambda: BF16)
    whole = open_bundle(tiny_bundle)
    exact = {"fp32": whole.manifest.precisions["fp32"]}
    bundle = dataclasses.replace(
        whole, manifest=dataclasses.replace(whole.manifest, precisions=exact)
    )
    assert {plan.precision for plan in plans(bundle.manifest)} == {"fp32", "bf16"}
    assert {entry.plan.precision for entry in tune(bundle, lambda _: None)} == {"fp32"}


@pytest.fixture
def bench(tiny_bundle):
    with ExitStack() as stack:
        yield tuning._Bench(open_bundle(tiny_bundle), stack)


def test_of_the_numbers_that_tune_tries_the_fastest_are_taken(tiny_bundle, monkeypatch, bench):
    times = {128: 2.0, 256: 0.5}
    monkeypatch.setattr(
        bench, "best_times", lambda tried, _: {p: times.get(p.token_budget, 1.0) for p in tried}
    )
    plan = choose(open_bundle(tiny_bundle).manifest, runtime="onnxruntime", precision="fp32").plan
    improved = bench.improved(plan, lambda _: None, float("inf"))
    assert improved == dataclasses.replace(plan, token_budget=256)


def test_tune_measures_once_when_its_time_is_up(tiny_bundle, monkeypatch, bench):
    calls = []
    monkeypatch.setattr(tuning.PairScorer, "score", lambda _, pairs: calls.append(pairs))
    bench.best_times(plans(open_bundle(tiny_bundle).manifest)[:1], float("-inf"))
    assert len(calls) == 2  # the first to warm up


@pytest.mark.parametrize("what", ["home", "is_dir"])
def test_a_cache_out_of_reach_changes_nothing(monkeypatch, what):
    """A user without a home, or with one that another user owns."""
    errors = {"home": RuntimeError("no home"), "is_dir": PermissionError("not yours")}

    def fail(*_):
        raise errors[what]

    of = open_bundle().manifest
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, what, fail)
    assert stored_plans(of) == []


def test_tune_without_a_home_says_what_to_set(tiny_bundle, monkeypatch, capsys):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert main(["tune", str(tiny_bundle)]) == 1
    assert "XDG_CACHE_HOME" in capsys.readouterr().err
