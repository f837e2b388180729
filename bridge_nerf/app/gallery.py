"""Maker of the gallery of scenes from finished runs of `ns-train`:

    python -m bridge_nerf.app.gallery outputs/*/bridge-distill*/*

Reads turntable.mp4, commands.txt and, where there is one, mesh.glb, mesh.obj or mesh.ply of each run.
"""

from __future__ import annotations

import io
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tyro
from jaxtyping import UInt8
from PIL import Image

from bridge_nerf.app.scenes import Scene, write_scenes
from bridge_nerf.errors import UserError
from bridge_nerf.files import write_atomic
from bridge_nerf.images.noting import noted_prior
from bridge_nerf.images.spec import slug
from bridge_nerf.pixels import video
from bridge_nerf.reading import read_text

MAX_BYTES = 300_000
"""Maximum size of a file: the gallery is part of the repository."""
SIDES = (256, 192, 128)
"""Pixels a side to try, from the largest, until the video is small enough."""
MESHES = ("mesh.glb", "mesh.obj", "mesh.ply")


def make(runs: tyro.conf.Positional[tuple[Path, ...]], out: Path = Path("assets/scenes")) -> None:
    """Make the gallery anew from these runs, in this order.

    Args:
        runs: Folders of finished runs.
        out: Folder of the gallery; what it held before is replaced.

    Raises:
        UserError: A folder does not hold a finished run, or a file would be too large.
    """
    found = [(run, _command(run), _frames(run)) for run in runs]
    shutil.rmtree(out, ignore_errors=True)
    scenes = [_scene(run, command, frames, out) for run, command, frames in found]
    write_scenes(out, scenes)
    print(f"{out}: {len(scenes)} scenes")


def _scene(run: Path, command: str, frames: UInt8[np.ndarray, "b h w 3"], out: Path) -> Scene:
    words = shlex.split(command)
    prompt = words[words.index("--prompt") + 1]
    stem = _unused_name(out, slug(prompt))
    write_atomic(out / f"{stem}.mp4", _small_video(frames, run))
    poster = io.BytesIO()
    Image.fromarray(_resized(frames[:1], SIDES[0])[0]).save(poster, "webp", quality=85)
    write_atomic(out / f"{stem}.webp", poster.getvalue())
    model = ""
    for mesh in (run / name for name in MESHES if (run / name).is_file()):
        if mesh.stat().st_size > MAX_BYTES:
            raise UserError(f"{mesh} has {mesh.stat().st_size} bytes; give a mesh of at most {MAX_BYTES}")
        model = f"{stem}{mesh.suffix}"
        shutil.copy(mesh, out / model)
    return Scene(prompt, command, f"{stem}.mp4", f"{stem}.webp", model)


def _command(run: Path) -> str:
    """The command of the run: that which resumes it, without the flags that say where it stands."""
    path = run / "commands.txt"
    if not path.is_file():
        raise UserError(f"{run} is not a run of ns-train: it lacks {path.name}; give finished runs")
    lines = [shlex.split(line) for line in read_text(path).splitlines()]
    resumes = [words[1:] for words in lines if words[:2] == ["resume", "ns-train"]]
    if not resumes:
        raise UserError(f'{path} has no line "resume ns-train ..."; give a finished run')
    words = resumes[0]
    for flag in ("--load-dir", "--load-step", "--output-dir"):
        if flag in words:
            del words[words.index(flag) : words.index(flag) + 2]
    if "--pipeline.prior" in words:
        value = words.index("--pipeline.prior") + 1
        words[value] = noted_prior(words[value])
    return shlex.join(words)


def _frames(run: Path) -> UInt8[np.ndarray, "b h w 3"]:
    import av

    path = run / "turntable.mp4"
    if not path.is_file():
        raise UserError(f"{run} is not finished: there is no {path.name}; resume it, or leave it out")
    with av.open(str(path)) as film:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)])


def _small_video(frames: UInt8[np.ndarray, "b h w 3"], run: Path) -> bytes:
    for side in SIDES:
        encoded = video(_resized(frames, side))
        if len(encoded) <= MAX_BYTES:
            return encoded
    raise UserError(f"the turntable of {run} does not fit into {MAX_BYTES} bytes; render fewer frames")


def _resized(frames: UInt8[np.ndarray, "b h w 3"], side: int) -> UInt8[np.ndarray, "b hh ww 3"]:
    return np.stack(
        [np.asarray(Image.fromarray(f).resize((side, side), Image.Resampling.BICUBIC)) for f in frames]
    )


def _unused_name(out: Path, stem: str) -> str:
    """The stem, numbered where a scene has that name already."""
    names: Sequence[str] = [stem, *(f"{stem}-{k}" for k in range(2, 1000))]
    return next(name for name in names if not (out / f"{name}.mp4").exists())


if __name__ == "__main__":
    tyro.cli(make)
