"""A run that was trained, opened to be looked at: it needs no prior."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from nerfstudio.engine.trainer import TrainerConfig

from bridge_nerf.errors import UserError
from bridge_nerf.nerf.engine import checkpoint, saved_config
from bridge_nerf.nerf.pipeline import BridgePipeline


def open_run(folder: Path, usual: TrainerConfig) -> tuple[Any, BridgePipeline]:
    """The configuration of a run and its pipeline after its last checkpoint, set to evaluation.

    Args:
        folder: The run's, in which its config.yml lies.
        usual: A configuration of the same classes and types.

    Raises:
        UserError: There is no run, it has no checkpoint yet, or what it holds cannot be read.
    """
    if not (folder / "config.yml").is_file():
        raise UserError(
            f"{folder} is not the folder of a run: there is no config.yml in it; give the one that ns-train "
            "named, as in outputs/a-pineapple/bridge-distill/2026-01-31_120000"
        )
    config = saved_config.read(folder / "config.yml", usual)
    path = checkpoint.latest(folder / "nerfstudio_models")
    state = checkpoint.read(path)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pipeline = config.pipeline.setup(device=device, test_mode="inference")
    try:
        pipeline.load_pipeline(state["pipeline"], state["step"])
    except UserError as error:
        raise checkpoint.foreign(path, error) from error
    return config, pipeline.eval()
