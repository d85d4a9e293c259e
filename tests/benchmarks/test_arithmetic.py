import pytest

from benchmarks.arithmetic import GraphOperations, count_operations, pair_lengths
from benchmarks.workloads import Request


def test_products_are_counted_by_their_operands(tmp_path):
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    weights = [("w1", [8, 8]), ("w2", [8, 32])]
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w1"], ["q"]),
            helper.make_node("MatMul", ["q", "k"], ["scores"]),
            helper.make_node("MatMul", ["scores", "w2"], ["y"]),
        ],
        "products",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "k")],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            helper.make_tensor(name, TensorProto.FLOAT, dims, [0.0] * (dims[0] * dims[1]))
            for name, dims in weights
        ],
    )
    onnx.save(helper.make_model(graph), tmp_path / "model.onnx")
    operations = count_operations(tmp_path / "model.onnx")
    assert operations == GraphOperations(per_token=2 * (64 + 256), per_token_pair=2 * 8)
    assert operations.of(10) == 10 * 640 + 100 * 16


def test_pairs_are_measured_with_their_special_tokens_and_cut(data):
    request = Request(query="what is a dog", documents=["a dog", "dog " * 600])
    lengths = pair_lengths(data / "model/tokenizer.json", [request], max_length=512)
    assert lengths == [3 + 4 + 2, 512]
