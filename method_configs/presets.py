"""The numbers of bridge-distill: of the embedded toybox on a CPU, and of large priors on a GPU (`card`).

A variant is the base with a few numbers changed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from nerfstudio.configs.base_config import LoggingConfig, MachineConfig, ViewerConfig

from bridge_nerf.annealing import TimestepRange
from bridge_nerf.guidance.defaults import TOYBOX_OBJECTIVE
from bridge_nerf.nerf.engine.learning_rate import AdamWConfig, RampSchedulerConfig
from bridge_nerf.nerf.engine.progress import ProgressConfig
from bridge_nerf.nerf.engine.trainer import BridgeTrainerConfig
from bridge_nerf.nerf.scene.field import FieldConfig

from . import card, release

PriorKind = Literal["toybox", "sd", "sdxl", "sd3", "if"]
"""The kinds of priors that numbers were chosen for."""
DESCRIPTIONS = {
    "bridge-distill": (
        "Text to 3D by score distillation as a Schrodinger bridge: SDS, then target minus source."
    ),
    "bridge-distill-lite": "The same with Stable Diffusion 2.1 on a card of 8 GB.",
    "bridge-distill-big": "The same with Stable Diffusion XL on a card of 24 GB.",
    "bridge-distill-tiny": "The same with the toybox that ships with the package, on any machine.",
    "bridge-distill-fine": "The same with the toybox and three cameras a step: slower, truer to the prompt.",
}
METHOD_PRIORS = dict(zip(DESCRIPTIONS, ("auto", "sd-2.1", "sdxl", "toybox", "toybox"), strict=True))
LARGE: dict[str, PriorKind] = {"bridge-distill-lite": "sd", "bridge-distill-big": "sdxl"}
"""Methods for a GPU alone -> the kind of their prior."""


def variant_config(
    name: str, prior_kind: PriorKind | None = None, objective: str = "bridge"
) -> BridgeTrainerConfig:
    """The defaults of a method, by one of the names of DESCRIPTIONS.

    Args:
        prior_kind: Kind of the prior that they are for; None is that of the method's own prior on this
            machine, and a run with another prior replaces them.
        objective: Decides the guidance; a preset has numbers of its own.
    """
    cuda = torch.cuda.is_available()
    kind = prior_kind or LARGE.get(name) or ("sd" if cuda and name == "bridge-distill" else "toybox")
    config = _base()
    config = _toybox(config, name) if kind == "toybox" else card.base(config, name, kind, objective)
    if objective == "bridge:release-3d":
        release.run(config)
        if kind != "toybox":
            release.scene(config)
    config.pipeline.prior.name = METHOD_PRIORS[name]
    config.machine.device_type = "cuda" if cuda or name in LARGE else "cpu"
    config.method_name, config.defaults_for = name, variant_config
    config.prior_kind = prior_kind or ""
    return config


def _base() -> BridgeTrainerConfig:
    return BridgeTrainerConfig(
        method_name="bridge-distill",
        project_name="bridge-nerf",
        max_num_iterations=400,
        steps_per_save=100,
        steps_per_eval_batch=0,
        steps_per_eval_image=250,
        steps_per_eval_all_images=400,
        machine=MachineConfig(device_type="cpu"),
        logging=LoggingConfig(local_writer=ProgressConfig(), steps_per_log=1, profiler="none"),
        # No camera frustums: they would stand between the viewer and the object.
        viewer=ViewerConfig(
            websocket_host="127.0.0.1", quit_on_train_completion=True, max_num_display_images=0
        ),
        vis="viewer",
        optimizers={
            "encoding": {"optimizer": AdamWConfig(lr=0.03), "scheduler": RampSchedulerConfig()},
            "network": {"optimizer": AdamWConfig(lr=0.005), "scheduler": RampSchedulerConfig()},
            # Of vsd; other objectives have no such parameters.
            "adapter": {"optimizer": AdamWConfig(lr=3e-4), "scheduler": None},
        },
    )


def _toybox(config: BridgeTrainerConfig, name: str) -> BridgeTrainerConfig:
    """Numbers found on the toybox: little guidance, high t first, a little entropy against fog, and a look at
    which way round the object stands.

    At t below half of T the prior tidies up what is there. From the first step on that fixes whatever
    chance has made: a stool for a chair. So the lowest t waits.

    Stage two is SDS in which a part of the null estimate is the source's. With scale 3, anchor 1 and no
    guidance it turned a pineapple red on an earlier prior, which these numbers were found on.
    """
    pipeline, cameras, model = config.pipeline, config.pipeline.datamanager, config.pipeline.model
    pipeline.guidance.objective = replace(TOYBOX_OBJECTIVE, stage_start=280)
    pipeline.guidance.times = TimestepRange(
        minimum=0.5, final_minimum=0.02, final_maximum=0.5, anneal_begin=100, anneal_steps=230
    )
    pipeline.orient_every, pipeline.orient_until = 100, 200
    for group in ("encoding", "network"):
        config.optimizers[group]["scheduler"] = RampSchedulerConfig(begin=230, end=400)
    # A detail says nothing to the prior while t is high.
    cameras.train_resolution, cameras.final_resolution, cameras.final_resolution_from = 32, 64, 150
    model.entropy_weight, model.regularise_fully_from = 20.0, 130
    pipeline.prior.checkpointing = name in LARGE
    if name == "bridge-distill-fine":
        cameras.cameras_per_step, cameras.train_resolution = 3, 64
    if name == "bridge-distill-lite":
        cameras.train_resolution = cameras.final_resolution = model.samples = 64
    if name == "bridge-distill-big":
        cameras.train_resolution = cameras.final_resolution = 256
        model.samples, model.eval_samples = 128, 192
        model.field = FieldConfig(encoding="hash", hidden=128)
    return config
