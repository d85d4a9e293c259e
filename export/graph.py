"""An ONNX graph that can be looked up by value name and rewritten."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

Array = np.ndarray
_DEFAULT_DOMAINS = ("", "ai.onnx")


class Graph:
    """The nodes and constants of a model, indexed by the values that they produce and consume.

    Constant nodes become initializers. `to_model` writes the graph back: nodes in topological
    order, without those that no output needs.
    """

    def __init__(self, model: ModelProto) -> None:
        self._model = model
        self.inputs = [value.name for value in model.graph.input]
        self.outputs = [value.name for value in model.graph.output]
        self.initializers: dict[str, TensorProto] = {t.name: t for t in model.graph.initializer}
        self.nodes: list[NodeProto] = []
        for node in model.graph.node:
            copy = NodeProto()
            copy.CopyFrom(node)
            self.append(copy)
        self._arrays: dict[str, Array] = {}
        self._names = {name for node in self.nodes for name in node.output}
        self._names.update(self.initializers, self.inputs)
        self.reindex()

    @property
    def opset(self) -> int:
        """Version of the default operator set."""
        versions = {o.domain: o.version for o in self._model.opset_import}
        return int(versions.get("", versions.get("ai.onnx", 1)))

    @property
    def input_shapes(self) -> dict[str, tuple[int | str, ...]]:
        """Declared shape of each input, symbols as their names; inputs without one left out."""
        shapes: dict[str, tuple[int | str, ...]] = {}
        for value in self._model.graph.input:
            if value.type.tensor_type.HasField("shape"):
                shapes[value.name] = tuple(
                    dim.dim_param
                    or (dim.dim_value if dim.HasField("dim_value") else f"?{value.name}{i}")
                    for i, dim in enumerate(value.type.tensor_type.shape.dim)
                )
        return shapes

    @property
    def has_subgraphs(self) -> bool:
        """True if a node holds a graph (If, Loop, Scan): its captures are not in the index."""
        kinds = (AttributeProto.GRAPH, AttributeProto.GRAPHS)
        return any(a.type in kinds for node in self.nodes for a in node.attribute)

    def reindex(self) -> None:
        """Recompute `producers` and `consumers` after nodes were added, removed or rewired."""
        self.producers: dict[str, NodeProto] = {}
        self.consumers: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in node.output:
                self.producers[name] = node
            for name in dict.fromkeys(node.input):
                if name:
                    self.consumers.setdefault(name, []).append(node)

    def constant(self, name: str) -> Array | None:
        """Value of an initializer, or None if `name` is computed."""
        if name not in self.initializers or name in self.inputs:
            return None
        if name not in self._arrays:
            self._arrays[name] = numpy_helper.to_array(self.initializers[name])
        return self._arrays[name]

    def scalar(self, name: str) -> float | None:
        """Value of a constant with one element, or None."""
        array = self.constant(name)
        return float(array.reshape(())) if array is not None and array.size == 1 else None

    def sole_consumer(self, name: str) -> NodeProto | None:
        """Return the one node that reads `name`, or None if several do or it is an output."""
        nodes = self.consumers.get(name, [])
        return nodes[0] if len(nodes) == 1 and name not in self.outputs else None

    def add_constant(self, stem: str, array: Array) -> str:
        """Add an initializer and return its name, made from `stem`."""
        name = self.fresh(stem)
        self.set_constant(name, array)
        return name

    def set_constant(self, name: str, array: Array) -> None:
        """Give `name` a constant value in place of its producer, which must be removed."""
        self.initializers[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        self._arrays.pop(name, None)

    def add_node(
        self,
        op_type: str,
        inputs: Sequence[str],
        stem: str,
        *,
        outputs: int = 1,
        domain: str = "",
        attributes: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """Append a node with fresh outputs named after `stem` and return their names."""
        names = [self.fresh(stem if i == 0 else f"{stem}_{i}") for i in range(outputs)]
        node = helper.make_node(
            op_type, list(inputs), names, names[0], domain=domain, **(attributes or {})
        )
        self.nodes.append(node)
        return names

    def append(self, node: NodeProto) -> None:
        """Add a node as it is, or the initializer that a Constant node stands for."""
        tensor = _constant_tensor(node)
        if tensor is None:
            self.nodes.append(node)
        else:
            self.initializers[node.output[0]] = tensor

    def replace_uses(self, old: str, new: str) -> None:
        """Make every consumer of `old` read `new`."""
        for node in self.nodes:
            for i, name in enumerate(node.input):
                if name == old:
                    node.input[i] = new

    def replace(self, node: NodeProto, value: str) -> None:
        """Make the consumers of a node's first result read `value`, and remove the node.

        Where the result is a graph output, `value` is copied to it.
        """
        result = node.output[0]
        self.remove([node])
        self.replace_uses(result, value)
        if result in self.outputs:
            self.nodes.append(helper.make_node("Identity", [value], [result], f"{result}/copy"))

    def remove(self, nodes: Iterable[NodeProto]) -> None:
        """Take nodes out of the graph."""
        gone = {id(node) for node in nodes}
        self.nodes = [node for node in self.nodes if id(node) not in gone]

    def prune(self) -> None:
        """Drop the nodes that no output needs and sort the others."""
        self.nodes = self.sorted_nodes()
        self.reindex()

    def sorted_nodes(self) -> list[NodeProto]:
        """Return the nodes that some output needs, each after the producers of its inputs."""
        self.reindex()
        order: list[NodeProto] = []
        done: set[int] = set()
        stack = [self.producers[name] for name in reversed(self.outputs) if name in self.producers]
        while stack:
            node = stack[-1]
            waiting = [
                producer
                for name in _all_inputs(node)
                if (producer := self.producers.get(name)) is not None and id(producer) not in done
            ]
            if waiting and id(node) not in done:
                stack.extend(reversed(waiting))
                continue
            stack.pop()
            if id(node) not in done:
                done.add(id(node))
                order.append(node)
        return order

    def to_model(self) -> ModelProto:
        """Write the graph as a model of its own: sorted, dead nodes and constants left out."""
        self.prune()
        used = {name for node in self.nodes for name in _all_inputs(node)} | set(self.outputs)
        model = _without_body(self._model)
        model.graph.node.extend(self.nodes)
        model.graph.initializer.extend(t for n, t in self.initializers.items() if n in used)
        declared = {o.domain for o in model.opset_import}
        for domain in sorted({n.domain for n in self.nodes} - declared - set(_DEFAULT_DOMAINS)):
            model.opset_import.append(helper.make_opsetid(domain, 1))
        return model

    def fresh(self, stem: str) -> str:
        """Return a value name that the graph does not hold yet, and reserve it."""
        name, n = stem, 0
        while name in self._names:
            n += 1
            name = f"{stem}_{n}"
        self._names.add(name)
        return name


def attribute(node: NodeProto, name: str, default: object = None) -> object:
    """Value of a node's attribute, or `default` if the node does not carry it."""
    for item in node.attribute:
        if item.name == name:
            return helper.get_attribute_value(item)
    return default


def int_attribute(node: NodeProto, name: str, default: int) -> int:
    """Value of a node's integer attribute."""
    value = attribute(node, name, default)
    assert isinstance(value, int)  # noqa: S101  # the operator's schema says so
    return value


def is_op(node: NodeProto | None, *op_types: str) -> TypeGuard[NodeProto]:
    """Return whether the node is one of these operators of the default domain."""
    return node is not None and node.domain in _DEFAULT_DOMAINS and node.op_type in op_types


def _constant_tensor(node: NodeProto) -> TensorProto | None:
    if not is_op(node, "Constant"):
        return None
    item = node.attribute[0]
    tensor = TensorProto()
    if item.name == "value":
        tensor.CopyFrom(item.t)
    elif item.name in ("value_float", "value_floats"):
        value = np.asarray(helper.get_attribute_value(item), np.float32)
        tensor.CopyFrom(numpy_helper.from_array(value))
    elif item.name in ("value_int", "value_ints"):
        value = np.asarray(helper.get_attribute_value(item), np.int64)
        tensor.CopyFrom(numpy_helper.from_array(value))
    else:
        return None
    tensor.name = node.output[0]
    return tensor


def _all_inputs(node: NodeProto) -> list[str]:
    """Names that a node reads, those captured by its subgraphs included."""
    names = [name for name in node.input if name]
    for item in node.attribute:
        graphs = [item.g] if item.type == AttributeProto.GRAPH else list(item.graphs)
        for graph in graphs:
            local = {n for inner in graph.node for n in inner.output}
            names += [n for inner in graph.node for n in _all_inputs(inner) if n not in local]
            names += [o.name for o in graph.output if o.name not in local]
    return names


def _without_body(model: ModelProto) -> ModelProto:
    """Return the model's header, inputs and outputs."""
    shell = ModelProto(
        ir_version=model.ir_version,
        producer_name=model.producer_name,
        producer_version=model.producer_version,
    )
    shell.opset_import.extend(model.opset_import)
    shell.functions.extend(model.functions)
    shell.metadata_props.extend(model.metadata_props)
    shell.graph.name = model.graph.name
    shell.graph.input.extend(model.graph.input)
    shell.graph.output.extend(model.graph.output)
    return shell
