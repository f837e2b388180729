"""A whole run without viewer or terminal dialogue: a prompt in, images from all sides out."""

from __future__ import annotations

import torch
from jaxtyping import Float
from nerfstudio.configs.base_config import writer  # imported by itself, that module imports itself halfway
from torch import Tensor

from bridge_nerf.nerf.engine import turntable
from bridge_nerf.nerf.engine.trainer import BridgeTrainer, BridgeTrainerConfig


def optimise_scene(
    config: BridgeTrainerConfig, sides: int = 24, resolution: int = 64
) -> Float[Tensor, "sides 3 resolution resolution"]:
    """Train as configured and render the object from evenly spaced sides; RGB in [0, 1].

    The run's folder holds what `ns-train` leaves: checkpoint, turntable, commands. Raises SystemExit with one
    line for what the user can mend.
    """
    # nerfstudio only ever adds to these: a second run in one process would write into the logs of the first
    writer.EVENT_WRITERS.clear()
    writer.EVENT_STORAGE.clear()
    writer.GLOBAL_BUFFER.clear()
    config.vis = "tensorboard"
    config.steps_per_eval_image = config.steps_per_eval_all_images = config.max_num_iterations + 1
    config.set_timestamp()
    config.set_experiment_name()
    config.save_config()
    trainer = config.setup(local_rank=0, world_size=1)
    assert isinstance(trainer, BridgeTrainer)
    trainer.setup()
    trainer.train()
    orbit = trainer.pipeline.datamanager.turntable(sides)
    frames = turntable.frames(trainer.pipeline.model, orbit, resolution)
    return torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
