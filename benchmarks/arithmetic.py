"""Operations that a model needs, counted from its graph, and those that the processor can do."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .environments import environment_python
from .errors import BenchmarkError
from .paths import HERE
from .process import clean_environment
from .workloads import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphOperations:
    """Multiplications and additions of matrix products, of one pair of `tokens` tokens.

    Weights are multiplied once a token; queries, keys and values once a pair of tokens.
    """

    per_token: int
    per_token_pair: int

    def of(self, tokens: int) -> int:
        """Return the operations of a pair of this length."""
        return self.per_token * tokens + self.per_token_pair * tokens * tokens


def count_operations(graph_file: Path) -> GraphOperations:
    """Count the products of an encoder's graph as it was exported, no operator fused.

    A product with a constant matrix of [in, out] costs 2 x in x out a token. The others are those
    of attention; each costs 2 x width a pair of tokens, the width being that of the narrowest
    constant matrix. Pooler and head (Gemm) are one row a pair and left out.
    """
    import onnx  # the benchmark's tests do without

    graph = onnx.load(graph_file, load_external_data=False).graph
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    constant, variable = [], 0
    for node in graph.node:
        if node.op_type == "MatMul":
            shape = shapes.get(node.input[1])
            if shape is None:
                variable += 1
            else:
                constant.append(shape)
    return GraphOperations(
        per_token=sum(2 * rows * columns for rows, columns in constant),
        per_token_pair=2 * variable * min(columns for _, columns in constant),
    )


def pair_lengths(tokenizer_file: Path, requests: list[Request], max_length: int) -> list[int]:
    """Return the tokens of every pair of the requests, at most `max_length`, special ones too."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    pairs = [(request.query, text) for request in requests for text in request.documents]
    return [len(encoding) for encoding in tokenizer.encode_batch(pairs)]


def measured_peak(threads: int) -> dict[str, float]:
    """Return operations a second of large matrix products in fp32, bf16 and int8 on all cores.

    Measured on one core, times the cores. Cores that share their arithmetic units (two threads of
    one core) reach less together.

    :raises BenchmarkError: if they cannot be measured.
    """
    done = subprocess.run(
        [str(environment_python("export")), "-P", str(HERE / "prepare/peak.py")],
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment(),
    )
    if done.returncode:
        raise BenchmarkError(f"the peak could not be measured:\n{done.stderr[-2000:]}")
    return {name: threads * rate for name, rate in json.loads(done.stdout).items()}
