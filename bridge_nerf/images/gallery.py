"""The results of a batch, as a manifest for programs and a page for people."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bridge_nerf.files import auxiliary, sweep, write_atomic
from bridge_nerf.reading import read_json

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


@dataclass(frozen=True)
class Facts:
    """What item.json says of a result."""

    prompt: str
    seed: int
    folder: str
    """Name of the result's folder."""
    saturation: float
    """Mean saturation in [0, 1]."""
    seconds: float


def facts_of(folders: Sequence[Path]) -> list[Facts]:
    """The facts noted with each finished result, in the order given.

    Raises:
        UserError: A note says something else.
    """
    cure = "remove its folder, and the same command makes it again"
    return [read_json(folder / "item.json", Facts, cure) for folder in folders if folder.exists()]


def write_gallery(folders: Sequence[Path], out: Path) -> None:
    """Write manifest.jsonl (a line for each result that is there) and index.html into `out`."""
    sweep(out)
    manifest, index = out / "manifest.jsonl", out / "index.html"
    with auxiliary(manifest):
        lines = [json.dumps(asdict(facts)) + "\n" for facts in facts_of(folders)]
        write_atomic(manifest, "".join(lines).encode())
    with auxiliary(index):
        write_atomic(index, _page(facts_of(folders), len(folders)).encode())


def _page(made: Sequence[Facts], requested: int) -> str:
    figures = [
        FIGURE.format(
            prompt=html.escape(facts.prompt),
            link=html.escape(f"items/{facts.folder}/picture.png"),
            seed=facts.seed,
            saturation=facts.saturation,
            seconds=facts.seconds,
        )
        for facts in made
    ]
    return PAGE.format(title=f"{len(made)} of {requested} prompts", figures="\n".join(figures))
