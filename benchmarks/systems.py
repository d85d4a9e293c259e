"""The systems that are compared: where each is installed and what it loads."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A library in one configuration.

    `adapter` is its file in peers/, `environment` its requirements file, `model` a directory of
    models.py, `options` what the adapter passes on to the library.
    """

    name: str
    label: str
    adapter: str
    environment: str
    model: str
    options: dict[str, str] = field(default_factory=dict)


REFERENCE = "sentence-transformers-torch"

_ALL = (
    System(
        name="fastrerank-int8",
        label="fastrerank int8",
        adapter="fastrerank",
        environment="fastrerank",
        model="bundle",
        options={"precision": "int8", "runtime": "onnxruntime"},
    ),
    System(
        name="fastrerank-fp32",
        label="fastrerank fp32",
        adapter="fastrerank",
        environment="fastrerank",
        model="bundle",
        options={"precision": "fp32", "runtime": "onnxruntime"},
    ),
    System(
        name="fastrerank-openvino",
        label="fastrerank openvino",
        adapter="fastrerank",
        environment="fastrerank-openvino",
        model="bundle",
        options={"precision": "auto", "runtime": "openvino"},
    ),
    System(
        name=REFERENCE,
        label="sentence-transformers torch fp32",
        adapter="sentence_transformers",
        environment="sentence-transformers",
        model="checkpoint",
        options={"backend": "torch", "dtype": "float32"},
    ),
    System(
        name="sentence-transformers-torch-bf16",
        label="sentence-transformers torch bf16",
        adapter="sentence_transformers",
        environment="sentence-transformers",
        model="checkpoint",
        options={"backend": "torch", "dtype": "bfloat16"},
    ),
    System(
        name="sentence-transformers-onnx",
        label="sentence-transformers onnx fp32",
        adapter="sentence_transformers",
        environment="sentence-transformers-onnx",
        model="checkpoint",
        options={"backend": "onnx", "file": "onnx/model.onnx"},
    ),
    System(
        name="sentence-transformers-onnx-int8",
        label="sentence-transformers onnx int8",
        adapter="sentence_transformers",
        environment="sentence-transformers-onnx",
        model="checkpoint",
        options={"backend": "onnx", "file": "onnx/model_qint8_avx512_vnni.onnx"},
    ),
    System(
        name="sentence-transformers-openvino",
        label="sentence-transformers openvino",
        adapter="sentence_transformers",
        environment="sentence-transformers-openvino",
        model="checkpoint",
        options={"backend": "openvino", "file": "openvino/openvino_model.xml"},
    ),
    System(
        name="sentence-transformers-openvino-int8",
        label="sentence-transformers openvino int8",
        adapter="sentence_transformers",
        environment="sentence-transformers-openvino",
        model="checkpoint",
        options={
            "backend": "openvino",
            "file": "openvino/openvino_model_qint8_quantized.xml",
        },
    ),
    System(
        name="flashrank-fp32",
        label="FlashRank fp32",
        adapter="flashrank",
        environment="flashrank",
        model="flashrank",
        options={"model": "ms-marco-TinyBERT-L-2-v2"},
    ),
    System(
        name="flashrank-int8",
        label="FlashRank int8",
        adapter="flashrank",
        environment="flashrank",
        model="flashrank",
        options={"model": "ms-marco-MiniLM-L-12-v2"},
    ),
    System(
        name="fastembed",
        label="fastembed fp32",
        adapter="fastembed",
        environment="fastembed",
        model="checkpoint",
        options={"file": "onnx/model.onnx"},
    ),
    System(
        name="optimum",
        label="optimum ORTModel fp32",
        adapter="optimum",
        environment="optimum",
        model="checkpoint",
    ),
    System(
        name="rerankers",
        label="rerankers torch fp32",
        adapter="rerankers",
        environment="rerankers",
        model="checkpoint",
    ),
)

SYSTEMS: dict[str, System] = {system.name: system for system in _ALL}


def chosen_systems(names: str | None) -> list[System]:
    """Return the systems named, comma-separated, or all; a prefix names all that start with it.

    :raises ValueError: if a name fits none, or there is no name.
    """
    if not names:
        return list(_ALL)
    chosen: dict[str, System] = {}
    for name in filter(None, map(str.strip, names.split(","))):
        if name in SYSTEMS:
            fitting = [SYSTEMS[name]]
        else:
            fitting = [system for system in _ALL if system.name.startswith(name)]
        if not fitting:
            raise ValueError(f"no system {name!r}: there is {', '.join(SYSTEMS)}")
        chosen |= {system.name: system for system in fitting}
    if not chosen:
        raise ValueError(f"--peers {names!r} names no system: there is {', '.join(SYSTEMS)}")
    return list(chosen.values())
