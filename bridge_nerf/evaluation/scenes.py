"""Text to 3D on the toybox, measured. Needs nerfstudio."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from bridge_nerf.evaluation.figures import HELD_OUT_SEED, Figure, features, judged
from bridge_nerf.evaluation.statistics import frechet_distance
from bridge_nerf.guidance.config import PriorConfig

# the folder beside the package, mapped into it at installation
from bridge_nerf.method_configs.presets import variant_config  # pyright: ignore[reportMissingImports]
from bridge_nerf.nerf.engine.headless import optimise_scene
from bridge_nerf.toybox.dataset import make_shard
from bridge_nerf.toybox.judge import Judge
from bridge_nerf.toybox.words import article


def trained_views(prompt: str, objective: str, prior: PriorConfig, out: Path) -> Float[Tensor, "views 3 h w"]:
    """Train a scene by the preset for the toybox, in a folder below `out`; its images from all sides."""
    config = variant_config("bridge-distill", "toybox", objective)
    config.output_dir = out
    config.pipeline.model.prompt = prompt
    config.pipeline.objective = objective
    config.pipeline.prior = replace(prior)  # which the run changes
    return optimise_scene(config)


def scene_figures(
    judge: Judge, render: Callable[[str], Float[Tensor, "n 3 h w"]], toys: Sequence[str], name: str
) -> Iterator[Figure]:
    """Text to 3D, toy by toy as each is done, then all together.

    R-precision is the share of turntable views whose top toy is the prompt's. The Frechet distance is that
    of the views to the world's clean images of the same toys before white.

    Args:
        render: Prompt -> views of its scene before white, RGB in [0, 1].
        name: Name of the objective, for the figures.
    """
    shares, views, world = [], [], []
    for toy in toys:
        begin = time.perf_counter()
        views.append(render(article(toy)))
        seconds = time.perf_counter() - begin
        world.append(_before_white(toy))
        seen = Counter(judged(judge, views[-1]).toys)
        shares.append(seen[toy] / seen.total())
        distance = frechet_distance(features(judge, views[-1]), features(judge, world[-1]))
        others = ", ".join(f"{n} x {other}" for other, n in seen.most_common() if other != toy)
        details = f"{seconds:.0f} s, Frechet distance {distance:.1f}"
        details += f", taken for {others}" if others else ""
        goal = "= 1.00" if toy == "pineapple" else "-"
        yield Figure(f"{name} 3D, {article(toy)}: R-precision", shares[-1], goal, len(views[-1]), details)
    count = sum(len(v) for v in views)
    mean = sum(shares) / len(shares)
    yield Figure(f"{name} 3D: R-precision, mean over {len(shares)} toys", mean, ">= 0.90", count)
    distance = frechet_distance(features(judge, torch.cat(views)), features(judge, torch.cat(world)))
    yield Figure(f"{name} 3D: Frechet distance of all views to the world", distance, "-", count)


def _before_white(toy: str, renders: int = 160) -> Float[Tensor, "n 3 h w"]:
    """Held-out clean images of one toy before white, not from above."""
    shard = make_shard(HELD_OUT_SEED + 2, renders, toy=toy, clean=True)
    fits = [s.background == "white" and s.view != "overhead view" for s in shard.scenes]
    return shard.images[torch.tensor(fits)].float() / 255
