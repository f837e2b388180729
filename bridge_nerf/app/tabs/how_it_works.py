"""How it works: the paper's idea in the plane."""

from __future__ import annotations

import threading

import gradio as gr

from bridge_nerf.app import requests
from bridge_nerf.app.plane import BELIEFS, WORLDS, Plane
from bridge_nerf.app.plane_drawing import drawing, error_chart, numbers, readings
from bridge_nerf.app.tabs.common import toast
from bridge_nerf.errors import UserError

TEXT = """
Score distillation moves an image from the distribution it comes from (**blue**) to the one that the prompt
describes (**yellow**). Exact would be the **bridge** (green): up to noise along one ODE, down again along
another. What methods do instead is **one straight step** (red), and that errs twice:

- **First-order error**: one step stands in for two curves. It is there even for who knows the source exactly.
- **Source mismatch**: the step starts from what the method *believes* the source to be. SDS believes it to
  be noise, so all points land on averages: in images, too smooth and too colourful. The paper describes
  the source in words instead. How far those words are off is a slider.
"""
SDS, NULL, TOLD = BELIEFS
WORLD_NAMES = list(WORLDS)
ONE_AT_A_TIME = threading.Lock()
"""However many play, an image that is being made keeps its share of the machine."""
LEVEL, STEPS = (0.02, 0.98), (1, 60)
WRONG, SEEDS = (0.0, 2.0), (0, 9999)
EXAMPLES = [
    [WORLD_NAMES[0], SDS, 0.75, 0.0, 24],
    [WORLD_NAMES[0], TOLD, 0.75, 0.0, 24],
    [WORLD_NAMES[0], TOLD, 0.75, 2.0, 24],
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
) -> tuple[str, str, str, dict[str, float]]:
    """The paper's idea in the plane: where a method's one step lands, where the bridge does, both errors.

    Args:
        world: Which two distributions.
        belief: What the method believes of the source, one of the three sentences of the app.
        noise_level: Diffusion time as a fraction, 0.02 to 0.98.
        wrong: How far the description of the source is off, 0 to 2.
        steps: Steps of the bridge on each of its two ways, 1 to 60.
        seed: Of the points and their noise.

    Returns:
        A drawing (HTML), the numbers as HTML, a chart of both errors against the noise level (HTML), and the
        numbers.
    """
    try:
        level = requests.real("noise level", noise_level, LEVEL)
        count = requests.whole("steps", steps, STEPS)
        off, drawn = requests.real("wrong", wrong, WRONG), requests.whole("seed", seed, SEEDS)
    except UserError as error:
        raise toast(error) from None
    with ONE_AT_A_TIME:
        plane = Plane(world, belief, off, drawn)
        measured = numbers(plane, level, count)
        return drawing(plane, level, count), readings(measured), error_chart(plane, level, count), measured


def build() -> None:
    """Lay out the tab."""
    first = [*EXAMPLES[0], 0]
    shown = how_it_works(*first)
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            gr.Markdown(TEXT)
            world = gr.Radio(WORLD_NAMES, value=first[0], label="From where to where")
            belief = gr.Radio(
                list(BELIEFS), value=first[1], label="What the method believes the source to be"
            )
            level = gr.Slider(*LEVEL, first[2], step=0.02, label="Noise level t / T", elem_id="plane-level")
            wrong = gr.Slider(
                *WRONG, first[3], step=0.1, label="How far the description of the source is off"
            )
            steps = gr.Slider(*STEPS, first[4], step=1, label="Steps of the bridge, each way")
            seed = gr.Slider(*SEEDS, first[5], step=1, label="Other points", visible=False)
            again = gr.Button("Other points", size="sm")
        with gr.Column(scale=6, min_width=320):
            image = gr.HTML(shown[0], elem_id="plane-drawing")
            read = gr.HTML(shown[1])
            curves = gr.HTML(shown[2])
            measured = gr.JSON(shown[3], visible=False)
    inputs = [world, belief, level, wrong, steps, seed]
    gr.on(
        [widget.change for widget in inputs],
        how_it_works,
        inputs,
        [image, read, curves, measured],
        api_name="how_it_works",
        # Not in the line for images: whoever plays with the plane should not wait behind them.
        queue=False,
        show_progress="hidden",
        trigger_mode="always_last",
    )
    again.click(lambda seed: (seed + 1) % (SEEDS[1] + 1), seed, seed, queue=False, api_visibility="private")
    gr.Examples(EXAMPLES, inputs[:5], example_labels=LABELS, label="Try")
