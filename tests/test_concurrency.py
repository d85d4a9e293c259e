import logging
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor

import pytest
from tiny import write_tiny_bundle

from fastrerank import ClosedError, InferenceError, Reranker
from fastrerank.cores import usable_cores
from fastrerank.workers import IN_FLIGHT_PER_THREAD, Workers

DOCUMENTS = [f"w{n} w{n + 1}" for n in range(4, 90)]


def test_many_threads_share_one_reranker(tiny_bundle):
    with Reranker(tiny_bundle, threads=2) as reranker, ThreadPoolExecutor(16) as callers:
        expected = [reranker.rerank(f"w{q}", DOCUMENTS).results for q in range(4, 24)]
        found = list(
            callers.map(lambda q: reranker.rerank(f"w{q}", DOCUMENTS).results, range(4, 24))
        )
    assert found == expected


class Named(Reranker):
    """A subclass comes back as itself."""


@pytest.mark.parametrize("model", ["small", "bundle"])
def test_a_pickled_reranker_is_found_from_another_directory(tmp_path, monkeypatch, model):
    (tmp_path / "bundle").mkdir()
    write_tiny_bundle(tmp_path / "bundle")
    monkeypatch.chdir(tmp_path)
    with Named(model) as reranker:
        monkeypatch.chdir("/")
        with pickle.loads(pickle.dumps(reranker)) as other:
            assert type(other) is Named
            assert other.manifest == reranker.manifest


def test_a_pickled_reranker_loads_again_with_its_choices(tiny_bundle):
    with (
        Reranker(tiny_bundle, precision="fp32", threads=3, max_length=20, window=8) as reranker,
        pickle.loads(pickle.dumps(reranker)) as other,
    ):
        assert repr(other) == repr(reranker)
        assert other.rerank("w9", DOCUMENTS).results == reranker.rerank("w9", DOCUMENTS).results


def test_a_signal_that_closes_while_the_call_that_it_meets_closes():
    workers, begun = Workers(1), threading.Event()

    def slow(_):
        begun.set()
        time.sleep(0.3)

    with ThreadPoolExecutor(1) as caller:
        call = caller.submit(workers.each, slow, [0])
        before = signal.signal(signal.SIGALRM, lambda *_: workers.close())
        try:
            begun.wait()
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            workers.close()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        call.result()


def test_a_cancelled_future_among_the_items_is_not_taken_for_a_close():
    cancelled = Future()
    cancelled.cancel()
    workers = Workers(1)
    with pytest.raises(CancelledError):
        workers.each(print, (cancelled.result() for _ in range(1)))
    workers.close()


@pytest.mark.parametrize("parallelism", [None, "true", "false"])
def test_a_forked_child_can_rerank(parallelism):
    """With the bundled model, in a process of its own: pytest has threads already."""
    program = """
        import os
        from fastrerank import Reranker
        reranker = Reranker(threads=2)
        documents = [f"{n} llamas live in Peru" for n in range(30)]
        before = reranker.rerank("animals of Peru", documents).results
        child = os.fork()
        if child == 0:
            same = reranker.rerank("animals of Peru", documents).results == before
            with Reranker(threads=2) as fresh:  # such as one that was unpickled here
                same = same and fresh.rerank("animals of Peru", documents).results == before
            os._exit(0 if same else 3)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0, status
        assert reranker.rerank("animals of Peru", documents).results == before
    """
    environment = {**os.environ}
    environment.pop("TOKENIZERS_PARALLELISM", None)
    if parallelism is not None:
        environment["TOKENIZERS_PARALLELISM"] = parallelism
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_spawned_processes_take_a_reranker_as_an_argument(tiny_bundle):
    pairs = [("w9", "w8"), ("w9", "w90")]
    spawn = multiprocessing.get_context("spawn")
    with Reranker(tiny_bundle, threads=1) as reranker, spawn.Pool(1) as pool:
        (logits,) = pool.starmap(reranker.score, [(pairs,)])
        assert logits.tolist() == reranker.score(pairs).tolist()


def test_ctrl_c_stops_a_long_call():
    program = """
        import signal, threading, time
        from fastrerank import Reranker
        # A test run that was started in the background of a shell ignores the signal.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        reranker = Reranker(threads=2)
        documents = [f"{n} " + "word " * 400 for n in range(5000)]
        def announce():
            time.sleep(0.5)
            print("scoring", flush=True)
        threading.Thread(target=announce).start()
        try:
            reranker.rerank("a query", documents)
        except KeyboardInterrupt:
            print("stopped", flush=True)
            assert reranker.rerank("a query", ["fine"]).results
            print("usable", flush=True)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "scoring\n"
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    assert rest == "stopped\nusable\n"
    assert process.returncode == 0


def test_idle_threads_use_no_processor_time(reranker):
    reranker.rerank("a query", [f"text {n}" for n in range(20)])
    time.sleep(0.1)
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.1


def test_nothing_is_printed_and_loading_is_logged(tiny_bundle, capfd, caplog):
    with (
        caplog.at_level(logging.INFO, logger="fastrerank"),
        Reranker(tiny_bundle, runtime="onnxruntime") as reranker,
    ):
        reranker.rerank("w9", ["w8"])
    assert capfd.readouterr() == ("", "")
    assert "tiny (int8)" in caplog.text


def test_closing_while_scoring_ends_the_call_with_our_error():
    workers = Workers(1)
    started = threading.Event()

    def work(_: int) -> None:
        started.set()
        time.sleep(0.2)

    with ThreadPoolExecutor(1) as callers:
        call = callers.submit(workers.each, work, range(10))
        started.wait()
        workers.close()
        with pytest.raises(ClosedError):
            call.result()
    with pytest.raises(ClosedError):
        workers.each(work, [1])


def test_calls_that_come_at_once_share_their_threads(monkeypatch):
    pools = []

    class Slow(ThreadPoolExecutor):
        def __init__(self, *args, **kwargs):
            pools.append(self)
            time.sleep(0.2)
            super().__init__(*args, **kwargs)

    monkeypatch.setattr("fastrerank.workers.ThreadPoolExecutor", Slow)
    workers = Workers(1)
    with ThreadPoolExecutor(4) as callers:
        list(callers.map(lambda _: workers.each(len, ["item"]), range(4)))
    workers.close()
    assert len(pools) == 1


def test_items_are_drawn_only_as_threads_become_free():
    workers, release = Workers(2), threading.Event()
    drawn = []

    def items():
        for n in range(100):
            drawn.append(n)
            yield n

    with ThreadPoolExecutor(1) as callers:
        call = callers.submit(workers.each, lambda _: release.wait(), items())
        time.sleep(0.2)
        waiting = len(drawn)
        release.set()
        call.result()
    assert waiting <= 2 * IN_FLIGHT_PER_THREAD + 1
    assert drawn == list(range(100))
    workers.close()


def test_the_first_error_ends_the_call_and_drops_the_rest():
    workers, done = Workers(1), []

    def work(n: int) -> None:
        if n == 3:
            raise ValueError("three")
        done.append(n)

    with pytest.raises(ValueError, match="three"):
        workers.each(work, range(1000))
    workers.close()
    assert done[:3] == [0, 1, 2]
    assert len(done) < 20


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "max 100000"}, 64),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 64),
        ({"cpu.max": "nonsense"}, 64),
        ({}, 64),
    ],
)
def test_cores_follow_the_cgroup_quota(tmp_path, monkeypatch, files, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert usable_cores(tmp_path) == cores


def test_cores_follow_the_affinity(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert usable_cores(tmp_path) == 1


def test_a_thread_that_the_system_refuses_is_no_closed_reranker(monkeypatch):
    def refuse(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(ThreadPoolExecutor, "submit", refuse)
    workers = Workers(1)
    with pytest.raises(InferenceError, match="can't start new thread"):
        workers.each(print, [1])
    workers.close()
