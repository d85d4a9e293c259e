"""The README of a bundle: what is in it, where it came from, how close it is to the original."""

from __future__ import annotations

from pathlib import Path

from fastrerank.manifest import Manifest


def write_card(manifest: Manifest, directory: Path) -> None:
    """Write README.md from the manifest."""
    source = manifest.source
    files = "\n".join(f"| `{f.path}` | {f.bytes:,} | `{f.sha256}` |" for f in manifest.files())
    parity = "\n".join(
        f"| {name} | {p.max_logit_difference:.2g} | {p.mean_logit_difference:.2g}"
        f" | {p.spearman:.4f} | {p.top10_overlap:.3f} |"
        for name, p in manifest.parity.items()
    )
    drift = "" if all(p.within_thresholds for p in manifest.parity.values()) else _DRIFT
    made_with = ", ".join(f"{name} {number}" for name, number in manifest.made_with.items())
    text = f"""# {manifest.name}

A cross-encoder as quantized ONNX, exported by fastrerank. It scores how relevant a document is to a
query:

```python
from fastrerank import Reranker

Reranker("path/to/this/directory").rerank("a query", ["a document", "another"])
```

- Source: {source.name}, revision {source.revision or "not stated"}
- Licence: {source.license or "not stated by the source"}
- Family: {manifest.family}; reads up to {manifest.max_length} tokens a pair
- Made {manifest.created} with {made_with}

| file | bytes | sha256 |
|---|---|---|
{files}

How close it is to the original, in logits, over {next(iter(manifest.parity.values())).pairs} pairs:

| precision | largest difference | mean difference | Spearman | top-10 overlap |
|---|---|---|---|---|
{parity}
{drift}
`fastrerank verify DIRECTORY` proves the files intact and scores the manifest's golden pairs.
"""
    (directory / "README.md").write_text(text, encoding="utf-8")


_DRIFT = "\nThis bundle drifts beyond the limits and was written with --allow-drift.\n"
