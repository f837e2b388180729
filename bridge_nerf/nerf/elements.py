"""Elements of the viewer's panel that nerfstudio lacks: a button that says who pressed it, text that is read
only, pictures.

viser compiles Markdown as MDX in the browser of every visitor: braces and tags are code there. So all text
from elsewhere goes through `plain`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from nerfstudio.viewer.viewer_elements import ViewerButton, ViewerElement
from viser import ClientHandle, ViserServer

from bridge_nerf.pixels import enlarged, png


class Picture(NamedTuple):
    """An image and what is said below it."""

    title: str
    words: str
    pixels: UInt8[np.ndarray, "h w 3"]


def plain(text: str) -> str:
    """Markdown that shows the text as it is: whatever could be markup is spelled as a character reference,
    which becomes a character after everything else has been read."""
    return "".join(c if c.isalnum() else f"&#{ord(c)};" for c in text)


def command(text: str) -> str:
    """Markdown that shows the text as a command to copy, in as many lines as it takes: a code block of
    Markdown's would widen the panel."""
    style = 'fontFamily: "monospace", fontSize: "0.75rem", whiteSpace: "pre-wrap", overflowWrap: "anywhere"'
    return f"<code style={{{{{style}}}}}>{plain(text)}</code>"


def grid(pictures: Sequence[Picture], columns: int = 2) -> str:
    """Markdown of the pictures in rows of `columns`, each with its words below it."""
    style = (
        f'display: "grid", gridTemplateColumns: "repeat({columns}, 1fr)", gap: "0.6em", '
        'fontSize: "0.8rem", lineHeight: 1.35'
    )
    return f"<div style={{{{{style}}}}}>{''.join(map(_cell, pictures))}</div>"


def _cell(picture: Picture) -> str:
    data, title = base64.b64encode(png(enlarged(picture.pixels))).decode(), plain(picture.title)
    image = f'<img alt="{title}" src="data:image/png;base64,{data}" style={{{{width: "100%"}}}}/>'
    return f"<div>{image}<br/><b>{title}</b> {plain(picture.words)}</div>"


class PressButton(ViewerButton):
    """A button whose function learns who pressed it, and does not wait for the training step to end, as
    nerfstudio lets all others.

    Args:
        pressed: Takes the visitor.
    """

    def __init__(self, name: str, pressed: Callable[[ClientHandle | None], Any]) -> None:
        super().__init__(name, cb_hook=lambda _: pressed(None))
        self.pressed = pressed

    def install(self, viser_server: ViserServer) -> None:
        """Put it into the panel."""
        self._create_gui_handle(viser_server)
        self.gui_handle.on_click(lambda event: self.pressed(event.client))


class Markdown(ViewerElement[str]):
    """Text and pictures to read; unlike what stands in a disabled box, shown whole, and to be copied."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._content = ""
        self._handle: Any = None

    def _create_gui_handle(self, viser_server: ViserServer) -> None:
        self._handle = viser_server.gui.add_markdown(self._content, image_root=Path())

    def install(self, viser_server: ViserServer) -> None:
        """Put it into the panel."""
        self._create_gui_handle(viser_server)

    @property
    def content(self) -> str:
        """What is shown, as Markdown."""
        return self._content

    @content.setter
    def content(self, content: str) -> None:
        self._content = content
        if self._handle is not None:
            self._handle.content = content
