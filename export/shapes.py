"""Symbolic shapes: what is known of every value's dimensions before the graph is run.

A dimension is an int, or a name that stands for one number in the whole graph: the `dim_param`
of an input ("batch_size"), or an opaque one for a number about which nothing is known. Two
dimensions with the same name are equal; two with different names may be. Integer tensors that
hold shapes are followed too, so that a Reshape by a computed shape has a known result.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from onnx import NodeProto, TensorProto, numpy_helper

from .graph import Graph, attribute, int_attribute

Dim = int | str
Shape = tuple[Dim, ...]
_MAX_TRACKED_ELEMENTS = 16

UNARY = frozenset(
    "Abs Cast Ceil Clip Cos Elu Erf Exp Floor Gelu HardSigmoid HardSwish Identity IsNaN LeakyRelu "
    "Log Mish Neg Not QuickGelu Reciprocal Relu Round Selu Sigmoid Sign Sin Softplus Softsign Sqrt "
    "Tanh Trilu".split()
)
BROADCAST = frozenset(
    "Add And Div Equal Greater GreaterOrEqual Less LessOrEqual Max Min Mod Mul Or PRelu Pow Sub "
    "Sum Where Xor".split()
)


@dataclass(slots=True)
class Shapes:
    """Shapes by value name, and the contents of the small integer tensors that are known."""

    shape: dict[str, Shape] = field(default_factory=dict)
    value: dict[str, Shape] = field(default_factory=dict)

    def rank(self, name: str) -> int | None:
        """Number of dimensions, or None if unknown."""
        shape = self.shape.get(name)
        return None if shape is None else len(shape)


def infer_shapes(graph: Graph) -> Shapes:
    """Return what can be known of the shapes of a graph; values of unknown rank are left out."""
    return _Inference(graph).run()


def broadcast_dims(*shapes: Shape) -> Shape | None:
    """Shape of an elementwise result, or None if it depends on what a symbol stands for."""
    rank = max(len(s) for s in shapes)
    result: list[Dim] = []
    for dims in zip(*(((1,) * (rank - len(s)) + s) for s in shapes), strict=True):
        wide = {d for d in dims if d != 1}
        numbers = [d for d in wide if isinstance(d, int)]
        if len(wide) <= 1:
            result.append(wide.pop() if wide else 1)
        elif len(numbers) == 1:  # a symbol beside a number above 1 is that number, or 1
            result.append(numbers[0])
        else:
            return None
    return tuple(result)


class _Inference:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._known = Shapes()
        self._opaque = itertools.count()

    def run(self) -> Shapes:
        shape = self._known.shape
        shape.update(self._graph.input_shapes)
        for name, tensor in self._graph.initializers.items():
            shape[name] = tuple(tensor.dims)
        for node in self._graph.sorted_nodes():
            self._visit(node)
        return self._known

    def _visit(self, node: NodeProto) -> None:
        value = self._value_of(node)
        rule = _RULES.get(node.op_type)
        if node.op_type in UNARY:
            rule = _Inference._same
        elif node.op_type in BROADCAST:
            rule = _Inference._broadcast
        if rule is None:
            return
        results = rule(self, node)
        for name, result in zip(node.output, results or [], strict=False):
            if result is not None and name:
                self._known.shape[name] = result
        if value is not None:
            self._known.value[node.output[0]] = value

    # Shapes. Each rule returns one shape (or None) for each output.

    def _of(self, node: NodeProto, index: int = 0) -> Shape | None:
        return self._known.shape.get(node.input[index]) if index < len(node.input) else None

    def _contents(self, name: str) -> Shape | None:
        """Known contents of a small integer tensor, as a flat tuple."""
        if name in self._known.value:
            return self._known.value[name]
        tensor = self._graph.initializers.get(name)
        if tensor is None or int(np.prod(tensor.dims)) > _MAX_TRACKED_ELEMENTS:
            return None
        array = self._graph.constant(name)
        if array is None or array.dtype != np.int64:
            return None
        return tuple(int(x) for x in array.reshape(-1))

    def _new_dim(self) -> str:
        return f"?{next(self._opaque)}"

    def _same(self, node: NodeProto) -> list[Shape | None]:
        return [self._of(node)]

    def _broadcast(self, node: NodeProto) -> list[Shape | None]:
        shapes = [self._of(node, i) for i in range(len(node.input))]
        known = [s for s in shapes if s is not None]
        return [broadcast_dims(*known)] if len(known) == len(shapes) else []

    def _matmul(self, node: NodeProto) -> list[Shape | None]:
        a, b = self._of(node), self._of(node, 1)
        if a is None or b is None or len(a) < 2 or len(b) < 2:
            return []
        batch = broadcast_dims(a[:-2], b[:-2]) if max(len(a), len(b)) > 2 else ()
        return [None if batch is None else (*batch, a[-2], b[-1])]

    def _gemm(self, node: NodeProto) -> list[Shape | None]:
        a, b = self._of(node), self._of(node, 1)
        if a is None or b is None:
            return []
        rows = a[1] if int_attribute(node, "transA", 0) else a[0]
        return [(rows, b[0] if int_attribute(node, "transB", 0) else b[1])]

    def _gather(self, node: NodeProto) -> list[Shape | None]:
        data, indices = self._of(node), self._of(node, 1)
        if data is None or indices is None:
            return []
        axis = int_attribute(node, "axis", 0) % len(data)
        return [(*data[:axis], *indices, *data[axis + 1 :])]

    def _gather_elements(self, node: NodeProto) -> list[Shape | None]:
        return [self._of(node, 1)]

    def _slice(self, node: NodeProto) -> list[Shape | None]:
        data = self._of(node)
        if data is None:
            return []
        parts = slice_parts(node, self._contents, len(data))
        if parts is None:
            return [tuple(self._new_dim() for _ in data)]
        dims = list(data)
        for axis, (start, stop, step) in parts.items():
            dims[axis] = self._sliced_dim(data[axis], start, stop, step)
        return [tuple(dims)]

    def _sliced_dim(self, dim: Dim, start: Dim, stop: Dim, step: Dim) -> Dim:
        if isinstance(stop, int) and stop >= 2**31 - 1 and start == 0 and step == 1:
            return dim
        if all(isinstance(x, int) for x in (dim, start, stop, step)):
            return len(range(int(dim))[int(start) : int(stop) : int(step)])
        if start == 0 and step == 1 and isinstance(stop, str) and isinstance(dim, int):
            # A table cut to the sequence's length; a longer sequence fails at run time.
            return stop
        if isinstance(start, int) and step == 1 and stop == start + 1 and start >= 0:
            return 1
        if start == -1 and step == 1 and isinstance(stop, int) and stop >= 2**31 - 1:
            return 1
        return dim if dim == stop and start == 0 and step == 1 else self._new_dim()

    def _concat(self, node: NodeProto) -> list[Shape | None]:
        shapes = [self._of(node, i) for i in range(len(node.input))]
        known = [s for s in shapes if s is not None]
        if len(known) < len(shapes):
            return []
        axis = int_attribute(node, "axis", 0) % len(known[0])
        parts = [s[axis] for s in known]
        whole = sum(p for p in parts if isinstance(p, int))
        dim: Dim = whole if all(isinstance(p, int) for p in parts) else self._new_dim()
        return [(*known[0][:axis], dim, *known[0][axis + 1 :])]

    def _axes(self, node: NodeProto, rank: int) -> list[int] | None:
        if len(node.input) > 1 and node.input[1]:
            contents = self._contents(node.input[1])
            axes = None if contents is None else [int(x) for x in contents if isinstance(x, int)]
        else:
            axes = attribute(node, "axes")  # type: ignore[assignment]
        return None if axes is None else [int(a) % rank for a in axes]

    def _unsqueeze(self, node: NodeProto) -> list[Shape | None]:
        data = self._of(node)
        contents = self._contents(node.input[1]) if len(node.input) > 1 else None
        if data is None or contents is None:
            return []
        axes = sorted(int(a) % (len(data) + len(contents)) for a in contents)
        dims = list(data)
        for axis in axes:
            dims.insert(axis, 1)
        return [tuple(dims)]

    def _squeeze(self, node: NodeProto) -> list[Shape | None]:
        data = self._of(node)
        axes = None if data is None else self._axes(node, len(data))
        if data is None or axes is None:
            return []
        return [tuple(d for i, d in enumerate(data) if i not in axes)]

    def _transpose(self, node: NodeProto) -> list[Shape | None]:
        data = self._of(node)
        if data is None:
            return []
        return [tuple(data[p] for p in permutation(node, len(data)))]

    def _reshape(self, node: NodeProto) -> list[Shape | None]:
        data, target = self._of(node), self._contents(node.input[1])
        if target is None:
            rank = self._known.shape.get(node.input[1])
            if rank is not None and len(rank) == 1 and isinstance(rank[0], int):
                return [tuple(self._new_dim() for _ in range(rank[0]))]
            return []
        if int_attribute(node, "allowzero", 0) == 0:
            if data is None and 0 in target:
                return []
            target = tuple(data[i] if d == 0 and data is not None else d for i, d in enumerate(target))
        if -1 in target:
            rest = [d for d in target if d != -1]
            free = divide_dims(data, rest) if data is not None else None
            target = tuple(d if d != -1 else free if free is not None else self._new_dim() for d in target)
        return [target]

    def _expand(self, node: NodeProto) -> list[Shape | None]:
        data, target = self._of(node), self._contents(node.input[1])
        return [] if data is None or target is None else [broadcast_dims(data, target)]

    def _constant_of_shape(self, node: NodeProto) -> list[Shape | None]:
        return [self._contents(node.input[0])]

    def _range(self, node: NodeProto) -> list[Shape | None]:
        start, stop, step = (self._contents(name) for name in node.input)
        if start == (0,) and step == (1,) and stop is not None:
            return [stop]
        return [(self._new_dim(),)]

    def _reduce(self, node: NodeProto) -> list[Shape | None]:
        data = self._of(node)
        axes = None if data is None else self._axes(node, len(data))
        if data is None or axes is None:
            return []
        if int_attribute(node, "keepdims", 1):
            return [tuple(1 if i in axes else d for i, d in enumerate(data))]
        return [tuple(d for i, d in enumerate(data) if i not in axes)]

    def _split(self, node: NodeProto) -> list[Shape | None]:
        data = self._of(node)
        if data is None:
            return []
        axis, count = int_attribute(node, "axis", 0) % len(data), len(node.output)
        sizes = self._contents(node.input[1]) if len(node.input) > 1 else None
        if sizes is None:
            whole = data[axis]
            even = isinstance(whole, int) and whole % count == 0
            sizes = (whole // count,) * count if even else tuple(self._new_dim() for _ in node.output)  # type: ignore[operator]
        return [(*data[:axis], size, *data[axis + 1 :]) for size in sizes]

    def _shape(self, node: NodeProto) -> list[Shape | None]:
        data = self._of(node)
        start, end = int_attribute(node, "start", 0), int_attribute(node, "end", 2**31)
        return [] if data is None else [(len(data[start:end]),)]

    def _dynamic_quantize(self, node: NodeProto) -> list[Shape | None]:
        return [self._of(node), (), ()]

    # Contents of the integer tensors that hold shapes.

    def _value_of(self, node: NodeProto) -> Shape | None:
        rule = _VALUE_RULES.get(node.op_type)
        if node.op_type == "Shape":
            data = self._of(node)
            start, end = int_attribute(node, "start", 0), int_attribute(node, "end", 2**31)
            return None if data is None else data[start:end]
        inputs = [self._contents(name) for name in node.input if name]
        if rule is None or any(x is None for x in inputs):
            return None
        return rule(node, [x for x in inputs if x is not None])


def slice_parts(
    node: NodeProto, contents: Callable[[str], Shape | None], rank: int
) -> dict[int, tuple[Dim, Dim, Dim]] | None:
    """Start, stop and step of a Slice by axis, or None if they are not known."""
    fields = [contents(name) if name else None for name in node.input[1:]]
    starts, stops = fields[0], fields[1]
    if starts is None or stops is None:
        return None
    axes = fields[2] if len(node.input) > 3 and node.input[3] else tuple(range(len(starts)))
    steps = fields[3] if len(node.input) > 4 and node.input[4] else (1,) * len(starts)
    if axes is None or steps is None:
        return None
    return {
        int(axis) % rank: (start, stop, step)
        for axis, start, stop, step in zip(axes, starts, stops, steps, strict=True)
    }


def permutation(node: NodeProto, rank: int) -> list[int]:
    """The axes of a Transpose, reversed by default."""
    perm = attribute(node, "perm")
    return list(reversed(range(rank))) if perm is None else [int(p) for p in perm]  # type: ignore[attr-defined]


def divide_dims(whole: Shape, parts: list[Dim]) -> Dim | None:
    """The one dimension that times `parts` gives as many elements as `whole`, or None."""
    left = [d for d in whole if isinstance(d, str)]
    for part in parts:
        if isinstance(part, str):
            if part not in left:
                return None
            left.remove(part)
    number = int(np.prod([d for d in whole if isinstance(d, int)], dtype=np.int64))
    divisor = int(np.prod([d for d in parts if isinstance(d, int)], dtype=np.int64))
    if divisor == 0 or number % divisor:
        return None
    if not left:
        return number // divisor
    return left[0] if len(left) == 1 and number == divisor else None


def _gather_value(node: NodeProto, inputs: list[Shape]) -> Shape | None:
    data, indices = inputs
    if any(isinstance(i, str) or not -len(data) <= i < len(data) for i in indices):
        return None
    return tuple(data[int(i)] for i in indices)


def _slice_value(node: NodeProto, inputs: list[Shape]) -> Shape | None:
    data, starts, stops, *rest = inputs
    numbers = [*starts, *stops, *(rest[1] if len(rest) > 1 else (1,))]
    if any(isinstance(x, str) for x in numbers):
        return None
    start, stop, step = (int(x) for x in numbers)
    return data[start:stop:step]


def _concat_value(node: NodeProto, inputs: list[Shape]) -> Shape | None:
    return tuple(itertools.chain.from_iterable(inputs))


def _first(node: NodeProto, inputs: list[Shape]) -> Shape | None:
    return inputs[0]


def _cast_value(node: NodeProto, inputs: list[Shape]) -> Shape | None:
    return inputs[0] if attribute(node, "to") == TensorProto.INT64 else None


def _where_value(node: NodeProto, inputs: list[Shape]) -> Shape | None:
    condition, yes, no = inputs
    width = max(len(x) for x in inputs)
    rows = zip(*(x * width if len(x) == 1 else x for x in (condition, yes, no)), strict=True)
    return tuple(y if c else n for c, y, n in rows) if all(isinstance(c, int) for c in condition) else None


def _equal_value(node: NodeProto, inputs: list[Shape]) -> Shape | None:
    a, b = inputs
    width = max(len(a), len(b))
    pairs = list(zip(*(x * width if len(x) == 1 else x for x in (a, b)), strict=True))
    # A dimension is never negative, so a symbol differs from -1.
    if any(isinstance(x, str) != isinstance(y, str) and -1 not in (x, y) for x, y in pairs):
        return None
    if any(isinstance(x, str) and isinstance(y, str) and x != y for x, y in pairs):
        return None
    return tuple(int(x == y) for x, y in pairs)


def _constant_of_shape_value(node: NodeProto, inputs: list[Shape]) -> Shape | None:
    (count,) = inputs[0] if len(inputs[0]) == 1 else (None,)
    if not isinstance(count, int) or count > _MAX_TRACKED_ELEMENTS:
        return None
    fill = attribute(node, "value")
    if fill is None:
        return None  # the default is a float
    array = numpy_helper.to_array(fill)  # type: ignore[arg-type]
    return (int(array.reshape(())),) * count if array.dtype == np.int64 else None


def _arithmetic(function: Callable[[int, int], int]) -> Callable[[NodeProto, list[Shape]], Shape | None]:
    def rule(node: NodeProto, inputs: list[Shape]) -> Shape | None:
        a, b = inputs
        width = max(len(a), len(b))
        if len(a) not in (1, width) or len(b) not in (1, width):
            return None
        results: list[Dim] = []
        for x, y in zip(*(v * width if len(v) == 1 else v for v in (a, b)), strict=True):
            if isinstance(x, str) or isinstance(y, str):
                if node.op_type == "Mul" and 1 in (x, y):
                    results.append(y if x == 1 else x)
                    continue
                return None
            if node.op_type == "Div" and (x < 0 or y <= 0):
                return None  # ONNX rounds towards zero, Python down
            results.append(function(x, y))
        return tuple(results)

    return rule


def _reduce_product(node: NodeProto, inputs: list[Shape]) -> Shape | None:
    if any(isinstance(d, str) for d in inputs[0]):
        return None
    return (int(np.prod([int(d) for d in inputs[0]])),)


_VALUE_RULES: dict[str, Callable[[NodeProto, list[Shape]], Shape | None]] = {
    "Gather": _gather_value,
    "Slice": _slice_value,
    "Concat": _concat_value,
    "Unsqueeze": _first,
    "Squeeze": _first,
    "Reshape": _first,
    "Identity": _first,
    "Cast": _cast_value,
    "Where": _where_value,
    "Equal": _equal_value,
    "ConstantOfShape": _constant_of_shape_value,
    "ReduceProd": _reduce_product,
    "Add": _arithmetic(lambda x, y: x + y),
    "Sub": _arithmetic(lambda x, y: x - y),
    "Mul": _arithmetic(lambda x, y: x * y),
    "Div": _arithmetic(lambda x, y: x // y),
}

_RULES: dict[str, Callable[[_Inference, NodeProto], list[Shape | None]]] = {
    "MatMul": _Inference._matmul,
    "MatMulInteger": _Inference._matmul,
    "Gemm": _Inference._gemm,
    "Gather": _Inference._gather,
    "GatherElements": _Inference._gather_elements,
    "Slice": _Inference._slice,
    "Concat": _Inference._concat,
    "Unsqueeze": _Inference._unsqueeze,
    "Squeeze": _Inference._squeeze,
    "Transpose": _Inference._transpose,
    "Reshape": _Inference._reshape,
    "Expand": _Inference._expand,
    "ConstantOfShape": _Inference._constant_of_shape,
    "Range": _Inference._range,
    "Split": _Inference._split,
    "Shape": _Inference._shape,
    "Softmax": _Inference._same,
    "LogSoftmax": _Inference._same,
    "LayerNormalization": _Inference._same,
    "DynamicQuantizeLinear": _Inference._dynamic_quantize,
    "CumSum": _Inference._same,
    **{
        op: _Inference._reduce
        for op in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceProd")
    },
}
