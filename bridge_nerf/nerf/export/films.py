"""Turntables of a finished object as films, animations and frames."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from nerfstudio.utils import colormaps
from PIL import Image
from torch import Tensor

from bridge_nerf.errors import UserError
from bridge_nerf.files import whole_folder, write_atomic
from bridge_nerf.nerf.engine.turntable import views
from bridge_nerf.nerf.export import Output
from bridge_nerf.nerf.model import BridgeModel
from bridge_nerf.nerf.scene.orbit import Orbit
from bridge_nerf.pixels import FRAMES_PER_SECOND, fitting, png, rounded, video

Frame = UInt8[np.ndarray, "h w c"]
"""RGB, or with straight alpha RGBA."""


def frames(
    model: BridgeModel, orbit: Orbit, resolution: int, output: Output, transparent: bool
) -> Iterator[Frame]:
    """Images of one output from all of the orbit's cameras, in turn.

    Args:
        transparent: With the object's opacity as alpha, instead of before the model's background.

    Raises:
        UserError: A number is not finite.
    """
    for view, distance in zip(views(model, orbit, resolution), orbit.distance.tolist(), strict=True):
        if not torch.isfinite(view[output]).all():
            raise UserError(f"the object's {output} is not finite (NaN); resume from an earlier --load-step")
        image = _colours(view, output, distance)
        if transparent:
            pure = model.get_rgba_image(view)[..., :3] if output == "rgb" else image
            image = torch.cat([pure, view["accumulation"]], -1)
        yield rounded(image.clamp(0, 1))


def _colours(view: dict[str, Tensor], output: Output, distance: float) -> Tensor:
    if output == "accumulation":
        return view[output].expand(-1, -1, 3)
    if output == "depth":  # of the same ball in all frames
        near, far = max(distance - 1, 0.0), distance + 1
        return colormaps.apply_depth_colormap(view[output], view["accumulation"], near, far)
    return view[output]


def _film(images: Iterable[Frame], path: Path) -> Path:
    write_atomic(path, video(images))
    return path


def _animation(images: Iterable[Frame], path: Path) -> Path:
    first, *others = map(Image.fromarray, images)
    data = io.BytesIO()
    first.save(
        data,
        "gif" if path.suffix == ".gif" else "png",
        save_all=True,
        append_images=others,
        duration=1000 / FRAMES_PER_SECOND,
        loop=0,
    )
    write_atomic(path, data.getvalue())
    return path


def _stills(images: Iterable[Frame], path: Path) -> Path:
    with whole_folder(path.with_suffix("")) as folder:
        for k, image in enumerate(images):
            (folder / f"{k:04d}.png").write_bytes(png(image))
    return path.with_suffix("")


Writer = Callable[[Iterable[Frame], Path], Path]
WRITERS: dict[str, Writer] = {"mp4": _film, "gif": _animation, "apng": _animation, "png": _stills}
"""Kind -> what writes it and answers its place; "png" is a folder of frames."""
WITH_ALPHA = ("apng", "png")


def checked(kind: str, size: int, transparent: bool) -> Writer:
    """The writer of a kind of film; UserError where there is none, or it cannot hold such images."""
    if kind not in WRITERS:
        raise UserError(f'--to has "{kind}"; choose from {",".join(WRITERS)}')
    if transparent and kind not in WITH_ALPHA:
        raise UserError(f"--transparent has no effect on {kind}; choose --to {' or '.join(WITH_ALPHA)}")
    if kind == "mp4" and fitting(size, size) != (size, size):
        most = fitting(size, size)[0]
        raise UserError(f"--size {size} is more than mp4 holds; give at most {most}, or --to png")
    return WRITERS[kind]
