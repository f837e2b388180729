"""Text to image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from bridge_nerf.app import requests
from bridge_nerf.app.state import Shop
from bridge_nerf.app.tabs.common import (
    WORDS,
    buttons,
    drawn,
    left,
    plainly,
    results,
    runs,
    seed_row,
    tells_time,
)
from bridge_nerf.images.recipe import recipe_for

EXAMPLES = [
    ["a red apple", "bridge", 0, False],
    ["a pineapple", "sds", 1, False],
    ["a blue car, side view", "bridge", 2, False],
    ["a yellow mug, white background", "bridge", 3, False],
]
TAB = "image"


def build(shop: Shop, page: gr.Blocks) -> None:
    """Lay out the tab."""
    recipe = recipe_for(shop.prior, "image")
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            prompt = gr.Textbox(
                "a red apple", label="Prompt", elem_id="image-prompt", max_length=requests.LETTERS
            )
            objective = gr.Dropdown(
                requests.offered(), value="bridge", label="Objective", info="bridge is the paper's own method"
            )
            steps = gr.Slider(*requests.STEPS, recipe.steps, step=10, label="Steps")
            usual = recipe.stages.guidance_scale or requests.USUAL_GUIDANCE
            guidance = gr.Slider(
                *requests.GUIDANCE, usual, step=0.5, label="Guidance",
                info="How much the prompt counts; 1 is none",
            )  # fmt: skip
            seed, randomise = seed_row()
            with gr.Accordion("What the image should be, and should not be", open=False):
                target = gr.Textbox(
                    recipe.target_descriptors, label="Target descriptors", max_length=requests.LETTERS,
                    info="Added to the prompt to say what the image should be",
                )  # fmt: skip
                source = gr.Textbox(
                    recipe.source_descriptors, label="Source descriptors", lines=2,
                    max_length=requests.LETTERS,
                    info="Added to the prompt to say what it is so far, and should not be",
                )  # fmt: skip
            time = gr.Markdown(elem_classes="time")
            run, stop = buttons(TAB)
        with gr.Column(scale=6, min_width=320):
            image = gr.Image(
                label="Image",
                format="png",
                interactive=False,
                elem_id="image-picture",
                buttons=["fullscreen"],
            )
            line = gr.Markdown("The image appears here as it is optimised.", elem_id="image-line")
            png, csv, video, command = results(TAB, "Image (PNG that knows how it was made)")
    if shop.prior == "toybox":
        gr.Markdown(WORDS, elem_classes="note")

    @plainly
    def text_to_image(
        prompt: str,
        objective: str,
        seed: int,
        randomise: bool,
        steps: int,
        guidance: float,
        target_descriptors: str,
        source_descriptors: str,
        request: gr.Request,
    ) -> Iterator[tuple[Any, ...]]:
        """Make an image from a prompt by score distillation; the image streams while it is optimised.

        Args:
            prompt: What to make, such as "a red apple, front view".
            objective: The method: bridge (the paper's), sds, csd, nfsd, vsd and others.
            seed: Everything random follows from it; 0 to 2147483647.
            randomise: Draw a seed instead; the one that was drawn is returned.
            steps: Optimisation steps, 10 to 1000.
            guidance: Classifier-free guidance, 0 to 100; 1 is none.
            target_descriptors: Added to the prompt to say what the image should be.
            source_descriptors: Added to the prompt to say what it is so far, and should not be.

        Returns:
            The image enlarged, progress in words, the seed, and at the end the lossless PNG with its
            metadata, the numbers as CSV, a video of the optimisation, and the command that makes the same.
        """
        name, prior = shop.studio.ready()
        seed = drawn(seed, randomise)
        order = requests.text_to_image(
            name, prior, prompt, objective, seed, steps, guidance, target_descriptors, source_descriptors
        )
        for moment in shop.studio.make(order, shop.visitors.room(request.session_hash, TAB)):
            yield moment.image, moment.line, seed, *left(moment, order)

    inputs = [prompt, objective, seed, randomise, steps, guidance, target, source]
    examples = gr.Examples(
        EXAMPLES, [prompt, objective, seed, randomise], label="Examples: click one, it runs",
        example_labels=[f"{words}: {name}, seed {number}" for words, name, number, _ in EXAMPLES],
    )  # fmt: skip
    runs(
        shop, TAB, [run.click, prompt.submit], stop, text_to_image, inputs,
        [image, line, seed, png, csv, video, command], line, [png, csv], examples,
    )  # fmt: skip
    tells_time(shop, time, objective, steps, page)
