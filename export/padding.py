"""Attention without a mask, for runs that hold one pair and so no padding."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto, NodeProto, helper

from .attention import find_attention
from .graph import Graph
from .shapes import infer_shapes

_MASK = "attention_mask"
_LENGTHS = (1, 2, 5, 64)


def assume_no_padding(model: ModelProto) -> ModelProto:
    """Return the model without the addition of its attention mask, or as it is.

    The mask is left out where it adds nothing when every token counts: it is computed from the
    attention mask and the lengths alone, and is zero for a mask of ones of several lengths. The
    input stays declared, so that the same arrays feed both graphs; what it holds is not read.
    """
    graph = Graph(model)
    if graph.has_subgraphs or _MASK not in graph.inputs:
        return model
    graph.prune()
    blocks = find_attention(graph, infer_shapes(graph))
    zero = {
        mask: _adds_nothing(graph, mask)
        for mask in {block.mask for block in blocks}
        if mask is not None
    }
    for block in blocks:
        if block.mask is not None and zero[block.mask]:
            addition = graph.producers[block.probabilities.input[0]]
            graph.replace(addition, block.scores.output[0])
    return graph.to_model()


def _adds_nothing(graph: Graph, mask: str) -> bool:
    """True if the mask is zero for runs of one pair without padding."""
    nodes = _ancestors(graph, mask)
    read = {name for node in nodes for name in node.input if name in graph.inputs}
    # Other inputs may give no more than their lengths.
    if not read or any(_reads_values(graph, nodes, name) for name in read - {_MASK}):
        return False
    model = graph.to_model()
    del model.graph.output[:]
    model.graph.output.append(helper.make_empty_tensor_value_info(mask))
    part = Graph(model).to_model()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mask.onnx"
        onnx.save(part, path)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        for length in _LENGTHS:
            feeds = {i.name: np.ones((1, length), np.int64) for i in session.get_inputs()}
            if np.any(session.run(None, feeds)[0]):
                return False
    return True


def _ancestors(graph: Graph, name: str) -> list[NodeProto]:
    found: dict[str, NodeProto] = {}
    waiting = [name]
    while waiting:
        node = graph.producers.get(waiting.pop())
        if node is not None and node.output[0] not in found:
            found[node.output[0]] = node
            waiting.extend(node.input)
    return list(found.values())


def _reads_values(graph: Graph, nodes: list[NodeProto], name: str) -> bool:
    return any(name in node.input and node.op_type != "Shape" for node in nodes)
