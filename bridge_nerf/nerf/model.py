"""The nerfstudio model: rays in; colour, opacity and depth out. It knows nothing about diffusion."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.model_components import renderers
from nerfstudio.models.base_model import Model, ModelConfig
from nerfstudio.utils import colormaps
from torch import Tensor
from torch.nn import Parameter

from bridge_nerf.annealing import Ramp
from bridge_nerf.devices import send
from bridge_nerf.flags import SIZE, STEP, Range
from bridge_nerf.nerf.scene import surface
from bridge_nerf.nerf.scene.background import Background, BackgroundKind
from bridge_nerf.nerf.scene.field import BridgeField, FieldConfig
from bridge_nerf.nerf.scene.regularisers import distortion, entropy, sparsity
from bridge_nerf.nerf.scene.rendering import (
    Samples,
    cell_middles,
    look,
    march,
    occupancy,
    ray_sums,
    sphere_span,
    weights,
    weighty,
)
from bridge_nerf.seeding import generator

OCCUPANCY_CELLS = 48
POINTS = 1 << 19
"""Number of points that are looked at together where no gradient is wanted: most of an image's are not
kept."""
MARGIN = 0.5
"""Share of the density that could matter at which training already counts a cell as occupied: what is empty
now may fill before it is looked at again."""


@dataclass
class BridgeModelConfig(ModelConfig):
    """Field, rendering and regularisers of the object."""

    RANGES: ClassVar[dict[str, Range]] = {
        "eval_num_rays_per_chunk": Range(1, 2**22),
        "samples": Range(1, 10_000),
        "eval_samples": Range(1, 10_000),
        "least_weight": Range(0, below=1),
        "occupancy_every": STEP,
        "sparsity_weight": SIZE,
        "entropy_weight": SIZE,
        "distortion_weight": SIZE,
        "regularise_from": STEP,
        "regularise_fully_from": STEP,
        "entropy_from": STEP,
    }

    _target: type = field(default_factory=lambda: BridgeModel)
    prompt: str | None = "a pineapple"
    """The object to make; `--prompt` is short for it."""
    eval_num_rays_per_chunk: int = 1 << 15
    """Rays rendered at once outside training."""
    field: FieldConfig = field(default_factory=FieldConfig)
    """Encoding and network."""
    samples: int = 48
    """Samples along a ray through the middle of the ball, while training; the random offset of each ray
    counts as stratification."""
    eval_samples: int = 72
    """Samples along that ray in images for people, without random offset."""
    least_weight: float = 1e-3
    """Samples that weigh less in their ray's colour are left out of colour and gradient: most of them, at
    no visible difference."""
    occupancy_every: int = 16
    """Steps between two searches for occupied cells; training takes no samples in others. 0 takes them
    everywhere: for a check of what this leaves out."""
    background: BackgroundKind = "palette"
    """Background: "palette" draws white, gray, black or blue each step, "random" any colour; or a learned or
    fixed colour."""
    sparsity_weight: float = 0.0
    """Weight of sqrt(opacity^2 + 0.01): against everything that the prompt does not ask for."""
    entropy_weight: float = 0.0
    """Weight of the opacity's binary entropy: against fog."""
    distortion_weight: float = 0.0
    """Weight of the distortion term: against floaters and thick, soft surfaces."""
    regularise_from: int = 0
    """Absolute step at which these terms begin to act."""
    regularise_fully_from: int = 200
    """Absolute step at which they act with their full weight."""
    entropy_from: int = 0
    """Absolute step before which the entropy term does not act at all, whatever the others do: fog is what an
    object first grows from."""

    def regularisation(self) -> Ramp:
        """Share of their weight with which the regularisers act; UserError where it ends before it begins."""
        return Ramp(0.0, 1.0, self.regularise_from, self.regularise_fully_from)

    def entropy_weight_at(self, step: int) -> float:
        """The entropy term's weight at an absolute step, before `regularisation`."""
        return self.entropy_weight if step >= self.entropy_from else 0.0


class BridgeModel(Model):
    """A field in the unit ball before a plain background."""

    config: BridgeModelConfig

    def populate_modules(self) -> None:
        """Make the modules; nerfstudio calls it once the configuration is in place."""
        self.field = BridgeField(self.config.field)
        self.background = Background(self.config.background)
        self.seed = 0
        self.step = 0
        self.cells: Tensor
        self.register_buffer("cells", cell_middles(OCCUPANCY_CELLS), persistent=False)
        # Of training, and part of its state: a resumed run must see what it would have seen.
        self.occupied: Tensor
        self.register_buffer("occupied", torch.ones(3 * (OCCUPANCY_CELLS,), dtype=torch.bool))
        self._occupancy: tuple[int, Tensor] | None = None

    def update_to_step(self, step: int) -> None:
        """Note the step: everything that changes with training is a function of it."""
        self.step = step

    def turn_around(self) -> None:
        """Turn the object by half a turn about the vertical axis."""
        self.field.turn_around()
        self.occupied.copy_(self.occupied.flip(0, 1))
        self._occupancy = None

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """The feature grids ("encoding") and the rest ("network"): they want different learning rates."""
        network = [*self.field.network.parameters(), *self.background.parameters()]
        return {"encoding": list(self.field.encoding.parameters()), "network": network}

    def background_colour(self) -> Float[Tensor, "3"]:
        """RGB in [0, 1] behind this step's image; the viewer's crop panel may choose another one."""
        if renderers.BACKGROUND_COLOR_OVERRIDE is not None:
            return renderers.BACKGROUND_COLOR_OVERRIDE.to(self.device)
        return self.background.colour(self.seed, self.step) if self.training else self.background.shown()

    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Tensor]:  # type: ignore[override]
        """Images, the viewer's first one first.

        "rgb" (n 3): the object before the background.
        "albedo" (n 3): the object's own colour alone; white where nothing is.
        "normals" (n 3): unit normals n in the world's axes as (n + 1) / 2; 0.5 where no surface is.
        "accumulation" (n 1): the opacity.
        "depth" (n 1): distance of the surface; where there is none, one that is behind everything.

        While training "rgb", "accumulation" and the regularisers alone.
        """
        origins, directions = ray_bundle.origins.reshape(-1, 3), ray_bundle.directions.reshape(-1, 3)
        near, far = sphere_span(origins, directions)
        if ray_bundle.nears is not None and ray_bundle.fars is not None:  # the viewer's crop box
            near, far = (
                torch.maximum(near, ray_bundle.nears[..., 0]),
                torch.minimum(far, ray_bundle.fars[..., 0]),
            )
        far = torch.maximum(far, near)
        if not self.training and not torch.is_grad_enabled():
            rays, samples = (origins, directions, near, far), self.config.eval_samples
            return self._images(look(self.field, *rays, samples, self._occupied_now()), *rays[:2])
        samples = self._sample(origins, directions, near, far)
        if torch.is_grad_enabled():
            samples = weighty(self._density, samples, self.config.least_weight)
        density, colour = self.field(samples.positions)
        w = weights(density, samples)
        sums = ray_sums(w, samples.values(colour), samples)
        if not self.training:
            return self._images(sums, origins, directions)
        opacity = sums[:, 3:4]
        return {"rgb": self._before_background(sums), "accumulation": opacity} | self._regularisers(
            w, samples, opacity[:, 0], far > near
        )

    def _before_background(self, sums: Float[Tensor, "n 5"]) -> Float[Tensor, "n 3"]:
        return sums[:, :3] + (1 - sums[:, 3:4]) * self.background_colour()

    def _images(
        self, sums: Float[Tensor, "n 5"], origins: Float[Tensor, "n 3"], directions: Float[Tensor, "n 3"]
    ) -> dict[str, Tensor]:
        """Images for people, from the sums over rays of colour, 1 and distance."""
        depth, normals = surface.depth_and_normals(self._density, sums, origins, directions)
        return {
            "rgb": self._before_background(sums),
            "albedo": surface.albedo(sums),
            "normals": ((normals + 1) / 2).clamp(0, 1),  # ns-export stops at less or more
            "accumulation": sums[:, 3:4],
            "depth": depth,
        }

    def _sample(self, origins: Tensor, directions: Tensor, near: Tensor, far: Tensor) -> Samples:
        if not self.training:
            samples, occupied = self.config.eval_samples, self._occupied_now()
            return march(origins, directions, near, far, samples, occupied=occupied)
        source = generator(self.seed, "samples", self.step)
        draws = send(torch.rand(len(origins), 1, generator=source), origins.device)
        # The rays that meet the ball take one after the other.
        offsets = draws.index_select(0, ((far > near).cumsum(0) - 1).clamp_min(0))
        every = self.config.occupancy_every
        if every and self.step % every == 0 and torch.is_grad_enabled():
            self.occupied.copy_(self._occupied(MARGIN * self.config.samples))
        occupied = self.occupied if every else None
        return march(origins, directions, near, far, self.config.samples, offsets=offsets, occupied=occupied)

    def _occupied_now(self) -> Bool[Tensor, "r r r"]:
        """Occupied cells for images, found again whenever a parameter has changed."""
        version = sum(p._version for p in self.field.parameters())
        if self._occupancy is None or self._occupancy[0] != version:
            self._occupancy = (version, self._occupied(self.config.eval_samples))
        return self._occupancy[1]

    @torch.no_grad()
    def _occupied(self, samples: float) -> Bool[Tensor, "r r r"]:
        """Cells whose samples, at so many to a ray, may have weights of `least_weight` and more."""
        return occupancy(self.field(self.cells)[0], self.config.least_weight * samples / 2)

    def _density(self, places: Float[Tensor, "k 3"]) -> Float[Tensor, "k"]:
        return torch.cat([self.field(part)[0] for part in places.split(POINTS)])

    def _regularisers(
        self, w: Float[Tensor, "k"], samples: Samples, opacity: Float[Tensor, "n"], hit: Bool[Tensor, "n"]
    ) -> dict[str, Tensor]:
        ramp, config = self.config.regularisation()(self.step), self.config

        def thickness() -> Float[Tensor, ""]:
            return distortion(samples.table(w), samples.table(samples.distances), samples.delta, hit)

        terms = {
            "sparsity": (config.sparsity_weight, lambda: sparsity(opacity, hit)),
            "entropy": (config.entropy_weight_at(self.step), lambda: entropy(opacity, hit)),
            "distortion": (config.distortion_weight, thickness),
        }
        return {name: ramp * weight * term() for name, (weight, term) in terms.items() if ramp * weight}

    def get_loss_dict(self, outputs, batch, metrics_dict=None) -> dict[str, Tensor]:
        """The weighted regularisers; the pipeline adds the distillation loss."""
        return {name: outputs[name] for name in ("sparsity", "entropy", "distortion") if name in outputs}

    def get_metrics_dict(self, outputs, batch) -> dict[str, Tensor]:
        """Share of the image that the object covers."""
        return {"coverage": outputs["accumulation"].detach().mean()}

    def get_rgba_image(self, outputs: dict[str, Tensor], output_name: str = "rgb") -> Tensor:
        """Straight (not premultiplied) RGBA: the background, which "rgb" alone has, is taken out again."""
        colour, opacity = outputs[output_name], outputs["accumulation"]
        if output_name == "rgb":
            behind = (1 - opacity) * self.background_colour().to(opacity)
            colour = ((colour - behind) / opacity.clamp_min(1e-6)).clamp(0, 1)
        return torch.cat([colour, opacity], -1)

    def get_image_metrics_and_images(
        self, outputs: dict[str, Tensor], batch: dict[str, Any]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Numbers that need no reference image, and images for the log."""
        opacity = outputs["accumulation"]
        solid = opacity[..., 0] > 0.5
        colours = outputs["rgb"][solid]
        range_ = colours.amax(-1) - colours.amin(-1) if len(colours) else torch.zeros(1)
        metrics = {
            "coverage": solid.float().mean().item(),
            "fog": (4 * opacity * (1 - opacity)).mean().item(),
            "saturation": range_.mean().item(),
            "brightness": colours.mean().item() if len(colours) else 0.0,
        }
        depth = colormaps.apply_depth_colormap(outputs["depth"], accumulation=opacity)
        return metrics, {
            "img": outputs["rgb"],
            "accumulation": colormaps.apply_colormap(opacity),
            "depth": depth,
        }
