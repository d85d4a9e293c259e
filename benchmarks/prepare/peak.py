"""peak.py: operations a second that matrix products reach on one core, as JSON.

fp32 and bf16 by torch, int8 (unsigned by signed, what dynamic quantization runs) by ONNX Runtime.
A square product of 2,048 is large enough to hide everything but arithmetic. Processor time is
counted, and the fastest repeat kept, so that other work on the machine disturbs little.
"""

import json
import time
from collections.abc import Callable

import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper

SIZE, REPEATS = 2048, 20


def best_rate(product: Callable[[], object]) -> float:
    """Return operations a second of the fastest of the repeats."""
    product()
    seconds = []
    for _ in range(REPEATS):
        start = time.process_time()
        product()
        seconds.append(time.process_time() - start)
    return 2 * SIZE**3 / min(seconds)


def torch_product(dtype: torch.dtype) -> Callable[[], object]:
    """Return a call that multiplies two matrices of this type."""
    a, b = torch.randn(SIZE, SIZE).to(dtype), torch.randn(SIZE, SIZE).to(dtype)
    return lambda: torch.mm(a, b)


def int8_product() -> Callable[[], object]:
    """Return a call of MatMulInteger with constant weights, as in a quantized model."""
    weights = np.random.default_rng(0).integers(-127, 128, (SIZE, SIZE), dtype=np.int8)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "b"], ["y"])],
        "product",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, [SIZE, SIZE])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [SIZE, SIZE])],
        [helper.make_tensor("b", TensorProto.INT8, [SIZE, SIZE], weights.tobytes(), raw=True)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    a = np.random.default_rng(1).integers(0, 256, (SIZE, SIZE), dtype=np.uint8)
    return lambda: session.run(None, {"a": a})


torch.set_num_threads(1)
with torch.inference_mode():
    print(
        json.dumps(
            {
                "fp32": best_rate(torch_product(torch.float32)),
                "bf16": best_rate(torch_product(torch.bfloat16)),
                "int8": best_rate(int8_product()),
            }
        )
    )
