"""Requests for images: checked, and turned into specifications and the command that makes the same.

The app's API is checked here as well: widgets bound what people enter, programs may send anything.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.distillation.registry import objectives_from_noise
from bridge_nerf.distillation.requested import ConfiguredObjective
from bridge_nerf.errors import UserError, printable
from bridge_nerf.guidance.config import PriorConfig
from bridge_nerf.images.config import ImageConfig, Task
from bridge_nerf.images.defaults import default_config
from bridge_nerf.images.image_files import read_image, to_tensor
from bridge_nerf.images.noting import noted_prior
from bridge_nerf.images.options import ImageOptions
from bridge_nerf.images.spec import Spec, slug, subjects_for
from bridge_nerf.priors.registry import kind_of

STEPS_RANGE = (10, 1000)
GUIDANCE_RANGE = (0.0, 100.0)
SEED_RANGE = (0, 2**31 - 1)
COMPARED_RANGE = (2, 4)
"""Fewest and most objectives of a comparison."""
DEFAULT_GUIDANCE = 40.0
"""Guidance on the slider for a prior whose numbers leave it to the objective."""
MAX_PROMPT_CHARS = 300
MAX_PIXELS = 20_000_000
"""Maximum size of a painting: lower than elsewhere, because visitors share the app's memory."""
MAX_UPLOAD_BYTES = 10 * 2**20
"""Maximum size of an uploaded file."""

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
"""Label -> factor on the times and the learning rate."""
BALANCED = "balanced"


@dataclass(frozen=True, eq=False)
class ImageRequest:
    """Images to be made together, from one start.

    Args:
        specs: One for each image.
        command: The command that makes the same at a terminal.
        start: The image that all start from; None for noise.
        notes: Warnings about how that image was read, a line each.
    """

    specs: tuple[Spec, ...]
    command: str
    start: Float[Tensor, "1 3 h w"] | None = None
    notes: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """A text that is equal for requests whose results are equal."""
        return " ".join(spec.digest for spec in self.specs)

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of the objectives, in the order of the images."""
        return tuple(spec.objective for spec in self.specs)

    @property
    def stem(self) -> str:
        """The beginning of the files' names."""
        first = self.specs[0].subjects[0]
        return f"{slug(' '.join(first.prompts))}-s{first.seed}"


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
) -> ImageRequest:
    """A request for one image from a prompt. `name` is the prior's; `target` and `source` are descriptors.
    Boxes that a visitor has emptied come as None.

    Raises:
        UserError: Something is out of range, too long, or unknown to the prior.
    """
    config, flags = default_config(kind_of(name)[0], "image"), _steps(steps)
    words = _descriptors(prior, config, target, source)
    check_choice("objective", objective, objectives_from_noise())
    if not ConfiguredObjective(objective).depends_on("source_descriptors"):
        words = {key: text for key, text in words.items() if text}  # an emptied box requests nothing of it
    flags |= words
    scale = number("guidance", guidance, GUIDANCE_RANGE)
    # The slider has a value whatever the objective: where it stands by itself is not a request.
    guided = ConfiguredObjective(objective).depends_on("guidance_scale")
    if guided or scale != (config.guidance.objective.guidance_scale or DEFAULT_GUIDANCE):
        flags["guidance-scale"] = float(scale)
    options = _options(name, seed, flags)
    spec = _spec(options, prior, "image", objective, prompt or "")
    return ImageRequest((spec,), _command("image", options, prompt or "", "--objective", objective))


def painting_to_real(
    name: str,
    prior: ImagePrior,
    painting: Path | None,
    prompt: str | None,
    strength: str = BALANCED,
    seed: float | None = 0,
    steps: float | None = 100,
    source: str | None = None,
) -> ImageRequest:
    """A request for an image that starts from a painting.

    Raises:
        UserError: Something is out of range, too long, or unknown to the prior; or the file is not an image
            that can be read.
    """
    prompt = prompt or ""
    if painting is None:
        raise UserError("there is no painting yet; upload or paste one, or pick an example")
    check_choice("strength", strength, STRENGTHS)
    image, notes = _painting(painting)
    config = default_config(kind_of(name)[0], "paint")
    changes = _strengthened(config, STRENGTHS[strength])
    options = _options(name, seed, _steps(steps) | _descriptors(prior, config, None, source) | changes)
    spec = _spec(options, prior, "paint", "bridge", prompt, painting)
    start = to_tensor(image, spec.size)[None]
    return ImageRequest((spec,), _command("paint", options, prompt, "--input", painting.name), start, notes)


def compare(
    name: str,
    prior: ImagePrior,
    prompt: str | None,
    objectives: Sequence[str] | None,
    seed: float | None = 0,
    steps: float | None = 150,
) -> ImageRequest:
    """A request for an image for each objective, all with the same start, times and noise.

    Raises:
        UserError: Something is out of range, too long, or unknown to the prior; or there are too few or too
            many objectives.
    """
    for objective in objectives or ():
        check_choice("objective", objective, objectives_from_noise())
    prompt, names = prompt or "", tuple(dict.fromkeys(objectives or ()))
    least, most = COMPARED_RANGE
    if not least <= len(names) <= most:
        raise UserError(f"{len(names)} objectives cannot be compared; choose {least} to {most}")
    options = _options(name, seed, _steps(steps))
    specs = tuple(_spec(options, prior, "image", objective, prompt) for objective in names)
    return ImageRequest(specs, _command("compare", options, prompt, "--objectives", ",".join(names)))


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Raise UserError for what is not among the choices; programs send anything, also what has no hash."""
    known = list(choices)
    if value not in known:
        raise UserError(f"unknown {name} {value!r}; choose one of: {'; '.join(known)}")


def integer(name: str, value: float | None, limits: tuple[int, int]) -> int:
    """The value, rounded; UserError outside of the limits, which are included."""
    return round(number(name, value, limits))


def number(name: str, value: float | None, limits: tuple[float, float]) -> float:
    """The value; UserError where it is missing (an emptied box), not finite, or outside of the limits."""
    low, high = limits
    if not isinstance(value, int | float):
        raise UserError(f"{name} is {value!r}, not a number; give {low:g} to {high:.10g}")
    if not (math.isfinite(value) and low <= value <= high):
        raise UserError(f"{name} = {value:g} is out of range; give {low:g} to {high:.10g}")
    return value


def _steps(steps: float | None) -> dict[str, Any]:
    return {"steps": integer("steps", steps, STEPS_RANGE)}


def _options(name: str, seed: float | None, overrides: dict[str, Any]) -> ImageOptions:
    prior = PriorConfig(name)
    return ImageOptions(prior=prior, seed=integer("seed", seed, SEED_RANGE), overrides=overrides)


def _spec(
    options: ImageOptions,
    prior: ImagePrior,
    task: Task,
    objective: str,
    prompt: str,
    source: Path | None = None,
) -> Spec:
    _check_length("the prompt", prompt)
    try:
        options.check({task: [objective]}, [prompt])
    except UserError as error:
        raise UserError(_labelled(str(error))) from None
    prior.check_prompts([prompt])
    subjects = subjects_for((prompt.strip(),), options.seed, 1)
    return options.spec(options.prior.name, prior, task, objective, subjects, source=source)


def _labelled(message: str) -> str:
    """The message with the labels of the page in place of flags."""
    for flag, label in LABELS.items():
        message = message.replace(flag, label)
    return message


def _descriptors(
    prior: ImagePrior, config: ImageConfig, target: str | None, source: str | None
) -> dict[str, Any]:
    """The descriptors that differ from the configuration's, by flag."""
    usual = config.guidance.prompts
    texts = {
        "target-descriptors": (target, usual.target_descriptors),
        "source-descriptors": (source, usual.source_descriptors),
    }
    changed = {}
    for flag, (text, own) in texts.items():
        if text is not None:
            _check_length(f"the text of {flag.replace('-', ' ')}", text.strip())
            if text.strip() != own:
                changed[flag] = text.strip()
    prior.check_prompts([text for text in changed.values() if text])
    return changed


def _check_length(what: str, text: str) -> None:
    if len(text) > MAX_PROMPT_CHARS:
        raise UserError(f"{what} has {len(text)} characters; use at most {MAX_PROMPT_CHARS}")


def _painting(path: Path) -> tuple[Image.Image, tuple[str, ...]]:
    """(image, notes on how it was read); messages say "the painting", not where the server keeps it."""
    if not path.is_file():
        raise UserError("the painting is gone: uploads are kept for a while only; upload it again")
    if path.stat().st_size > MAX_UPLOAD_BYTES:
        raise UserError(
            f"the painting's file is too large; give one of at most {MAX_UPLOAD_BYTES // 2**20} MB"
        )
    notes: list[str] = []
    try:
        image = read_image(path, MAX_PIXELS, notes.append)
    except UserError as error:
        raise UserError(str(error).replace(printable(path), "the painting")) from None
    if max(image.size) > 8 * min(image.size):
        raise UserError(f"the painting is {image.width} x {image.height}; crop it to at most 8 : 1")
    return image, tuple(line.replace(str(path), "the painting") for line in notes)


def _strengthened(config: ImageConfig, factor: float) -> dict[str, float]:
    """More noise and larger steps for a bolder change, by flag."""
    if factor == 1:
        return {}
    times = config.guidance.times
    ends = {"times.maximum": times.maximum}
    if times.anneal_steps:
        ends["times.final-maximum"] = times.final_maximum
    rounded = {flag: float(f"{min(0.98, factor * value):g}") for flag, value in ends.items()}
    return rounded | {"learning-rate": float(f"{factor * config.learning_rate:g}")}


def _command(verb: str, options: ImageOptions, prompt: str, *flags: str) -> str:
    """The command line that makes the same."""
    given = [part for flag, value in options.requested().items() for part in (f"--{flag}", str(value))]
    prior = noted_prior(options.prior.name)
    words = ["--prior", prior, "--prompt", prompt.strip(), "--seed", str(options.seed), *given, *flags]
    return shlex.join(["bridge-nerf", verb, *words])
