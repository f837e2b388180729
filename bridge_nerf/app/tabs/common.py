"""What the tabs that make images have in common: errors as toasts, one heavy job at a time, Stop, time."""

from __future__ import annotations

import functools
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gradio as gr
from gradio.helpers import Examples

from bridge_nerf.app.requests import SEEDS, Order
from bridge_nerf.app.state import Shop
from bridge_nerf.app.timing import duration
from bridge_nerf.app.worker import Moment
from bridge_nerf.errors import UserError
from bridge_nerf.photometry import BACKGROUNDS
from bridge_nerf.toybox.words import COLOURS, OBJECTS, VIEWS

HEAVY = {"concurrency_id": "heavy", "concurrency_limit": 1}
"""For every event that needs the prior: one at a time, over all tabs."""
PATIENCE = 30.0
"""Seconds that the line about time waits for the prior."""
WORDS = f"""The model that comes with this app knows {len(OBJECTS)} toys ({", ".join(sorted(OBJECTS))}),
{len(COLOURS)} colours, {len(VIEWS)} views and {len(BACKGROUNDS)} backgrounds. Other words are refused."""


def toast(error: UserError) -> gr.Error:
    """The error as what visitors see; nothing goes into the server's log, it is their mistake."""
    return gr.Error(str(error), title="That cannot be made", print_exception=False)


def plainly(handler: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """The generator, with mistakes as toasts."""

    @functools.wraps(handler)
    def wrapped(*args: Any, **kwargs: Any) -> Iterator[Any]:
        try:
            yield from handler(*args, **kwargs)
        except UserError as error:
            raise toast(error) from None

    return wrapped


def seed_row() -> tuple[gr.Number, gr.Checkbox]:
    """The seed, and whether to draw another one."""
    with gr.Row():
        seed = gr.Number(0, label="Seed", precision=0, minimum=SEEDS[0], maximum=SEEDS[1], min_width=120)
        randomise = gr.Checkbox(False, label="Randomise", info="A new seed for each run", min_width=120)
    return seed, randomise


def drawn(seed: int, randomise: bool) -> int:
    """The seed, or a random one that is short enough to be told to somebody."""
    return secrets.randbelow(1_000_000) if randomise else seed


def buttons(tab: str) -> tuple[gr.Button, gr.Button]:
    """(Run, Stop)."""
    with gr.Row():
        run = gr.Button("Run", variant="primary", elem_id=f"{tab}-run", scale=3, min_width=120)
        stop = gr.Button("Stop", variant="stop", elem_id=f"{tab}-stop", scale=1, min_width=90)
    return run, stop


def results(tab: str, image: str) -> list[Any]:
    """[PNG, numbers, video, command]: what a run leaves."""
    with gr.Row():
        png = gr.DownloadButton(image, size="sm", interactive=False, elem_id=f"{tab}-png", min_width=120)
        csv = gr.DownloadButton(
            "Numbers (CSV)", size="sm", interactive=False, elem_id=f"{tab}-csv", min_width=120
        )
    with gr.Accordion("How it went, and the command that makes the same", open=True):
        video = gr.Video(label="The optimisation", autoplay=True, loop=True, height=260, interactive=False)
        command = gr.Code(
            language="shell",
            label="Makes the same at a terminal",
            interactive=False,
            wrap_lines=True,
            lines=2,
        )
    return [png, csv, video, command]


def left(moment: Moment, order: Order) -> tuple[Any, ...]:
    """What to show in `results`: nothing new before the end."""
    if moment.files is None:
        return (gr.skip(),) * 4
    return (*moment.files, order.command)


def runs(
    shop: Shop,
    tab: str,
    triggers: Sequence[Any],
    stop: gr.Button,
    handler: Callable[..., Iterator[Any]],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    line: Any,
    downloads: Sequence[Any],
    examples: Examples | None = None,
) -> None:
    """Wire a heavy event: Run and the examples start it, Stop ends it and keeps what there is.

    Args:
        line: Where progress is told in words; the images stay free of it.
        downloads: Greyed until there is something to download.
    """
    shared = {"inputs": list(inputs), "outputs": list(outputs), "show_progress_on": [line], **HEAVY}
    events = [gr.on(list(triggers), handler, api_name=handler.__name__, **shared)]
    if examples is not None:
        clicked = examples.load_input_event
        events.append(clicked.then(handler, api_visibility="private", **shared))
    for event in events:
        event.success(
            lambda: [gr.update(interactive=True)] * len(downloads),
            outputs=list(downloads),
            queue=False,
            api_visibility="private",
        )

    def ask_to_stop(request: gr.Request) -> None:
        if not shop.visitors.stop(request.session_hash, tab):
            raise gr.Error("", visible=False, print_exception=False)

    asked = stop.click(ask_to_stop, queue=False, api_visibility="private")
    # A run under way ends by itself, with all its files. One that still waits in line is taken out of it.
    asked.failure(fn=None, cancels=events)  # pyright: ignore[reportArgumentType]


def tells_time(shop: Shop, where: gr.Markdown, objectives: Any, steps: gr.Slider, page: gr.Blocks) -> None:
    """Say how long a run will take, now and whenever that changes.

    Args:
        objectives: The widget that chooses them, or the name of the one there is.
    """
    chosen = not isinstance(objectives, str)

    def tell(*values: Any) -> str:
        names = values[1] if chosen else objectives
        return time_needed(shop, [names] if isinstance(names, str) else names, values[0])

    inputs = [steps, objectives] if chosen else [steps]
    gr.on(
        [page.load, *(widget.change for widget in inputs)],
        tell,
        inputs,
        where,
        queue=False,
        show_progress="hidden",
        api_visibility="private",
        trigger_mode="always_last",
    )


def time_needed(shop: Shop, objectives: Sequence[str], steps: int) -> str:
    """How long a run will take, in a sentence."""
    try:
        shop.studio.ready(PATIENCE)
    except TimeoutError:
        return "The model is still being loaded; a run begins as soon as it is."
    except UserError as error:
        return f"The model cannot be had: {error}"
    seconds = shop.studio.estimate(objectives, steps)
    if seconds is None:
        return "How long this takes is known once it has run; it can be stopped at any time."
    return f"Takes about **{duration(seconds)}** on this machine, and can be stopped at any time."
