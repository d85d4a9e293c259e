"""Small models whose products leave padding out, against their definition in numpy."""

import numpy as np
import pytest

from fastrerank.packing import PACKED, packing
from fastrerank.telemetry import openvino_silenced

with openvino_silenced():
    openvino = pytest.importorskip("openvino", reason="needs pip install 'fastrerank[openvino]'")
    from openvino import opset13 as ops

    from fastrerank.openvino_packing import pack_tokens

CHANNELS, WORDS = 4, 30
RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(WORDS, CHANNELS)).astype(np.float32)
POSITIONS = RNG.normal(size=(100, CHANNELS)).astype(np.float32)
WEIGHT = RNG.normal(size=(CHANNELS, CHANNELS)).astype(np.float32)
BIAS = RNG.normal(size=CHANNELS).astype(np.float32)
LENGTHS = [3, 11, 1, 7]


def inputs():
    mask = (np.arange(12) < np.array(LENGTHS)[:, np.newaxis]).astype(np.int64)
    ids = np.where(mask, np.random.default_rng(1).integers(1, WORDS, mask.shape), 0)
    return {"input_ids": ids, "attention_mask": mask}


def pooled_model(positions):
    """The sum over tokens of tanh((word + position) W + b), for at most so many positions."""
    ids = ops.parameter([-1, -1], np.int64, name="input_ids")
    mask = ops.parameter([-1, -1], np.int64, name="attention_mask")
    for parameter in (ids, mask):
        parameter.output(0).set_names({parameter.get_friendly_name()})
    length = ops.gather(ops.shape_of(ids), [1], 0)
    table = ops.constant(POSITIONS[:positions])
    embedded = ops.gather(ops.constant(TABLE), ids, 0) + ops.slice(table, [0], length, [1], [0])
    product = ops.matmul(embedded, ops.constant(WEIGHT), False, False)
    hidden = ops.tanh(product + ops.constant(BIAS))
    kept = hidden * ops.convert(ops.unsqueeze(mask, [2]), np.float32)
    return openvino.Model([ops.reduce_sum(kept, [1])], [ids, mask])


def expected():
    given = inputs()
    embedded = TABLE[given["input_ids"]] + POSITIONS[:12]
    hidden = np.tanh(embedded @ WEIGHT + BIAS)
    return (hidden * given["attention_mask"][:, :, np.newaxis]).sum(axis=1)


@pytest.mark.parametrize(("positions", "is_packed"), [(100, True), (20, False)])
def test_what_the_mask_leaves_out_stays_out(positions, is_packed):
    """Padding reads a token of another place in the other order: a sum must not count it. A model
    of fewer positions than are tried stays as it is, and still runs."""
    model = pooled_model(positions)
    pack_tokens(model)
    assert any(PACKED in item.get_names() for item in model.inputs) == is_packed
    given = inputs()
    if is_packed:
        given |= packing(given["attention_mask"])
    compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    np.testing.assert_allclose(compiled(given)[0], expected(), atol=1e-5)


def test_a_model_without_a_mask_stays_as_it_is():
    ids = ops.parameter([-1, -1], np.int64, name="input_ids")
    ids.output(0).set_names({"input_ids"})
    words = ops.gather(ops.constant(TABLE), ids, 0)
    model = openvino.Model([ops.matmul(words, ops.constant(WEIGHT), False, False)], [ids])
    pack_tokens(model)
    assert [item.get_any_name() for item in model.inputs] == ["input_ids"]
