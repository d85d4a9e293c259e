"""A bundle's ONNX graph in openvino, with int8 weights expanded.

The operators of the export are read as what they stand for: DynamicQuantizeLinear(x) as x with
scale 1 and zero point 0, MatMulInteger as a product of floats. What int8 needs around a product
then goes into its weights (openvino_products.py), which gives fp32 arithmetic on the stored
weights. What works token by token leaves padding out (openvino_packing.py). In bf16 the weights are
rounded too, and sums stay in fp32 (openvino_bf16.py).
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from openvino import Core, Model, Output, Tensor
from openvino import opset13 as ops
from openvino.frontend import NodeContext
from openvino.frontend.onnx import ConversionExtension

from .openvino_attention import turn_keys_in_product
from .openvino_bf16 import keep_sums_in_fp32
from .openvino_packing import pack_tokens
from .openvino_products import fold_into_weights, product

# The first array that openvino is given makes it import numpy's C API, in a static initializer that
# releases the GIL: two threads there wait for each other for ever. Here the import lock keeps them
# apart, before anything is scored.
Tensor(np.zeros(1))


def read_graph(core: Core, path: Path, precision: str) -> Model:
    """Return the graph of an .onnx file in floating point, to be compiled for "bf16" or "fp32".

    :raises RuntimeError: if it holds an operator, or a use of one, that is not understood.
    """
    core.add_extension(ConversionExtension("DynamicQuantizeLinear", "", _unquantized))
    core.add_extension(ConversionExtension("MatMulInteger", "", _float_product))
    model = core.read_model(path)
    fold_into_weights(model)
    turn_keys_in_product(model)
    pack_tokens(model)
    if precision == "bf16":
        keep_sums_in_fp32(model)
    return model


def _unquantized(node: NodeContext) -> list[Output]:
    scale, zero_point = np.float32(1), np.float32(0)
    return [
        node.get_input(0),
        ops.constant(scale).output(0),
        ops.constant(zero_point).output(0),
    ]


def _float_product(node: NodeContext) -> list[Output]:
    activation = node.get_input(0)
    if activation.get_element_type().get_type_name() != "f32":
        raise RuntimeError("MatMulInteger of anything but DynamicQuantizeLinear is not understood")
    weight = _constant(node, 1)
    if node.get_input_size() > 3:
        weight = weight - _constant(node, 3)
    return [product(activation, weight).output(0)]


def _constant(node: NodeContext, index: int) -> NDArray[np.float32]:
    source = node.get_input(index).get_node()
    if source.get_type_name() != "Constant":
        raise RuntimeError("MatMulInteger with weights that are computed is not understood")
    return np.asarray(source.data, dtype=np.float32)
