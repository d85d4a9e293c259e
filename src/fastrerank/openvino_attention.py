"""Keys as openvino's fused attention reads them."""

from openvino import Model
from openvino import opset13 as ops

_HEADS_FIRST, _HEADS_FIRST_TURNED = [0, 2, 1, 3], [0, 2, 3, 1]


def turn_keys_in_product(model: Model) -> None:
    """Let q k^T turn the keys, not the transpose that puts their heads first.

    Only so does openvino take this transpose into the attention; the other is a pass over all keys.
    """
    for node in model.get_ordered_ops():
        if node.get_type_name() != "MatMul" or any(node.get_attributes().values()):
            continue
        keys = node.input_value(1).get_node()
        if keys.get_type_name() != "Transpose" or len(keys.output(0).get_target_inputs()) > 1:
            continue
        order = keys.input_value(1).get_node()
        if order.get_type_name() != "Constant" or order.data.tolist() != _HEADS_FIRST_TURNED:
            continue
        by_head = ops.transpose(keys.input_value(0), _HEADS_FIRST)
        product = ops.matmul(node.input_value(0), by_head, transpose_a=False, transpose_b=True)
        product.set_friendly_name(node.get_friendly_name())
        node.output(0).replace(product.output(0))
