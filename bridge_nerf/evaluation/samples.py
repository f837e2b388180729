"""Images to be measured, with what they cost; those that were generated once are kept on disk."""

from __future__ import annotations

import copy
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.errors import UserError
from bridge_nerf.files import write_atomic
from bridge_nerf.images.generation import generate
from bridge_nerf.images.spec import Spec, Subject
from bridge_nerf.reading import read_arrays


@dataclass(frozen=True)
class TableOptions:
    """The extent of a table, and where the images of its rows are kept."""

    count: int
    """Images for each row."""
    batch: int
    """Images generated together."""
    seed: int
    """Seed of a row's first image; the others count on."""
    cache: Path
    """Folder of what was generated."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Images and what they cost together."""

    images: Float[Tensor, "n 3 h w"]
    """RGB in [0, 1]."""
    seconds: float = 0.0
    rows: int = 0
    """Rows that the prior's network answered."""


def generated(
    pattern: Spec,
    prior: ImagePrior,
    subjects: Sequence[Subject],
    options: TableOptions,
    start: Float[Tensor, "n 3 h w"] | None = None,
) -> Samples:
    """The images of all subjects, some together; all else is as in `pattern`. What the cache holds is read.

    Args:
        start: Images to start from, one for each subject; noise by default.
    """
    parts = []
    for k in range(0, len(subjects), options.batch):
        some = slice(k, k + options.batch)
        spec = replace(pattern, subjects=tuple(subjects[some]))
        parts.append(_cached(spec, prior, options.cache, None if start is None else start[some]))
    images = torch.cat([part.images for part in parts])
    return Samples(images, sum(part.seconds for part in parts), sum(part.rows for part in parts))


def _cached(
    spec: Spec, prior: ImagePrior, cache: Path, start: Float[Tensor, "b 3 h w"] | None = None
) -> Samples:
    begun = b"" if start is None else start.numpy().tobytes()
    path = cache / f"{hashlib.sha256(spec.to_json().encode() + begun).hexdigest()[:16]}.npz"
    if not path.exists():
        counting, rows = _counting(prior)
        *_, last = generate([spec], counting, start)
        buffer = io.BytesIO()
        np.savez(buffer, pictures=last.images().numpy(), seconds=last.seconds, rows=sum(rows))
        write_atomic(path, buffer.getvalue())
    cure = "remove it, and its images are made again"
    held = read_arrays(path, {"pictures": ("f", 4), "seconds": ("f", 0), "rows": ("i", 0)}, cure)
    images = torch.from_numpy(held["pictures"]).float()
    if images.shape != (len(spec.subjects), 3, *spec.size) or not 0 <= images.min() <= images.max() <= 1:
        raise UserError(f"{path} does not hold {len(spec.subjects)} images of this run; {cure}")
    return Samples(images, float(held["seconds"]), int(held["rows"]))


def _counting(prior: ImagePrior) -> tuple[ImagePrior, list[int]]:
    """A copy of the prior that shares its networks, and a list to which each call adds its rows."""
    counting: Any = copy.copy(prior)
    rows: list[int] = []

    def eps(x_t: Tensor, *given: Any) -> Tensor:
        rows.append(len(x_t))
        return prior.eps(x_t, *given)

    counting.eps = eps
    return counting, rows
