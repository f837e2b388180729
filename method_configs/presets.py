"""The numbers of bridge-distill: for the embedded toybox on a CPU, and for Stable Diffusion on a GPU."""

from __future__ import annotations

import torch
from nerfstudio.configs.base_config import LoggingConfig, MachineConfig, ViewerConfig
from nerfstudio.engine.optimizers import AdamOptimizerConfig

from bridge_nerf.nerf.learning_rate import RampSchedulerConfig
from bridge_nerf.nerf.progress import ProgressConfig
from bridge_nerf.nerf.run_config import BridgeTrainerConfig

DESCRIPTION = (
    "Text to 3D by score distillation as a Schrodinger bridge: SDS, then target minus source prompt."
)


def bridge_distill_config() -> BridgeTrainerConfig:
    """The defaults of this machine."""
    gpu = torch.cuda.is_available()
    return BridgeTrainerConfig(
        method_name="bridge-distill",
        project_name="bridge-nerf",
        max_num_iterations=1000,
        steps_per_save=100,
        steps_per_eval_batch=0,
        steps_per_eval_image=250,
        steps_per_eval_all_images=1000,
        machine=MachineConfig(device_type="cuda" if gpu else "cpu"),
        logging=LoggingConfig(local_writer=ProgressConfig(), steps_per_log=1, profiler="none"),
        # No camera frustums: they would stand between the viewer and the object.
        viewer=ViewerConfig(
            websocket_host="127.0.0.1", quit_on_train_completion=True, max_num_display_images=0
        ),
        vis="viewer",
        optimizers={
            "encoding": {"optimizer": AdamOptimizerConfig(lr=0.03), "scheduler": RampSchedulerConfig()},
            "network": {"optimizer": AdamOptimizerConfig(lr=0.005), "scheduler": RampSchedulerConfig()},
        },
    )
