"""What a user may ask for, and the specification that it becomes. Imports torch only once it is asked to."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bridge_nerf.errors import UserError

if TYPE_CHECKING:
    from bridge_nerf.distillation.prior import ImagePrior
    from bridge_nerf.images.recipe import Recipe, Task
    from bridge_nerf.images.spec import Spec, Subject
    from bridge_nerf.priors.registry import Graphs


WORDS = ("guidance_scale", "target_descriptors", "source_descriptors", "negative_prompt")
"""What only some objectives listen to, of the flags that have a name of their own."""


@dataclass(kw_only=True)
class Wishes:
    """The numbers of an optimisation; None takes what suits the prior and the task."""

    prior: str = "auto"
    """"auto" (Stable Diffusion on a GPU, else the toybox), "toybox", a pipeline's folder, or a hub id."""
    revision: str | None = None
    """Branch, tag or commit of a prior on the hub."""
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """Precision of the prior's networks; auto depends on the machine. Another precision is another run."""
    graphs: Literal["auto", "on", "off"] = "auto"
    """Whether network and encoder are recorded as CUDA graphs and replayed; auto is on a CUDA device."""
    canvas: Literal["latents", "pixels", "network"] | None = None
    """What is optimised: latents, pixels, or a small network of the coordinates."""
    steps: int | None = None
    """Steps; stages and annealing keep their shares of them."""
    seed: int = 0
    """Everything random follows from it."""
    guidance_scale: float | None = None
    """Classifier-free guidance NULL + s (TARGET - NULL)."""
    size: int | None = None
    """Pixels a side; by default what the prior was trained on."""
    target_descriptors: str | None = None
    """Added to the prompt to say what the image should be."""
    source_descriptors: str | None = None
    """Added to the prompt to say what the image is and should not be."""
    negative_prompt: str | None = None
    """The whole text of the slot NEGATIVE, for objectives that have one."""
    set: tuple[str, ...] = ()
    """Other numbers, as in --set stages.stage_start=150 times.final_maximum=0.6; an unknown one lists all."""

    def recipe(self, prior: str, task: Task, objective: str = "bridge") -> Recipe:
        """The numbers for a prior, by its resolved name. A preset's stages stay where its authors had them.

        Raises:
            UserError: A number is unknown or impossible, or the steps end before the last stage has begun.
        """
        from bridge_nerf.distillation.registry import PRESETS, stages_for
        from bridge_nerf.images.recipe import check_annealing, recipe_for, with_numbers, with_steps

        for name in (assignment.partition("=")[0] for assignment in self.set):
            flag = name.removeprefix("stages.")
            if flag in ("steps", *WORDS) and getattr(self, flag) is not None:
                raise UserError(f"--{flag.replace('_', '-')} and --set {name} say the same: give one of them")
        recipe = recipe_for(prior, task, objective)
        if self.steps is not None:
            stretched = with_steps(recipe, self.steps)
            recipe = replace(recipe, steps=self.steps) if objective in PRESETS else stretched
        if self.guidance_scale is not None:
            recipe = replace(recipe, stages=replace(recipe.stages, guidance_scale=self.guidance_scale))
        said = {name: value for name in WORDS[1:] if (value := getattr(self, name)) is not None}
        recipe = with_numbers(replace(recipe, **said), self.set)
        check_annealing(recipe, self.set)
        stages_for(objective, **asdict(recipe.stages)).check_reached(recipe.steps)
        return recipe

    def check(
        self, objectives: Mapping[Task, Sequence[str]], prompts: Sequence[str], resolved: str = ""
    ) -> None:
        """Raises UserError for what is known to be wrong before the prior is loaded.

        Args:
            objectives: Task -> what it is done with.
            resolved: Name of the prior, where that is known.
        """
        from bridge_nerf.distillation.requested import Listener, check_requested
        from bridge_nerf.images.spec import check_objective
        from bridge_nerf.wording import join_prompt

        resolved = resolved or _resolved(self.prior, self.revision)[0]
        flags, listeners = self._spelled(), []
        for task, names in objectives.items():
            for name in names:
                self._check_preset(name, task, flags)
                recipe = self.recipe(resolved, task, name)
                check_objective(name, recipe, task)
                measures = recipe.errors_every > 0
                listeners.append(Listener(name, recipe.stages, recipe.negative_prompt, measures))
        check_requested(listeners, flags)
        if "paint" in objectives and self.canvas == "network":
            raise UserError('a "network" canvas cannot start from an image; choose "latents" or "pixels"')
        noisy = "paint" not in objectives and self.canvas != "network"
        if not noisy and any(assignment.startswith("initial_scale=") for assignment in self.set):
            raise UserError(
                "--set initial_scale is of noise, which this run does not start from: leave it out"
            )
        if not all(join_prompt(prompt) for prompt in prompts):
            raise UserError('the prompt is empty: say what to make, as in "a pineapple"')

    def _check_preset(self, name: str, task: Task, flags: Mapping[str, str]) -> None:
        """Raises UserError for a preset that is for something else, or that is to have other numbers."""
        from bridge_nerf.distillation.registry import IMAGE_PRESETS, SCENE_PRESETS, StageOptions
        from bridge_nerf.distillation.requested import SLOTS, Listener, check_requested

        if name in SCENE_PRESETS:
            raise UserError(f"{name} is a preset for objects; choose {', '.join(IMAGE_PRESETS)}")
        if name not in IMAGE_PRESETS:
            return
        if task != "image":
            other = name.partition(":")[0]
            raise UserError(f'{name} is a preset for text to image; choose "{other}" here')
        options = StageOptions(guidance_scale=self.guidance_scale)
        numbers = {key: flag for key, flag in flags.items() if key not in SLOTS}
        check_requested([Listener(name, options)], numbers)

    def _spelled(self) -> dict[str, str]:
        """What was requested and only some objectives listen to: name -> how it was spelled."""
        from bridge_nerf.distillation.requested import SLOTS

        flags = {name: f"--{name.replace('_', '-')}" for name in WORDS if getattr(self, name) is not None}
        for name in (assignment.partition("=")[0] for assignment in self.set):
            group, _, key = name.rpartition(".")
            if group or key in SLOTS:
                flags[key] = f"--set {name}"
        return flags

    def spec(
        self,
        name: str,
        prior: ImagePrior,
        task: Task,
        objective: str,
        subjects: Sequence[Subject],
        views: Sequence[str] = ("0",),
        source: Path | None = None,
    ) -> Spec:
        """The specification for a prior, given with its resolved name.

        Args:
            source: The image to start from; it decides the aspect, `size` squared the area.

        Raises:
            UserError: Something asked for is impossible, or the image cannot be read.
        """
        from bridge_nerf.images.image_files import file_hash, fitting_size, read_image
        from bridge_nerf.images.noting import noted_prior
        from bridge_nerf.images.recipe import CANVAS
        from bridge_nerf.images.spec import Spec
        from bridge_nerf.priors.sides import sides_of

        side = prior.image_size if self.size is None else self.size
        height, width = side, side
        if source is not None:
            factor = prior.image_size // prior.latent_shape[-1]
            # Networks halve the latents about twice; sides that divide pass without padding.
            multiple = math.lcm(4 * factor, sides_of(prior).step)
            height, width = fitting_size(*read_image(source).size, side, multiple)
        return Spec(
            tuple(subjects),
            noted_prior(name),
            objective,
            self.recipe(name, task, objective),
            (height, width),
            task,
            self.canvas or CANVAS[task],
            tuple(views),
            source.name if source else "",
            file_hash(source) if source else "",
            prior.fingerprint,
            str(prior.dtype).removeprefix("torch."),
        )


def load(
    name: str, revision: str | None = None, dtype: str = "auto", graphs: Graphs = "auto"
) -> tuple[str, ImagePrior]:
    """(resolved name, prior), on the GPU where there is one: of several processes each takes its own.

    Args:
        revision: Branch, tag or commit of a hub id; the resolved name says it too, as in "sdxl@main".
        dtype: Of the networks, as in "float32"; "auto" is what the machine likes.
        graphs: Whether network and encoder are recorded as CUDA graphs.

    Raises:
        UserError: It cannot be had.
    """
    from bridge_nerf.devices import make_current
    from bridge_nerf.priors.registry import dtype_of, load_prior

    resolved, line = _resolved(name, revision)
    print(line, flush=True)
    device = _device()
    make_current(device)
    return resolved, load_prior(resolved, device, dtype_of(dtype), graphs=graphs)


def _resolved(name: str, revision: str | None) -> tuple[str, str]:
    """(resolved name, what was chosen); the flag for the revision counts before that of the name."""
    from bridge_nerf.priors.names import with_revision
    from bridge_nerf.priors.registry import resolve_prior

    return resolve_prior(with_revision(name, revision), _device())


def _device() -> str:
    import torch

    local = int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", 0)))
    return f"cuda:{local % torch.cuda.device_count()}" if torch.cuda.is_available() else "cpu"
