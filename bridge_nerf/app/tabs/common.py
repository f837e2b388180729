"""Parts of the tabs that make images: inputs, outputs, errors as toasts, one heavy run at a time, Stop."""

from __future__ import annotations

import functools
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gradio as gr
from gradio.helpers import Examples

from bridge_nerf.app.requests import MAX_PROMPT_CHARS, SEED_RANGE, STEPS_RANGE, ImageRequest
from bridge_nerf.app.sessions import Sessions
from bridge_nerf.app.timing import duration
from bridge_nerf.app.worker import Update, Worker
from bridge_nerf.errors import UserError

HEAVY = {"concurrency_id": "heavy", "concurrency_limit": 1}
"""Options of every event that needs the prior: one at a time, over all tabs."""
LOADING_TIMEOUT_S = 30.0
"""Seconds that the estimate of a run's time waits for the prior."""
PNG_LABEL = "Image (PNG that knows how it was made)"


def toast(error: UserError) -> gr.Error:
    """The error as a toast; nothing goes into the server's log, for it is the visitor's mistake."""
    return gr.Error(str(error), title="That cannot be made", print_exception=False)


def errors_as_toasts(handler: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """The generator, with user errors as toasts; others keep their traceback for the log, and their message
    from visitors.
    """

    @functools.wraps(handler)
    def wrapped(*args: Any, **kwargs: Any) -> Iterator[Any]:
        try:
            yield from handler(*args, **kwargs)
        except UserError as error:
            raise toast(error) from None
        except Exception as error:
            raise gr.Error("something went wrong here; the app's log says what") from error

    return wrapped


def columns() -> tuple[gr.Column, gr.Column]:
    """(inputs, outputs), side by side where the page is wide enough."""
    with gr.Row(equal_height=False):
        return gr.Column(scale=5, min_width=320), gr.Column(scale=6, min_width=320)


def text_box(value: str, label: str, **options: Any) -> gr.Textbox:
    """A box for a prompt or for descriptors."""
    return gr.Textbox(value, label=label, max_length=MAX_PROMPT_CHARS, **options)


def steps_slider(value: int) -> gr.Slider:
    """The number of optimisation steps."""
    return gr.Slider(*STEPS_RANGE, value, step=10, label="Steps")


def seed_row() -> tuple[gr.Number, gr.Checkbox]:
    """(seed, whether to draw another one)."""
    low, high = SEED_RANGE
    with gr.Row():
        seed = gr.Number(0, label="Seed", precision=0, minimum=low, maximum=high, min_width=120)
        randomise = gr.Checkbox(False, label="Randomise", info="A new seed for each run", min_width=120)
    return seed, randomise


def chosen_seed(seed: int, randomise: bool) -> int:
    """The seed, or a random one that is short enough to be read out."""
    return secrets.randbelow(1_000_000) if randomise else seed


def buttons(tab: str) -> tuple[gr.Button, gr.Button]:
    """(Run, Stop)."""
    with gr.Row():
        run = gr.Button("Run", variant="primary", elem_id=f"{tab}-run", scale=3, min_width=120)
        stop = gr.Button("Stop", variant="stop", elem_id=f"{tab}-stop", scale=1, min_width=90)
    return run, stop


def downloads(tab: str, label: str) -> list[Any]:
    """[PNG, CSV, video, command]: the widgets for what a run leaves."""
    small: dict[str, Any] = {"size": "sm", "interactive": False, "min_width": 120}
    with gr.Row():
        png = gr.DownloadButton(label, elem_id=f"{tab}-png", **small)
        csv = gr.DownloadButton("Numbers (CSV)", elem_id=f"{tab}-csv", **small)
    with gr.Accordion("How it went, and the command that makes the same", open=True):
        video = gr.Video(show_label=False, autoplay=True, loop=True, height=260, interactive=False)
        command = command_box("Makes the same at a terminal")
    return [png, csv, video, command]


def command_box(label: str, value: str | None = None) -> gr.Code:
    """A command to be copied."""
    return gr.Code(value, language="shell", label=label, interactive=False, wrap_lines=True, lines=2)


def download_values(update: Update, request: ImageRequest) -> tuple[Any, ...]:
    """The values of `downloads`: nothing new before the end."""
    return (gr.skip(),) * 4 if update.files is None else (*update.files, request.command)


def connect(
    sessions: Sessions,
    tab: str,
    starts: Sequence[Any],
    stop: gr.Button,
    handler: Callable[..., Iterator[Any]],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    examples: Examples | None = None,
) -> None:
    """Connect a heavy event, which Stop ends, keeping what there is.

    Args:
        starts: Events that start it; a click on an example does so, too.
        outputs: The second is where progress is shown in words; the images stay free of it. Download buttons
            are greyed until there is something to download.
    """
    shared: dict[str, Any] = {
        "inputs": list(inputs), "outputs": list(outputs), "show_progress_on": [outputs[1]], **HEAVY
    }  # fmt: skip
    private: dict[str, Any] = {"queue": False, "api_visibility": "private"}
    events = [gr.on(list(starts), handler, api_name=handler.__name__, **shared)]
    if examples is not None:
        events.append(examples.load_input_event.then(handler, api_visibility="private", **shared))
    greyed = [widget for widget in outputs if isinstance(widget, gr.DownloadButton)]
    for event in events:
        event.success(lambda: [gr.update(interactive=True)] * len(greyed), outputs=greyed, **private)

    def stop_run(request: gr.Request) -> None:
        if not sessions.stop(request.session_hash, tab):
            raise gr.Error("", visible=False, print_exception=False)

    stopped = stop.click(stop_run, **private)
    # A run under way ends by itself, with all its files. One that still waits in line is taken out of it.
    stopped.failure(fn=None, cancels=events)  # pyright: ignore[reportArgumentType]


def time_estimate(worker: Worker, steps: gr.Slider, objectives: Any) -> None:
    """Lay out a line that says how long a run will take, whenever that changes.

    Args:
        objectives: The widget that chooses them, or the name of the only one.
    """

    def estimate(steps: int, names: str | list[str] = objectives) -> str:
        try:
            worker.prior(LOADING_TIMEOUT_S)
        except TimeoutError:
            return "The model is still being loaded; a run begins as soon as it is."
        except UserError as error:
            return f"No images can be made here: {error}"
        seconds = worker.estimate([names] if isinstance(names, str) else names or [], steps)
        if seconds is None:
            return "How long this takes is known once it has run; it can be stopped at any time."
        return f"Takes about **{duration(seconds)}** on this machine, and can be stopped at any time."

    gr.on(
        None,  # when the page is loaded, and at every change of an input
        estimate,
        [steps] if isinstance(objectives, str) else [steps, objectives],
        gr.Markdown(elem_classes="time"),
        queue=False,
        show_progress="hidden",
        api_visibility="private",
        trigger_mode="always_last",
    )
