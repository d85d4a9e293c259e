"""int8 products of floats as plain ones: what stands around them goes into their weights.

Each of these is a pass over all activations that int8 needs and floats do not: the division of
channels with outliers before a product, the weights' scales behind it, and the product of the
channels that were kept apart (equalize.py of the export).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from openvino import Model, Node, Output
from openvino import opset13 as ops
from openvino.passes import AnyInput, ConstantFolding, Manager, Matcher, MatcherPass, WrapType

_Found = Callable[[Node], Output]


def fold_into_weights(model: Model) -> None:
    """Rewrite the products of a model that was read from a graph in int8; others stay."""
    passes = Manager()
    passes.register_pass(ConstantFolding())  # of the scales, which are products with a constant 1
    for rewrite in (_divided(), _scaled(), _apart()):
        passes.register_pass(rewrite)
    passes.run_passes(model)


def _divided() -> MatcherPass:
    """(x * c) W, with c [channels], is x (diag(c) W)."""
    x, factor, weight = AnyInput(), _vector(), _matrix()

    def replacement(found: _Found) -> Node:
        return product(found(x), _values(found(factor))[:, np.newaxis] * _values(found(weight)))

    return _rewrite(_any_product(_any("Multiply", x, factor), weight), replacement)


def _scaled() -> MatcherPass:
    """(x W) * s, with s [columns], is x (W diag(s)): openvino does it too, after _apart."""
    x, weight, scale = AnyInput(), _matrix(), _vector()

    def replacement(found: _Found) -> Node:
        return product(found(x), _values(found(weight)) * _values(found(scale)))

    converted = _any("Convert", _any_product(x, weight))  # from the int32 that the product was
    return _rewrite(_any("Multiply", converted, scale), replacement)


def _apart() -> MatcherPass:
    """(x W + b) + x[channels] R is x (W + R in the rows of these channels) + b."""
    x, weight, bias = AnyInput(), _matrix(), _vector()
    channels, axis, rows = _vector(), _constant(lambda values: values == -1), _matrix()

    def replacement(found: _Found) -> Node:
        whole = _values(found(weight)).copy()
        np.add.at(whole, _values(found(channels)), _values(found(rows)))
        return ops.add(product(found(x), whole), found(bias))

    part = _any_product(_any("Gather", x, channels, axis), rows)
    return _rewrite(_any("Add", _any("Add", bias, _any_product(x, weight)), part), replacement)


def _rewrite(pattern: Node, replacement: Callable[[_Found], Node]) -> MatcherPass:
    def replace(match: Matcher) -> bool:
        found = match.get_pattern_value_map()
        root, node = match.get_match_root(), replacement(lambda part: found[part])
        node.set_friendly_name(root.get_friendly_name())
        root.output(0).replace(node.output(0))
        return True

    return MatcherPass(Matcher(pattern, "fastrerank"), replace)


def _any(name: str, *inputs: Node) -> Node:
    return WrapType(f"opset13.{name}", [node.output(0) for node in inputs])


def _any_product(x: Node, weight: Node) -> Node:
    def is_plain(product: Output) -> bool:
        attributes = product.get_node().get_attributes()
        return not (attributes["transpose_a"] or attributes["transpose_b"])

    return WrapType("opset13.MatMul", [x.output(0), weight.output(0)], is_plain)


def _vector() -> Node:
    return _constant(lambda values: values.ndim == 1)


def _matrix() -> Node:
    return _constant(lambda values: values.ndim == 2)


def _constant(is_wanted: Callable[[NDArray[Any]], bool]) -> Node:
    return WrapType("opset13.Constant", lambda output: bool(is_wanted(_values(output))))


def product(x: Output, weight: NDArray[np.float32]) -> Node:
    """Return x W, for `weight` [channels, columns]."""
    return ops.matmul(x, ops.constant(weight), transpose_a=False, transpose_b=False)


def _values(output: Output) -> NDArray[Any]:
    return np.asarray(output.get_node().data)
