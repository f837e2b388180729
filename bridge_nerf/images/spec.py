"""What is made: everything that an image depends on, as a value that is stored with it."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bridge_nerf.distillation.registry import PRESETS, stages_for
from bridge_nerf.errors import UserError
from bridge_nerf.images.noting import noted_prior
from bridge_nerf.images.recipe import CanvasKind, Recipe, Task

MOST = 1024
"""Images of one batch."""


@dataclass(frozen=True)
class Subject:
    """One image of a batch: a prompt for each view, and the seed of everything random about it."""

    prompts: tuple[str, ...]
    seed: int


@dataclass(frozen=True)
class Spec:
    """One optimisation: images that are made together, each as if it were alone."""

    subjects: tuple[Subject, ...]
    prior: str
    """Name as noted: "toybox", a hub id, or of a folder "./" and its name."""
    objective: str
    recipe: Recipe
    size: tuple[int, int]
    """(height, width) in pixels."""
    task: Task = "image"
    canvas: CanvasKind = "latents"
    """What is optimised."""
    views: tuple[str, ...] = ("0",)
    """How the image is turned for each of a subject's prompts; see `views`."""
    source: str = ""
    """Name of the image's file to start from, without its folder; empty to start from noise."""
    source_hash: str = ""
    """SHA-256 of that file."""
    weights: str = ""
    """The prior's `fingerprint`: with other weights it is another run."""
    precision: str = ""
    """Of the prior's networks, as in "float32"."""

    def __post_init__(self) -> None:
        check_objective(self.objective, self.recipe, self.task)
        if not self.subjects:
            raise UserError("nothing to make: count must be at least 1")
        if any(len(subject.prompts) != len(self.views) for subject in self.subjects):
            raise UserError(f"every image needs {len(self.views)} prompts, one for each of its views")

    @property
    def weights_known(self) -> bool:
        """Whether `weights` can be compared with a prior's `fingerprint`: earlier versions noted nothing, or
        eight letters of what its network answered."""
        return len(self.weights) not in (0, 8)

    @property
    def digest(self) -> str:
        """Eight letters that differ from any other specification's."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:8]

    @property
    def name(self) -> str:
        """Of the run and its folder."""
        first = self.subjects[0]
        words = slug(" ".join(first.prompts))
        return f"{self.task}-{words}-{slug(self.objective)}-s{first.seed}-{self.digest}"

    def to_json(self) -> str:
        """One line; `from_json` reads it."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Spec:
        """What `to_json` wrote; folders, which earlier versions noted, are left out.

        Raises:
            UserError: It is something else, or of another version.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            if values["objective"] in PRESETS and "weight_decay" not in values["recipe"]:
                raise ValueError(f"the preset {values['objective']} was another run then")
            return cls(
                **values
                | {
                    "subjects": tuple(Subject(tuple(s["prompts"]), s["seed"]) for s in values["subjects"]),
                    "recipe": Recipe.from_dict(values["recipe"]),
                    "size": tuple(values["size"]),
                    "views": tuple(values["views"]),
                    "prior": noted_prior(values["prior"]),
                    "source": Path(values["source"]).name,
                }
            )
        except (ValueError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"what was noted there cannot be read ({reason}): another version wrote it"
            ) from None


def check_objective(objective: str, recipe: Recipe, task: Task) -> None:
    """Raises UserError where there is no such objective, its numbers are impossible, or the task lacks the
    image that it edits."""
    if stages_for(objective, **asdict(recipe.stages)).edits and task != "paint":
        raise UserError(f'"{objective}" edits an image; use it with paint, or choose another objective')


def slug(text: str) -> str:
    """The words of a text, fit for a file's name: at most 48 of [a-z0-9-]."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:48].strip("-") or "untitled"


def subjects_for(prompts: tuple[str, ...], seed: int, count: int) -> tuple[Subject, ...]:
    """`count` subjects with seeds from `seed` on, so that any of them can be made alone.

    Raises:
        UserError: More than a batch can hold.
    """
    if count > MOST:
        raise UserError(f"count = {count} is impossible; give a number from 1 to {MOST}")
    return tuple(Subject(prompts, seed + k) for k in range(count))
