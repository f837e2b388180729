"""The app: text to image, painting to real, objectives compared, the idea in the plane, finished 3D scenes.

    python app.py                       # http://127.0.0.1:7860, with the toybox
    python app.py --prior sd-2.1        # with Stable Diffusion, which wants a GPU

As a Hugging Face Space it runs unchanged, and asks for a GPU on ZeroGPU.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

from bridge_nerf.errors import UserError
from bridge_nerf.extras import required

MAX_GRADIO_SESSIONS = 100
"""Visitors of whom gradio keeps its own copy of the page's settings. Nothing here needs it."""
MAX_GPU_SECONDS = 120
"""Maximum time on ZeroGPU for one run."""
MAX_PORT = 2**16 - 1
HOST, PORT = "GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT"
"""Environment variables by which a Space tells its host and port."""


def checked_port(name: str, port: str) -> int:
    """The port to listen on, which the flag or variable `name` gives."""
    if not (port.isascii() and port.isdecimal() and 0 < int(port) <= MAX_PORT):
        raise UserError(f"{name}={port} is not a port; give 1 to {MAX_PORT}")
    return int(port)


with required("app.py"):
    try:
        PORT_OF_SPACE = checked_port(PORT, os.environ[PORT]) if PORT in os.environ else None
    except UserError as error:  # here, as gradio reads it while it is imported
        sys.exit(f"app.py: {error}")
    import gradio as gr
    import tyro
    from starlette.middleware import Middleware

    from bridge_nerf.app.middleware import RequestFilter, is_loopback
    from bridge_nerf.app.requests import MAX_UPLOAD_BYTES
    from bridge_nerf.app.sessions import Sessions
    from bridge_nerf.app.storage import Uploads, own_folder
    from bridge_nerf.app.tabs.page import build
    from bridge_nerf.app.theme import CSS
    from bridge_nerf.app.worker import Optimise, Seconds, Worker
    from bridge_nerf.devices import limit_heaps
    from bridge_nerf.guidance.config import PriorConfig
    from bridge_nerf.interrupts import ended_as_by_ctrl_c


def zero_gpu_options() -> dict[str, Any]:
    """Arguments of the worker on ZeroGPU, where a run has a GPU for a while, in a process of its own."""
    if not os.environ.get("SPACES_ZERO_GPU"):
        return {}
    import spaces  # pyright: ignore[reportMissingImports]

    def on_gpu(optimise: Optimise, seconds: Seconds) -> Optimise:
        return spaces.GPU(duration=seconds)(optimise)

    return {"on_gpu": on_gpu, "max_seconds": MAX_GPU_SECONDS}


def checked_host(host: str) -> str:
    """The host to listen on, as gradio wants it: IPv6 in brackets.

    Raises:
        UserError: It is neither an address nor a name of this machine.
    """
    bare = host.removeprefix("[").removesuffix("]")
    try:
        if not bare:
            raise UserError("it is empty")
        family, kind, protocol, _, address = socket.getaddrinfo(
            bare, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.bind(address)
    except (OSError, ValueError) as error:  # ValueError: what no name can be
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"--host {host!r} is no address of this machine ({reason}); "
            "give 127.0.0.1, or 0.0.0.0 for others in your network"
        ) from None
    return f"[{bare}]" if ":" in bare else bare


def launch(worker: Worker, sessions: Sessions, root: Path, host: str, port: int | None) -> gr.Blocks:
    """Serve the page without blocking, neither by itself nor by the prior's loading.

    Args:
        root: Folder for all its files, those of the sessions included.
        host: Host to listen on. Where it is this machine alone, pages from elsewhere are refused.
        port: Port to listen on; by default 7860, or the next free one.
    """
    os.environ["GRADIO_TEMP_DIR"] = str(root)
    uploads = Uploads(root, apart=sessions.root)
    only_local = is_loopback(f"//{host}") and "SPACE_ID" not in os.environ
    page = build(worker, sessions)
    worker.open()
    page.launch(
        prevent_thread_lock=True,
        server_name=host,
        server_port=port,
        app_kwargs={"middleware": [Middleware(RequestFilter, uploads=uploads, only_local=only_local)]},
        max_file_size=MAX_UPLOAD_BYTES,
        state_session_capacity=MAX_GRADIO_SESSIONS,
        show_error=False,  # of errors that nobody has put into words for visitors
        ssr_mode=False,
        run_history=False,
        enable_monitoring=False,
        mcp_server=False,
        share=False,
        _frontend=False,  # or it ends where its own first visit takes more than 3 s, as on a busy machine
        css=CSS,
        theme=gr.themes.Soft(primary_hue="orange", neutral_hue="slate", font=["system-ui", "sans-serif"]),
        footer_links=["api", "settings"],
    )
    uploads.keep_present()
    return page


def main(prior: str = "toybox", host: str | None = None, port: int | None = None) -> None:
    """Serve the app.

    Args:
        prior: toybox, sd-2.1, a folder, or a hub id.
        host: Address to listen on; 127.0.0.1 by default, where browsers of this machine alone are answered.
        port: Port to listen on; 7860 by default, or the next free one.
    """
    limit_heaps()
    hardware = zero_gpu_options()  # before anything asks for CUDA: `spaces` changes what torch answers
    try:
        listening = checked_host(host if host is not None else os.environ.get(HOST, "127.0.0.1"))
        at = PORT_OF_SPACE if port is None else checked_port("--port", str(port))
        name, _ = PriorConfig(prior).resolve()
        # A folder of its own for all files: what lies there, and nothing else, can be read through the app.
        with ended_as_by_ctrl_c(), own_folder() as root:
            worker = Worker(name, lambda: PriorConfig(name).load()[1], **hardware)
            sessions = Sessions(root / "sessions")
            try:
                launch(worker, sessions, root, listening, at).block_thread()
            finally:
                sessions.end()
    except (UserError, OSError) as error:  # OSError: the port is taken
        sys.exit(f"app.py: {error}")
    except KeyboardInterrupt:  # before the page was served; gradio takes later ones for the end
        sys.exit("app.py: interrupted")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
