"""bridge:release-3d, the authors' configuration for threestudio (davidmcall/SDS-Bridge,
threestudio-sds-bridge/configs/sds-bridge.yaml). docs/presets.md says what is not reproduced."""

from __future__ import annotations

from bridge_nerf.annealing import TimestepRange
from bridge_nerf.distillation.config import ObjectiveConfig
from bridge_nerf.nerf.engine.trainer import BridgeTrainerConfig
from bridge_nerf.nerf.scene.field import FieldConfig

from . import card


def run(config: BridgeTrainerConfig) -> None:
    """Set words, times, number of steps and rates, for any prior. Their target modifier is a dot."""
    card.set_steps_and_rates(config, 25_000)
    guidance = config.pipeline.guidance
    guidance.prompts.target_descriptors, guidance.objective = "", ObjectiveConfig()
    guidance.times = TimestepRange(final_maximum=0.5, anneal_begin=5000, anneal_steps=1)


def scene(config: BridgeTrainerConfig) -> None:
    """Set cameras, object, regularisers and optimizers, which would not suit the toybox's world."""
    card.adam(config, weight_decay=0.01)  # of their AdamW, which they leave as it is
    cameras, model, view = config.pipeline.datamanager, config.pipeline.model, config.pipeline.view
    cameras.cameras_per_step = 1
    cameras.train_resolution, cameras.final_resolution, cameras.final_resolution_from = 64, 512, 5000
    cameras.orbit.overhead_share = 0.0
    view.front_angle, view.back_angle = 30.0, 150.0
    model.sparsity_weight = 10.0
    model.entropy_weight, model.entropy_from = 1000.0, 10_001
    model.field = FieldConfig(encoding="hash", hash_levels=16, hash_max_resolution=4096, hidden=64)
