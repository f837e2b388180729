"""Specification of a run: everything that an image depends on, as a value that is stored with it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bridge_nerf.distillation.presets import PRESETS
from bridge_nerf.errors import UserError, first_line
from bridge_nerf.flags import SEED, Range, check_flags
from bridge_nerf.images.config import ImageConfig, Task
from bridge_nerf.images.image_files import MAX_SIDE
from bridge_nerf.images.noting import noted_prior
from bridge_nerf.images.transforms import IDENTITY, TRANSFORMS
from bridge_nerf.reading import checked, parsed

MAX_BATCH = 1024
"""Images of one batch."""
MAX_TOTAL = 2**28
"""Pixels of all images of one batch together."""
ANOTHER_VERSION = "another version wrote it"


@dataclass(frozen=True)
class Subject:
    """One image of a batch: a prompt for each transform, and the seed of everything random about it."""

    prompts: tuple[str, ...]
    seed: int


@dataclass(frozen=True)
class Spec:
    """One optimisation: images that are made together, each as if it were alone."""

    subjects: tuple[Subject, ...]
    prior: str
    """Name as noted: "toybox", a hub id, or of a folder "./" and its name."""
    objective: str
    config: ImageConfig
    size: tuple[int, int]
    """(height, width) in pixels."""
    task: Task = "image"
    transforms: tuple[str, ...] = (IDENTITY,)
    """The transform under which each of a subject's prompts is read; see `transforms`."""
    source: str = ""
    """Name of the image's file to start from, without its folder; empty to start from noise."""
    source_hash: str = ""
    """SHA-256 of that file."""
    weights: str = ""
    """The prior's `fingerprint`: with other weights it is another run."""
    precision: str = ""
    """Precision of the prior's networks, as in "float32"."""

    def __post_init__(self) -> None:
        """Raises UserError for what is impossible, or what the task or the prompts do not fit."""
        check_flags(self.config)
        if self.config.guidance.stages(self.objective).edits and self.task != "paint":
            raise UserError(
                f'"{self.objective}" edits an image; use it with paint, or choose another objective'
            )
        if not self.subjects:
            raise UserError("nothing to make: count must be at least 1")
        if any(len(subject.prompts) != len(self.transforms) for subject in self.subjects):
            raise UserError(f"every image needs {len(self.transforms)} prompts, one for each transform")
        if unknown := [name for name in self.transforms if name not in TRANSFORMS]:
            raise UserError(f"unknown transform {unknown[0]!r}; choose one of {', '.join(TRANSFORMS)}")
        if odd := [subject.seed for subject in self.subjects if not SEED.holds(subject.seed)]:
            raise UserError(f"seed {odd[0]} makes no sense; give {SEED}")
        self._check_size()

    def _check_size(self) -> None:
        (height, width), count, sides = self.size, len(self.subjects), Range(1, MAX_SIDE)
        if not (sides.holds(height) and sides.holds(width)):
            raise UserError(f"size {width} x {height} makes no sense; give {sides} pixels a side")
        if count > MAX_BATCH or count * height * width > MAX_TOTAL:
            raise UserError(
                f"{count} images of {width} x {height} pixels are too many at once; make at most "
                f"{MAX_BATCH}, of {MAX_TOTAL:_} pixels together"
            )

    @property
    def weights_known(self) -> bool:
        """True where `weights` can be compared with a `fingerprint`: earlier versions noted nothing, or
        eight letters of what its network answered."""
        return len(self.weights) not in (0, 8)

    @property
    def digest(self) -> str:
        """Eight letters that differ from any other specification's."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:8]

    @property
    def name(self) -> str:
        """Name of the run and of its folder."""
        first = self.subjects[0]
        words = slug(" ".join(first.prompts))
        return f"{self.task}-{words}-{slug(self.objective)}-s{first.seed}-{self.digest}"

    def to_json(self) -> str:
        """One line; `from_json` reads it."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Spec:
        """The specification that `to_json` wrote; see `from_dict`.

        Raises:
            UserError: It is something else, or of another version.
        """
        where = "what was noted there"
        return cls.from_dict(parsed(dict[str, Any], text, where, ANOTHER_VERSION), where)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str, cure: str = ANOTHER_VERSION) -> Spec:
        """The specification that `asdict` made the values of, also of earlier versions.

        Args:
            where: Whose values they are, for messages.
            cure: What the user can do, as the end of a sentence.

        Raises:
            UserError: They are something else, or of another version.
        """
        if "recipe" in values:
            try:
                values = _upgraded(values)
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(f"{where} cannot be read ({first_line(error)}); {cure}") from None
        spec = checked(cls, values, where, cure)
        return replace(spec, prior=noted_prior(spec.prior), source=Path(spec.source).name)


def _upgraded(values: Mapping[str, Any]) -> dict[str, Any]:
    """A note of a version before 0.2 in the form of today's."""
    recipe = dict(values["recipe"])
    if values["objective"] in PRESETS and "weight_decay" not in recipe:
        raise ValueError(f"the preset {values['objective']} was another run then")
    words = ("target_descriptors", "source_descriptors", "negative_prompt")
    guidance = {
        "prompts": {name: recipe.pop(name) for name in words},
        "objective": recipe.pop("stages"),
        "times": recipe.pop("times"),
        "errors_every": recipe.pop("errors_every", 0),
    }
    config = {"guidance": guidance, "canvas": values["canvas"], "decay_start": recipe.pop("rest"), **recipe}
    others = {name: value for name, value in values.items() if name not in ("recipe", "canvas", "views")}
    return {**others, "config": config, "transforms": values["views"]}


def slug(text: str) -> str:
    """The words of a text, fit for a file's name: at most 48 of [a-z0-9-]."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:48].strip("-") or "untitled"


def subjects_for(prompts: tuple[str, ...], seed: int, count: int) -> tuple[Subject, ...]:
    """`count` subjects with seeds from `seed` on, so that any of them can be made alone.

    Raises:
        UserError: More than a batch can hold.
    """
    if count > MAX_BATCH:
        raise UserError(f"count = {count} is impossible; give a number from 1 to {MAX_BATCH}")
    return tuple(Subject(prompts, seed + k) for k in range(count))
