"""The results of a batch, as a manifest for programs and a page for people."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bridge_nerf.files import auxiliary, write_atomic

PAGE = """<!doctype html>
<meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 14px sans-serif; margin: 2em }}
main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(200px, 1fr)); gap: 1em }}
img {{ width: 100%; image-rendering: pixelated }}
figure {{ margin: 0 }} small {{ color: #666 }}
</style>
<h1>{title}</h1>
<main>
{figures}
</main>
"""
FIGURE = """<figure><a href="{link}"><img src="{link}" alt="{prompt}" loading="lazy"></a>
<figcaption>{prompt}<br>
<small>seed {seed}, saturation {saturation:.2f}, {seconds:.0f} s</small></figcaption></figure>"""


def facts_of(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """The facts noted with each finished result, in the order given."""
    return [json.loads((folder / "item.json").read_text()) for folder in folders if folder.exists()]


def write_gallery(folders: Sequence[Path], out: Path) -> None:
    """Write manifest.jsonl (a line for each result that is there) and index.html into `out`."""
    manifest, index = out / "manifest.jsonl", out / "index.html"
    with auxiliary(manifest):
        write_atomic(manifest, "".join(json.dumps(fact) + "\n" for fact in facts_of(folders)).encode())
    with auxiliary(index):
        write_atomic(index, _page(facts_of(folders), len(folders)).encode())


def _page(facts: Sequence[dict[str, Any]], requested: int) -> str:
    figures = [
        FIGURE.format_map(
            fact | {"prompt": html.escape(fact["prompt"]), "link": f"items/{fact['folder']}/picture.png"}
        )
        for fact in facts
    ]
    return PAGE.format(title=f"{len(facts)} of {requested} prompts", figures="\n".join(figures))
