"""The bundled models timed in turn; how long they take is not a test's business."""

import pytest

from benchmarks.bundled import MODELS, main
from fastrerank.bundle import open_bundle


def test_every_bundled_model_is_timed(data, monkeypatch, capsys):
    monkeypatch.setenv("FASTRERANK_DATA", str(data))
    main(["--requests", "1", "--rounds", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(MODELS)
    assert all("docs/s" in line for line in lines)


@pytest.mark.parametrize("arguments", [["--requests", "44"], ["--rounds", "0"]])
def test_what_cannot_be_measured_is_refused(arguments):
    with pytest.raises(SystemExit):
        main(arguments)


@pytest.mark.parametrize("name", MODELS)
def test_it_knows_the_models_that_are_bundled(name):
    assert open_bundle(name).manifest_path.parent.name == "models"
