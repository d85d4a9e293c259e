import subprocess
import sys
import textwrap


def peak_growth_mib(bundle, count: int) -> float:
    """Peak resident memory that one call adds to a process that has made a call before."""
    program = f"""
        import resource
        from fastrerank import Reranker
        def peak():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        documents = [" ".join(["w9"] * 400)] * {count}
        reranker = Reranker({str(bundle)!r}, precision="fp32", threads=2)
        reranker.rerank("w8", documents[:100])
        before = peak()
        reranker.rerank("w8", documents)
        print(peak() - before)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_memory_does_not_follow_the_number_of_documents(tiny_bundle):
    # 10,000 results and their scores are about 3 MiB; the encodings of 10,000 documents at once
    # would be over 100.
    assert peak_growth_mib(tiny_bundle, 10_000) < peak_growth_mib(tiny_bundle, 100) + 20
