"""A canvas of one's own, used by name on the command line: images of eight colours.

python examples/own_canvas.py image --prompt "a red apple" --canvas palette --steps 100 --learning-rate 0.1
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bridge_nerf import CANVASES, Canvas, ImagePrior
from bridge_nerf.cli import main
from bridge_nerf.images.spec import Spec


class Palette(Canvas):
    """Images each of whose pixels mixes eight colours; colours and shares are optimised."""

    def __init__(self, spec: Spec, prior: ImagePrior, start: Float[Tensor, "b 3 h w"] | None) -> None:
        super().__init__(prior)
        rngs = [torch.Generator().manual_seed(subject.seed) for subject in spec.subjects]
        colours = torch.stack([torch.randn(8, 3, generator=rng) for rng in rngs])
        shares = torch.stack([torch.randn(8, *spec.size, generator=rng) for rng in rngs])
        if start is not None:  # nearest colours first
            shares = -10 * (start[:, None] - colours.sigmoid()[..., None, None]).square().sum(2)
        self.colours = nn.Parameter(colours.to(prior.device))
        self.shares = nn.Parameter(shares.to(prior.device))

    def images(self) -> Float[Tensor, "b 3 h w"]:
        return torch.einsum("bkc,bkhw->bchw", self.colours.sigmoid(), self.shares.softmax(1))


CANVASES.register("palette", Palette)

if __name__ == "__main__":
    main()
