"""The numbers of an optimisation: what the paper's 2D code used, and what was found on the toybox."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from bridge_nerf.distillation.registry import StageOptions
from bridge_nerf.errors import UserError
from bridge_nerf.flags import NOT_NEGATIVE, SHARE, SIZE, STEPS
from bridge_nerf.priors.registry import is_toybox
from bridge_nerf.schedules import TimestepRange

Task = Literal["image", "paint", "illusion"]
CanvasKind = Literal["latents", "pixels", "network"]

NFSD_NEGATIVE = (
    "unrealistic, blurry, low quality, out of focus, ugly, low contrast, dull, dark, low-resolution, gloomy"
)
"""What nfsd's authors tell its negative branch (Katzir et al. 2023)."""
FLAWS = "oversaturated, smooth, pixelated, cartoon, foggy, hazy, blurry, bad structure, noisy, malformed"
"""The paper's source descriptors."""
RANGES = {
    "steps": STEPS,
    "learning_rate": SIZE,
    "weight_decay": SIZE,
    "rest": SHARE,
    "initial_scale": SIZE,
    "adapter_rate": SIZE,
    "errors_every": NOT_NEGATIVE,
}
"""What the numbers of a `Recipe` may be."""
MOMENTS = ("stage_start", "stage_two_anneal_steps", "negative_anneal_steps")
"""The numbers of `StageOptions` that count training steps."""
ANNEALING = ("final_maximum", "final_minimum", "anneal_begin")
"""The numbers of `TimestepRange` that say how its ends move."""


@dataclass(frozen=True)
class Recipe:
    """Every number and every added word of an optimisation. The defaults are those of the paper's 2D code."""

    steps: int = 1000
    """Steps in all."""
    learning_rate: float = 0.01
    """AdamW's (betas 0.9 and 0.99) on the canvas."""
    weight_decay: float = 0.0
    """AdamW's on the canvas; the authors' release has 0.01, which draws its latents towards zero."""
    rest: float = 1.0
    """Share of the steps after which the learning rate falls linearly to zero; 1 never lowers it."""
    initial_scale: float = 1.0
    """Standard deviation of the noise that the canvas starts from."""
    adapter_rate: float = 1e-4
    """Learning rate of VSD's adapter."""
    target_descriptors: str = "detailed high resolution, high quality, sharp"
    """Added to the prompt to say what the image should be."""
    source_descriptors: str = FLAWS
    """Added to the prompt to say what the image is and should not be."""
    negative_prompt: str = ""
    """The whole text of the slot NEGATIVE, for objectives that have one; empty, the source descriptors."""
    errors_every: int = 0
    """Measure the bridge's two errors every so many steps, for every source there is; 0 is never."""
    stages: StageOptions = field(default_factory=StageOptions)
    """The objective's numbers."""
    times: TimestepRange = field(default_factory=TimestepRange)
    """Which diffusion times are drawn."""

    def __post_init__(self) -> None:
        for name, range_ in RANGES.items():
            if not range_.holds(value := getattr(self, name)):
                raise UserError(f"{name} = {value} is impossible; give {range_}")
        self.stages.check()

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Recipe:
        """What `dataclasses.asdict` made of one."""
        stages, times = StageOptions(**values["stages"]), TimestepRange(**values["times"])
        return cls(**values | {"stages": stages, "times": times})


def recipe_for(prior: str, task: Task, objective: str = "bridge") -> Recipe:
    """The numbers of a preset; else those that suit a prior, by its resolved name, and a task."""
    if objective in PRESETS:
        return PRESETS[objective]
    return (TOYBOX if is_toybox(prior) else PAPER)[task]


def with_steps(recipe: Recipe, steps: int) -> Recipe:
    """The recipe stretched to a number of steps: what happens at a step keeps its share of the run."""

    def stretched(step: int) -> int:
        return round(step * steps / recipe.steps)

    stages = {name: stretched(getattr(recipe.stages, name)) for name in MOMENTS}
    if recipe.stages.stage_start < recipe.steps:  # rounding must not leave a short run without its last stage
        stages["stage_start"] = min(stages["stage_start"], max(steps - 1, 0))
    return replace(
        recipe,
        steps=steps,
        stages=replace(recipe.stages, **stages),
        times=replace(
            recipe.times,
            anneal_begin=stretched(recipe.times.anneal_begin),
            anneal_steps=stretched(recipe.times.anneal_steps),
        ),
    )


def with_numbers(recipe: Recipe, assignments: Iterable[str]) -> Recipe:
    """The recipe with some numbers replaced, each given as "name=value", as in "stages.stage_start=200".

    Raises:
        UserError: No such number, or no such value.
    """
    given: dict[str, dict[str, Any]] = {}
    for assignment in assignments:
        name, _, text = assignment.partition("=")
        if name not in names() or name == assignment:
            raise UserError(
                f"unknown number {assignment!r}; give name=value with one of {', '.join(names())}"
            )
        group, _, key = name.rpartition(".")
        values = given.setdefault(group, {})
        if key in values:
            raise UserError(f"{name} is given twice; leave one of the two out")
        values[key] = _parsed(name, text, getattr(getattr(recipe, group) if group else recipe, key))
    # All of a group at once: what is between two assignments need not make sense.
    parts = {group: replace(getattr(recipe, group), **values) for group, values in given.items() if group}
    return replace(recipe, **parts, **given.get("", {}))


def check_annealing(recipe: Recipe, assignments: Iterable[str]) -> None:
    """Raises UserError for an assignment about an annealing that does not take place."""
    for name in (assignment.partition("=")[0] for assignment in assignments):
        if name.removeprefix("times.") in ANNEALING and not recipe.times.anneal_steps:
            raise UserError(f"--set {name} changes nothing while times.anneal_steps is 0: give that too")


def names() -> list[str]:
    """Every number that `with_numbers` can replace."""
    return [
        f"{name}.{key}" if isinstance(value, dict) else name
        for name, value in asdict(Recipe()).items()
        for key in (value if isinstance(value, dict) else (name,))
    ]


def _parsed(name: str, text: str, like: Any) -> Any:
    kind = float if like is None else type(like)
    try:
        return {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError):
        raise UserError(f"{name} = {text!r} is no {kind.__name__}; its value here is {like!r}") from None


CANVAS: dict[Task, CanvasKind] = {"image": "latents", "paint": "latents", "illusion": "latents"}
"""What is optimised where nothing else is asked for."""

PAPER: dict[Task, Recipe] = {
    "image": Recipe(),
    "paint": Recipe(source_descriptors="painting", stages=StageOptions(stage_start=0)),
    "illusion": Recipe(),
}
"""After the authors' release for Stable Diffusion; its painting task is in stage two from the start."""

# Only the second stage of "bridge" has the descriptors there; other methods have the prompt alone.
_RELEASE = Recipe(weight_decay=0.01, adapter_rate=3e-4, times=TimestepRange(stride=2))
_EVALUATION = Recipe(steps=2500, weight_decay=0.01)
_BARE = {"target_descriptors": "", "source_descriptors": ""}

PRESETS: dict[str, Recipe] = {
    "bridge:release": _RELEASE,
    "sds:release": replace(_RELEASE, **_BARE),
    "nfsd:release": replace(_RELEASE, **_BARE, negative_prompt=NFSD_NEGATIVE),
    "vsd:release": replace(_RELEASE, **_BARE, times=TimestepRange()),
    "bridge:paper-eval": replace(
        _EVALUATION, steps=2800, target_descriptors="", times=TimestepRange(stride=20)
    ),
    "sds:paper-eval": replace(_EVALUATION, **_BARE, initial_scale=0.0),
    "nfsd:paper-eval": replace(_EVALUATION, **_BARE),
    "vsd:paper-eval": replace(_EVALUATION, **_BARE),
    "vsd-bridge:paper-eval": replace(_EVALUATION, **_BARE, steps=801, initial_scale=0.0, adapter_rate=1e-5),
}
"""What `distillation.presets` leaves open: steps, optimiser, words and times as the authors ran them.
docs/objectives.md says what of each is reproduced."""

_TOYBOX = Recipe(
    steps=300,
    learning_rate=0.03,
    rest=0.5,
    # At the paper's 1e-4 it has learned next to nothing in so few steps, and vsd ends in ripples as csd does.
    adapter_rate=3e-3,
    target_descriptors="detailed, high resolution, high quality, sharp",
    stages=StageOptions(
        guidance_scale=5.0,
        stage_start=200,
        stage_two_scale=1.25,
        stage_two_anchor=1.0,
        stage_two_guidance=4.0,
    ),
    times=TimestepRange(0.02, 0.98, 0.5, 200),
)

TOYBOX: dict[Task, Recipe] = {
    "image": _TOYBOX,
    # In stage two from the start; the largest t falls early, so that what the painting shows is not lost.
    "paint": replace(
        _TOYBOX,
        steps=100,
        source_descriptors="painting",
        stages=replace(_TOYBOX.stages, stage_start=0, stage_two_scale=4.0, stage_two_guidance=3.0),
        times=TimestepRange(0.02, 0.7, 0.1, 80),
    ),
    "illusion": _TOYBOX,
}
"""Found by trying on the toybox; those for images on an earlier, weaker prior, but for the adapter's."""
