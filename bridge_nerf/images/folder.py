"""The folder of a run: the note in it, and the recognition of a run that an earlier call began."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bridge_nerf.errors import UserError
from bridge_nerf.files import write_atomic
from bridge_nerf.images.image_files import note_in, say_once
from bridge_nerf.images.noting import noted_command
from bridge_nerf.images.spec import Spec
from bridge_nerf.reading import checked, read_json
from bridge_nerf.versions import version_of

PACKAGES = ("bridge_nerf", "torch", "lightning", "diffusers")


@dataclass(frozen=True)
class Result:
    """The files that a run has left in its folder."""

    folder: Path
    images: tuple[Path, ...]
    """One PNG for each subject."""
    done: int
    """Steps made."""
    finished: bool


def provenance(spec: Spec, done: int) -> dict[str, Any]:
    """A note on how something was made: specification, steps made, versions, command."""
    return {
        "spec": json.loads(spec.to_json()),
        "done": done,
        "versions": {name: version_of(name) for name in PACKAGES},
        "command": noted_command(sys.argv[1:]),
    }


@dataclass(frozen=True)
class Note:
    """What run.json says, and with the numbers of the image in it a PNG; `provenance` makes them."""

    spec: dict[str, Any]
    done: int
    versions: dict[str, str]
    command: str = ""
    prompt: str = ""
    seed: int = 0
    index: int = 0


def read_note(values: Mapping[str, Any], where: str, cure: str) -> tuple[Spec, Note]:
    """The specification in a note, and the note.

    Args:
        where: Whose note it is, for messages.
        cure: What the user can do, as the end of a sentence.

    Raises:
        UserError: It is something else, or of another version.
    """
    note = checked(Note, values, where, cure)
    spec = Spec.from_dict(note.spec, where, cure)
    if not (0 <= note.done <= spec.config.steps and 0 <= note.index < len(spec.subjects)):
        raise UserError(
            f"{where} cannot be read (step {note.done} of {spec.config.steps}, image {note.index} of "
            f"{len(spec.subjects)}); {cure}"
        )
    return spec, note


def note(spec: Spec, folder: Path, done: int) -> None:
    """Write run.json: the specification that is optimised in the folder, and the steps made so far."""
    write_atomic(folder / "run.json", json.dumps(provenance(spec, done), indent=1).encode())


def names(spec: Spec, folder: Path) -> tuple[Path, ...]:
    """The paths of the images, one for each subject."""
    same = len({subject.prompts for subject in spec.subjects}) == 1
    return tuple(
        folder / (f"picture-s{subject.seed}.png" if same else f"picture-{k:03d}.png")
        for k, subject in enumerate(spec.subjects)
    )


def earlier(spec: Spec, folder: Path) -> tuple[Spec, Result | None]:
    """Recognise the run in a folder: (the specification as noted there, the result of an earlier call), or
    (`spec`, None) where the folder is empty or not there.

    Raises:
        UserError: It holds something else.
    """
    path = folder / "run.json"
    if not path.exists():
        if folder.exists() and any(folder.iterdir()):
            raise UserError(f"{folder} holds something else; choose another --out")
        return spec, None
    cure = "choose another --out, or remove the folder"
    begun, noted = read_note(read_json(path, dict[str, Any], cure), str(path), cure)
    if not _goes_on(spec, begun, folder):
        raise UserError(f"{folder} holds another run; choose another --out")
    images, done = names(begun, folder), noted.done
    finished = done == begun.config.steps and all(image.is_file() for image in images)
    return begun, Result(folder, images, done, finished)


def folder_of(spec: Spec, out: Path) -> Path:
    """The run's folder in `out`, also where an earlier version gave it another name."""
    folder = out / spec.name
    if folder.exists():
        return folder
    name_alone = spec.name.removesuffix(spec.digest)
    for other in sorted(out.glob(f"{name_alone}????????")):
        if (begun := _noted(other)) is not None and _goes_on(spec, begun, other):
            return other
    return folder


def _goes_on(spec: Spec, begun: Spec, folder: Path) -> bool:
    """True where the run in the folder is this one; a line says so where the weights cannot be compared."""
    if begun == spec:
        return True
    if begun.weights_known or replace(begun, weights=spec.weights) != spec:
        return False
    say_once(
        f"{folder.parent}: goes on with what an earlier version began, which noted the prior's weights in "
        "another way; if they have changed since then, give another --out"
    )
    return True


def _noted(folder: Path) -> Spec | None:
    """The specification in the folder of a run, or of an item of a batch; None where there is none."""
    run, image = folder / "run.json", folder / "picture.png"
    with suppress(UserError):
        said = read_json(run, dict[str, Any], "") if run.exists() else note_in(image)
        return read_note(said, str(folder), "")[0]
    return None
