"""What works token by token, on the tokens of a batch without its padding.

Such nodes run on [1, tokens, channels]. Attention, and whatever else mixes positions, runs on
[batch, length, channels] as before, with a gather between the two. The model gets two more inputs,
which say what to gather (packing.py).
"""

import numpy as np
from openvino import Model, Node, Output, PartialShape, Type
from openvino import opset13 as ops

from .packing import PACKED, UNPACKED

# Sizes that no model has elsewhere: they show which axes are batch and length.
_BATCH, _LENGTH = 7, 53
_ELEMENTWISE = frozenset(
    {"Add", "Clamp", "Convert", "Divide", "Erf", "Gelu", "Multiply", "Power", "Relu", "Sigmoid"}
    | {"Subtract", "Swish", "Tanh"}
)


def pack_tokens(model: Model) -> None:
    """Rewrite a model of inputs [batch, length] with an attention mask.

    One without products by token, or for pairs of fewer than 53 tokens, stays as it is.
    """
    inputs = {name: item for item in model.inputs for name in item.get_names()}
    if "attention_mask" not in inputs:
        return
    try:
        model.reshape({item: PartialShape([_BATCH, _LENGTH]) for item in model.inputs})
    except RuntimeError:  # the shapes are as before
        return
    nodes = model.get_ordered_ops()  # not before: to reshape rewrites some of them
    tokens = _Tokens(inputs["attention_mask"])
    for node in nodes:
        tokens.visit(node)
    model.reshape({item: PartialShape([-1, -1]) for item in model.inputs})
    if not tokens.packed:
        return
    gathers = _Gathers(tokens.channels)
    for node in nodes:
        runs_packed = not tokens.packed.isdisjoint(node.outputs())
        for item in node.inputs():
            value = item.get_source_output()
            if runs_packed and value in tokens.channels and value not in tokens.packed:
                item.replace_source_output(gathers.packed(value))
            elif not runs_packed and value in tokens.packed:
                item.replace_source_output(gathers.unpacked(value))
    model.add_parameters(gathers.indices)
    model.validate_nodes_and_infer_types()


class _Tokens:
    """The values of a model that have tokens, and of these the ones that are computed packed.

    `channels` is the size of the last axis of those with tokens, [batch, length, channels].
    """

    def __init__(self, mask: Output) -> None:
        self.channels: dict[Output, int] = {}
        self.packed: set[Output] = set()
        # What depends on the mask may be zero where there is padding, for a sum to leave it out.
        # In the other order that is lost, so only products, which lose it too, read it so.
        self._masked = {mask}

    def visit(self, node: Node) -> None:
        """Note the outputs of a node, after those of the nodes that it reads."""
        shapes = {value: _shape(value) for value in node.outputs()}
        self.channels |= {value: s[2] for value, s in shapes.items() if _has_tokens(s)}
        if self._works_by_token(node):
            self.packed.update(node.outputs())
        if node.get_type_name() != "ShapeOf" and not self._masked.isdisjoint(node.input_values()):
            self._masked.update(node.outputs())

    def _works_by_token(self, node: Node) -> bool:
        """Tell if each token of the outputs depends on this token of the inputs alone.

        False before the first product, where there is nothing to gain.
        """
        name, inputs = node.get_type_name(), node.input_values()
        if not self.channels.keys() >= set(node.outputs()):
            return False
        if name == "MatMul":
            return _is_constant(inputs[1], rank=2) and not node.get_attributes()["transpose_a"]
        if self.packed.isdisjoint(inputs):
            return False
        if name in _ELEMENTWISE:
            return all(self._can_be_packed(value) or _is_same_for_all(value) for value in inputs)
        if name in ("MVN", "Split", "VariadicSplit"):
            axes = inputs[1].get_node()
            return _is_constant(inputs[1]) and set(np.ravel(axes.data).tolist()) <= {-1, 2}
        return False

    def _can_be_packed(self, value: Output) -> bool:
        return value in self.packed or (value in self.channels and value not in self._masked)


def _has_tokens(shape: list[int]) -> bool:
    return len(shape) == 3 and shape[:2] == [_BATCH, _LENGTH]


def _is_same_for_all(value: Output) -> bool:
    """Tell if an operand is the same for every token of every pair."""
    shape = _shape(value)
    return -1 not in shape and len(shape) <= 3 and [1, 1, 1, *shape][-3:-1] == [1, 1]


def _shape(value: Output) -> list[int]:
    """Return the shape, -1 where it is not known."""
    dimensions = value.get_partial_shape()
    return [d.get_length() if d.is_static else -1 for d in dimensions]


def _is_constant(value: Output, rank: int | None = None) -> bool:
    is_constant: bool = value.get_node().get_type_name() == "Constant"
    return is_constant and rank in (None, len(value.get_shape()))


class _Gathers:
    """Values in the other order, each gathered once; `channels` is the size of their last axis."""

    def __init__(self, channels: dict[Output, int]) -> None:
        self._channels = channels
        self._done: dict[Output, Output] = {}
        self.indices = [
            ops.parameter(PartialShape([-1]), Type.i32, name=PACKED),
            ops.parameter(PartialShape([-1, -1]), Type.i32, name=UNPACKED),
        ]
        for index in self.indices:
            index.output(0).set_names({index.get_friendly_name()})

    def packed(self, value: Output) -> Output:
        """Return [1, tokens, channels] of [batch, length, channels]."""
        return self._gathered(value, [1, -1], self.indices[0])

    def unpacked(self, value: Output) -> Output:
        """Return [batch, length, channels] of [1, tokens, channels]."""
        return self._gathered(value, [-1], self.indices[1])

    def _gathered(self, value: Output, rows: list[int], index: Node) -> Output:
        if value not in self._done:
            flat = ops.reshape(value, [*rows, self._channels[value]], special_zero=False)
            self._done[value] = ops.gather(flat, index, len(rows) - 1).output(0)
        return self._done[value]
