"""Compare: objectives race from the same seed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from bridge_nerf.app import requests
from bridge_nerf.app.compare_charts import race_charts
from bridge_nerf.app.state import Shop
from bridge_nerf.app.tabs.common import buttons, drawn, left, plainly, results, runs, seed_row, tells_time

EXAMPLES = [
    ["a red apple", ["sds", "bridge"], 0, False],
    ["a pineapple", ["sds", "bridge", "csd", "nfsd"], 1, False],
]
STEPS = 150
TAB = "compare"


def build(shop: Shop, page: gr.Blocks) -> None:
    """Lay out the tab."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            prompt = gr.Textbox(
                "a pineapple", label="Prompt", elem_id="compare-prompt", max_length=requests.LETTERS
            )
            objectives = gr.CheckboxGroup(
                requests.offered(), value=["sds", "bridge"], label="Objectives: two to four",
                info="All begin with the same noise and are asked at the same times",
            )  # fmt: skip
            steps = gr.Slider(*requests.STEPS, STEPS, step=10, label="Steps")
            seed, randomise = seed_row()
            time = gr.Markdown(elem_classes="time")
            run, stop = buttons(TAB)
        with gr.Column(scale=6, min_width=320):
            image = gr.Image(
                label="The race", format="png", interactive=False, elem_id="compare-picture",
                buttons=["fullscreen"],
            )  # fmt: skip
            line = gr.Markdown("All images appear here, side by side.", elem_id="compare-line")
            curves = gr.HTML(elem_id="compare-curves")
            png, csv, video, command = results(TAB, "All images (PNG)")

    @plainly
    def compare(
        prompt: str, objectives: list[str], steps: int, seed: int, randomise: bool, request: gr.Request
    ) -> Iterator[tuple[Any, ...]]:
        """Race two to four objectives from the same seed: the same start, times and noise for all.

        Args:
            prompt: What all of them make, such as "a pineapple".
            objectives: Two to four methods, such as ["sds", "bridge"].
            steps: Optimisation steps, 10 to 1000.
            seed: Everything random follows from it.
            randomise: Draw a seed instead; the one that was drawn is returned.

        Returns:
            The grid of images, progress in words, curves of saturation and pull as HTML, the seed, and at
            the end the grid as PNG, all numbers as CSV, a video of the race, and the command that makes the
            same.
        """
        name, prior = shop.studio.ready()
        seed = drawn(seed, randomise)
        order = requests.race(name, prior, prompt, objectives, seed, steps)
        for moment in shop.studio.make(order, shop.visitors.room(request.session_hash, TAB)):
            charts = race_charts(moment.shots, order.objectives)
            yield moment.image, moment.line, charts, seed, *left(moment, order)

    inputs = [prompt, objectives, steps, seed, randomise]
    examples = gr.Examples(
        EXAMPLES, [prompt, objectives, seed, randomise], label="Examples: click one, it runs",
        example_labels=[f"{words}: {', '.join(names)}" for words, names, *_ in EXAMPLES],
    )  # fmt: skip
    runs(
        shop, TAB, [run.click, prompt.submit], stop, compare, inputs,
        [image, line, curves, seed, png, csv, video, command], line, [png, csv], examples,
    )  # fmt: skip
    tells_time(shop, time, objectives, steps, page)
