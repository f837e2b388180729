"""Score distillation as a Schrodinger bridge between image distributions (McAllister et al., NeurIPS 2024).

An objective is a value of four choices (target, source, weighting, transport), a prior answers in eps, and
`distillation_loss` moves x along w(t) (eps_target - eps_source). The names below are imported when they are
first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from bridge_nerf.distillation.config import ObjectiveConfig
    from bridge_nerf.distillation.epsilon import ADAPTER, NEGATIVE, NOISE, NULL, SOURCE, TARGET, Slot, guided
    from bridge_nerf.distillation.loss import distillation_loss
    from bridge_nerf.distillation.objectives import (
        Objective,
        bridge_second_stage,
        csd,
        full_bridge,
        nfsd,
        sds,
        vsd,
    )
    from bridge_nerf.distillation.prior import Condition, DiffusionPrior, ImagePrior
    from bridge_nerf.distillation.problem import Problem
    from bridge_nerf.distillation.registry import OBJECTIVES, ObjectiveEntry
    from bridge_nerf.distillation.sample import Sample
    from bridge_nerf.images.canvas import CANVASES, Canvas
    from bridge_nerf.images.generation import generate, make_images
    from bridge_nerf.images.options import ImageOptions
    from bridge_nerf.nerf.engine.headless import optimise_scene
    from bridge_nerf.priors.plugins import PRIORS
    from bridge_nerf.priors.registry import load_prior
    from bridge_nerf.schedules import NoiseSchedule

_MODULES = {
    "distillation.config": "ObjectiveConfig",
    "distillation.epsilon": "ADAPTER NEGATIVE NOISE NULL SOURCE TARGET Slot guided",
    "distillation.loss": "distillation_loss",
    "distillation.objectives": "Objective bridge_second_stage csd full_bridge nfsd sds vsd",
    "distillation.prior": "Condition DiffusionPrior ImagePrior",
    "distillation.problem": "Problem",
    "distillation.registry": "OBJECTIVES ObjectiveEntry",
    "distillation.sample": "Sample",
    "images.canvas": "CANVASES Canvas",
    "images.generation": "generate make_images",
    "images.options": "ImageOptions",
    "nerf.engine.headless": "optimise_scene",
    "priors.plugins": "PRIORS",
    "priors.registry": "load_prior",
    "schedules": "NoiseSchedule",
}
_HOMES = {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names.split()}
__all__ = [*_HOMES, "__version__"]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(_HOMES)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
