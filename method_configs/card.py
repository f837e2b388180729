"""Numbers for the large priors, on a GPU. None of them was tried: docs/presets.md says where each is from."""

from __future__ import annotations

from bridge_nerf.annealing import TimestepRange
from bridge_nerf.distillation.config import ObjectiveConfig
from bridge_nerf.nerf.engine.trainer import BridgeTrainerConfig
from bridge_nerf.nerf.scene.field import FieldConfig

GUIDANCE = {"sd": 100.0, "sdxl": 100.0, "sd3": 100.0, "if": 20.0}
"""Kind of prior -> guidance of sds and of the bridge's first stage; other objectives have their authors'."""


def base(config: BridgeTrainerConfig, name: str, kind: str, objective: str) -> BridgeTrainerConfig:
    """A run after the authors' configuration for threestudio in two fifths of its steps, on 16 GB; on 8 GB of
    smaller images of a coarser object (bridge-distill-lite), on 24 GB of a finer one (bridge-distill-big).

    Args:
        name: The method's.
        kind: One of the keys of GUIDANCE.
    """
    set_steps_and_rates(config, 10_000)
    adam(config)
    pipeline, guidance = config.pipeline, config.pipeline.guidance
    cameras, model = pipeline.datamanager, pipeline.model
    scale = GUIDANCE[kind] if objective in ("sds", "bridge") else None
    guidance.objective = ObjectiveConfig(scale, stage_start=8000)
    guidance.times = TimestepRange(final_maximum=0.5, anneal_begin=2000, anneal_steps=1)
    pipeline.prior.checkpointing = kind != "if"  # which has no encoder
    cameras.cameras_per_step = 2
    cameras.train_resolution, cameras.final_resolution, cameras.final_resolution_from = 64, 256, 2000
    cameras.orbit.distance_range, cameras.orbit.fov_range = (1.0, 1.5), (40.0, 70.0)
    cameras.eval_distance = 2.4  # from further away than they train, to show the whole ball
    model.background = "random"
    model.sparsity_weight, model.regularise_fully_from = 10.0, 0
    model.entropy_weight, model.entropy_from = 1000.0, 4000
    model.samples, model.eval_samples = 96, 128
    model.field = FieldConfig(encoding="hash", hidden=64)
    if kind == "sd3":  # the noisiest three tenths are never drawn
        guidance.times = TimestepRange(maximum=0.7, final_maximum=0.7)
    if kind == "if":  # it sees 64 pixels, and its gradient is one of pixels
        cameras.final_resolution = None
        model.sparsity_weight, model.entropy_weight = 1.0, 0.0
    if name == "bridge-distill-lite":
        cameras.final_resolution = cameras.final_resolution and 128
        model.samples = 64
    if name == "bridge-distill-big":
        model.samples, model.eval_samples = 128, 192
    return config


def set_steps_and_rates(config: BridgeTrainerConfig, steps: int) -> None:
    """Set the number of steps, and constant rates."""
    config.max_num_iterations = config.steps_per_eval_all_images = steps
    config.steps_per_save, config.steps_per_eval_image = 500, 1000
    for name, rate in (("encoding", 0.01), ("network", 0.001)):
        optimizer, scheduler = config.optimizers[name].values()
        optimizer.lr, scheduler.begin, scheduler.end = rate, steps, steps


def adam(config: BridgeTrainerConfig, weight_decay: float = 0) -> None:
    """Set threestudio's optimizer: gradients of hash entries that few rays reach are so small that an eps of
    1e-8 would hold them where they are."""
    for name in ("encoding", "network"):
        optimizer = config.optimizers[name]["optimizer"]
        optimizer.betas, optimizer.eps, optimizer.weight_decay = (0.9, 0.99), 1e-15, weight_decay
