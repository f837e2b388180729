"""The numbers of bridge-distill: for the embedded toybox on a CPU, and for Stable Diffusion on a GPU.

A variant is the base with a few numbers changed. Those for Stable Diffusion have not been run yet.
"""

from __future__ import annotations

from typing import Literal

import torch
from nerfstudio.configs.base_config import LoggingConfig, MachineConfig, ViewerConfig
from nerfstudio.engine.optimizers import AdamOptimizerConfig

from bridge_nerf.nerf.field import FieldConfig
from bridge_nerf.nerf.learning_rate import RampSchedulerConfig
from bridge_nerf.nerf.progress import ProgressConfig
from bridge_nerf.nerf.run_config import BridgeTrainerConfig

Numbers = Literal["toybox", "stable-diffusion"]
"""The kinds of priors that numbers were chosen for."""
DESCRIPTIONS = {
    "bridge-distill": (
        "Text to 3D by score distillation as a Schrodinger bridge: SDS, then target minus source."
    ),
    "bridge-distill-lite": "The same with Stable Diffusion 2.1 on a card of 8 GB.",
    "bridge-distill-big": "The same with Stable Diffusion XL on a card of 24 GB.",
    "bridge-distill-tiny": "The same with the toybox that ships with the package, on any machine.",
}


def variant_config(
    name: str, numbers: Numbers | None = None, objective: str = "bridge"
) -> BridgeTrainerConfig:
    """The defaults of a method, by one of the names of DESCRIPTIONS.

    Args:
        numbers: The kind of prior that they are for; None is that of the method's own prior on this machine,
            and a run with another prior replaces them.
        objective: A preset has numbers of its own.
    """
    cuda = torch.cuda.is_available()
    large = name in ("bridge-distill-lite", "bridge-distill-big")
    usual = "stable-diffusion" if large or (cuda and name == "bridge-distill") else "toybox"
    config = {"toybox": _toybox, "stable-diffusion": _stable_diffusion}[numbers or usual](_base())
    config = VARIANTS[name](config)
    config.machine.device_type = "cuda" if cuda or large else "cpu"
    config.method_name, config.defaults_for = name, variant_config
    config.numbers = numbers or ""
    return _release_3d(config) if objective == "bridge:release-3d" else config


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
        optimizers=_optimizers(encoding=0.03, begin=600, end=1000),
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


def _stable_diffusion(config: BridgeTrainerConfig) -> BridgeTrainerConfig:
    """After the authors' threestudio configuration, with fewer steps: guidance 100, t annealed to 0.5
    early, stage two for the last fifth."""
    config.max_num_iterations, config.steps_per_save = 10_000, 500
    config.steps_per_eval_image, config.steps_per_eval_all_images = 1000, 10_000
    config.optimizers = _optimizers(encoding=0.01, begin=6000, end=10_000)
    config.pipeline.guidance_scale, config.pipeline.stage_start = 100.0, 8000
    config.pipeline.timestep_final_maximum, config.pipeline.timestep_anneal_steps = 0.5, 2000
    config.pipeline.datamanager.train_resolution = 128
    config.pipeline.model.samples, config.pipeline.model.eval_samples = 96, 128
    config.pipeline.model.field = FieldConfig(encoding="hash", hidden=64)
    return config


def _lite(config: BridgeTrainerConfig) -> BridgeTrainerConfig:
    """Smaller pictures and a smaller object; the encoder's activations are computed twice."""
    config.pipeline.prior, config.pipeline.prior_checkpointing = "sd-2.1", True
    config.pipeline.datamanager.train_resolution = 64
    config.pipeline.model.samples = 64
    return config


def _big(config: BridgeTrainerConfig) -> BridgeTrainerConfig:
    """A larger prior, which sees larger pictures of a larger field. Its encoder takes 1024x1024 pixels in
    float32: without computing its activations twice it alone would keep 13 GiB."""
    config.pipeline.prior, config.pipeline.prior_checkpointing = "sdxl", True
    config.pipeline.datamanager.train_resolution = 256
    config.pipeline.model.samples, config.pipeline.model.eval_samples = 128, 192
    config.pipeline.model.field = FieldConfig(encoding="hash", hidden=128)
    return config


def _tiny(config: BridgeTrainerConfig) -> BridgeTrainerConfig:
    """The toybox whatever the machine."""
    config.pipeline.prior = "toybox"
    return config


VARIANTS = {
    "bridge-distill": lambda config: config,
    "bridge-distill-lite": _lite,
    "bridge-distill-big": _big,
    "bridge-distill-tiny": _tiny,
}
"""By the names of DESCRIPTIONS, what sets a method apart from the base."""


def _release_3d(config: BridgeTrainerConfig) -> BridgeTrainerConfig:
    """The authors' configuration for threestudio, as far as the objective, its words and times, the number of
    steps and the optimisers' rates go; cameras, field and regularisers stay those of the prior. Their target
    modifier is a dot."""
    config.max_num_iterations, config.steps_per_save = 25_000, 500
    config.steps_per_eval_image, config.steps_per_eval_all_images = 1000, 25_000
    config.optimizers = _optimizers(encoding=0.01, begin=25_000, end=25_000, network=0.001)
    guidance = config.pipeline
    guidance.target_descriptors, guidance.guidance_scale = "", None
    guidance.timestep_final_maximum = 0.5
    guidance.timestep_anneal_begin, guidance.timestep_anneal_steps = 5000, 1
    return config


def _optimizers(encoding: float, begin: int, end: int, network: float = 0.005) -> dict:
    rest = RampSchedulerConfig(begin=begin, end=end)
    return {
        "encoding": {"optimizer": AdamOptimizerConfig(lr=encoding), "scheduler": rest},
        "network": {"optimizer": AdamOptimizerConfig(lr=network), "scheduler": rest},
        # Of vsd; other objectives have no such parameters.
        "adapter": {"optimizer": AdamOptimizerConfig(lr=3e-4), "scheduler": None},
    }
