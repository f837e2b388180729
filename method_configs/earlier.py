"""Numbers of earlier versions for every prior but the toybox: runs that began with them go on with them, and
the toybox takes its sizes for a card from them."""

from __future__ import annotations

from bridge_nerf.nerf.engine.run_config import BridgeTrainerConfig
from bridge_nerf.nerf.scene.field import FieldConfig

from . import card


def base(config: BridgeTrainerConfig) -> BridgeTrainerConfig:
    """The toybox's world with the guidance of Stable Diffusion, on a card of 16 GB."""
    card.course(config, 10_000, network=0.005, begin=6000)
    config.pipeline.guidance_scale, config.pipeline.stage_start = 100.0, 8000
    config.pipeline.timestep_final_maximum, config.pipeline.timestep_anneal_steps = 0.5, 2000
    config.pipeline.datamanager.train_resolution = 128
    config.pipeline.model.samples, config.pipeline.model.eval_samples = 96, 128
    config.pipeline.model.field = FieldConfig(encoding="hash", hidden=64)
    return config


def size(config: BridgeTrainerConfig, name: str) -> BridgeTrainerConfig:
    """What the methods for 8 and for 24 GB set apart."""
    if name == "bridge-distill-lite":
        config.pipeline.prior_checkpointing = True
        config.pipeline.datamanager.train_resolution = config.pipeline.model.samples = 64
    if name == "bridge-distill-big":
        config.pipeline.prior_checkpointing = True
        config.pipeline.datamanager.train_resolution = 256
        config.pipeline.model.samples, config.pipeline.model.eval_samples = 128, 192
        config.pipeline.model.field = FieldConfig(encoding="hash", hidden=128)
    return config
