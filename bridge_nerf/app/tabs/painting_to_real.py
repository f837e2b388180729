"""Painting to real."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import ImageData
from gradio.helpers import Examples

from bridge_nerf.app import requests
from bridge_nerf.app.sheets import sheet
from bridge_nerf.app.state import Shop
from bridge_nerf.app.tabs.common import buttons, drawn, left, plainly, results, runs, seed_row, tells_time
from bridge_nerf.errors import UserError
from bridge_nerf.images.recipe import recipe_for
from bridge_nerf.paths import asset
from bridge_nerf.pixels import png as encoded
from bridge_nerf.pixels import to_bytes
from bridge_nerf.toybox.paintings import PAINTINGS, prompt_of

TAB = "paint"


def unopened(image: gr.Image) -> gr.Image:
    """The widget, handing on its file as it was uploaded: whoever reads it says what is wrong with it.

    Not a subclass: gradio writes a .pyi file beside the source of every new class of components.
    """

    def path_of(payload: ImageData | None) -> str | None:
        # gradio has seen to it that the file lies in the upload folder
        return None if payload is None else payload.path

    image.preprocess = path_of  # pyright: ignore[reportAttributeAccessIssue]
    return image


def build(shop: Shop, page: gr.Blocks) -> None:
    """Lay out the tab."""
    recipe = recipe_for(shop.prior, "paint")
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            painting = unopened(gr.Image(
                label="Painting: upload, paste, or pick one below", sources=["upload", "clipboard"],
                type="filepath", height=260, elem_id="paint-upload",
            ))  # fmt: skip
            prompt = gr.Textbox(
                "a red house", label="What it shows", elem_id="paint-prompt", max_length=requests.LETTERS
            )
            strength = gr.Radio(list(requests.STRENGTHS), value=requests.BALANCED, label="Strength")
            with gr.Accordion("More", open=False):
                source = gr.Textbox(
                    recipe.source_descriptors, label="Negative descriptor", max_length=requests.LETTERS,
                    info="What the image is, and should no longer be",
                )  # fmt: skip
                steps = gr.Slider(*requests.STEPS, recipe.steps, step=10, label="Steps")
                seed, randomise = seed_row()
            time = gr.Markdown(elem_classes="time")
            run, stop = buttons(TAB)
        with gr.Column(scale=6, min_width=320):
            slider = gr.ImageSlider(
                label="Slide: painting on the left, image on the right", format="png", interactive=False,
                type="filepath", elem_id="paint-slider", buttons=["fullscreen"],
            )  # fmt: skip
            line = gr.Markdown("Painting and image appear here.", elem_id="paint-line")
            png, csv, video, command = results(TAB, "Image (PNG that knows how it was made)")

    @plainly
    def painting_to_real(
        painting: str | None,
        prompt: str,
        strength: str,
        negative_descriptor: str,
        steps: int,
        seed: int,
        randomise: bool,
        request: gr.Request,
    ) -> Iterator[tuple[Any, ...]]:
        """Turn a painting into what it shows, keeping its layout; the image streams while it is optimised.

        Args:
            painting: An image file of at most 10 MB and 20 million pixels.
            prompt: What it shows, such as "a red house".
            strength: How much may change, one of the three sentences of the app.
            negative_descriptor: What the image is and should no longer be, such as "painting".
            steps: Optimisation steps, 10 to 1000.
            seed: Everything random follows from it.
            randomise: Draw a seed instead; the one that was drawn is returned.

        Returns:
            (painting, image) of one size, progress in words, the seed, and at the end the lossless PNG with
            its metadata, the numbers as CSV, a video of the optimisation, and the command that makes the
            same.
        """
        name, prior = shop.studio.ready()
        seed = drawn(seed, randomise)
        file = None if painting is None else Path(painting)
        order = requests.painting_to_real(
            name, prior, file, prompt, strength, seed, steps, negative_descriptor
        )
        assert order.start is not None
        for note in order.notes:
            gr.Info(note)
        room, before = shop.visitors.room(request.session_hash, TAB), None
        for moment in shop.studio.make(order, room):
            before = before or room.keep(encoded(sheet(to_bytes(order.start), ("painting",))), "png")
            yield (before, moment.image), moment.line, seed, *left(moment, order)

    inputs = [painting, prompt, strength, source, steps, seed, randomise]
    runs(
        shop, TAB, [run.click, prompt.submit], stop, painting_to_real, inputs,
        [slider, line, seed, png, csv, video, command], line, [png, csv],
        _examples(painting, prompt, strength),
    )  # fmt: skip
    tells_time(shop, time, "bridge", steps, page)


def _examples(painting: gr.Image, prompt: gr.Textbox, strength: gr.Radio) -> Examples | None:
    try:
        folder = asset("paintings")
    except UserError:
        return None
    rows = [[str(folder / f"{name}.png"), prompt_of(name), requests.BALANCED] for name in PAINTINGS]
    # One column: thumbnails in lines that a phone can break, rather than a table.
    return gr.Examples(
        rows, [painting, prompt, strength], label="Paintings: click one, it runs", visible_columns=[0]
    )
