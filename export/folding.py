"""Nodes that depend on constants alone, computed once."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto, helper
from onnx.reference import ReferenceEvaluator

from .graph import Array, Graph

_MAX_FOLDED_ELEMENTS = 1 << 20
_NEVER_FOLDED = (
    "RandomNormal",
    "RandomUniform",
    "RandomNormalLike",
    "RandomUniformLike",
    "Dropout",
)


def fold_constants(graph: Graph) -> None:
    """Compute once what depends on constants alone."""
    for node in graph.sorted_nodes():
        arrays = [graph.constant(name) if name else None for name in node.input]
        if (
            not node.input
            or node.domain not in ("", "ai.onnx")
            or node.op_type in _NEVER_FOLDED
            or any(a is None and name for a, name in zip(arrays, node.input, strict=True))
            or sum(a.size for a in arrays if a is not None) > _MAX_FOLDED_ELEMENTS
        ):
            continue
        results = evaluate(graph, node, arrays)
        if any(r.size > _MAX_FOLDED_ELEMENTS for r in results):
            continue
        graph.remove([node])
        for name, result in zip(node.output, results, strict=True):
            graph.set_constant(name, result)
    graph.reindex()


def evaluate(graph: Graph, node: NodeProto, arrays: list[Array | None]) -> list[Array]:
    """Return the results of one node of the default domain; None stands for an absent input."""
    inputs = {n: a for n, a in zip(node.input, arrays, strict=True) if a is not None}
    infos = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for n, a in inputs.items()
    ]
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output]
    model = helper.make_model(
        helper.make_graph([node], "node", infos, outputs),
        opset_imports=[helper.make_opsetid("", graph.opset)],
    )
    return [np.asarray(r) for r in ReferenceEvaluator(model).run(None, inputs)]
