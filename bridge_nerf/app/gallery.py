"""Maker of the gallery of scenes from finished runs of `ns-train`:

    bridge-nerf export RUN --resolution 128 --faces 5000 --texture 256  # for a small mesh, of each
    python -m bridge_nerf.app.gallery outputs/*/bridge-distill*/*

Reads turntable.mp4, commands.txt and, where there is one, mesh.glb, mesh.obj or mesh.ply of each run.
"""

from __future__ import annotations

import io
import itertools
import shlex
import shutil
import sys
from collections.abc import Container
from pathlib import Path

import numpy as np
import tyro
from jaxtyping import UInt8
from PIL import Image

from bridge_nerf.app.scenes import MANIFEST, Scene, write_scenes
from bridge_nerf.errors import UserError, first_line
from bridge_nerf.files import write_atomic
from bridge_nerf.images.noting import noted_prior
from bridge_nerf.images.spec import slug
from bridge_nerf.pixels import video
from bridge_nerf.reading import read_bytes, read_text

MAX_BYTES = 300_000
"""Maximum size of a file: the gallery is part of the repository."""
MAX_FILM_BYTES = 2**28
"""Maximum size of a turntable's file."""
MAX_FRAMES_BYTES = 2**31
"""Maximum size of its frames in memory."""
SIDES = (256, 192, 128)
"""Pixels a side to try, from the largest, until the video is small enough."""
MESHES = ("mesh.glb", "mesh.obj", "mesh.ply")


def make(runs: tyro.conf.Positional[tuple[Path, ...]], out: Path = Path("assets/scenes")) -> None:
    """Make the gallery anew from these runs, in this order.

    Args:
        runs: Folders of finished runs.
        out: Folder of the gallery; what it held before is replaced, once all is made.

    Raises:
        UserError: A folder does not hold a finished run, a file would be too large, or `out` holds something
            else than a gallery.
    """
    if out.exists() and not (out / MANIFEST).is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"{out} is there and not a gallery, which has a {MANIFEST}; give another folder")
    files: dict[str, bytes] = {}
    scenes = [_scene(run, files) for run in runs]
    shutil.rmtree(out, ignore_errors=True)
    for name, data in files.items():
        write_atomic(out / name, data)
    write_scenes(out, scenes)
    print(f"{out}: {len(scenes)} scenes")


def _scene(run: Path, files: dict[str, bytes]) -> Scene:
    """The scene of a run, whose files are added to the others by name."""
    words = _command(run)
    prompt = words[words.index("--prompt") + 1]
    stem = _unused_name(files, slug(prompt))
    frames = _frames(run)
    poster = io.BytesIO()
    Image.fromarray(_resized(frames[:1], SIDES[0])[0]).save(poster, "webp", quality=85)
    files |= {f"{stem}.mp4": _small_video(frames, run), f"{stem}.webp": poster.getvalue()}
    model = ""
    for mesh in (run / name for name in MESHES if (run / name).exists()):
        model = f"{stem}{mesh.suffix}"
        files[model] = read_bytes(mesh, MAX_BYTES)
    return Scene(prompt, shlex.join(words), f"{stem}.mp4", f"{stem}.webp", model)


def _command(run: Path) -> list[str]:
    """The words of the command that resumes the run, without the flags that say where it stands and how it is
    watched.
    """
    path = run / "commands.txt"
    if not path.exists():
        raise UserError(f"{run} is not a run of ns-train: it lacks {path.name}; give finished runs")
    try:
        lines = [shlex.split(line) for line in read_text(path).splitlines()]
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} holds a line that is no command ({error}); give another run") from None
    resumes = [words[1:] for words in lines if words[:2] == ["resume", "ns-train"]]
    if not resumes:
        raise UserError(f'{path} has no line "resume ns-train ..."; give a finished run')
    words = resumes[0]
    for flag in ("--load-dir", "--load-step", "--output-dir", "--vis"):
        if flag in words:
            del words[words.index(flag) : words.index(flag) + 2]
    if "--prompt" not in words[:-1]:
        raise UserError(f"{path} has a command without a prompt; give another run")
    if "--pipeline.prior" in words[:-1]:
        value = words.index("--pipeline.prior") + 1
        words[value] = noted_prior(words[value])
    return words


def _frames(run: Path) -> UInt8[np.ndarray, "b h w 3"]:
    import av

    path = run / "turntable.mp4"
    if not path.exists():
        raise UserError(f"{run} is not finished: there is no {path.name}; resume it, or leave it out")
    frames, size = [], 0
    try:
        # As MP4 and nothing else: other formats are lists of further files.
        with av.open(io.BytesIO(read_bytes(path, MAX_FILM_BYTES)), "r", format="mp4") as film:
            for frame in film.decode(video=0):
                size += 3 * frame.width * frame.height
                if size > MAX_FRAMES_BYTES:
                    raise UserError(f"{path} is too long or too large; render fewer or smaller frames")
                frames.append(frame.to_ndarray(format="rgb24"))
        return np.stack(frames)
    except (av.FFmpegError, ValueError, IndexError) as error:  # ValueError: no frames, or of several sizes
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is no film that can be read ({first_line(error)}); render it anew") from None


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


def _unused_name(files: Container[str], stem: str) -> str:
    """The stem, numbered where a scene has that name already."""
    names = itertools.chain([stem], (f"{stem}-{k}" for k in itertools.count(2)))
    return next(name for name in names if f"{name}.mp4" not in files)


if __name__ == "__main__":
    try:
        tyro.cli(make)
    except UserError as error:
        sys.exit(f"gallery: {error}")
