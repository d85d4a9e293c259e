"""Small BERT-like encoders as ONNX graphs, written the way torch writes them."""

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

VOCABULARY, HIDDEN, HEADS, INNER, LAYERS = 1100, 16, 4, 96, 2


class Encoder:
    """Collects nodes; every method adds some and returns the name of their result."""

    def __init__(self, seed=0):
        self.nodes, self.weights = [], []
        self.rng = np.random.default_rng(seed)

    def node(self, op, *inputs, outputs=1, **attributes):
        names = [f"{op}_{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, names[0], **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, value, dtype=np.float32):
        name = f"constant_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def random(self, *shape, scale=0.3):
        return self.constant(self.rng.normal(0, scale, shape))

    def integers(self, *values):
        return self.constant(values, np.int64)

    def linear(self, x, inputs, outputs):
        product = self.node("MatMul", x, self.random(inputs, outputs))
        return self.node("Add", self.random(outputs), product)

    def norm(self, x):
        gain = self.constant(self.rng.normal(1, 0.1, HIDDEN))
        return self.node("LayerNormalization", x, gain, self.random(HIDDEN, scale=0.1), axis=-1)

    def gelu(self, x):
        inner = self.node("Erf", self.node("Div", x, self.constant(2**0.5)))
        outer = self.node("Mul", x, self.node("Add", inner, self.constant(1.0)))
        return self.node("Mul", outer, self.constant(0.5))

    def length(self, x, axis):
        return self.node("Gather", self.node("Shape", x), self.constant(axis, np.int64), axis=0)

    def heads(self, x, order):
        """Split [batch, sequence, hidden] by a shape that is computed from its own."""
        zero = self.integers(0)
        sizes = [self.node("Unsqueeze", self.length(x, axis), zero) for axis in (0, 1)]
        rest = [self.integers(HEADS), self.integers(HIDDEN // HEADS)]
        shape = self.node("Concat", *sizes, *rest, axis=0)
        return self.node("Transpose", self.node("Reshape", x, shape), perm=order)

    def attention(self, x, mask):
        scale = self.constant((HIDDEN // HEADS) ** -0.25)
        query = self.heads(self.linear(x, HIDDEN, HIDDEN), [0, 2, 1, 3])
        key = self.heads(self.linear(x, HIDDEN, HIDDEN), [0, 2, 3, 1])
        value = self.heads(self.linear(x, HIDDEN, HIDDEN), [0, 2, 1, 3])
        scores = self.node("MatMul", self.node("Mul", query, scale), self.node("Mul", key, scale))
        weights = self.node("Softmax", self.node("Add", scores, mask), axis=-1)
        context = self.node("Transpose", self.node("MatMul", weights, value), perm=[0, 2, 1, 3])
        merged = self.node("Reshape", context, self.integers(0, 0, HIDDEN))
        return self.linear(merged, HIDDEN, HIDDEN)

    def layer(self, x, mask):
        x = self.norm(self.node("Add", self.attention(x, mask), x))
        inner = self.gelu(self.linear(x, HIDDEN, INNER))
        return self.norm(self.node("Add", self.linear(inner, INNER, HIDDEN), x))

    def embeddings(self):
        ids = self.node("Gather", self.random(VOCABULARY, HIDDEN), "input_ids", axis=0)
        length = self.node("Unsqueeze", self.length("input_ids", 1), self.integers(0))
        zero, one = self.integers(0), self.integers(1)
        positions = self.constant(np.arange(64)[np.newaxis], np.int64)
        positions = self.node("Slice", positions, zero, length, one, one)
        places = self.node("Gather", self.random(64, HIDDEN), positions, axis=0)
        return self.norm(self.node("Add", ids, places))

    def mask(self):
        """0 for a token, -1e4 for padding, expanded to [batch, 1, sequence, sequence]."""
        zero = self.integers(0)
        wide = self.node("Unsqueeze", "attention_mask", self.integers(1, 2))
        batch, length = (self.node("Unsqueeze", self.length("input_ids", i), zero) for i in (0, 1))
        shape = self.node("Concat", batch, self.integers(1), length, length, axis=0)
        wide = self.node("Cast", self.node("Expand", wide, shape), to=TensorProto.FLOAT)
        return self.node("Mul", self.node("Sub", self.constant(1.0), wide), self.constant(-1e4))

    def window(self, mask):
        """The mask and a penalty for keys more than two positions away."""
        length = self.length("input_ids", 1)
        places = self.node("Range", self.constant(0, np.int64), length, self.constant(1, np.int64))
        row = self.node("Unsqueeze", places, self.integers(0))
        column = self.node("Unsqueeze", places, self.integers(1))
        far = self.node("Abs", self.node("Sub", row, column))
        far = self.node("Greater", far, self.constant(2, np.int64))
        return self.node(
            "Add", mask, self.node("Where", far, self.constant(-1e4), self.constant(0.0))
        )

    def model(self, logits, opset=20):
        dims = ["batch_size", "sequence_length"]
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.INT64, dims)
            for name in ("input_ids", "attention_mask")
        ]
        outputs = [helper.make_tensor_value_info(logits, TensorProto.FLOAT, None)]
        graph = helper.make_graph(self.nodes, "encoder", inputs, outputs, self.weights)
        opsets = [helper.make_opsetid("", opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def encoder(pool="first", opset=20, window=False):
    """A cross-encoder of two layers; `pool` says what its head reads."""
    build = Encoder()
    mask = build.mask()
    x = build.embeddings()
    for _ in range(LAYERS):
        x = build.layer(x, build.window(mask) if window else mask)
    if pool == "mean":
        pooled = build.node("ReduceMean", x, build.integers(1), keepdims=0)
    elif pool == "first by slice":
        short = build.node("Slice", x, *(build.integers(i) for i in (0, 1, 1)))
        pooled = build.node("Squeeze", short, build.integers(1))
    else:
        index = {"first": 0, "last": -1, "second": 1}[pool]
        pooled = build.node("Gather", x, build.constant(index, np.int64), axis=1)
    pooled = build.node("Gemm", pooled, build.random(HIDDEN, HIDDEN), build.random(HIDDEN))
    logits = build.node("Gemm", build.node("Tanh", pooled), build.random(HIDDEN, 1))
    return build.model(logits, opset)


def feeds(batch=2, length=7, seed=0, padded=True):
    """Token ids and a mask; every second pair has padding behind its first half."""
    rng = np.random.default_rng(seed)
    mask = np.ones((batch, length), np.int64)
    if padded:
        mask[1::2, length // 2 + 1 :] = 0
    return {"input_ids": rng.integers(0, VOCABULARY, (batch, length)), "attention_mask": mask}


def run_model(model, inputs, names=None):
    """The first output, or those named; inputs that the model does not know are left out."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    known = {item.name for item in session.get_inputs()}
    outputs = session.run(names, {k: v for k, v in inputs.items() if k in known})
    return outputs[0] if names is None else outputs
