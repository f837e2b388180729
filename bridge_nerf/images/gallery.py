"""What a batch has made, as a manifest for programs and a page for people."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bridge_nerf.files import auxiliary, write_atomic
from bridge_nerf.images.batch import Item

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


def facts_of(items: Sequence[Item]) -> list[dict[str, Any]]:
    """What each finished item says of itself, in the order of the prompts."""
    return [json.loads((item.folder / "item.json").read_text()) for item in items if item.finished]


def write_gallery(items: Sequence[Item], out: Path) -> None:
    """Write manifest.jsonl (a line an item) and index.html into `out`."""
    manifest, index = out / "manifest.jsonl", out / "index.html"
    with auxiliary(manifest):
        write_atomic(manifest, "".join(json.dumps(fact) + "\n" for fact in facts_of(items)).encode())
    with auxiliary(index):
        write_atomic(index, _page(facts_of(items), len(items)).encode())


def _page(facts: Sequence[dict[str, Any]], asked: int) -> str:
    figures = [
        FIGURE.format_map(
            fact | {"prompt": html.escape(fact["prompt"]), "link": f"items/{fact['folder']}/picture.png"}
        )
        for fact in facts
    ]
    return PAGE.format(title=f"{len(facts)} of {asked} prompts", figures="\n".join(figures))
