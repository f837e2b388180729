"""Text to 3D on the toybox, trained and measured. Needs nerfstudio."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import torch

import bridge_nerf
from bridge_nerf.evaluation.figures import Figure, features
from bridge_nerf.evaluation.kept import KeptScenes, Run, Scene
from bridge_nerf.evaluation.scene_figures import SceneFigures, ToyReference, measured, summary, toy_figure
from bridge_nerf.evaluation.statistics import frechet_distance
from bridge_nerf.flags import leaves
from bridge_nerf.guidance.config import PriorConfig

# the folder beside the package, mapped into it at installation
from bridge_nerf.method_configs.presets import variant_config  # pyright: ignore[reportMissingImports]
from bridge_nerf.nerf.engine.headless import optimise_scene
from bridge_nerf.nerf.engine.trainer import BridgeTrainerConfig
from bridge_nerf.toybox.judge import Judge

DECIDING = ("pipeline.", "optimizers.", "machine.seed", "machine.device-type", "max-num-iterations", "mixed-")
"""How the flags begin on which a scene depends; of the prior, its weights say more than its flags."""


def run_config(run: Run, prior: PriorConfig, out: Path) -> BridgeTrainerConfig:
    """The method's preset for the toybox, in a folder of the run's own below `out`."""
    config = variant_config("bridge-distill", "toybox", run.objective)
    config.output_dir = out / run.stem
    config.machine.seed = run.seed
    config.pipeline.model.prompt = run.prompt
    config.pipeline.objective = run.objective
    config.pipeline.prior = replace(prior)  # which the run changes
    return config


def trained(run: Run, prior: PriorConfig, out: Path) -> Scene:
    """Train a scene as `run_config` says. SystemExit with one line for what the user can mend."""
    begin = time.perf_counter()
    views = optimise_scene(run_config(run, prior, out))
    return Scene(views, time.perf_counter() - begin)


def identity(run: Run, prior: PriorConfig, weights: str) -> dict[str, str]:
    """All that the run's views depend on: the package's version, the prior's weights, and every number.

    A change of the package's code within one version is not seen.

    Args:
        weights: The prior's fingerprint, which says its precision too.
    """
    flags = {leaf.flag: str(leaf.value) for leaf in leaves(run_config(run, prior, Path()))}
    numbers = {
        flag: value
        for flag, value in flags.items()
        if flag.startswith(DECIDING) and not f"{flag}.".startswith("pipeline.prior.")
    }
    return {"version": bridge_nerf.__version__, "the prior's weights": weights, **numbers}


def kept_scenes(runs: Sequence[Run], prior: PriorConfig, folder: Path) -> KeptScenes:
    """The kept scenes of these runs; the prior is loaded for its fingerprint.

    Raises:
        UserError: One of the files in the folder is that of another run, or the prior cannot be had.
    """
    weights = prior.load()[1].fingerprint
    kept = KeptScenes(folder, {run: identity(run, prior, weights) for run in runs})
    trained = len(kept.identities) - len(kept.missing())
    print(f"{trained} of {len(kept.identities)} scenes are kept in {folder}", flush=True)
    return kept


def scene_figures(
    judge: Judge,
    runs: Iterable[Run],
    scenes: Iterator[tuple[Run, Scene]],
    note: Callable[[SceneFigures, Scene], None],
) -> Iterator[Figure]:
    """Text to 3D, toy by toy as each is done, then all of an objective together; see `SceneFigures`.

    Args:
        runs: An objective's beside each other, and a toy's among them.
        scenes: Those of the runs, in order; each is asked for when it is to be measured.
        note: Is told of each scene as soon as it is measured.
    """
    references: dict[str, ToyReference] = {}
    for objective, of_objective in groupby(runs, lambda run: run.objective):
        rows: list[SceneFigures] = []
        seen, world, views = [], [], 0
        for toy, of_toy in groupby(of_objective, lambda run: run.toy):
            begin, here = len(rows), 0
            # The runs end first: a toy's row does not wait for the next one's training.
            for _, (run, scene) in zip(of_toy, scenes, strict=False):
                if toy not in references:
                    references[toy] = ToyReference.fit(judge, toy)
                rows.append(measured(judge, references[toy], run, scene))
                note(rows[-1], scene)
                seen.append(features(judge, scene.views))
                here += len(scene.views)
            world.append(references[toy].features)
            views += here
            yield toy_figure(rows[begin:], here)
        yield from summary(rows, views)
        distance = frechet_distance(torch.cat(seen), torch.cat(world))
        yield Figure(f"{objective} 3D: Frechet distance of all views to the world", distance, "-", views)
