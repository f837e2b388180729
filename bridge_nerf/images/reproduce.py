"""Reproduction of an image from the note in its PNG."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.errors import UserError
from bridge_nerf.images.generation import OnStep
from bridge_nerf.images.image_files import file_hash, note_in, read_image
from bridge_nerf.images.noting import FOLDER
from bridge_nerf.images.run import optimise_images
from bridge_nerf.images.spec import Spec
from bridge_nerf.versions import version_of


def noted_spec(path: Path) -> tuple[Spec, dict[str, Any]]:
    """The (specification, note) in the metadata of an image.

    Raises:
        UserError: It is not an image, or was not made here.
    """
    note = note_in(path)
    if not isinstance(note.get("spec"), dict) or not {"index", "done", "versions"} <= note.keys():
        raise UserError(f"what {path} says of how it was made is damaged; give another PNG")
    return Spec.from_json(json.dumps(note["spec"])), note


def other_versions(note: dict[str, Any]) -> list[str]:
    """The packages that have changed since the image was made, as in "torch 2.11.0, now 2.12.0"."""
    now = {name: version_of(name) for name in note["versions"]}
    return [f"{name} {then}, now {now[name]}" for name, then in note["versions"].items() if now[name] != then]


def prior_of(path: Path) -> str:
    """The prior that an image was made with; a folder is looked up where it was, beside the file and here.

    Raises:
        UserError: It is not there.
    """
    spec, note = noted_spec(path)
    if not spec.prior.startswith(FOLDER):
        return spec.prior
    text = f"the prior of {path} was a folder"
    return str(_located(note["spec"]["prior"], path, Path.is_dir, text, "--prior").absolute())


def source_of(path: Path) -> Path | None:
    """The image that an image began with, looked up as its prior is; None where it began with noise.

    Raises:
        UserError: It is not there, or no longer the same.
    """
    spec, note = noted_spec(path)
    if not spec.source:
        return None

    def same(place: Path) -> bool:
        return place.is_file() and file_hash(place) == spec.source_hash

    return _located(note["spec"]["source"], path, same, f"{path} began with the image", "--input")


def _located(noted: str, path: Path, found: Callable[[Path], bool], text: str, flag: str) -> Path:
    name = Path(noted).name
    for place in (Path(noted), path.parent / name, Path(name)):  # earlier versions noted its folder too
        if found(place):
            return place
    raise UserError(f"{text} {name}, which is neither beside it nor here; give it with {flag}")


def reproduce(
    path: Path, out: Path, prior: ImagePrior, on_step: OnStep, source: Path | None = None
) -> tuple[Path, int | None]:
    """Make the image again: (its path, its largest difference in 8-bit steps, or None where it was stopped).

    An image of a run that had been stopped is made up to that step.

    Args:
        source: The image that it began with, where it began with one.

    Raises:
        UserError: The image is not of the noted size, or `optimise_images` raises.
    """
    spec, note = noted_spec(path)

    def until(progress) -> bool:
        return on_step(progress) is not False and progress.done < note["done"]

    result = optimise_images(spec, out / spec.name, prior, until, source=source)
    again = result.images[note["index"]]
    if result.done != note["done"]:
        return again, None
    then, now = (np.asarray(read_image(p), dtype=int) for p in (path, again))
    if then.shape != now.shape:
        raise UserError(f"{path} is {then.shape[1]} x {then.shape[0]}, not what its note says; it was edited")
    return again, int(np.abs(then - now).max())
