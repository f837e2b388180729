"""Options of an image optimisation, as a command line or a program gives them, and the specification of it.

Nothing here imports torch at its top, so that `--help` answers at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from bridge_nerf.errors import UserError
from bridge_nerf.flags import given, leaves
from bridge_nerf.guidance.config import FLAT, PriorConfig
from bridge_nerf.images.config import ImageConfig, Task
from bridge_nerf.wording import says_nothing

if TYPE_CHECKING:
    from bridge_nerf.distillation.prior import ImagePrior
    from bridge_nerf.images.spec import Spec, Subject


@dataclass(kw_only=True)
class ImageOptions:
    """A prior, and numbers. Those that are not given follow the prior, the task and the objective."""

    prior: PriorConfig = field(default_factory=PriorConfig)
    """Prior, and how it is loaded."""
    config: Annotated[ImageConfig, FLAT] = field(default_factory=ImageConfig)
    """Numbers and words."""
    size: int | None = None
    """Pixels a side; by default those that the prior was trained on."""
    seed: int = 0
    """Everything random follows from it."""
    overrides: tyro.conf.Suppress[Mapping[str, Any] | None] = None
    """Numbers by flag, for programs, in the place of those that stand on a command line."""

    def requested(self) -> dict[str, Any]:
        """The numbers and words that were requested, by flag."""
        if self.overrides is not None:
            return dict(self.overrides)
        flags = given(self.config, ImageConfig())
        return {leaf.flag: leaf.value for leaf in leaves(self.config) if leaf.flag in flags}

    def check(self, objectives: Mapping[Task, Sequence[str]], prompts: Sequence[str]) -> None:
        """Refuse what is known to be wrong before the prior is loaded.

        Args:
            objectives: Those of each task.

        Raises:
            UserError: The first mistake.
        """
        from bridge_nerf.distillation.presets import IMAGE_PRESETS, SCENE_PRESETS
        from bridge_nerf.guidance.relevance import check_fixed, check_relevant
        from bridge_nerf.images.canvas import CANVASES
        from bridge_nerf.images.defaults import configured
        from bridge_nerf.priors.registry import kind_of

        kind, guess = kind_of(self.prior.resolve()[0])
        if guess:
            print(f"note: {guess}", flush=True)
        requested, configs = self.requested(), []
        for task, names in objectives.items():
            for name in names:
                if name in SCENE_PRESETS:
                    raise UserError(f"{name} is a preset for scenes; choose {', '.join(IMAGE_PRESETS)}")
                if name in IMAGE_PRESETS and task != "image":
                    other = name.partition(":")[0]
                    raise UserError(f'{name} is a preset for text to image; choose "{other}" here')
                if name in IMAGE_PRESETS:
                    check_fixed(name, requested)
                config = configured(kind, task, name, requested)
                if config.guidance.stages(name).edits and task != "paint":
                    raise UserError(
                        f'"{name}" edits an image; use it with paint, or choose another objective'
                    )
                configs.append((name, config.guidance))
        check_relevant(configs, set(requested))
        canvas = requested.get("canvas", ImageConfig.canvas)
        CANVASES[canvas]  # raises for an unknown one
        if "paint" in objectives and canvas == "network":
            raise UserError('a "network" canvas cannot start from an image; choose "latents" or "pixels"')
        if ("paint" in objectives or canvas == "network") and "initial-scale" in requested:
            raise UserError("--initial-scale is of noise, which this run does not start from: leave it out")
        if any(says_nothing(prompt) for prompt in prompts):
            raise UserError('the prompt is empty: say what to make, as in "a pineapple"')

    def load(
        self,
        task: Task,
        objective: str,
        prompts: tuple[str, ...],
        count: int = 1,
        transforms: Sequence[str] = ("0",),
        source: Path | None = None,
    ) -> tuple[Spec, ImagePrior]:
        """The specification of `count` images, checked, and its prior, loaded; see `check` and `spec`."""
        from bridge_nerf.images.spec import subjects_for

        self.check({task: [objective]}, prompts)
        subjects = subjects_for(prompts, self.seed, count)
        name, prior = self.prior.load()
        return self.spec(name, prior, task, objective, subjects, transforms, source), prior

    def spec(
        self,
        name: str,
        prior: ImagePrior,
        task: Task,
        objective: str,
        subjects: Sequence[Subject],
        transforms: Sequence[str] = ("0",),
        source: Path | None = None,
    ) -> Spec:
        """The specification for a prior, given with its resolved name.

        Args:
            source: The image to start from; it decides the aspect, `size` squared the area.

        Raises:
            UserError: A request is impossible, or the image cannot be read.
        """
        from bridge_nerf.images.defaults import configured
        from bridge_nerf.images.image_files import file_hash
        from bridge_nerf.images.noting import noted_prior
        from bridge_nerf.images.spec import Spec
        from bridge_nerf.priors.registry import kind_of

        kind, _ = kind_of(name)
        return Spec(
            tuple(subjects),
            noted_prior(name),
            objective,
            configured(kind, task, objective, self.requested()),
            self._size(prior, source),
            task,
            tuple(transforms),
            source.name if source else "",
            file_hash(source) if source else "",
            prior.fingerprint,
            str(prior.dtype).removeprefix("torch."),
        )

    def _size(self, prior: ImagePrior, source: Path | None) -> tuple[int, int]:
        """(height, width)."""
        import math

        from bridge_nerf.images.image_files import fitting_size, read_image
        from bridge_nerf.priors.image_sizes import image_sizes

        side = prior.image_size if self.size is None else self.size
        if source is None:
            return side, side
        factor = prior.image_size // prior.latent_shape[-1]
        # Networks halve the latents about twice; sides that divide pass without padding.
        return fitting_size(
            *read_image(source).size, side, math.lcm(4 * factor, image_sizes(prior).multiple_of)
        )
