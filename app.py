"""The app: text to image, painting to real, objectives compared, the idea in the plane, finished 3D scenes.

    python app.py                       # http://127.0.0.1:7860, with the toybox
    python app.py --prior sd-2.1        # with Stable Diffusion, which wants a GPU

As a Hugging Face Space it runs unchanged, and asks for a GPU on ZeroGPU.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from bridge_nerf.errors import UserError
from bridge_nerf.extras import required

with required("app.py"):
    import gradio as gr
    import tyro

    from bridge_nerf.app.requests import MAX_UPLOAD_BYTES
    from bridge_nerf.app.sessions import Sessions
    from bridge_nerf.app.tabs import compare, gallery_3d, how_it_works, painting_to_real, text_to_image
    from bridge_nerf.app.theme import CSS, TITLE
    from bridge_nerf.app.worker import Optimise, Seconds, Worker
    from bridge_nerf.devices import limit_heaps
    from bridge_nerf.guidance.config import PriorConfig

MAX_WAITING = 20
"""Maximum length of the waiting line; whoever comes then is told to come back later."""
MAX_GRADIO_SESSIONS = 100
"""Visitors of whom gradio keeps its own copy of the page's settings. Nothing here needs it."""
UPLOAD_TIMEOUT_S = 3600
"""Seconds after which uploads are removed."""
MAX_GPU_SECONDS = 120
"""Maximum time on ZeroGPU for one run."""
MAX_PORT = 2**16 - 1


def build(worker: Worker, sessions: Sessions) -> gr.Blocks:
    """The page."""
    with gr.Blocks(
        title="bridge_nerf", analytics_enabled=False, delete_cache=(UPLOAD_TIMEOUT_S // 4, UPLOAD_TIMEOUT_S)
    ) as page:
        gr.HTML(TITLE)
        with gr.Tab("Text to image", id="image"):
            text_to_image.build(worker, sessions)
        with gr.Tab("Painting to real", id="paint"):
            painting_to_real.build(worker, sessions)
        with gr.Tab("Compare", id="compare"):
            compare.build(worker, sessions)
        with gr.Tab("How it works", id="plane"):
            how_it_works.build()
        with gr.Tab("3D", id="scenes"):
            gallery_3d.build()

        def close_session(request: gr.Request) -> None:
            sessions.close(request.session_hash)
            # gradio remembers the path of every frame it ever showed, also of those that are removed.
            for files in page.temp_file_sets:
                files.difference_update([file for file in list(files) if not Path(file).exists()])

        page.unload(close_session)
    # Without api_open=False programs could skip the queue.
    return page.queue(max_size=MAX_WAITING, default_concurrency_limit=2, api_open=False)


def zero_gpu_options() -> dict[str, Any]:
    """Arguments of the worker on ZeroGPU, where a run has a GPU for a while, in a process of its own."""
    if not os.environ.get("SPACES_ZERO_GPU"):
        return {}
    import spaces  # pyright: ignore[reportMissingImports]

    def on_gpu(optimise: Optimise, seconds: Seconds) -> Optimise:
        return spaces.GPU(duration=seconds)(optimise)

    return {"on_gpu": on_gpu, "max_seconds": MAX_GPU_SECONDS}


def launch(worker: Worker, root: Path, **options: Any) -> gr.Blocks:
    """Serve the page without blocking, neither by itself nor by the prior's loading.

    Args:
        root: Folder for all its files.
        options: Arguments of gradio's launch.
    """
    os.environ["GRADIO_TEMP_DIR"] = str(root)
    page = build(worker, Sessions(root / "sessions"))
    worker.open()
    page.launch(
        prevent_thread_lock=True,
        max_file_size=MAX_UPLOAD_BYTES,
        state_session_capacity=MAX_GRADIO_SESSIONS,
        show_error=True,
        ssr_mode=False,
        css=CSS,
        theme=gr.themes.Soft(primary_hue="orange", neutral_hue="slate", font=["system-ui", "sans-serif"]),
        footer_links=["api", "settings"],
        **options,
    )
    return page


# A Space tells its host and port by GRADIO_SERVER_NAME and GRADIO_SERVER_PORT, which gradio reads.
def main(prior: str = "toybox", host: str | None = None, port: int | None = None) -> None:
    """Serve the app.

    Args:
        prior: toybox, sd-2.1, a folder, or a hub id.
        host: Address to listen on; 127.0.0.1 by default.
        port: Port to listen on; 7860 by default, or the next free one.
    """
    limit_heaps()
    # A server is told to end by SIGTERM; its files are to go then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    hardware = zero_gpu_options()  # before anything asks for CUDA: `spaces` changes what torch answers
    # A folder of its own for all files: what lies there, and nothing else, can be read through the app.
    root = Path(tempfile.mkdtemp(prefix="bridge-nerf-"))
    try:
        if port is not None and not 0 < port <= MAX_PORT:
            raise UserError(f"--port {port} is not a port; give 1 to {MAX_PORT}")
        name, _ = PriorConfig(prior).resolve()
        page = launch(
            Worker(name, lambda: PriorConfig(name).load()[1], **hardware),
            root,
            server_name=host,
            server_port=port,
        )
        page.block_thread()
    except (
        UserError,
        OSError,
    ) as error:  # OSError: the port is taken, or the host is not one of this machine
        sys.exit(f"app.py: {error}")
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
