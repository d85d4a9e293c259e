"""The openvino runtime on the bundled model, whose int8 weights it expands."""

import importlib.util
import subprocess
import sys
import tempfile
import textwrap
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.machinery import ModuleSpec
from types import ModuleType

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from tiny import edit_manifest, file_entry, write_tiny_bundle

from benchmarks.workloads import evaluation_requests
from fastrerank import BundleError, InferenceError, MissingExtraError, Reranker
from fastrerank.processor import this_processor
from fastrerank.telemetry import openvino_silenced

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None,
    reason="needs openvino: pip install 'fastrerank[openvino]'",
)

with openvino_silenced(), suppress(ImportError):
    import openvino  # noqa: F401 - before a test does

QUERY = "animals of Peru"
TEXTS = [
    "Guanacos and llamas live in the mountains of Peru.",
    "The giant panda is endemic to China.",
    "Bread is baked from flour, water and salt. " * 20,
    "Peru",
    "",
    "Alpacas are kept in herds that graze on the level heights of the Andes of Peru. " * 40,
]
WHOLE = 512  # a window as large as the model: runs of every length
# A score may move by this much with its neighbours (it was never seen to move at all).
NEIGHBOUR_TOLERANCE = 1e-3

needs_bf16 = pytest.mark.skipif(
    not this_processor().has_bf16, reason="this processor has no bf16 arithmetic"
)
PRECISIONS = ["fp32", pytest.param("bf16", marks=needs_bf16)]


@pytest.fixture(scope="module")
def exact():
    with Reranker(runtime="openvino", precision="fp32", threads=2, window=WHOLE) as loaded:
        yield loaded


@pytest.fixture(scope="module", params=PRECISIONS)
def loaded(request):
    with Reranker(runtime="openvino", precision=request.param, threads=2, window=WHOLE) as reranker:
        yield reranker


def scores(reranker, texts):
    return reranker.score([(QUERY, text) for text in texts])


def test_the_first_batches_of_a_process_do_not_wait_for_each_other(tiny_bundle):
    """openvino imports numpy's C API when it is first given an array, and threads must not meet
    there. A short switch interval makes them meet; a graph without int8 weights gives it none
    before."""
    program = f"""
        import sys
        from fastrerank import Reranker
        reranker = Reranker({str(tiny_bundle)!r}, runtime="openvino", precision="fp32", threads=2)
        sys.setswitchinterval(1e-6)
        texts = ["w1 " * (i % 40 + 1) for i in range(200)]
        print(len(reranker.rerank("w2", texts).results))
    """
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program)],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert done.stdout == "200\n"


def test_fp32_is_exact_arithmetic_on_the_stored_weights(exact, reference_logits):
    logits = exact.score([(QUERY, text) for text in TEXTS], raw=True)
    np.testing.assert_allclose(logits, reference_logits, atol=1e-4)


@pytest.fixture(scope="module")
def reference_logits(tmp_path_factory, exact):
    """The bundled graphs in ONNX Runtime, their int8 products replaced by fp32 ones with onnx."""
    from fastrerank.bundle import open_bundle
    from fastrerank.collate import collate
    from fastrerank.ort_session import OrtSession
    from fastrerank.similarity import SimilaritySession
    from fastrerank.tokenization import Pair, PairTokenizer

    bundle = open_bundle()
    similarity = bundle.manifest.similarity
    directory = tmp_path_factory.mktemp("expanded")
    sessions = []
    paths = bundle.onnx_paths("int8", one_pair=False)
    for graph, output in zip(paths, (bundle.manifest.output, similarity.output), strict=True):
        onnx.save(_expanded(onnx.load(graph)), directory / graph.name)
        sessions.append(OrtSession(directory / graph.name, output))
    pairs, vectors = sessions
    session = SimilaritySession(pairs, vectors=vectors, weight=similarity.weight, padded=True)
    tokenizer = PairTokenizer(
        bundle.verified(bundle.manifest.tokenizer),
        bundle.manifest.template,
        bundle.manifest.max_length,
    )
    query = tokenizer.encode_query(QUERY)
    encodings = tokenizer.encode_pairs([Pair(query, text) for text in TEXTS])
    arrays = [
        collate([e], bundle.manifest.inputs, bundle.manifest.pad_id, e.length) for e in encodings
    ]
    return np.array([session.run(a)[0, 0] for a in arrays])


def _expanded(model):
    constants = {c.name: numpy_helper.to_array(c) for c in model.graph.initializer}
    nodes, source = [], {}
    for node in model.graph.node:
        if node.op_type == "DynamicQuantizeLinear":
            source[node.output[0]] = node.input[0]
            for name, value in ((node.output[1], np.float32(1)), (node.output[2], np.uint8(0))):
                model.graph.initializer.append(numpy_helper.from_array(np.array(value), name))
        elif node.op_type == "MatMulInteger":
            name = f"{node.input[1]}/float"
            if name not in constants:
                constants[name] = constants[node.input[1]].astype(np.float32)
                model.graph.initializer.append(numpy_helper.from_array(constants[name], name))
            nodes.append(
                helper.make_node("MatMul", [source[node.input[0]], name], [node.output[0]])
            )
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def bundled_graph(precision):
    import openvino

    from fastrerank.bundle import open_bundle
    from fastrerank.openvino_graph import read_graph

    core = openvino.Core()
    return core, read_graph(core, open_bundle().onnx_paths("int8", one_pair=False)[0], precision)


def test_what_int8_needs_around_a_product_is_in_its_weights():
    _, model = bundled_graph("fp32")
    products = [node for node in model.get_ops() if node.get_type_name() == "MatMul"]
    dense = [p for p in products if [len(i.get_partial_shape()) for i in p.inputs()] == [3, 2]]
    assert len(dense) == 5 * 6 + 4  # the last layer has its keys and values in other products
    for product in dense:
        (reader,) = product.output(0).get_target_inputs()
        assert product.input_value(0).get_node().get_type_name() != "Multiply"
        assert reader.get_node().get_type_name() == "Add"


def test_products_by_token_read_no_padding():
    _, model = bundled_graph("fp32")
    products = [node for node in model.get_ops() if node.get_type_name() == "MatMul"]
    rows = [str(p.input_value(0).get_partial_shape()) for p in products]
    assert sum(shape.startswith("[1,?,") for shape in rows) == 5 * 6


def test_bf16_keeps_sums_and_norms_in_fp32():
    """On a processor without bf16 openvino emulates it, with the same operators."""
    core, model = bundled_graph("bf16")
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
    names = ("layerType", "runtimePrecision", "outputPrecisions")
    infos = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    operators = [tuple(info[name].value for name in names) for info in infos]
    assert {kind[1] for kind in operators if kind[0] == "MVN"} == {"f32"}
    dense = [kind for kind in operators if kind[0] == "FullyConnected"]
    assert {precision for _, precision, _ in dense} == {"bf16"}
    # two of each layer go into a sum; the last are the logits
    assert [output for _, _, output in dense].count("f32") == 2 * 6 + 1


def test_bf16_without_a_temporary_directory_says_what_to_do(monkeypatch):
    from fastrerank.bundle import open_bundle
    from fastrerank.openvino_session import OpenVinoSession

    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    path = open_bundle().onnx_paths("int8", one_pair=False)[0]
    with pytest.raises(BundleError, match=r"set TMPDIR .* or ask for precision='fp32'"):
        OpenVinoSession(path, "logits", "bf16", 1)


@given(
    seed=st.integers(0, 1000),
    factor_shape=st.sampled_from(["channels", "one", "row"]),
    is_transposed=st.booleans(),
    scale_shape=st.sampled_from(["columns", "one", "rows"]),
    axis=st.sampled_from([-1, 0, 1]),
)
@settings(max_examples=50, deadline=None)
def test_folding_into_weights_changes_no_value(
    seed, factor_shape, is_transposed, scale_shape, axis
):
    """Products as the export writes them, and such that only look like them, which stay."""
    import openvino
    from openvino import opset13 as ops

    from fastrerank.openvino_products import fold_into_weights

    rng = np.random.default_rng(seed)

    def constant(*shape):
        return ops.constant(rng.normal(size=shape).astype(np.float32))

    size = 3  # of all axes, so that a wrong one fits too
    x = ops.parameter([size, size, size], np.float32)
    factor = constant(*{"channels": [size], "one": [1], "row": [size, size]}[factor_shape])
    scale = constant(*{"columns": [size], "one": [1], "rows": [size, 1]}[scale_shape])
    product = ops.matmul(x * factor, constant(size, size), False, is_transposed)
    biased = ops.add(constant(size), ops.convert(product, np.float32) * scale)
    chosen = rng.integers(0, size, size)
    part = ops.gather(x, ops.constant(chosen), ops.constant(np.int64(axis)))
    model = openvino.Model([biased + ops.matmul(part, constant(size, size), False, False)], [x])

    def run():
        compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return compiled([values])[0]

    values = rng.normal(size=[size, size, size]).astype(np.float32)
    before = run()
    fold_into_weights(model)
    np.testing.assert_allclose(run(), before, rtol=1e-4, atol=1e-4)


def test_what_only_has_its_name_is_not_openvino(tiny_bundle, monkeypatch):
    namespace = ModuleType("openvino")
    namespace.__spec__ = ModuleSpec("openvino", None, origin="elsewhere")
    monkeypatch.setitem(sys.modules, "openvino", namespace)
    monkeypatch.delitem(sys.modules, "fastrerank.openvino_graph")
    with pytest.raises(MissingExtraError, match="openvino"):
        Reranker(tiny_bundle, runtime="openvino")


@needs_bf16
def test_bf16_is_close_to_exact_arithmetic(exact, data):
    requests = evaluation_requests(data / "eval/smoke.jsonl.gz")
    pairs = [(request.query, document) for request in requests for document in request.documents]
    with Reranker(runtime="openvino", precision="bf16", threads=2) as reranker:
        difference = np.abs(reranker.score(pairs) - exact.score(pairs))
    assert difference.max() < 0.005
    assert difference.mean() < 0.0005


def test_a_score_hardly_moves_with_its_neighbours(loaded):
    alone = np.concatenate([scores(loaded, [text]) for text in TEXTS])
    together = scores(loaded, TEXTS * 7)
    np.testing.assert_allclose(together, np.tile(alone, 7), atol=NEIGHBOUR_TOLERANCE)
    shuffled = np.random.default_rng(0).permutation(len(together))
    texts = [(TEXTS * 7)[i] for i in shuffled]
    np.testing.assert_allclose(scores(loaded, texts), together[shuffled], atol=NEIGHBOUR_TOLERANCE)


def test_the_longest_pair_is_not_padded_beyond_the_model(loaded):
    with Reranker(
        runtime="openvino", precision=loaded.precision, max_length=509, window=WHOLE
    ) as reranker:
        assert reranker.rerank(QUERY, ["llama " * 2000]).truncated == [0]
    assert loaded.rerank(QUERY, ["llama " * 2000]).usage.prompt_tokens == 512


def test_many_threads_share_one_reranker(exact):
    expected = exact.rerank(QUERY, TEXTS).results
    with ThreadPoolExecutor(8) as callers:
        found = list(callers.map(lambda _: exact.rerank(QUERY, TEXTS).results, range(16)))
    assert found == [expected] * 16


def run_program(program: str) -> None:
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


def test_forked_children_can_rerank_and_end():
    run_program("""
        import os, sys
        from fastrerank import Reranker
        reranker = Reranker(runtime="openvino", precision="fp32", threads=2)
        documents = [f"{n} llamas live in Peru" for n in range(30)]
        before = reranker.rerank("animals of Peru", documents).results
        child = os.fork()
        if child == 0:
            same = reranker.rerank("animals of Peru", documents).results == before
            sys.exit(0 if same else 3)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0, status
        idle = os.fork()
        if idle == 0:
            sys.exit(0)
        _, status = os.waitpid(idle, 0)
        assert os.waitstatus_to_exitcode(status) == 0, status
        assert reranker.rerank("animals of Peru", documents).results == before
    """)


def test_a_pickled_reranker_keeps_its_runtime():
    run_program("""
        import pickle
        from fastrerank import Reranker
        with Reranker(runtime="openvino", precision="fp32", threads=1) as reranker:
            with pickle.loads(pickle.dumps(reranker)) as other:
                assert repr(other) == repr(reranker)
                assert other.runtime == "openvino"
    """)


def test_idle_threads_use_no_processor_time():
    run_program("""
        import time
        from fastrerank import Reranker
        reranker = Reranker(runtime="openvino", threads=2)
        reranker.rerank("a query", [f"text {n}" for n in range(20)])
        time.sleep(0.1)
        before = time.process_time()
        time.sleep(0.5)
        assert time.process_time() - before < 0.1
    """)


def test_a_plain_model_runs_in_fp32(tiny_bundle):
    documents = [f"w{n} w{n + 1}" for n in range(4, 90)]
    with (
        Reranker(tiny_bundle, runtime="openvino", precision="fp32") as other,
        Reranker(tiny_bundle, runtime="onnxruntime", precision="fp32") as reranker,
    ):
        pairs = [("w9", document) for document in documents]
        np.testing.assert_allclose(other.score(pairs), reranker.score(pairs), atol=1e-6)


@pytest.fixture
def masks(monkeypatch):
    """The attention mask of every batch that openvino runs."""
    from fastrerank.openvino_session import OpenVinoSession

    seen, run = [], OpenVinoSession.run

    def noted(self, inputs):
        seen.append(inputs["attention_mask"].copy())
        return run(self, inputs)

    monkeypatch.setattr(OpenVinoSession, "run", noted)
    return seen


def test_a_batch_is_padded_to_a_multiple_of_16(tiny_bundle, masks):
    with Reranker(tiny_bundle, runtime="openvino", precision="fp32", threads=1) as reranker:
        reranker.score([("w9", "w8 " * words) for words in (1, 2, 20, 25, 3)])
    (mask,) = masks
    assert (mask.shape, int(mask.sum(axis=1).max())) == ((5, 32), 29)


def test_no_pair_is_padded_beyond_the_model(tmp_path, masks):
    edit_manifest(write_tiny_bundle(tmp_path), max_length=20)
    with Reranker(tmp_path, runtime="openvino", precision="fp32") as reranker:
        reranker.score([("w9", "w8 " * 30)])
    assert [mask.shape for mask in masks] == [(1, 20)]


def test_a_batch_that_openvino_fails_on_is_an_error_of_ours(tmp_path):
    inputs = ["input_ids", "attention_mask", "token_type_ids"]  # the last is none of the graph's
    edit_manifest(write_tiny_bundle(tmp_path), inputs=inputs)
    with (
        Reranker(tmp_path, runtime="openvino", precision="fp32") as reranker,
        pytest.raises(InferenceError, match="failed on a batch"),
    ):
        reranker.score([("w10", "w90")])


def write_bundle_of(directory, nodes, constants):
    """A bundle whose graph is `nodes`, from float ids `x` [batch, length] to `logits`."""
    write_tiny_bundle(directory)
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
        for name in ("input_ids", "attention_mask")
    ]
    first = helper.make_node("Cast", ["input_ids"], ["x"], to=TensorProto.FLOAT)
    graph = helper.make_graph(
        [first, *nodes],
        "test",
        inputs,
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.save(model, directory / "model.onnx")
    entry = file_entry(directory / "model.onnx", directory)
    variant = {
        "graph": {"path": entry.path, "bytes": entry.bytes, "sha256": entry.sha256},
        "one_pair_graph": None,
        "data": [],
        "batch_invariant": False,
        "pooled_position_only": False,
        "pooled_position_note": "",
    }
    edit_manifest(directory, precisions={"int8": variant})
    return directory


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([helper.make_node("Mystery", ["x"], ["logits"])], "Mystery"),
        (
            [
                helper.make_node("Cast", ["x"], ["bytes"], to=TensorProto.UINT8),
                helper.make_node("MatMulInteger", ["bytes", "weight"], ["product"]),
                helper.make_node("Cast", ["product"], ["logits"], to=TensorProto.FLOAT),
            ],
            "MatMulInteger of anything but",
        ),
    ],
)
def test_a_graph_that_is_not_understood_is_refused(tmp_path, nodes, message):
    write_bundle_of(tmp_path, nodes, {"weight": np.ones((3, 1), np.int8)})
    with pytest.raises(BundleError, match=message):
        Reranker(tmp_path, runtime="openvino", precision="fp32")
