"""The README of a bundle: what is in it, where it came from, how close it is to the original."""

from __future__ import annotations

import re
from pathlib import Path

from fastrerank.manifest import Manifest
from fastrerank.windows import WINDOWS_IN_A_WHOLE


def write_card(manifest: Manifest, bundle: str, source_card: Path, path: Path) -> None:
    """Write the card of the manifest to `path`; `bundle` is what a reader passes to Reranker.

    The source's own card follows, if there is one.
    """
    source = manifest.source
    files = "\n".join(f"| `{f.path}` | {f.bytes:,} | `{f.sha256}` |" for f in manifest.files())
    parity = "\n".join(
        f"| {name} | {p.max_logit_difference:.2g} | {p.mean_logit_difference:.2g}"
        f" | {p.spearman:.4f} | {p.top10_overlap:.3f} |"
        for name, p in manifest.parity.items()
    )
    drift = "" if all(p.within_thresholds for p in manifest.parity.values()) else _DRIFT
    made_with = ", ".join(f"{name} {number}" for name, number in manifest.made_with.items())
    window = (
        f"; a document of more than {WINDOWS_IN_A_WHOLE * manifest.window} counts as its best"
        f" {manifest.window}"
        if manifest.window
        else ""
    )
    what, beside = "A cross-encoder", ""
    if found := manifest.similarity:
        what = "A cross-encoder, and a bi-encoder beside it,"
        beside = (
            f"\n- Beside it {found.source.name}, licence {found.source.license or 'not stated'}:"
            f" {found.weight:.3g} times its cosine of query and document is added to the logit"
        )
    text = f"""# {manifest.name}

{what} as quantized ONNX, exported by fastrerank. It scores how relevant a document is to a query:

```python
from fastrerank import Reranker

Reranker("{bundle}").rerank("a query", ["a document", "another"])
```

- Source: {source.name}{f", revision {source.revision}" if source.revision else ""}
- Licence: {source.license or "not stated by the source"}
- Family: {manifest.family}; reads up to {manifest.max_length} tokens a pair{window}{beside}
- Made {manifest.created} with {made_with}

| file | bytes | sha256 |
|---|---|---|
{files}

How close it is to the original, in logits, over {next(iter(manifest.parity.values())).pairs} pairs:

| precision | largest difference | mean difference | Spearman | top-10 overlap |
|---|---|---|---|---|
{parity}
{drift}
`fastrerank verify {bundle}` proves the files intact and scores the manifest's golden pairs.
"""
    if source_card.is_file():
        text += f"\n## The card of the source\n\n{_without_front_matter(source_card)}\n"
    path.write_text(text, encoding="utf-8")


def _without_front_matter(card: Path) -> str:
    """Return the text of a card, less the YAML between --- lines that hubs begin it with."""
    text = card.read_text(encoding="utf-8", errors="replace")
    return re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL).strip()


_DRIFT = "\nThis bundle drifts beyond the limits and was written with --allow-drift.\n"
