"""From the fp32 graph that optimum writes to the one that suits ONNX Runtime's CPU kernels.

Every rewrite is exact up to the rounding of one multiplication, uses standard operators only, and
leaves alone what it does not recognise.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto

from .branches import inline_known_branches
from .dims import Shape, broadcast_dims
from .elementwise import BROADCAST, UNARY
from .folding import fold_constants
from .graph import Array, Graph, int_attribute, is_op
from .shapes import Shapes, infer_shapes


def optimize(model: ModelProto) -> ModelProto:
    """Return the same function as a simpler graph: constants folded, shapes fixed, Gelu fused."""
    graph = Graph(model)
    if graph.opset < 13:
        return model
    inline_known_branches(graph)
    if graph.has_subgraphs:
        return model
    fold_constants(graph)
    _fix_shapes(graph)
    fold_constants(graph)
    _drop_mask_expansion(graph)
    graph.prune()
    _fuse_gelu(graph)
    _fold_scales(graph)
    _share_equal_nodes(graph)
    return graph.to_model()


def _fix_shapes(graph: Graph) -> None:
    """Replace computed shapes by constants where the dimensions are known or can be copied."""
    shapes = infer_shapes(graph)
    for node in list(graph.nodes):
        if is_op(node, "Reshape"):
            target = _constant_target(shapes, node)
            if target is not None:
                node.input[1] = graph.add_constant(f"{node.output[0]}/shape", target)
    for node in list(graph.nodes):
        value, shape = shapes.value.get(node.output[0]), shapes.shape.get(node.output[0])
        known = value is not None and shape is not None and all(isinstance(d, int) for d in value)
        if known and node.op_type != "Equal":
            graph.remove([node])
            graph.set_constant(node.output[0], np.array(value, np.int64).reshape(shape))  # type: ignore[arg-type]
    graph.prune()


def _constant_target(shapes: Shapes, node: NodeProto) -> Array | None:
    """Constant second input for a Reshape with a computed one: 0 copies, one -1 is inferred."""
    data, result = shapes.shape.get(node.input[0]), shapes.value.get(node.input[1])
    if node.input[1] not in shapes.value or data is None or result is None:
        return None
    if int_attribute(node, "allowzero", 0):
        return None
    return reshape_target(data, result)


def reshape_target(data: Shape, result: Shape) -> Array | None:
    """Constant shape that reshapes `data` to `result` whatever the symbols stand for, or None."""
    target: list[int] = []
    for i, dim in enumerate(result):
        if isinstance(dim, int):
            target.append(dim)
        elif i < len(data) and data[i] == dim:
            target.append(0)
        else:
            target.append(-1)
    return np.array(target, np.int64) if target.count(-1) <= 1 and 0 not in result else None


def _drop_mask_expansion(graph: Graph) -> None:
    """Remove an Expand whose result is only broadcast again: a mask needs no [queries, keys]."""
    for node in [n for n in graph.nodes if is_op(n, "Expand")]:
        before = infer_shapes(graph)
        small = before.shape.get(node.input[0])
        if small is None or node.output[0] in graph.outputs:
            continue
        if _absorbed(graph, before, node.output[0], {node.output[0]: small}):
            graph.remove([node])
            graph.replace_uses(node.output[0], node.input[0])
            graph.reindex()


def _absorbed(graph: Graph, before: Shapes, name: str, smaller: dict[str, Shape]) -> bool:
    """Return whether every elementwise path from `name` soon has its full shape again."""
    for consumer in graph.consumers.get(name, []):
        if not is_op(consumer, *UNARY, *BROADCAST):
            return False
        output = consumer.output[0]
        operands = [smaller.get(i, before.shape.get(i)) for i in consumer.input]
        if any(o is None for o in operands) or output not in before.shape:
            return False
        result = broadcast_dims(*[o for o in operands if o is not None])
        if result is None:
            return False
        if result == before.shape[output]:
            continue
        smaller[output] = result
        if output in graph.outputs or not _absorbed(graph, before, output, smaller):
            return False
    return True


def _fuse_gelu(graph: Graph) -> None:
    """Write 0.5 x (1 + erf(x / sqrt 2)) as one Gelu where the operator set has it (20 and up)."""
    if graph.opset < 20:
        return
    for erf in [n for n in graph.nodes if is_op(n, "Erf")]:
        match = _match_gelu(graph, erf)
        if match is not None:
            x, result = match
            (fused,) = graph.add_node("Gelu", [x], f"{result}/Gelu")
            graph.replace_uses(result, fused)
            graph.reindex()


def _match_gelu(graph: Graph, erf: NodeProto) -> tuple[str, str] | None:
    """Return the input and the output value of the Gelu around an Erf, or None."""
    inner = graph.producers.get(erf.input[0])
    one_plus = graph.sole_consumer(erf.output[0])
    if inner is None or not is_op(one_plus, "Add"):
        return None
    divisor = graph.scalar(inner.input[1]) if len(inner.input) > 1 else None
    scale = {"Div": lambda d: 1 / d, "Mul": lambda d: d}.get(inner.op_type)
    if divisor is None or scale is None or abs(scale(divisor) - 0.5**0.5) > 1e-6:
        return None
    if 1.0 not in (graph.scalar(one_plus.input[0]), graph.scalar(one_plus.input[1])):
        return None
    x, factors, value = inner.input[0], {"x", "half"}, one_plus.output[0]
    while factors:
        product = graph.sole_consumer(value)
        if not is_op(product, "Mul"):
            return None
        other = product.input[1] if product.input[0] == value else product.input[0]
        halved = graph.producers.get(other)
        if other == x:
            factors -= {"x"}
        elif graph.scalar(other) == 0.5:
            factors -= {"half"}
        elif is_op(halved, "Mul") and halved.input[0] == x and graph.scalar(halved.input[1]) == 0.5:
            factors -= {"x", "half"}
        else:
            return None
        value = product.output[0]
    return (x, value) if value not in graph.outputs else None


def _fold_scales(graph: Graph) -> None:
    """Multiply attention's scale into the projection that feeds it: x W s = x (W s)."""
    for mul in [n for n in graph.nodes if is_op(n, "Mul", "Div")]:
        factor, value = graph.scalar(mul.input[1]), mul.input[0]
        if factor is None and mul.op_type == "Mul":
            factor, value = graph.scalar(mul.input[0]), mul.input[1]
        if factor is None or mul.output[0] in graph.outputs or factor == 0:
            continue
        scale = np.float32(factor if mul.op_type == "Mul" else 1 / factor)
        path = _linear_path(graph, value, mul)
        if path is None:
            continue
        for node, index in path:
            scaled = graph.constant(node.input[index])
            node.input[index] = graph.add_constant(f"{node.input[index]}/scaled", scaled * scale)  # type: ignore[operator]
        graph.remove([mul])
        graph.replace_uses(mul.output[0], value)
        graph.reindex()


def _linear_path(
    graph: Graph, value: str, consumer: NodeProto
) -> list[tuple[NodeProto, int]] | None:
    """Weights and biases that a factor on `value` can move into: (node, input index) each."""
    found: list[tuple[NodeProto, int]] = []
    while True:
        node = graph.producers.get(value)
        if node is None or graph.sole_consumer(value) is not consumer:
            return None
        consumer = node
        if is_op(node, "Reshape", "Transpose"):
            value = node.input[0]
        elif is_op(node, "Add"):
            constants = [i for i in (0, 1) if graph.constant(node.input[i]) is not None]
            if len(constants) != 1:
                return None
            found.append((node, constants[0]))
            value = node.input[1 - constants[0]]
        elif is_op(node, "MatMul") and graph.constant(node.input[1]) is not None:
            return [*found, (node, 1)]
        elif is_op(node, "MatMul") and not found:
            value = node.input[0]  # scores: the factor moves into the queries
        else:
            return None


def _share_equal_nodes(graph: Graph) -> None:
    """Compute once what several nodes compute alike (attention masks, shapes)."""
    seen: dict[tuple[object, ...], NodeProto] = {}
    renamed: dict[str, str] = {}
    for node in graph.sorted_nodes():
        for i, name in enumerate(node.input):
            node.input[i] = renamed.get(name, name)
        attributes = tuple(sorted(a.SerializeToString() for a in node.attribute))
        inputs = tuple(_identity(graph, name) for name in node.input)
        key = (node.domain, node.op_type, inputs, attributes, len(node.output))
        first = seen.setdefault(key, node)
        if first is not node and not set(node.output) & set(graph.outputs):
            renamed.update(zip(node.output, first.output, strict=True))
    graph.prune()


def _identity(graph: Graph, name: str) -> object:
    array = graph.constant(name)
    if array is None or array.size > 64:
        return name
    return (array.dtype.str, array.shape, array.tobytes())
