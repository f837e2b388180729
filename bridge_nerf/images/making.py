"""Images without a run's folder: for measurements, which keep what they have made."""

from __future__ import annotations

import hashlib
import io
import time
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bridge_nerf.distillation.prior import Condition, ImagePrior
from bridge_nerf.files import write_atomic
from bridge_nerf.images.module import ImageModule, stream
from bridge_nerf.images.spec import Spec


class Counted:
    """A prior that counts the rows its network answers; all else is the prior's."""

    def __init__(self, prior: ImagePrior) -> None:
        # In its own dictionary, not by __getattr__: protocols are checked without asking for attributes.
        vars(self).update(vars(prior))
        self.embed, self.check_prompts = prior.embed, prior.check_prompts
        self.encode, self.decode = prior.encode, prior.decode
        self.prior, self.rows = prior, 0

    def eps(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """As the prior's."""
        self.rows += len(x_t)
        return self.prior.eps(x_t, t, condition)


def made(
    spec: Spec, prior: ImagePrior, folder: Path, start: Float[Tensor, "b 3 h w"] | None = None
) -> tuple[Float[Tensor, "b 3 h w"], float, int]:
    """(images, seconds, rows that the network answered), from the folder where they were made before."""
    begun = b"" if start is None else start.numpy().tobytes()
    key = hashlib.sha256(spec.to_json().encode() + begun).hexdigest()[:16]
    path = folder / f"{key}.npz"
    if not path.exists():
        counted, begin = Counted(prior), time.perf_counter()
        module = ImageModule(spec, counted, start)  # pyright: ignore[reportArgumentType]
        for _ in stream(module):
            pass
        seconds = time.perf_counter() - begin
        buffer = io.BytesIO()
        np.savez(buffer, images=module.images().numpy(), seconds=seconds, rows=counted.rows)
        write_atomic(path, buffer.getvalue())
    with np.load(path) as file:
        return torch.from_numpy(file["pictures"]), float(file["seconds"]), int(file["rows"])
