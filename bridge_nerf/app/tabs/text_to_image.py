"""Text to image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from bridge_nerf.app import requests
from bridge_nerf.app.sessions import Sessions
from bridge_nerf.app.tabs import common
from bridge_nerf.app.worker import Worker
from bridge_nerf.distillation.registry import objectives_from_noise
from bridge_nerf.images.defaults import default_config
from bridge_nerf.photometry import BACKGROUNDS
from bridge_nerf.priors.registry import TOYBOX, kind_of
from bridge_nerf.toybox.words import COLOURS, OBJECTS, VIEWS

EXAMPLES = [
    ["a red apple", "bridge", 0, False],
    ["a pineapple", "sds", 1, False],
    ["a blue car, side view", "bridge", 2, False],
    ["a yellow mug, white background", "bridge", 3, False],
]
TAB = "image"
VOCABULARY = f"""The model that comes with this app knows {len(OBJECTS)} toys ({", ".join(sorted(OBJECTS))}),
{len(COLOURS)} colours, {len(VIEWS)} views and {len(BACKGROUNDS)} backgrounds. Other words are refused."""


def build(worker: Worker, sessions: Sessions) -> None:
    """Lay out the tab."""
    config = default_config(kind_of(worker.prior_name)[0], "image")
    prompts, scale = config.guidance.prompts, config.guidance.objective.guidance_scale
    left, right = common.columns()
    with left:
        prompt = common.text_box("a red apple", "Prompt", elem_id="image-prompt")
        objective = gr.Dropdown(
            objectives_from_noise(), value="bridge", label="Objective", info="bridge is the paper's own"
        )
        steps = common.steps_slider(config.steps)
        guidance = gr.Slider(
            *requests.GUIDANCE_RANGE, scale or requests.DEFAULT_GUIDANCE, step=0.5,
            label="Guidance", info="How much the prompt counts; 1 is none",
        )  # fmt: skip
        seed, randomise = common.seed_row()
        with gr.Accordion("What the image should be, and should not be", open=False):
            target = common.text_box(
                prompts.target_descriptors, "Target descriptors",
                info="Added to the prompt to say what the image should be",
            )  # fmt: skip
            source = common.text_box(
                prompts.source_descriptors, "Source descriptors", lines=2,
                info="Added to the prompt to say what it is so far, and should not be",
            )  # fmt: skip
        common.time_estimate(worker, steps, objective)
        run, stop = common.buttons(TAB)
    with right:
        image = gr.Image(
            label="Image", format="png", interactive=False, elem_id="image-picture", buttons=["fullscreen"]
        )
        status = gr.Markdown("The image appears here as it is optimised.", elem_id="image-line")
        downloads = common.downloads(TAB, common.PNG_LABEL)
    if worker.prior_name == TOYBOX:
        gr.Markdown(VOCABULARY, elem_classes="note")
    examples = gr.Examples(
        EXAMPLES, [prompt, objective, seed, randomise], label="Examples: click one, it runs",
        example_labels=[f"{text}: {name}, seed {number}" for text, name, number, _ in EXAMPLES],
    )  # fmt: skip
    inputs = [prompt, objective, seed, randomise, steps, guidance, target, source]
    outputs = [image, status, seed, *downloads]
    starts, handler = [run.click, prompt.submit], _handler(worker, sessions)
    common.connect(sessions, TAB, starts, stop, handler, inputs, outputs, examples)


def _handler(worker: Worker, sessions: Sessions) -> Callable[..., Iterator[Any]]:
    @common.errors_as_toasts
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
            prompt: The subject, such as "a red apple, front view".
            objective: The objective: bridge (the paper's), sds, csd, nfsd, vsd and others.
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
        seed = common.chosen_seed(seed, randomise)
        wanted = requests.text_to_image(
            worker.prior_name, worker.prior(), prompt, objective, seed, steps, guidance,
            target_descriptors, source_descriptors,
        )  # fmt: skip
        for update in worker.make(wanted, sessions.get(request.session_hash, TAB)):
            yield update.preview, update.status, seed, *common.download_values(update, wanted)

    return text_to_image
