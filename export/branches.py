"""Branches whose condition is known before the graph is run, written into the graph.

Torch exports scripted functions (those of DeBERTa) with an If on lengths that are always equal.
"""

from __future__ import annotations

from onnx import GraphProto, NodeProto

from .graph import Graph, attribute, is_op
from .shapes import infer_shapes


def inline_known_branches(graph: Graph) -> None:
    """Replace every If by the branch that is always taken, where one provably is."""
    while graph.has_subgraphs:
        truth = infer_shapes(graph).truth
        known = [n for n in graph.nodes if is_op(n, "If") and n.input[0] in truth]
        if not known:
            return
        for node in known:
            taken = attribute(node, "then_branch" if truth[node.input[0]] else "else_branch")
            assert isinstance(taken, GraphProto)  # noqa: S101  # the operator's schema says so
            _inline(graph, node, taken)
        graph.prune()


def _inline(graph: Graph, node: NodeProto, branch: GraphProto) -> None:
    """Add a branch's nodes under fresh names; names of the outer graph stay."""
    local = [name for inner in branch.node for name in inner.output]
    renamed = {name: graph.fresh(name) for name in local + [t.name for t in branch.initializer]}
    for tensor in branch.initializer:
        graph.initializers[renamed[tensor.name]] = tensor
    for inner in branch.node:
        copy = NodeProto()
        copy.CopyFrom(inner)
        copy.input[:] = [renamed.get(name, name) for name in inner.input]
        copy.output[:] = [renamed[name] for name in inner.output]
        graph.append(copy)
    graph.remove([node])
    for result, inner_result in zip(node.output, branch.output, strict=True):
        graph.replace_uses(result, renamed.get(inner_result.name, inner_result.name))
