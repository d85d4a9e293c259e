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
from onnx import NodeProto

from .dims import Dim, Shape, broadcast_dims, divide_dims
from .elementwise import BROADCAST, UNARY
from .graph import Graph, attribute, int_attribute
from .shape_values import MAX_TRACKED_ELEMENTS, VALUE_RULES, Known


@dataclass(slots=True)
class Shapes:
    """What is known, by value name.

    `value` holds the contents of small integer tensors, `truth` those of single booleans.
    """

    shape: dict[str, Shape] = field(default_factory=dict)
    value: dict[str, Shape] = field(default_factory=dict)
    truth: dict[str, bool] = field(default_factory=dict)


def infer_shapes(graph: Graph) -> Shapes:
    """Return what can be known of the shapes of a graph; values of unknown rank are left out."""
    return _Inference(graph).run()


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
        # A shape is a list of numbers; of more axes a flat tuple would say too little.
        if value is not None and len(self._known.shape.get(node.output[0], (0, 0))) < 2:
            self._known.value[node.output[0]] = value
        truth = self._truth_of(node)
        if truth is not None:
            self._known.truth[node.output[0]] = truth

    # Shapes. Each rule returns one shape (or None) for each output.

    def _of(self, node: NodeProto, index: int = 0) -> Shape | None:
        return self._known.shape.get(node.input[index]) if index < len(node.input) else None

    def _contents(self, name: str) -> Shape | None:
        """Known contents of a small integer tensor, as a flat tuple."""
        if name in self._known.value:
            return self._known.value[name]
        tensor = self._graph.initializers.get(name)
        if tensor is None or len(tensor.dims) > 1 or sum(tensor.dims) > MAX_TRACKED_ELEMENTS:
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
            target = tuple(
                data[i] if d == 0 and data is not None else d for i, d in enumerate(target)
            )
        if -1 in target:
            rest = [d for d in target if d != -1]
            free = divide_dims(data, rest) if data is not None else None
            target = tuple(
                d if d != -1 else free if free is not None else self._new_dim() for d in target
            )
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

    def _tile(self, node: NodeProto) -> list[Shape | None]:
        data, repeats = self._of(node), self._contents(node.input[1])
        if data is None:
            return []
        if repeats is None:
            return [tuple(self._new_dim() for _ in data)]
        pairs = zip(data, repeats, strict=True)
        return [tuple(d if r == 1 else r if d == 1 else self._new_dim() for d, r in pairs)]

    def _split(self, node: NodeProto) -> list[Shape | None]:
        data = self._of(node)
        if data is None:
            return []
        axis, count = int_attribute(node, "axis", 0) % len(data), len(node.output)
        sizes = self._contents(node.input[1]) if len(node.input) > 1 else None
        if sizes is None:
            whole = data[axis]
            if isinstance(whole, int) and whole % count == 0:
                sizes = (whole // count,) * count
            else:
                sizes = tuple(self._new_dim() for _ in node.output)
        return [(*data[:axis], size, *data[axis + 1 :]) for size in sizes]

    def _shape(self, node: NodeProto) -> list[Shape | None]:
        data = self._of(node)
        start, end = int_attribute(node, "start", 0), int_attribute(node, "end", 2**31)
        return [] if data is None else [(len(data[start:end]),)]

    def _dynamic_quantize(self, node: NodeProto) -> list[Shape | None]:
        return [self._of(node), (), ()]

    # Contents of the integer tensors that hold shapes.

    def _value_of(self, node: NodeProto) -> Shape | None:
        rule = VALUE_RULES.get(node.op_type)
        if node.op_type == "Shape":
            data = self._of(node)
            start, end = int_attribute(node, "start", 0), int_attribute(node, "end", 2**31)
            return None if data is None else data[start:end]
        inputs = [self._contents(name) for name in node.input if name]
        if rule is None or any(x is None for x in inputs):
            return None
        return rule(Known(node, [x for x in inputs if x is not None]))

    def _truth_of(self, node: NodeProto) -> bool | None:
        if node.op_type == "Equal":
            value = self._known.value.get(node.output[0])
            return bool(value[0]) if value is not None and len(value) == 1 else None
        known = self._known.truth.get(node.input[0]) if node.input else None
        if known is None or node.op_type not in ("Cast", "Identity", "Not"):
            return None
        return not known if node.op_type == "Not" else known


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
    """Return the axes of a Transpose, reversed by default."""
    perm = attribute(node, "perm")
    return list(reversed(range(rank))) if perm is None else [int(p) for p in perm]  # type: ignore[attr-defined]


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
    "Tile": _Inference._tile,
    "Shape": _Inference._shape,
    "Softmax": _Inference._same,
    "LogSoftmax": _Inference._same,
    "LayerNormalization": _Inference._same,
    "DynamicQuantizeLinear": _Inference._dynamic_quantize,
    "CumSum": _Inference._same,
    **dict.fromkeys(
        ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceProd"),
        _Inference._reduce,
    ),
}
