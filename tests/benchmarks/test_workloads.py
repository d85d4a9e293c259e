import pytest

from benchmarks.workloads import KINDS, LONG_WORDS, document_text, make_workload


@pytest.mark.parametrize("name", KINDS)
def test_a_workload_is_the_same_on_every_run(data, name):
    assert make_workload(name, data) == make_workload(name, data)


@pytest.mark.parametrize("name", KINDS)
def test_every_request_has_the_stated_documents_and_a_query(data, name):
    for request in make_workload(name, data).requests:
        assert len(request.documents) == KINDS[name].documents
        assert request.query.strip()


@pytest.mark.parametrize("name", KINDS)
def test_a_quick_workload_is_smaller(data, name):
    full, quick = make_workload(name, data), make_workload(name, data, quick=True)
    assert quick.documents * quick.repeats < full.documents * full.repeats


@pytest.mark.parametrize("name", ["passages-10", "passages-100", "passages-1000"])
def test_no_document_of_a_request_of_passages_is_there_twice(data, name):
    for request in make_workload(name, data).requests:
        assert len(set(request.documents)) == len(request.documents)


def test_long_documents_are_long(data):
    for request in make_workload("long", data).requests:
        assert all(len(text.split()) > LONG_WORDS for text in request.documents)


def test_mixed_documents_are_of_all_lengths(data):
    lengths = [len(t.split()) for r in make_workload("mixed", data).requests for t in r.documents]
    assert min(lengths) < 50
    assert max(lengths) > 450


def test_an_unknown_workload_is_an_error(data):
    with pytest.raises(KeyError):
        make_workload("none", data)


def test_a_title_precedes_its_text():
    assert document_text({"title": "T", "text": "x"}) == "T x"
    assert document_text({"title": "", "text": "x"}) == "x"
    assert document_text({"text": "x"}) == "x"
