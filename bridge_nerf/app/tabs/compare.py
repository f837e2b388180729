"""Compare: several objectives from the same seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from bridge_nerf.app import requests
from bridge_nerf.app.sessions import Sessions
from bridge_nerf.app.snapshots import measurements
from bridge_nerf.app.tabs import common
from bridge_nerf.app.worker import Worker
from bridge_nerf.distillation.registry import objectives_from_noise

EXAMPLES = [
    ["a red apple", ["sds", "bridge"], 0, False],
    ["a pineapple", ["sds", "bridge", "csd", "nfsd"], 1, False],
]
STEPS = 150
TAB = "compare"


def build(worker: Worker, sessions: Sessions) -> None:
    """Lay out the tab."""
    left, right = common.columns()
    with left:
        prompt = common.text_box("a pineapple", "Prompt", elem_id="compare-prompt")
        objectives = gr.CheckboxGroup(
            objectives_from_noise(), value=["sds", "bridge"], label="Objectives: two to four",
            info="All begin with the same noise and are evaluated at the same times",
        )  # fmt: skip
        steps = common.steps_slider(STEPS)
        seed, randomise = common.seed_row()
        common.time_estimate(worker, steps, objectives)
        run, stop = common.buttons(TAB)
    with right:
        image = gr.Image(
            show_label=False, format="png", interactive=False, elem_id="compare-picture",
            buttons=["fullscreen"],
        )  # fmt: skip
        status = gr.Markdown("All images appear here, side by side.", elem_id="compare-line")
        saturation = _chart("saturation", "Saturation of the image")
        pull = _chart("pull", "Pull: RMS of target minus source")
        downloads = common.downloads(TAB, "All images (PNG)")
    examples = gr.Examples(
        EXAMPLES, [prompt, objectives, seed, randomise], label="Examples: click one, it runs",
        example_labels=[f"{text}: {', '.join(names)}" for text, names, *_ in EXAMPLES],
    )  # fmt: skip
    inputs = [prompt, objectives, steps, seed, randomise]
    outputs = [image, status, saturation, seed, *downloads, pull]
    starts, handler = [run.click, prompt.submit], _handler(worker, sessions)
    common.connect(sessions, TAB, starts, stop, handler, inputs, outputs, examples)


def _chart(column: str, title: str) -> gr.LinePlot:
    return gr.LinePlot(
        x="step", y=column, color="objective", title=title, y_title=" ", color_title=" ", y_lim=[0, None],
        tooltip="all", height=220, elem_id=f"compare-{column}",
    )  # fmt: skip


def _handler(worker: Worker, sessions: Sessions) -> Callable[..., Iterator[Any]]:
    @common.errors_as_toasts
    def compare(
        prompt: str, objectives: list[str], steps: int, seed: int, randomise: bool, request: gr.Request
    ) -> Iterator[tuple[Any, ...]]:
        """Compare two to four objectives from the same seed: the same start, times and noise for all.

        Args:
            prompt: The prompt of all of them, such as "a pineapple".
            objectives: Two to four objectives, such as ["sds", "bridge"].
            steps: Optimisation steps, 10 to 1000.
            seed: Everything random follows from it.
            randomise: Draw a seed instead; the one that was drawn is returned.

        Returns:
            The grid of images, progress in words, the curve of saturation, the seed, at the end the grid as
            PNG, all numbers as CSV, a video, and the command that makes the same; last the curve of the pull.
        """
        seed = common.chosen_seed(seed, randomise)
        wanted = requests.compare(worker.prior_name, worker.prior(), prompt, objectives, seed, steps)
        for update in worker.make(wanted, sessions.get(request.session_hash, TAB)):
            table = measurements(update.snapshots, wanted.objectives)
            pulls = table.dropna()
            files = common.download_values(update, wanted)
            yield update.preview, update.status, table, seed, *files, None if pulls.empty else pulls

    return compare
