"""From what a visitor asks for to specifications, and to the command that makes the same.

Whatever comes through the app's API is checked here once more: widgets bound what people enter, programs may
send anything.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.distillation.registry import OBJECTIVES, stages_for
from bridge_nerf.distillation.requested import Listener
from bridge_nerf.errors import UserError
from bridge_nerf.images.image_files import read_image, to_tensor
from bridge_nerf.images.noting import noted_prior
from bridge_nerf.images.recipe import Recipe, Task, recipe_for
from bridge_nerf.images.spec import Spec, slug, subjects_for
from bridge_nerf.images.wishes import Wishes

STEPS = (10, 1000)
"""Fewest and most steps."""
GUIDANCE = (0.0, 100.0)
USUAL_GUIDANCE = 40.0
"""Where the slider stands for a prior whose numbers leave guidance to the objective."""
SEEDS = (0, 2**31 - 1)
LETTERS = 300
"""Of the longest text that is read."""
RACERS = (2, 4)
"""Fewest and most objectives of a race."""
PIXELS = 20_000_000
"""Of the largest painting: the app's own, lower limit, because visitors share its memory."""
BYTES = 10 * 2**20
"""Of its file."""

LABELS = {
    "--guidance-scale": "Guidance",
    "--target-descriptors": "Target descriptors",
    "--source-descriptors": "Source descriptors",
    "leave it out": "leave it as it was",
}

STRENGTHS = {
    "a light touch: keep nearly everything": 0.6,
    "balanced": 1.0,
    "bold: the prompt before the painting": 1.3,
}
"""Plain words -> what times and learning rate of the recipe are multiplied with."""
BALANCED = "balanced"
GUIDED = tuple(name for name in OBJECTIVES if Listener(name).hears("guidance_scale"))
"""Objectives that have a guidance scale."""


@dataclass(frozen=True, eq=False)
class Order:
    """Images to be made together, from one start.

    Args:
        specs: One for each image.
        command: Makes the same at a terminal.
        start: What all begin with; None for noise.
        notes: What had to be guessed or left out of the image that it starts from, a line each.
    """

    specs: tuple[Spec, ...]
    command: str
    start: Float[Tensor, "1 3 h w"] | None = None
    notes: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Equal for orders whose results are equal."""
        return " ".join(spec.digest for spec in self.specs)

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names, in the order of the images."""
        return tuple(spec.objective for spec in self.specs)

    @property
    def stem(self) -> str:
        """For the names of files."""
        first = self.specs[0].subjects[0]
        return f"{slug(' '.join(first.prompts))}-s{first.seed}"


def offered() -> list[str]:
    """Objectives that start from noise."""
    return [name for name in OBJECTIVES if not stages_for(name).edits]


def text_to_image(
    name: str,
    prior: ImagePrior,
    prompt: str | None,
    objective: str = "bridge",
    seed: float | None = 0,
    steps: float | None = 300,
    guidance: float | None = 5.0,
    target: str | None = None,
    source: str | None = None,
) -> Order:
    """One image from a prompt. `name` is the prior's; `target` and `source` are descriptors. What a visitor
    has emptied comes as None.

    Raises:
        UserError: Something is out of range, too long, or unknown to the prior.
    """
    prompt = prompt or ""
    numbers: dict[str, Any] = {
        "seed": whole("seed", seed, SEEDS),
        "steps": whole("steps", steps, STEPS),
    }
    recipe = recipe_for(name, "image")
    words = _descriptors(prior, recipe, target, source)
    if objective in OBJECTIVES and not Listener(objective).hears("source_descriptors"):
        words = {
            name: text for name, text in words.items() if text
        }  # a box that was emptied asks nothing of it
    scale, flags = real("guidance", guidance, GUIDANCE), ["--objective", objective]
    # The slider has a value whatever the objective: where it stands by itself is not a request.
    if scale != (recipe.stages.guidance_scale or USUAL_GUIDANCE) or objective in GUIDED:
        numbers["guidance_scale"] = scale
        flags += ["--guidance-scale", str(guidance)]
    wishes = Wishes(prior=name, **numbers, **words)
    spec = _spec(wishes, prior, "image", objective, prompt)
    return Order((spec,), _command("image", wishes, prompt, flags, words))


def painting_to_real(
    name: str,
    prior: ImagePrior,
    painting: Path | None,
    prompt: str | None,
    strength: str = BALANCED,
    seed: float | None = 0,
    steps: float | None = 100,
    source: str | None = None,
) -> Order:
    """An image that begins as the painting.

    Raises:
        UserError: As above; or the file is no image that can be read.
    """
    prompt = prompt or ""
    if painting is None:
        raise UserError("there is no painting yet; upload or paste one, or pick an example")
    if strength not in STRENGTHS:
        raise UserError(f"unknown strength {strength!r}; choose one of: {'; '.join(STRENGTHS)}")
    image, notes = _painting(painting)
    recipe = recipe_for(name, "paint")
    numbers: dict[str, Any] = {
        "seed": whole("seed", seed, SEEDS),
        "steps": whole("steps", steps, STEPS),
    }
    words = _descriptors(prior, recipe, None, source)
    wishes = Wishes(prior=name, **numbers, **words, set=_strengthened(recipe, STRENGTHS[strength]))
    spec = _spec(wishes, prior, "paint", "bridge", prompt, painting)
    flags = ["--input", painting.name, *(("--set", *wishes.set) if wishes.set else ())]
    start = to_tensor(image, spec.size)[None]
    return Order((spec,), _command("paint", wishes, prompt, flags, words), start, notes)


def race(
    name: str,
    prior: ImagePrior,
    prompt: str | None,
    objectives: Sequence[str] | None,
    seed: float | None = 0,
    steps: float | None = 150,
) -> Order:
    """An image for each objective, all with the same start, times and noise.

    Raises:
        UserError: As above; or too few or too many objectives.
    """
    prompt, names = prompt or "", tuple(dict.fromkeys(objectives or ()))
    if not RACERS[0] <= len(names) <= RACERS[1]:
        raise UserError(f"{len(names)} objectives make no race; choose {RACERS[0]} to {RACERS[1]}")
    wishes = Wishes(prior=name, seed=whole("seed", seed, SEEDS), steps=whole("steps", steps, STEPS))
    specs = tuple(_spec(wishes, prior, "image", objective, prompt) for objective in names)
    return Order(specs, _command("compare", wishes, prompt, ["--objectives", ",".join(names)], {}))


def whole(name: str, value: float | None, limits: tuple[int, int]) -> int:
    """The value as a whole number; UserError outside of the limits, which count as inside."""
    return round(real(name, value, limits))


def real(name: str, value: float | None, limits: tuple[float, float]) -> float:
    """The value; UserError where it is none (an emptied box), not finite, or outside of the limits."""
    low, high = limits
    if not isinstance(value, int | float):
        raise UserError(f"{name} is {value!r}, no number; give {low:g} to {high:.10g}")
    if not (math.isfinite(value) and low <= value <= high):
        raise UserError(f"{name} = {value:g} is out of range; give {low:g} to {high:.10g}")
    return value


def _spec(
    wishes: Wishes, prior: ImagePrior, task: Task, objective: str, prompt: str, source: Path | None = None
) -> Spec:
    if objective not in offered():
        raise UserError(f"unknown objective {objective!r}; choose {', '.join(offered())}")
    if len(prompt) > LETTERS:
        raise UserError(f"the prompt has {len(prompt)} letters; use at most {LETTERS}")
    try:
        wishes.check({task: [objective]}, [prompt], wishes.prior)
    except UserError as error:
        raise UserError(_labelled(str(error))) from None
    prior.check_prompts([prompt])
    subjects = subjects_for((prompt.strip(),), wishes.seed, 1)
    return wishes.spec(wishes.prior, prior, task, objective, subjects, source=source)


def _labelled(message: str) -> str:
    """The message with flags as the boxes of the page are called."""
    for flag, label in LABELS.items():
        message = message.replace(flag, label)
    return message


def _descriptors(prior: ImagePrior, recipe: Recipe, target: str | None, source: str | None) -> dict[str, Any]:
    """What differs from the recipe's, by the name of its field."""
    said = {"target_descriptors": target, "source_descriptors": source}
    for text in said.values():
        if text is not None and len(text) > LETTERS:
            raise UserError(f"descriptors of {len(text)} letters are too long; use at most {LETTERS}")
    prior.check_prompts([text for text in said.values() if text and text.strip()])
    return {
        name: text.strip()
        for name, text in said.items()
        if text is not None and text.strip() != getattr(recipe, name)
    }


def _painting(path: Path) -> tuple[Image.Image, tuple[str, ...]]:
    """(image in a file, notes on how it was read); all words are of "the painting", not of where the server
    keeps it.
    """
    if path.stat().st_size > BYTES:  # gradio limits uploads, not what it fetches from an address
        raise UserError(f"the painting's file is too large; give one of at most {BYTES // 2**20} MB")
    said: list[str] = []
    try:
        image = read_image(path, PIXELS, said.append)
    except UserError as error:
        raise UserError(str(error).replace(str(path), "the painting")) from None
    if max(image.size) > 8 * min(image.size):
        raise UserError(f"the painting is {image.width} x {image.height}; crop it to at most 8 : 1")
    return image, tuple(line.replace(str(path), "the painting") for line in said)


def _strengthened(recipe: Recipe, factor: float) -> tuple[str, ...]:
    """More noise and larger steps for a bolder change: assignments for `Wishes.set`."""
    if factor == 1:
        return ()
    times = recipe.times
    high, final = (min(0.98, factor * value) for value in (times.maximum, times.final_maximum))
    annealed = (f"times.final_maximum={final:g}",) if times.anneal_steps else ()
    return (f"times.maximum={high:g}", *annealed, f"learning_rate={factor * recipe.learning_rate:g}")


def _command(verb: str, wishes: Wishes, prompt: str, flags: Sequence[str], words: dict[str, str]) -> str:
    said = [part for name, text in words.items() for part in (f"--{name.replace('_', '-')}", text)]
    numbers = ["--seed", str(wishes.seed), "--steps", str(wishes.steps)]
    # --set takes all that follows it up to the next flag, so it stays last.
    shown = ["--prior", noted_prior(wishes.prior), "--prompt", prompt.strip(), *numbers, *said, *flags]
    return shlex.join(["bridge-nerf", verb, *shown])
