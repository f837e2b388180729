"""How it works: the paper's idea in the plane."""

from __future__ import annotations

import threading

import gradio as gr
import pandas as pd

from bridge_nerf.app import requests
from bridge_nerf.app.plane import BELIEFS, WORLDS, Plane
from bridge_nerf.app.plane_plots import drawing, error_curves, errors_at
from bridge_nerf.app.tabs.common import columns, toast
from bridge_nerf.errors import UserError

TEXT = """
Score distillation moves an image from the distribution it comes from (**blue**) to the one that the prompt
describes (**yellow**). Exact would be the **bridge** (green): up to noise along one ODE, down again along
another. What objectives do instead is **one straight step** (red), and that errs twice:

- **First-order error**: one step stands in for two curves. It is there even for who knows the source exactly.
- **Source mismatch**: the step starts from what the objective *believes* the source to be. SDS believes it to
  be noise, so all points land on averages: in images, too smooth and too colourful. The paper describes
  the source in words instead. How far those words are off is a slider.
"""
SDS, NULL, DESCRIBED = BELIEFS
WORLD_NAMES = list(WORLDS)
LOCK = threading.Lock()
"""One drawing at a time: an image that is being made keeps its share of the machine."""
COLOURS = {"first-order error": "#0072B2", "source mismatch": "#D55E00", "this level": "#888888"}
LEVEL_RANGE, STEPS_RANGE = (0.02, 0.98), (1, 60)
WRONG_RANGE, SEED_RANGE = (0.0, 2.0), (0, 9999)
EXAMPLES = [
    [WORLD_NAMES[0], SDS, 0.75, 0.0, 24],
    [WORLD_NAMES[0], DESCRIBED, 0.75, 0.0, 24],
    [WORLD_NAMES[0], DESCRIBED, 0.75, 2.0, 24],
    [WORLD_NAMES[1], SDS, 0.9, 0.0, 40],
    [WORLD_NAMES[2], NULL, 0.5, 0.0, 24],
]
LABELS = [
    "SDS lands on averages",
    "The source is known: the first-order error remains",
    "A wrong description of the source",
    "A ring, missed",
    "CSD: the source is any image",
]


def how_it_works(
    world: str, belief: str, noise_level: float, wrong: float, steps: int, seed: int
) -> tuple[str, str, pd.DataFrame, dict[str, float]]:
    """The paper's idea in the plane: where an objective's one step lands, where the bridge does, both errors.

    Args:
        world: The two distributions, one of the three names of the app.
        belief: What the objective believes of the source, one of the three sentences of the app.
        noise_level: Diffusion time as a fraction, 0.02 to 0.98.
        wrong: How far the description of the source is off, 0 to 2.
        steps: Steps of the bridge on each of its two ways, 1 to 60.
        seed: Seed of the points and their noise.

    Returns:
        A drawing (HTML), the numbers in words (Markdown), curves of both errors against the noise level,
        and the numbers.
    """
    try:
        requests.check_choice("world", world, WORLDS)
        requests.check_choice("belief", belief, BELIEFS)
        level = requests.number("noise level", noise_level, LEVEL_RANGE)
        count = requests.integer("steps", steps, STEPS_RANGE)
        shift = requests.number("wrong", wrong, WRONG_RANGE)
        plane = Plane(world, belief, shift, requests.integer("seed", seed, SEED_RANGE))
    except UserError as error:
        raise toast(error) from None
    with LOCK:
        errors = errors_at(plane, level, count)
        lines = "\n".join(f"- {name}: **{value:.2f}**" for name, value in errors.items())
        return drawing(plane, level, count), lines, error_curves(plane, level, count), errors


def build() -> None:
    """Lay out the tab."""
    first = [*EXAMPLES[0], 0]
    html, lines, curves, errors = how_it_works(*first)
    left, right = columns()
    with left:
        gr.Markdown(TEXT)
        world = gr.Radio(WORLD_NAMES, value=first[0], label="From where to where")
        belief = gr.Radio(list(BELIEFS), value=first[1], label="What the objective believes the source to be")
        level = gr.Slider(*LEVEL_RANGE, first[2], step=0.02, label="Noise level t / T", elem_id="plane-level")
        wrong = gr.Slider(
            *WRONG_RANGE, first[3], step=0.1, label="How far the description of the source is off"
        )
        steps = gr.Slider(*STEPS_RANGE, first[4], step=1, label="Steps of the bridge, each way")
        seed = gr.Slider(*SEED_RANGE, first[5], step=1, visible=False)
        other_points = gr.Button("Other points", size="sm")
    with right:
        outputs = [
            gr.HTML(html, elem_id="plane-drawing"),
            gr.Markdown(lines),
            gr.LinePlot(
                curves, x="noise level", y="error", color="curve", title="Errors at every noise level",
                color_map=COLOURS, colors_in_legend=list(COLOURS)[:2], y_title=" ", color_title=" ",
                x_lim=[0, 1], y_lim=[0, None], height=220, tooltip="all", elem_id="plane-errors",
            ),
            gr.JSON(errors, visible=False),
        ]  # fmt: skip
    inputs = [world, belief, level, wrong, steps, seed]
    gr.on(
        [widget.change for widget in inputs],
        how_it_works,
        inputs,
        outputs,
        api_name="how_it_works",
        # Not in the line for images: whoever plays with the plane should not wait behind them.
        queue=False,
        show_progress="hidden",
        trigger_mode="always_last",
    )
    other_points.click(
        lambda seed: (seed + 1) % (SEED_RANGE[1] + 1), seed, seed, queue=False, api_visibility="private"
    )
    gr.Examples(EXAMPLES, inputs[:5], example_labels=LABELS, label="Try")
