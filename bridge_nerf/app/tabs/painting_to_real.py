"""Painting to real."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import ImageData
from gradio.helpers import Examples

from bridge_nerf.app import requests
from bridge_nerf.app.sessions import Sessions
from bridge_nerf.app.tabs import common
from bridge_nerf.app.worker import Worker
from bridge_nerf.errors import UserError
from bridge_nerf.images.defaults import default_config
from bridge_nerf.paths import asset
from bridge_nerf.pixels import enlarged, to_bytes
from bridge_nerf.pixels import png as encode_png
from bridge_nerf.priors.registry import kind_of
from bridge_nerf.toybox.paintings import PAINTINGS, prompt_of

TAB = "paint"


def build(worker: Worker, sessions: Sessions) -> None:
    """Lay out the tab."""
    config = default_config(kind_of(worker.prior_name)[0], "paint")
    left, right = common.columns()
    with left:
        painting = _without_decoding(gr.Image(
            label="Painting: upload, paste, or pick one below", sources=["upload", "clipboard"],
            type="filepath", height=260, elem_id="paint-upload",
        ))  # fmt: skip
        prompt = common.text_box("a red house", "What it shows", elem_id="paint-prompt")
        strength = gr.Radio(list(requests.STRENGTHS), value=requests.BALANCED, label="Strength")
        with gr.Accordion("More", open=False):
            source = common.text_box(
                config.guidance.prompts.source_descriptors, "Negative descriptor",
                info="What the image is, and should no longer be",
            )  # fmt: skip
            steps = common.steps_slider(config.steps)
            seed, randomise = common.seed_row()
        common.time_estimate(worker, steps, "bridge")
        run, stop = common.buttons(TAB)
    with right:
        slider = gr.ImageSlider(
            label="Slide: painting on the left, image on the right", format="png", interactive=False,
            type="filepath", elem_id="paint-slider", buttons=["fullscreen"],
        )  # fmt: skip
        status = gr.Markdown("Painting and image appear here.", elem_id="paint-line")
        downloads = common.downloads(TAB, common.PNG_LABEL)
    examples = _examples(painting, prompt, strength)
    inputs = [painting, prompt, strength, source, steps, seed, randomise]
    outputs = [slider, status, seed, *downloads]
    starts, handler = [run.click, prompt.submit], _handler(worker, sessions)
    common.connect(sessions, TAB, starts, stop, handler, inputs, outputs, examples)


def _without_decoding(image: gr.Image) -> gr.Image:
    """The widget, handing on its file as it was uploaded: `requests` says what is wrong with it.

    Not a subclass: gradio writes a .pyi file beside the source of every new class of components.
    """

    def path_of(payload: ImageData | None) -> str | None:
        # gradio has seen to it that the file lies in the upload folder
        return None if payload is None else payload.path

    image.preprocess = path_of  # pyright: ignore[reportAttributeAccessIssue]
    return image


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


def _handler(worker: Worker, sessions: Sessions) -> Callable[..., Iterator[Any]]:
    @common.errors_as_toasts
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
            prompt: Its subject, such as "a red house".
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
        seed, file = common.chosen_seed(seed, randomise), None if painting is None else Path(painting)
        wanted = requests.painting_to_real(
            worker.prior_name, worker.prior(), file, prompt, strength, seed, steps, negative_descriptor
        )
        assert wanted.start is not None
        for note in wanted.notes:
            gr.Info(note)
        session, before = sessions.get(request.session_hash, TAB), None
        for update in worker.make(wanted, session):
            before = before or session.new_file(encode_png(enlarged(to_bytes(wanted.start)[0])), "png")
            yield (
                (before, update.preview),
                update.status,
                seed,
                *common.download_values(update, wanted),
            )

    return painting_to_real
