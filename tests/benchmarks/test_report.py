import copy
import json

import pytest

from benchmarks.cli import main
from benchmarks.compare import compare
from benchmarks.errors import BenchmarkError
from benchmarks.report import fastest_peer, report, table, throughput_table, write_report
from benchmarks.store import read_results, store
from benchmarks.systems import REFERENCE, SYSTEMS, chosen_systems


def test_the_table_has_a_row_a_system_fastest_first(stored):
    rows = throughput_table(stored).splitlines()[2:]
    rates = [float(row.split("**")[1]) for row in rows]
    assert len(rows) == len(stored["systems"])
    assert rates == sorted(rates, reverse=True)


def test_the_fastest_peer_is_never_ours(stored):
    peers = {n: f for n, f in stored["systems"].items() if not n.startswith("fastrerank")}
    assert fastest_peer(stored["systems"]) == max(f["docs_per_s"] for f in peers.values())
    assert fastest_peer({}) is None


def test_a_report_states_machine_commit_and_command(stored):
    text = report({"passages-100": stored})
    for fact in ("processor", "commit", "date"):
        value = stored["environment"][fact]
        assert (value["name"] if fact == "processor" else value) in text
    assert "python -m benchmarks run --quick --workload passages-100" in text


def test_the_same_results_give_the_same_files(stored, tmp_path):
    pytest.importorskip("matplotlib")
    written = []
    for directory in (tmp_path / "a", tmp_path / "b"):
        directory.mkdir()
        (directory / "passages-100.json").write_text(json.dumps(stored))
        write_report(directory)
        written.append({p.name: p.read_bytes() for p in directory.iterdir()})
    assert written[0] == written[1]
    assert set(written[0]) == {"README.md", "passages-100.json", "passages-100.svg"}
    for figures in stored["systems"].values():
        assert figures["label"] in written[0]["README.md"].decode()


def test_every_row_of_a_table_has_the_columns_of_its_head():
    text = table(["a", "b"], [["x", "1"], ["y", "2"]])
    assert text == "| a | b |\n| --- | ---: |\n| x | 1 |\n| y | 2 |\n"


def test_comparing_states_the_ratio_and_its_direction(stored):
    faster = copy.deepcopy(stored)
    name = next(iter(stored["systems"]))
    faster["systems"][name]["docs_per_s"] *= 2
    faster["systems"][name]["p95_ms"] *= 2
    lines = [line for line in compare(stored, faster).splitlines() if line.startswith(name + " ")]
    assert any("docs_per_s" in line and line.endswith("2.000  better") for line in lines)
    assert any("p95_ms" in line and line.endswith("2.000  worse") for line in lines)


def test_comparing_says_what_was_measured_otherwise(stored):
    other = copy.deepcopy(stored)
    assert "otherwise" not in compare(stored, other)
    other["workload"]["name"], other["environment"]["threads"] = "long", 99
    facts = [line for line in compare(stored, other).splitlines() if "otherwise" in line]
    assert len(facts) == 2
    assert "workload was passages-100, now long" in facts[0]
    assert "now 99" in facts[1]


def test_figures_in_rows_are_compared_row_by_row(stored):
    def scaling(*rates):
        rows = [{"documents": 10 * i, "docs_per_s": rate} for i, rate in enumerate(rates, 1)]
        return {**stored, "kind": "scaling", "systems": {"a": {"label": "a", "documents": rows}}}

    lines = compare(scaling(100, 100), scaling(100, 50)).splitlines()
    assert [line.split()[1:4] + line.split()[6:] for line in lines[1:]] == [
        ["docs_per_s", "10", "documents", "1.000"],
        ["docs_per_s", "20", "documents", "0.500", "worse"],
    ]
    assert "no figure" in compare(stored, scaling(100))


def quality(environment, system, ndcg):
    return {
        "kind": "quality",
        "environment": environment,
        "set": "smoke",
        "queries": 2,
        "model": "m",
        "first_stage": 0.25,
        "systems": {system: {"label": system, "ndcg": ndcg}},
    }


def test_figures_of_several_quality_runs_share_a_row(stored):
    environment = stored["environment"]
    later = {**environment, "date": "9999-01-01", "commit": "later"}
    text = report(
        {"q-b": quality(environment, "b", 0.5), "q-a": quality(later, "a", 0.75)},
    )
    assert "| set | queries | first stage | m, a | m, b |" in text
    assert "| smoke | 2 | 0.2500 | 0.7500 | 0.5000 |" in text
    assert "commit later" in text


@pytest.mark.parametrize("whole_directory", [True, False])
def test_a_stored_result_is_compared_before_it_is_overwritten(
    stored, tmp_path, capsys, whole_directory
):
    path = tmp_path / "quality.json"
    path.write_text(json.dumps(quality(stored["environment"], "a", 0.5)))
    better = quality(stored["environment"], "a", 0.75)
    old = read_results(tmp_path if whole_directory else path)
    store(better, "quality" if whole_directory else "other", tmp_path, old)
    assert "1.500  better" in capsys.readouterr().out
    written = path if whole_directory else tmp_path / "other.json"
    assert json.loads(written.read_text())["systems"]["a"]["ndcg"] == 0.75


def test_what_cannot_be_compared_with_is_said_before_anything_is_measured(tmp_path, capsys):
    (tmp_path / "cut.json").write_text('{"kind": "quali')
    for path in (tmp_path / "cut.json", tmp_path, tmp_path / "missing"):
        with pytest.raises(BenchmarkError, match=r"no such file|no result"):
            read_results(path)
    assert main(["quality", "--compare", str(tmp_path / "cut.json")]) == 1
    assert "cut.json is no result of this benchmark" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--threads", "0"], ["--threads", "999"], ["--limit", "0"]])
def test_numbers_that_cannot_be_are_refused(arguments):
    with pytest.raises(SystemExit):
        main(["run", *arguments])


def test_systems_are_chosen_by_name_and_by_prefix():
    assert chosen_systems("fastembed,") == [SYSTEMS["fastembed"]]
    assert chosen_systems(None) == list(SYSTEMS.values())
    assert [s.name for s in chosen_systems(f"fastembed,{REFERENCE}")] == ["fastembed", REFERENCE]
    assert len(chosen_systems("flashrank")) == 2
    for names in ("nothing", ","):
        with pytest.raises(ValueError, match="no system"):
            chosen_systems(names)


def test_every_system_has_its_adapter_and_its_requirements():
    from benchmarks.paths import HERE, REQUIREMENTS

    for system in SYSTEMS.values():
        assert (HERE / f"peers/{system.adapter}.py").is_file()
        assert (REQUIREMENTS / f"{system.environment}.txt").is_file()
