"""Elements of the panel, as viser's server sends them; `test_viewer` shows them in a browser."""

import base64
import html
import io
import re

import numpy as np
import pytest
from PIL import Image
from viser._gui_handles import _parse_markdown

from bridge_nerf.nerf.elements import Picture, command, grid, plain

HOSTILE = 'a `{alert(1)}` <img src=x onerror=alert(1)> ![a](/etc/passwd) **b** | # "c"\n```\n{d}'


@pytest.mark.parametrize("text", ["", "a red car, front view", HOSTILE, "ein Größenvergleich ²"])
def test_text_is_never_markup(text: str) -> None:
    said = plain(text)
    assert html.unescape(said) == text
    assert not set(re.sub(r"&#\d+;", "", said)) & set("<>{}[]()!`*_|#\\\"'\n&")


def test_a_command_is_copied_as_it_is() -> None:
    said = command(HOSTILE)
    (inside,) = re.findall(r"<code style=\{\{[^}]*\}\}>([^<]*)</code>", said)
    assert html.unescape(inside) == HOSTILE


def test_pictures_stand_above_their_words(recwarn: pytest.WarningsRecorder) -> None:
    pixels = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    said = grid([Picture(f"title {k}", HOSTILE, pixels + k) for k in range(4)])
    assert "repeat(2, 1fr)" in said
    shown = re.findall(r'<img alt="([^"]*)" src="data:image/png;base64,([^"]*)"', said)
    assert [html.unescape(title) for title, _ in shown] == [f"title {k}" for k in range(4)]
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown[2][1]))))
    assert image.shape == (256, 256, 3) and (image[::64, ::64] == pixels + 2).all()
    assert _parse_markdown(said, None) == said and not recwarn.list, "viser reads files for images in it"
