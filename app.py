"""The app: text to image, painting to real, a race of objectives, the idea in the plane, finished 3D scenes.

    python app.py                       # http://127.0.0.1:7860, with the toybox
    python app.py --prior sd-2.1        # with Stable Diffusion, which wants a GPU

As a Hugging Face Space it runs unchanged, with ZeroGPU where the package `spaces` is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from bridge_nerf.images.wishes import load
from bridge_nerf.priors.registry import resolve_prior
from bridge_nerf.space.look import CSS, HEAD, TITLE
from bridge_nerf.space.shop import Shop
from bridge_nerf.space.studio import Studio
from bridge_nerf.space.tabs import compare, gallery_3d, how_it_works, painting_to_real, text_to_image
from bridge_nerf.space.visitors import Visitors

WAITING = 12
"""Longest waiting line; whoever comes then is told to come back later."""
LARGEST_UPLOAD = "10mb"
KEPT_FOR = 3600
"""Seconds that uploads stay."""
GPU_SECONDS = 120
"""Of ZeroGPU, for one run."""


def build(shop: Shop) -> gr.Blocks:
    """The page."""
    with gr.Blocks(
        title="bridge_nerf", analytics_enabled=False, delete_cache=(KEPT_FOR // 4, KEPT_FOR)
    ) as page:
        gr.HTML(TITLE)
        with gr.Tab("Text to image", id="image"):
            text_to_image.build(shop, page)
        with gr.Tab("Painting to real", id="paint"):
            painting_to_real.build(shop, page)
        with gr.Tab("Compare", id="compare"):
            compare.build(shop, page)
        with gr.Tab("How it works", id="plane"):
            how_it_works.build()
        with gr.Tab("3D", id="scenes"):
            gallery_3d.build()

        def goodbye(request: gr.Request) -> None:
            shop.visitors.leave(request.session_hash)

        page.unload(goodbye)
    return page.queue(max_size=WAITING, default_concurrency_limit=2)


def on_gpu() -> Callable[[Any], Any] | None:
    """How a GPU is asked for; None where there is no ZeroGPU."""
    if importlib.util.find_spec("spaces") is None:
        return None
    import spaces  # pyright: ignore[reportMissingImports]

    return spaces.GPU(duration=GPU_SECONDS)


def launched(prior: str, studio: Studio, **options: Any) -> tuple[gr.Blocks, Path]:
    """(the page, its folder of files), served without blocking; the prior is loaded once the page answers.

    Args:
        prior: Resolved name.
        options: Of gradio's launch.
    """
    # A folder of its own for all files of this app: what lies there, and nothing else, can be asked for.
    root = Path(tempfile.mkdtemp(prefix="bridge-nerf-"))
    os.environ["GRADIO_TEMP_DIR"] = str(root)
    page = build(Shop(studio, Visitors(root / "visitors"), prior))
    page.launch(
        prevent_thread_lock=True,
        max_file_size=LARGEST_UPLOAD,
        show_error=True,
        ssr_mode=False,
        css=CSS,
        head=HEAD,
        theme=gr.themes.Soft(primary_hue="orange", neutral_hue="slate", font=["system-ui", "sans-serif"]),
        footer_links=["api", "settings"],
        **options,
    )
    studio.open()
    return page, root


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--prior", default="toybox", help="toybox, sd-2.1, a folder, or a hub id")
    # A Space tells its host and port by GRADIO_SERVER_NAME and GRADIO_SERVER_PORT, which gradio reads.
    parser.add_argument("--host", default=None, help="127.0.0.1 unless told otherwise")
    parser.add_argument("--port", type=int, default=None, help="7860, or the next free one")
    asked = parser.parse_args()
    name, _ = resolve_prior(asked.prior, "cpu")
    studio = Studio(partial(load, asked.prior), on_gpu())
    page, root = launched(name, studio, server_name=asked.host, server_port=asked.port)
    try:
        page.block_thread()
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
