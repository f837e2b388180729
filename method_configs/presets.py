"""The numbers of bridge-distill: of the embedded toybox on a CPU, and of large priors on a GPU (`card`).

A variant is the base with a few numbers changed.
"""

from __future__ import annotations

from typing import Literal

import torch
from nerfstudio.configs.base_config import LoggingConfig, MachineConfig, ViewerConfig

from bridge_nerf.nerf.engine.learning_rate import AdamWConfig, RampSchedulerConfig
from bridge_nerf.nerf.engine.progress import ProgressConfig
from bridge_nerf.nerf.engine.run_config import EARLIER, BridgeTrainerConfig

from . import card, earlier, release

Numbers = Literal["toybox", "sd", "sdxl", "sd3", "if", "stable-diffusion"]
"""The kinds of priors that numbers were chosen for; the last is that of runs of earlier versions."""
DESCRIPTIONS = {
    "bridge-distill": (
        "Text to 3D by score distillation as a Schrodinger bridge: SDS, then target minus source."
    ),
    "bridge-distill-lite": "The same with Stable Diffusion 2.1 on a card of 8 GB.",
    "bridge-distill-big": "The same with Stable Diffusion XL on a card of 24 GB.",
    "bridge-distill-tiny": "The same with the toybox that ships with the package, on any machine.",
}
PRIORS = dict(zip(DESCRIPTIONS, ("auto", "sd-2.1", "sdxl", "toybox"), strict=True))
LARGE: dict[str, Numbers] = {"bridge-distill-lite": "sd", "bridge-distill-big": "sdxl"}
"""Methods for a GPU alone -> the kind of their prior."""


def variant_config(
    name: str, numbers: Numbers | None = None, objective: str = "bridge"
) -> BridgeTrainerConfig:
    """The defaults of a method, by one of the names of DESCRIPTIONS.

    Args:
        numbers: The kind of prior that they are for; None is that of the method's own prior on this machine,
            and a run with another prior replaces them.
        objective: Decides the guidance; a preset has numbers of its own.
    """
    cuda = torch.cuda.is_available()
    kind = numbers or LARGE.get(name) or ("sd" if cuda and name == "bridge-distill" else "toybox")
    config, preset = _base(), objective == "bridge:release-3d"
    if kind in card.GUIDANCE:
        config = card.size(card.base(config, kind, objective), name)
        config = release.scene(release.run(config)) if preset else config
    else:
        config = earlier.base(config) if kind == EARLIER else _toybox(config)
        config = earlier.size(config, name)
        config = release.run(config) if preset else config
    config.pipeline.prior = PRIORS[name]
    config.machine.device_type = "cuda" if cuda or name in LARGE else "cpu"
    config.method_name, config.defaults_for = name, variant_config
    config.numbers = numbers or ""
    return config


def _base() -> BridgeTrainerConfig:
    return BridgeTrainerConfig(
        method_name="bridge-distill",
        project_name="bridge-nerf",
        max_num_iterations=600,
        steps_per_save=100,
        steps_per_eval_batch=0,
        steps_per_eval_image=250,
        steps_per_eval_all_images=600,
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


def _toybox(config: BridgeTrainerConfig) -> BridgeTrainerConfig:
    """What was found on the toybox: little guidance, t annealed early, a little entropy against fog.

    Stage two is SDS in which a part of the null estimate is the source's. With scale 3, anchor 1 and no
    guidance it turned a pineapple red on an earlier prior, which these numbers were found on.
    """
    guidance = config.pipeline
    guidance.guidance_scale = 5.0
    guidance.timestep_final_maximum, guidance.timestep_anneal_steps = 0.6, 500
    guidance.stage_start = 420
    guidance.stage_two_scale, guidance.stage_two_anchor, guidance.stage_two_guidance = 1.25, 1.0, 4.0
    guidance.model.entropy_weight = 20.0
    return config
