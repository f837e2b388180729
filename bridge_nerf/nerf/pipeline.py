"""The nerfstudio pipeline: a step of text to 3D renders, asks the prior, and adds the regularisers."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, ClassVar, cast, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.engine.callbacks import (
    TrainingCallback,
    TrainingCallbackAttributes,
    TrainingCallbackLocation,
)
from nerfstudio.pipelines.base_pipeline import VanillaPipeline, VanillaPipelineConfig
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor, distributed
from torch.nn import Parameter

from bridge_nerf.devices import send
from bridge_nerf.distillation.presets import IMAGE_PRESETS, SCENE_PRESETS
from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.distillation.stages import Stages
from bridge_nerf.errors import UserError
from bridge_nerf.flags import STEP, Range
from bridge_nerf.guidance.config import FLAT, GuidanceConfig, Precision, PriorConfig
from bridge_nerf.guidance.distiller import ADAPTER, DISTILLATION, Distiller, adapter_for, requested_slots
from bridge_nerf.guidance.prompts import PromptTable
from bridge_nerf.guidance.rng import PerStepDraws
from bridge_nerf.guidance.views import VIEWS, ViewConfig, view_texts
from bridge_nerf.nerf.controls import Controls, LiveSettings
from bridge_nerf.nerf.datamanager import OrbitDataManager, OrbitDataManagerConfig
from bridge_nerf.nerf.inspector import Inspected, Inspector, Look, drawn
from bridge_nerf.nerf.model import BridgeModel, BridgeModelConfig
from bridge_nerf.nerf.orientation import TIMES, back_to_front, front_and_back
from bridge_nerf.nerf.scene.orbit import Orbit, pixel_rays
from bridge_nerf.photometry import BACKGROUNDS
from bridge_nerf.priors.adapter import Adapter, average_gradients
from bridge_nerf.priors.registry import TOYBOX
from bridge_nerf.resuming import fitted
from bridge_nerf.seeding import generator
from bridge_nerf.wording import join_prompt, says_nothing

LATER = (".occupied", ".axes")
"""Ends of the names that states of earlier versions lack."""


@dataclass
class BridgePipelineConfig(VanillaPipelineConfig):
    """Cameras, object, prior and guidance."""

    RANGES: ClassVar[dict[str, Range]] = {"orient_every": STEP, "orient_until": STEP}

    _target: type = field(default_factory=lambda: BridgePipeline)
    datamanager: OrbitDataManagerConfig = field(default_factory=OrbitDataManagerConfig)
    """Cameras that look at the object."""
    model: BridgeModelConfig = field(default_factory=BridgeModelConfig)
    """Object, and how it is rendered."""
    prior: PriorConfig = field(default_factory=PriorConfig)
    """Prior, and how it is loaded."""
    objective: str = "bridge"
    """Objective, as in bridge (the paper's two stages), sds or vsd, or the authors' preset for objects,
    bridge:release-3d, which brings its steps, times and words along; an unknown name is answered with all."""
    guidance: Annotated[GuidanceConfig, FLAT] = field(default_factory=GuidanceConfig)
    """Words and numbers of the distillation."""
    view: ViewConfig = field(default_factory=ViewConfig)
    """View-dependent words."""
    background_words: bool = True
    """Say in the prompt what the background is, where its colour has a name ("white background")."""
    orient_every: int = 0
    """Steps after which the prior is asked again whether the object stands back to front, and the object is
    turned by half where it says so; 0 is never."""
    orient_until: int = 400
    """Absolute step of the last such question."""

    def background_note(self, prompt: str) -> str | None:
        """What to say of a background that the prompt names and not all images have; None without one.

        No reason to refuse it: it says nothing about the object.
        """
        said = re.search(rf"\b({'|'.join(BACKGROUNDS)}) background\b", prompt, re.IGNORECASE)
        if said is None or (colour := said[1].lower()) == self.model.background:
            return None
        return (
            f'the prompt says "{said[0]}", and the background of the images is {self.model.background}: '
            f"leave that out, or give --pipeline.model.background {colour}"
        )

    def stages(self) -> Stages:
        """The stages of the objective.

        Raises:
            UserError: No such objective, or one that cannot make an object; a number impossible with it.
        """
        if self.objective in IMAGE_PRESETS:
            raise UserError(
                f"{self.objective} is a preset for images; choose {', '.join(SCENE_PRESETS)}, or "
                f'"{self.objective.partition(":")[0]}" with numbers of your own'
            )
        stages = self.guidance.stages(self.objective)
        if stages.edits:
            raise UserError(f"{self.objective} edits one image, which an object is not; choose bridge or sds")
        return stages


class BridgePipeline(VanillaPipeline):
    """Distils a prior into a radiance field.

    The prior is not part of the pipeline's state: `setup_guidance` loads it, which only a trainer calls, so
    that viewing and rendering need none.
    """

    config: BridgePipelineConfig
    datamanager: OrbitDataManager
    adapter: Adapter | None
    """Learns the current images, for the objectives that ask it; part of the state."""
    distiller: Distiller
    """The prior's part of a training step; `setup_guidance` makes it. Not a property that fails before that:
    nerfstudio's viewer evaluates all of them."""

    def __init__(self, config: BridgePipelineConfig, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        self.controls = Controls(
            LiveSettings.of(config.model.prompt or "", config.objective, config.guidance)
        )
        self.inspector = Inspector(self.inspect, self.datamanager.turntable(1))
        self.adapter = None

    @property
    def model(self) -> BridgeModel:
        """The model itself, out of DDP's wrapping."""
        return cast(BridgeModel, super().model)

    def setup_guidance(self, seed: int, rank: int = 0, prior: ImagePrior | None = None) -> None:
        """Load the prior, and make all that a training step asks of it.

        Everything random from here on is a pure function of seed, rank and step. Where the objective has an
        adapter, that is from here on a part of the pipeline.

        Args:
            seed: The run's. Processes train one and the same adapter.
            rank: Number of this process: each draws cameras of its own, as nerfstudio seeds them.
            prior: The prior, where it is loaded already.

        Raises:
            UserError: The prior cannot read one of the prompts, or cannot have an adapter.
        """
        config, name = self.config, self.config.prior.name
        if prior is None:
            name, prior = config.prior.load(str(self.device))
            dtype = str(prior.dtype).removeprefix("torch.")
            if name != TOYBOX and dtype in get_args(Precision):
                # "auto" depends on the machine, and a resumed run should go on with what it had.
                config.prior.dtype = cast(Precision, dtype)
        self.adapter = adapter_for(prior, config.objective, config.guidance, seed, camera=True)
        if self.adapter is not None and self.world_size > 1:
            average_gradients(self.adapter)
        self.datamanager.seed = self.model.seed = seed + rank
        table = self._prompt_table(prior, config.model.prompt or "", config.guidance)
        draws = PerStepDraws(seed + rank)
        self.distiller = Distiller(prior, name, config.objective, config.guidance, table, draws, self.adapter)

    def _prompt_table(self, prior: ImagePrior, prompt: str, guidance: GuidanceConfig) -> PromptTable:
        """A row for each of `_rows`."""
        if says_nothing(prompt):
            raise UserError("the prompt is empty: say what to make")
        prior.check_prompts([join_prompt(prompt)])
        avoid_opposite = guidance.perp_neg > 0
        texts = view_texts(prompt, guidance.prompts, self.config.view, self._backgrounds(), avoid_opposite)
        return PromptTable(prior, list(texts.values()), requested_slots(self.config.objective, guidance))

    def _backgrounds(self) -> list[str]:
        """Backgrounds that prompts tell apart; "" has no words."""
        return (
            [name or "" for name in self.model.background.names()] if self.config.background_words else [""]
        )

    def _rows(self, orbit: Orbit, step: int) -> list[int]:
        """The prompt table's row of each camera."""
        backgrounds, name = self._backgrounds(), self.model.background.name(self.model.seed, step)
        column = backgrounds.index(name or "") if self.config.background_words else 0
        angles = zip(orbit.azimuth.tolist(), orbit.elevation.tolist(), strict=True)
        views = [VIEWS.index(self.config.view.view(*pair)) for pair in angles]
        return [view * len(backgrounds) + column for view in views]

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """Parameters of the model, and of the adapter."""
        groups = super().get_param_groups()
        return groups if self.adapter is None else {**groups, ADAPTER: list(self.adapter.parameters())}

    def load_pipeline(self, loaded_state: dict[str, Any], step: int) -> None:
        """Load a whole state: nerfstudio itself loads what happens to fit and leaves the rest at random.

        Raises:
            UserError: The state is not this model's.
        """
        super().load_pipeline(self.fitted(loaded_state), step)

    def fitted(self, loaded_state: dict[str, Any]) -> dict[str, Tensor]:
        """The whole of a state, as it can be loaded.

        The adapter alone may be on one side only: a run may go on with an objective that asks none, or begin
        to, and looking at a run needs none. Which cells are occupied, and that the object was turned, earlier
        versions did not save: all cells count until it is found out, and nothing was turned.

        Raises:
            UserError: The state is not this model's, or a number is not finite.
        """

        def named(state: dict[str, Any]) -> dict[str, Any]:
            return {str(name).replace("module.", ""): value for name, value in state.items()}

        own, loaded = named(self.state_dict()), named(loaded_state)
        if self.adapter is None or not any(map(_of_adapter, loaded)):
            mine = {name: value for name, value in own.items() if _of_adapter(name)}
            loaded = {name: value for name, value in loaded.items() if not _of_adapter(name)} | mine
        for ending in LATER:
            if not any(name.endswith(ending) for name in loaded):
                loaded |= {name: value for name, value in own.items() if name.endswith(ending)}
        return fitted(loaded, own, "pipeline")

    def check_finite(self, step: int) -> None:
        """Raises UserError where a parameter is not finite; it names the parameter and the step."""
        for name, value in self.named_parameters():
            if not torch.isfinite(value).all():
                half = self.distiller.prior.dtype.itemsize < 4
                more = ", or with --pipeline.prior.dtype float32" if half else ""
                raise UserError(
                    f"step {step}: {name} is not finite, most likely as a learning rate is too high; resume "
                    f"with a lower one{more}"
                )

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """Nerfstudio's, and those that answer the viewer's panel."""
        at = TrainingCallbackLocation

        def end(step: int) -> None:
            self.controls.refuse_late()
            self.inspector.answer_idly()

        return [
            *super().get_training_callbacks(training_callback_attributes),
            # After a step: what was applied before it counts.
            TrainingCallback([at.AFTER_TRAIN_ITERATION], self.inspector.answer),
            TrainingCallback([at.AFTER_TRAIN], end),
        ]

    def apply_settings(self, step: int) -> bool:
        """Take over what was applied in the viewer since the last step; True where that changed anything."""
        settings = self.controls.take()
        if settings is None:
            return False
        config, prior = self.config, self.distiller.prior
        guidance = settings.applied(config.guidance)
        try:
            settings.check_relevant(config.objective, config.guidance)
            settings.check_views(config.view)
            table = self._prompt_table(prior, settings.prompt, guidance)
            self.distiller.apply(guidance, table)
        except UserError as error:
            self.controls.show(f"unchanged: {error}")
            return False
        config.model.prompt, config.guidance = settings.prompt, guidance
        note = config.background_note(settings.prompt)
        self.controls.show(f"applied at step {step}" + (f"; note: {note}" if note else ""))
        return True

    @torch.no_grad()
    def orient(self, step: int) -> None:
        """Turn the object by half where the prior takes its front for its back: see `orientation`."""
        distiller, config = self.distiller, self.config
        orbit = front_and_back(config.datamanager.orbit, config.view)
        x = self._rendered(orbit.poses(), orbit, step)
        rows = self._rows(orbit, step)
        opposite = rows[len(rows) // 2 :] + rows[: len(rows) // 2]
        source = generator(self.model.seed, "orientation", step)
        errors = x.new_zeros(2, len(TIMES), len(x))
        for k, t in enumerate(TIMES):
            noise = send(torch.randn(x.shape, generator=source).to(x.dtype), x.device)
            for words, kept in zip((rows, opposite), errors, strict=True):
                kept[k] = distiller.denoising_errors(x, words, t, noise)
        if self.world_size > 1:  # all processes must turn theirs, or none
            distributed.all_reduce(errors)
        if back_to_front(*errors):
            self.model.turn_around()
            CONSOLE.print(f"step {step}: turned by half, as the prior took its front for its back")

    def _rendered(self, poses: Float[Tensor, "b 3 4"], orbit: Orbit, step: int) -> Float[Tensor, "b c lh lw"]:
        """Latents of what these cameras of an orbit see, rendered as in this step's training."""
        device, side = torch.device(self.device), self.config.datamanager.resolution(step)
        origins, directions = pixel_rays(send(poses, device), send(orbit.focal(side), device), side)
        outputs = self.model(RayBundle(origins, directions, pixel_area=torch.ones_like(origins[:, :1])))
        return self._latents(outputs["rgb"].view(-1, side, side, 3).permute(0, 3, 1, 2))

    @torch.no_grad()
    def inspect(self, look: Look, step: int) -> Inspected:
        """Pictures of one view at this absolute step: as the prior sees it, the prior's guesses of the clean
        image under the target's and the source's words, and the objective's pull.

        The noise depends on the seed alone. Nothing that training depends on changes.

        Raises:
            UserError: A number is not finite.
        """
        distiller, orbit, training = self.distiller, look.orbit, self.model.training
        self.model.update_to_step(step)
        self.model.train()  # that of the step: its background, and samples as fine as its own
        try:
            x = self._rendered(look.poses, orbit, step)
        finally:
            self.model.train(training)
        noise = torch.randn(x.shape, generator=generator(self.model.seed, "inspection"))
        (row,) = self._rows(orbit, step)
        camera = send(look.poses, distiller.prior.device)
        seen = distiller.inspect(x, step, [row], look.t, send(noise.to(x.dtype), x.device), camera)
        azimuth, elevation = (round(angle.item()) for angle in (orbit.azimuth, orbit.elevation))
        says = (
            f"step {step}, stage {distiller.active(step).index + 1}, t = {look.t:g} T, "
            f"azimuth {azimuth} and elevation {elevation} degrees"
        )
        return Inspected(says, drawn(distiller.prior, x, seen, distiller.table.texts[row]))

    def get_train_loss_dict(self, step: int) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
        """Outputs, losses and metrics of one step.

        Raises:
            UserError: A loss or a parameter is not finite, or the object has vanished; the message names the
                step.
        """
        distiller = self.distiller
        self.model.update_to_step(step)
        every = self.config.orient_every
        due = every and 0 < step <= self.config.orient_until and step % every == 0
        if due and torch.is_grad_enabled():  # a look at the losses changes nothing
            self.orient(step)
        rays, batch = self.datamanager.next_train(step)
        orbit: Orbit = batch["orbit"]
        outputs = self._model(rays)  # not self.model: DDP would not see it
        side = self.config.datamanager.resolution(step)
        images = outputs["rgb"].view(-1, side, side, 3).permute(0, 3, 1, 2)
        regularisers = self.model.get_loss_dict(outputs, batch)
        device = distiller.prior.device
        camera = None if self.adapter is None else send(orbit.poses(), device)
        visible = {"visible": outputs["accumulation"].any().float()}
        beside = {name: value.to(device) for name, value in (regularisers | visible).items()}
        latents, rows = partial(self._latents, images), self._rows(orbit, step)
        losses, numbers = distiller.step(latents, step, rows, camera, images, beside)
        if not numbers["visible"]:  # nothing left that a gradient could reach
            self.check_finite(step)
            raise UserError(
                f"step {step}: the object has vanished; lower the sparsity weight or the learning rate"
            )
        losses = losses | {DISTILLATION: losses[DISTILLATION] / len(images)}
        here = {name: loss.to(self.device) for name, loss in losses.items()}
        metrics = {name: value for name, value in numbers.items() if name not in (*losses, *beside)}
        return outputs, here | regularisers, self.model.get_metrics_dict(outputs, batch) | metrics

    def _latents(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c lh lw"]:
        """Latents of images of any size."""
        prior = self.distiller.prior
        size = (prior.image_size, prior.image_size)
        if images.shape[-2:] != size:
            images = F.interpolate(images, size, mode="bilinear", antialias=True)
        # Under autocast a render may be in half precision.
        return prior.encode(images.to(prior.device).float())

    @torch.no_grad()
    def get_eval_loss_dict(self, step: int) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
        """The step's losses once more, after its update: there are no images that training never sees."""
        return self.get_train_loss_dict(step)


def _of_adapter(name: str) -> bool:
    return name.startswith(f"{ADAPTER}.")
