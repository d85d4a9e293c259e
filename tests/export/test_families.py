"""Small models of many families, with random weights, exported by optimum."""

import numpy as np
import onnx
import pytest
from encoders import run_model
from fastrerank.export.one_pair import specialize_for_one_pair
from fastrerank.export.optimize import optimize
from fastrerank.export.pooled import compute_pooled_position_only
from fastrerank.export.quantize import quantize_int8

from fastrerank.telemetry import openvino_silenced

# The exporter warns of itself; what counts is the graph that it writes.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

VOCABULARY = 1200
COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "max_position_embeddings": 130,
    "num_labels": 1,
    "pad_token_id": 1,
}
FAMILIES = {
    "albert": {"embedding_size": 32},
    "bert": {},
    "camembert": {},
    "deberta": {
        "pooler_hidden_size": 64,
        "relative_attention": True,
        "pos_att_type": ["c2p", "p2c"],
    },
    "deberta-v2": {
        "pooler_hidden_size": 64,
        "relative_attention": True,
        "pos_att_type": ["c2p", "p2c"],
        "position_buckets": 32,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
    },
    "distilbert": {"dim": 64, "n_layers": 3, "n_heads": 4, "hidden_dim": 128},
    "electra": {"embedding_size": 32},
    "modernbert": {
        "cls_token_id": 2,
        "bos_token_id": 2,
        "sep_token_id": 3,
        "eos_token_id": 3,
        "local_attention": 16,
        "reference_compile": False,
    },
    "mpnet": {},
    "roberta": {},
    "xlm-roberta": {},
}


@pytest.fixture(scope="module", params=FAMILIES)
def exported(request, tmp_path_factory):
    torch = pytest.importorskip("torch", reason="needs the export extra")
    transformers = pytest.importorskip("transformers")
    from optimum.exporters.onnx import onnx_export_from_model

    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(request.param, **(COMMON | FAMILIES[request.param]))
    model = transformers.AutoModelForSequenceClassification.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.08)
    folder = tmp_path_factory.mktemp(request.param)
    onnx_export_from_model(
        model, output=folder, task="text-classification", do_validation=False, opset=20
    )
    return onnx.load(folder / "model.onnx")


def feeds(batch, length):
    rng = np.random.default_rng(length)
    mask = np.ones((batch, length), np.int64)
    mask[1::2, length // 2 + 1 :] = 0
    ids = np.where(mask, rng.integers(5, VOCABULARY, (batch, length)), 1)
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


SHAPES = [(1, 1), (1, 120), (2, 7), (3, 50)]


def test_every_pass_keeps_the_logits(exported):
    model = exported
    for rewrite in (optimize, lambda m: compute_pooled_position_only(m)[0]):
        after = rewrite(model)
        onnx.checker.check_model(after)
        for shape in SHAPES:
            inputs = feeds(*shape)
            expected = run_model(exported, inputs)
            np.testing.assert_allclose(run_model(after, inputs), expected, atol=1e-5, rtol=0)
        model = after
    alone = specialize_for_one_pair(model)
    for length in (1, 7, 120):
        inputs = feeds(1, length)
        expected = run_model(exported, inputs)
        np.testing.assert_allclose(run_model(alone, inputs), expected, atol=1e-5, rtol=0)


def test_openvino_leaves_padding_out_of_products_by_token(exported, tmp_path):
    with openvino_silenced():
        pytest.importorskip("openvino", reason="needs pip install 'fastrerank[openvino]'")
    from fastrerank.openvino_session import OpenVinoSession

    onnx.save(compute_pooled_position_only(optimize(exported))[0], tmp_path / "model.onnx")
    session = OpenVinoSession(tmp_path / "model.onnx", "logits", "fp32", threads=1)
    assert session.is_packed
    for shape in SHAPES:
        inputs = feeds(*shape)
        read = {value.name: inputs[value.name] for value in exported.graph.input}
        expected = run_model(exported, inputs)
        np.testing.assert_allclose(session.run(read), expected, atol=1e-5, rtol=0)


def test_the_last_layer_is_cut(exported):
    _, report = compute_pooled_position_only(optimize(exported))
    assert report.applied, report.reason
    # A third of the layers; what stays is keys and values, or what no rule moves.
    assert report.macs_after < 0.88 * report.macs_before


def test_int8_stays_close(exported):
    model = compute_pooled_position_only(optimize(exported))[0]
    quantized = quantize_int8(model, [feeds(1, length) for length in range(10, 90, 10)])
    spread = float(np.ptp(run_model(exported, feeds(8, 40))))
    for length in (5, 60):
        inputs = feeds(1, length)
        drift = np.abs(run_model(quantized, inputs) - run_model(exported, inputs)).max()
        assert drift < 0.1 * spread
