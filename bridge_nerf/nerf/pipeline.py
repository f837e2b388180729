"""The nerfstudio pipeline: one training step of text to 3D is render, ask the prior, add the regularisers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, cast

import torch
from nerfstudio.engine.callbacks import (
    TrainingCallback,
    TrainingCallbackAttributes,
    TrainingCallbackLocation,
)
from nerfstudio.pipelines.base_pipeline import VanillaPipeline, VanillaPipelineConfig
from nerfstudio.utils import comms
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor
from torch.nn import Parameter

from bridge_nerf.distillation.epsilon import Slot
from bridge_nerf.distillation.loss import NonFinite, read
from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.errors import UserError
from bridge_nerf.nerf.controls import Controls
from bridge_nerf.nerf.datamanager import OrbitDataManager, OrbitDataManagerConfig
from bridge_nerf.nerf.guidance import DISTILLATION, Guidance, Judged
from bridge_nerf.nerf.guidance_config import GuidanceConfig, Wishes
from bridge_nerf.nerf.model import BridgeModel, BridgeModelConfig
from bridge_nerf.nerf.prior_config import PriorConfig
from bridge_nerf.priors.adapter import Adapter, HasNetwork, average_gradients
from bridge_nerf.priors.autoencoders import deferred_checks
from bridge_nerf.priors.registry import TOYBOX, load_prior, resolve_prior

ADAPTER = "adapter"
"""The adapter's name: of its part of the state, of its optimizer and of its loss."""


@dataclass
class BridgePipelineConfig(VanillaPipelineConfig, GuidanceConfig, PriorConfig):
    """Cameras, object and guidance."""

    _target: type = field(default_factory=lambda: BridgePipeline)
    datamanager: OrbitDataManagerConfig = field(default_factory=OrbitDataManagerConfig)
    """Which cameras look at the object."""
    model: BridgeModelConfig = field(default_factory=BridgeModelConfig)
    """What the object is made of."""


class BridgePipeline(VanillaPipeline):
    """Distils a prior into a radiance field.

    The prior is no part of the pipeline's state: it is loaded when a trainer asks for training callbacks or
    an adapter, which nothing but a trainer does, so that viewing and rendering need none.
    """

    config: BridgePipelineConfig
    datamanager: OrbitDataManager
    adapter: Adapter | None
    """Learns the current images, for the objectives that ask it; part of the state."""

    def __init__(self, config: BridgePipelineConfig, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        self.controls = Controls(Wishes.of(config.model.prompt or "", config))
        self.adapter = None
        self._guidance: Guidance | None = None
        self._on_change: Callable[[], None] = lambda: None

    @property
    def model(self) -> BridgeModel:
        """The model itself, out of DDP's wrapping."""
        return cast(BridgeModel, super().model)

    @cached_property
    def prior(self) -> ImagePrior:
        """As configured; loading says which."""
        device = self.config.prior_device or self.device
        name, line = resolve_prior(self.config.prior, device)
        CONSOLE.print(f"{line} (--pipeline.prior)", highlight=False, markup=False)
        prior = load_prior(name, device, **self.config.prior_options())
        if name != TOYBOX:
            # What "auto" is depends on the machine, and a resumed run should go on with what it had.
            self.config.prior_dtype = cast(Any, str(prior.dtype).removeprefix("torch."))
        return prior

    def add_adapter(self, seed: int) -> None:
        """Where the objective asks an adapter there is one from here on; several processes train one and the
        same, if the seed is that of all.

        Raises:
            UserError: The prior cannot have one.
        """
        if Slot.ADAPTER in self.config.stages().slots:
            if not isinstance(self.prior, HasNetwork):
                raise UserError(f"{self.config.objective} needs a prior whose network is known; choose sds")
            self.adapter = Adapter(self.prior, self.config.adapter_rank, camera=True, seed=seed)
            if self.world_size > 1:
                average_gradients(self.adapter)

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """The model's, and the adapter's."""
        groups = super().get_param_groups()
        return groups if self.adapter is None else {**groups, ADAPTER: list(self.adapter.parameters())}

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """Loads the prior; then, before each step, takes over what was applied in the viewer."""
        trainer = training_callback_attributes.trainer
        assert trainer is not None, "training needs a trainer"
        # As nerfstudio seeds its ranks: each draws views of its own.
        self.start_training(self.prior, trainer.config.machine.seed + comms.get_rank())
        self._on_change = partial(trainer.config.save_config, overwrite=True)  # pyright: ignore[reportCallIssue]
        callbacks = super().get_training_callbacks(training_callback_attributes)
        before = [TrainingCallbackLocation.BEFORE_TRAIN_ITERATION]
        return [*callbacks, TrainingCallback(before, self._apply_wishes)]

    def load_pipeline(self, loaded_state: dict[str, Any], step: int) -> None:
        """As nerfstudio does, but all of it: nerfstudio loads what happens to fit and leaves the rest at
        random.

        The adapter alone may be on one side only: a run may go on with an objective that asks none, or begin
        to, and looking at a run needs none. Which cells are occupied earlier versions did not save: all count
        until it is found out.

        Raises:
            UserError: The state is not this model's.
        """

        def shapes(state: dict[str, Any]) -> dict[str, torch.Size]:
            return {name.replace("module.", ""): value.shape for name, value in state.items()}

        if self.adapter is None or not any(map(_of_adapter, loaded_state)):
            mine = {name: value for name, value in self.state_dict().items() if _of_adapter(name)}
            loaded_state = {name: v for name, v in loaded_state.items() if not _of_adapter(name)} | mine
        if not any(map(_of_occupancy, loaded_state)):
            mine = {name: value for name, value in self.state_dict().items() if _of_occupancy(name)}
            loaded_state = {**loaded_state, **mine}
        own, given = shapes(self.state_dict()), shapes(loaded_state)
        if odd := sorted(name for name in own.keys() | given.keys() if own.get(name) != given.get(name)):
            raise UserError(f"the checkpoint and this model differ in {', '.join(odd[:3])}")
        super().load_pipeline(loaded_state, step)

    def start_training(self, prior: ImagePrior, seed: int) -> None:
        """Everything random from here on is a pure function of the seed and the step.

        Raises:
            UserError: The prior cannot read one of the prompts.
        """
        self.datamanager.seed = self.model.seed = seed
        wishes = Wishes.of(self.config.model.prompt or "", self.config)
        backgrounds = self.model.background.names()
        self._guidance = Guidance(prior, self.config, wishes, seed, backgrounds, self.adapter)

    def _apply_wishes(self, step: int) -> None:
        wishes = self.controls.take()
        if wishes is None:
            return
        assert self._guidance is not None
        try:
            self._guidance.apply(wishes)
        except UserError as error:
            self.controls.say(f"unchanged: {error}")
            return
        self.config.model.prompt = wishes.prompt
        wishes.write(self.config)
        self._on_change()
        self.controls.say(f"applied at step {step}")

    def get_train_loss_dict(self, step: int) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
        """Outputs, losses and metrics of one step.

        Raises:
            UserError: A loss is not finite, or the object has vanished; the message names the step.
        """
        assert self._guidance is not None, "start_training comes first"
        self.model.update_to_step(step)
        rays, batch = self.datamanager.next_train(step)
        outputs = self._model(rays)  # not self.model: DDP would not see it
        side = self.config.datamanager.resolution(step)
        images = outputs["rgb"].view(-1, side, side, 3).permute(0, 3, 1, 2)
        background = self.model.background.name(self.model.seed, step)
        judge = partial(self._guidance.loss, images, batch["orbit"], background, step)
        with deferred_checks():
            judged = judge()
        regularisers, visible = self.model.get_loss_dict(outputs, batch), outputs["accumulation"].any()
        losses = self._here(judged.losses) | regularisers
        # All numbers of a step at once: on a card the host waits at every look.
        numbers = read({**losses, "visible": visible.float()})
        if not (all(map(math.isfinite, numbers.values())) and numbers["visible"]):
            judged = judge()  # an autoencoder that overflowed in half precision is asked in float32 now
            losses = self._here(judged.losses) | regularisers
            self._check(judged, losses, visible, step)
        metrics = self.model.get_metrics_dict(outputs, batch) | judged.metrics
        return outputs, losses, metrics | {"stage": self._guidance.active(step).index + 1}

    @torch.no_grad()
    def get_eval_loss_dict(self, step: int) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
        """The step's losses once more, after its update: there are no images that training never sees."""
        return self.get_train_loss_dict(step)

    def _here(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Also where the prior computes elsewhere."""
        return {name: loss.to(self.device) for name, loss in losses.items()}

    def _check(self, judged: Judged, losses: Mapping[str, Tensor], visible: Tensor, step: int) -> None:
        assert self._guidance is not None
        for name, value in losses.items():
            if not torch.isfinite(value):
                cause = ADAPTER if name == ADAPTER else "regulariser"
                error = NonFinite(cause, f"the {name} loss is {value.item()}")
                raise self._guidance.explained(judged.why() if name == DISTILLATION else error, step)
        if not visible:  # nothing left that a gradient could reach
            raise UserError(
                f"step {step}: the object has vanished; lower the sparsity weight or the learning rate"
            )


def _of_adapter(name: str) -> bool:
    return name.startswith(f"{ADAPTER}.")


def _of_occupancy(name: str) -> bool:
    return name.endswith(".occupied")
