"""The app: text to image, painting to real, a race of objectives, the idea in the plane, finished 3D scenes.

    python app.py                       # http://127.0.0.1:7860, with the toybox
    python app.py --prior sd-2.1        # with Stable Diffusion, which wants a GPU

As a Hugging Face Space it runs unchanged, and asks for a GPU on ZeroGPU.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import signal
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from bridge_nerf.errors import UserError
from bridge_nerf.extras import required

with required("app.py"):
    import gradio as gr
    import torch

    from bridge_nerf.app import requests
    from bridge_nerf.app.sessions import Visitors
    from bridge_nerf.app.state import Shop
    from bridge_nerf.app.tabs import compare, gallery_3d, how_it_works, painting_to_real, text_to_image
    from bridge_nerf.app.theme import CSS, TITLE
    from bridge_nerf.app.worker import Race, Seconds, Studio
    from bridge_nerf.images.wishes import load
    from bridge_nerf.priors.registry import resolve_prior

WAITING = 20
"""Longest waiting line; whoever comes then is told to come back later."""
REMEMBERED = 100
"""Visitors of whom gradio keeps its own copy of the page's settings. Nothing here needs it."""
KEPT_FOR = 3600
"""Seconds that uploads stay."""
GPU_SECONDS = 120
"""Of ZeroGPU, for one run, at most."""


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
            forget_what_is_gone(page)

        page.unload(goodbye)
    # Without api_open=False programs could pass the line by.
    return page.queue(max_size=WAITING, default_concurrency_limit=2, api_open=False)


def forget_what_is_gone(page: gr.Blocks) -> None:
    """gradio remembers the path of every frame it ever showed, also of those that a room has removed."""
    for files in page.temp_file_sets:
        files.difference_update([file for file in list(files) if not Path(file).exists()])


def share_memory() -> None:
    """Every thread that gradio takes for a run would get, and keep, heaps of its own; let two be enough."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):  # glibc; M_ARENA_MAX is -8
            libc.mallopt(-8, 2)


def zero_gpu() -> dict[str, Any]:
    """What the studio is told on ZeroGPU, where a run has a GPU for a while, in a process of its own."""
    if not os.environ.get("SPACES_ZERO_GPU"):
        return {}
    import spaces  # pyright: ignore[reportMissingImports]

    def on_gpu(race: Race, seconds: Seconds) -> Race:
        return spaces.GPU(duration=seconds)(race)

    return {"on_gpu": on_gpu, "longest": GPU_SECONDS}


def launched(prior: str, studio: Studio, root: Path, **options: Any) -> gr.Blocks:
    """The page, served without blocking, neither by itself nor by the prior's loading.

    Args:
        prior: Resolved name.
        root: Folder for all its files.
        options: Of gradio's launch.
    """
    os.environ["GRADIO_TEMP_DIR"] = str(root)
    page = build(Shop(studio, Visitors(root / "visitors"), prior))
    studio.open()
    page.launch(
        prevent_thread_lock=True,
        max_file_size=requests.BYTES,
        state_session_capacity=REMEMBERED,
        show_error=True,
        ssr_mode=False,
        css=CSS,
        theme=gr.themes.Soft(primary_hue="orange", neutral_hue="slate", font=["system-ui", "sans-serif"]),
        footer_links=["api", "settings"],
        **options,
    )
    return page


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--prior", default="toybox", help="toybox, sd-2.1, a folder, or a hub id")
    # A Space tells its host and port by GRADIO_SERVER_NAME and GRADIO_SERVER_PORT, which gradio reads.
    parser.add_argument("--host", default=None, help="127.0.0.1 unless told otherwise")
    parser.add_argument("--port", type=port, default=None, help="7860, or the next free one")
    asked = parser.parse_args()
    share_memory()
    # A server is told to end by SIGTERM; its files are to go then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    hardware = zero_gpu()  # before anything asks for CUDA: `spaces` changes what torch answers
    # A folder of its own for all files of this app: what lies there, and nothing else, can be asked for.
    root = Path(tempfile.mkdtemp(prefix="bridge-nerf-"))
    try:
        name, _ = resolve_prior(asked.prior, "cuda" if torch.cuda.is_available() else "cpu")
        studio = Studio(partial(load, name), **hardware)
        page = launched(name, studio, root, server_name=asked.host, server_port=asked.port)
        page.block_thread()
    except (UserError, OSError) as error:  # OSError: the port is taken, or the host is none of this machine's
        sys.exit(f"app.py: {error}")
    finally:
        shutil.rmtree(root, ignore_errors=True)


def port(text: str) -> int:
    """For argparse."""
    number = int(text)
    if not 0 < number < 2**16:
        raise argparse.ArgumentTypeError(f"{number} is no port; give 1 to {2**16 - 1}")
    return number


if __name__ == "__main__":
    main()
