"""Making a picture once more, from what it says of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.errors import UserError
from bridge_nerf.images.callbacks import OnStep
from bridge_nerf.images.pictures import note_in
from bridge_nerf.images.run import optimise_images
from bridge_nerf.images.spec import Spec
from bridge_nerf.versions import version_of


def noted_spec(path: Path) -> tuple[Spec, dict[str, Any]]:
    """(specification, everything else that the picture says).

    Raises:
        UserError: It is no picture, or was not made here.
    """
    note = note_in(path)
    if not isinstance(note.get("spec"), dict) or not {"index", "done", "versions"} <= note.keys():
        raise UserError(f"what {path} says of how it was made is damaged; give another PNG")
    return Spec.from_json(json.dumps(note["spec"])), note


def other_versions(note: dict[str, Any]) -> list[str]:
    """Packages that have changed since the picture was made, as in "torch 2.11.0, now 2.12.0"."""
    now = {name: version_of(name) for name in note["versions"]}
    return [f"{name} {then}, now {now[name]}" for name, then in note["versions"].items() if now[name] != then]


def reproduce(path: Path, out: Path, prior: ImagePrior, on_step: OnStep) -> tuple[Path, int | None]:
    """(the picture made again, its largest difference in 8-bit steps; None where it was stopped early).

    A picture of a run that had been stopped is made up to that step.
    """
    spec, note = noted_spec(path)

    def until(progress) -> bool:
        return on_step(progress) is not False and progress.done < note["done"]

    result = optimise_images(spec, out / spec.name, prior, until)
    again = result.pictures[note["index"]]
    if result.done != note["done"]:
        return again, None
    then, now = (np.asarray(Image.open(p).convert("RGB"), dtype=int) for p in (path, again))
    if then.shape != now.shape:
        raise UserError(f"{path} is {then.shape[1]} x {then.shape[0]}, not what its note says; it was edited")
    return again, int(np.abs(then - now).max())
