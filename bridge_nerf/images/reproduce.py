"""Reproduction of an image from the note in its PNG."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.errors import Stopped, UserError
from bridge_nerf.images.canvas import CANVASES
from bridge_nerf.images.folder import PACKAGES, Note, read_note
from bridge_nerf.images.generation import OnStep
from bridge_nerf.images.image_files import file_hash, note_in, read_image
from bridge_nerf.images.noting import FOLDER
from bridge_nerf.images.run import optimise_images
from bridge_nerf.images.spec import Spec
from bridge_nerf.priors.plugins import is_external
from bridge_nerf.priors.registry import dtype_of, is_here
from bridge_nerf.versions import version_of


def noted_spec(path: Path) -> tuple[Spec, Note]:
    """The (specification, note) in the metadata of an image.

    Raises:
        UserError: It is not an image, was not made here, or is not of the noted size.
    """
    values = note_in(path)
    if "compare" in values:
        raise UserError(f"{path} shows a comparison; `bridge-nerf compare` makes such images again")
    spec, note = read_note(values, f"what {path} says of how it was made", "give another PNG")
    try:
        dtype_of(spec.precision or "auto")
        CANVASES[spec.config.canvas]  # raises for an unknown one
    except UserError as error:
        raise _not_again(path, error) from None
    image = read_image(path)
    if (image.height, image.width) != spec.size or not note.done:
        raise UserError(f"{path} is {image.width} x {image.height}, not what its note says; it was edited")
    return spec, note


def _not_again(path: Path, error: UserError) -> UserError:
    return UserError(f"{path} cannot be made again: {error}")


def other_versions(note: Note) -> list[str]:
    """The packages that have changed since the image was made, as in "torch 2.11.0, now 2.12.0"."""
    known = {name: (note.versions[name], version_of(name)) for name in PACKAGES if name in note.versions}
    return [f"{name} {then}, now {now}" for name, (then, now) in known.items() if now != then]


def prior_of(path: Path, allow_download: bool = False) -> str:
    """The prior that an image was made with; a folder is looked for beside the file and here.

    Whoever made the file chose it: none is taken whose code would be run, or that would be downloaded
    unasked.

    Raises:
        UserError: It is not there.
    """
    spec, _ = noted_spec(path)
    if spec.prior.startswith(FOLDER):
        found = _located(spec.prior, path, os.path.isdir, f"the prior of {path} was a folder", "--prior")
        return str(found.absolute())
    if is_external(spec.prior):
        raise UserError(
            f'the prior of {path} was "{spec.prior}", a program of another package; if you trust it, give it '
            "with --prior"
        )
    try:
        here = is_here(spec.prior)
    except UserError as error:
        raise UserError(f"the prior of {path} cannot be taken: {error}") from None
    if not (allow_download or here):
        raise UserError(
            f"the prior of {path} was {spec.prior}, which would be downloaded from the hub, mostly some "
            "GB; allow that with --allow-download, or give a prior with --prior"
        )
    return spec.prior


def source_of(path: Path) -> Path | None:
    """The image that an image began with, looked up as its prior is; None where it began with noise.

    Raises:
        UserError: It is not there, or no longer the same.
    """
    spec, _ = noted_spec(path)
    if not spec.source:
        return None

    def same(place: Path) -> bool:
        return os.path.isfile(place) and file_hash(place) == spec.source_hash

    return _located(spec.source, path, same, f"{path} began with the image", "--input")


def _located(noted: str, path: Path, found: Callable[[Path], bool], text: str, flag: str) -> Path:
    # Whatever the name is: those of Path raise for one that no file can have.
    name = Path(noted).name
    for place in (path.parent / name, Path(name)):
        if found(place):
            return place
    raise UserError(f"{text} {name!s:.200}, which is neither beside it nor here; give it with {flag}")


def reproduce(
    path: Path, out: Path, prior: ImagePrior, on_step: OnStep, source: Path | None = None
) -> tuple[Path, int | None]:
    """Make the image again: (its path, its largest difference in 8-bit steps, or None where it was stopped).

    An image of a run that had been stopped is made up to that step.

    Args:
        source: The image that it began with, where it began with one.

    Raises:
        UserError: As for `noted_spec` and `optimise_images`.
    """
    spec, note = noted_spec(path)

    def until(progress) -> bool:
        return on_step(progress) is not False and progress.done < note.done

    try:
        result = optimise_images(spec, out / spec.name, prior, until, source=source)
    except Stopped:
        raise
    except UserError as error:
        raise _not_again(path, error) from None
    again = result.images[note.index]
    if result.done != note.done:
        return again, None
    then, now = (np.asarray(read_image(p), dtype=int) for p in (path, again))
    return again, int(np.abs(then - now).max())
