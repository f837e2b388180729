"""The page: all tabs, and how values are refused that no widget would send."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.exceptions import ComponentProcessingError, InvalidPathError
from gradio_client.utils import is_file_obj_with_meta, is_http_url_like, traverse

from bridge_nerf.app.sessions import Sessions
from bridge_nerf.app.tabs import compare, gallery_3d, how_it_works, painting_to_real, text_to_image
from bridge_nerf.app.tabs.common import toast
from bridge_nerf.app.theme import TITLE
from bridge_nerf.app.worker import Worker
from bridge_nerf.errors import UserError

MAX_WAITING = 20
"""Maximum length of the waiting line; whoever comes then is told to come back later."""
UPLOAD_TIMEOUT_S = 3600
"""Seconds after which uploads are removed."""
MAX_MESSAGE_CHARS = 600


class Page(gr.Blocks):
    """Blocks that take a value which a widget refuses for the visitor's mistake, not for the server's."""

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *args: Any, **kwargs: Any) -> list[Any]:
        """The values that a handler gets.

        Raises:
            gr.Error: A value is missing, out of range, of the wrong type, or a file that was not uploaded. In
                one line without folders of the server, and kept out of its log.
        """
        try:
            if block_fn.fn is None:
                raise UserError("that happens in the browser; there is nothing to call")
            traverse(inputs, _check_file, is_file_obj_with_meta)
            values = await super().preprocess_data(block_fn, inputs, *args, **kwargs)
            for widget, value in zip(block_fn.inputs, values, strict=True):
                if isinstance(widget, gr.Dataset) and value is None:
                    raise UserError("no example is chosen; give its number")
            return values
        except gr.Error as error:
            said = error.message
        except UserError as error:
            said = str(error)
        except (InvalidPathError, OSError):
            said = "that file was not uploaded here, or is gone; upload it again"
        except (ComponentProcessingError, TypeError, ValueError, RecursionError) as error:
            said = " ".join(str(error).split())
        raise toast(UserError(said[:MAX_MESSAGE_CHARS])) from None


def _check_file(file: dict[str, Any]) -> dict[str, Any]:
    """The file's description; UserError where gradio would fetch it from an address, however large it is."""
    if is_http_url_like(file.get("path")):
        raise UserError("files are not fetched from an address; upload the file itself")
    return file


def build(worker: Worker, sessions: Sessions) -> Page:
    """Lay out the page."""
    with Page(
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
    page.queue(max_size=MAX_WAITING, default_concurrency_limit=2, api_open=False)
    return page
