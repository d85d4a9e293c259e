import subprocess
import sys
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import edit_manifest, write_tiny_bundle

from fastrerank import InvalidRequestError, Reranker, memory, scoring
from fastrerank.memory import _malloc_trim
from fastrerank.tokenization import Pair


def peak_growth_mib(bundle, count: int) -> float:
    """Peak resident memory that one call adds to a process that has made a call before."""
    program = f"""
        import resource
        from fastrerank import Reranker
        def peak():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        documents = [f"x{{n}} " + " ".join(["w9"] * 400) for n in range({count})]
        reranker = Reranker({str(bundle)!r}, precision="fp32", threads=2)
        reranker.rerank("w8", documents[:100])
        before = peak()
        reranker.rerank("w8", documents)
        print(peak() - before)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_memory_does_not_follow_the_number_of_documents(tmp_path):
    bundle = write_tiny_bundle(tmp_path)
    edit_manifest(bundle, max_length=512)
    # 10,000 results and their scores are about 3 MiB, the ids of as many documents 30.
    assert peak_growth_mib(bundle, 10_000) < peak_growth_mib(bundle, 100) + 15


@pytest.mark.skipif(_malloc_trim() is None, reason="only glibc keeps memory")
@pytest.mark.parametrize(
    "documents",
    [
        '[f"{n} " + "long " * 600 for n in range(8)]',  # some 150 MiB while they are scored
        '["nospace" * 200_000]',  # 100 MiB and more while it is tokenised
    ],
)
def test_long_pairs_and_texts_leave_no_memory_behind(documents):
    program = f"""
        from pathlib import Path
        from fastrerank import Reranker
        def resident():
            return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20
        reranker = Reranker(threads=2, window=512, runtime="onnxruntime")  # pairs as a whole
        reranker.rerank("a query", ["a short document"] * 10)
        before = resident()
        reranker.rerank("a query", {documents})
        print(resident() - before)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 30


def test_memory_is_given_back_after_long_pairs_and_not_all_the_time(monkeypatch):
    trims, now = [], [100.0]
    monkeypatch.setattr(memory, "_malloc_trim", lambda: trims.append)
    monkeypatch.setattr(memory.time, "monotonic", lambda: now[0])
    trimmer = memory.HeapTrimmer()

    def trims_after(**noted):
        trimmer.note(**noted)
        before = len(trims)
        trimmer.after_call()
        return len(trims) > before

    assert not trims_after(tokens=memory.LONG_PAIR - 1, characters=memory.MANY_CHARACTERS - 1)
    assert trims_after(tokens=memory.LONG_PAIR)
    assert not trims_after(tokens=512)  # too soon, and so it stays due
    now[0] += 2
    assert trims_after(tokens=10)
    now[0] += 2
    assert not trims_after(tokens=10)
    assert trims_after(characters=memory.MANY_CHARACTERS)


def test_a_call_that_fails_gives_its_memory_back_too(tiny_bundle, monkeypatch):
    trims = []
    monkeypatch.setattr(memory, "_malloc_trim", lambda: trims.append)
    with Reranker(tiny_bundle) as reranker:
        with pytest.raises(InvalidRequestError):
            reranker.rerank("w9", [f"w{n} " * 30_000 for n in range(7)], truncate="none")
        assert len(trims) == 1


@given(lengths=st.lists(st.integers(0, 60), max_size=40), size=st.integers(1, 20))
def test_long_texts_are_tokenised_a_few_at_a_time(lengths, size):
    """The tokenizer holds a text, some 80 times its size, until it is cut."""
    texts = ["w" * length for length in lengths]
    pairs, seen = iter([Pair(None, text) for text in texts]), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "GROUP_CHARACTERS", 100)
        while drawn := scoring._drawn(pairs, size)[0]:
            group = [pair.text for pair in drawn]
            assert len(group) <= size
            assert sum(map(len, group[:-1])) < 100
            seen += group
    assert seen == texts
