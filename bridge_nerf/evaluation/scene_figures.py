"""Figures of trained scenes beside the world's own renders: of one, of a toy's, of all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from bridge_nerf.evaluation.figures import HELD_OUT_SEED, Figure, features, judged
from bridge_nerf.evaluation.kept import Run, Scene
from bridge_nerf.evaluation.pose import PoseReference, spatial_features
from bridge_nerf.evaluation.statistics import bootstrap_interval, frechet_distance, wilson_interval
from bridge_nerf.evaluation.world import posed_renders, turntable_azimuths
from bridge_nerf.toybox.dataset import make_shard
from bridge_nerf.toybox.judge import Judge
from bridge_nerf.toybox.words import article

FITTED, HELD_OUT = 400, 96
"""The world's renders of a toy that its pose probe is fitted to, and those that it is measured on."""
CLEAN = 160
"""The world's renders of a toy for Frechet distances; each is two images, of which some do not fit."""
GOAL = 0.9
"""Share of the world's own view accuracy that scenes are to reach."""
NAMED = 5
"""Scenes that a figure names as its worst."""


@dataclass(frozen=True, eq=False)
class ToyReference:
    """What the world's own renders of a toy say."""

    pose: PoseReference
    features: Float[Tensor, "n d"]
    """The judge's features of clean images before white, not from above."""

    @classmethod
    def fit(cls, judge: Judge, toy: str) -> ToyReference:
        """Render the toy anew, by all cores, and measure that: some 10 seconds on one."""
        known, new = (
            posed_renders(toy, count, HELD_OUT_SEED + k) for k, count in ((3, FITTED), (4, HELD_OUT))
        )
        shard = make_shard(HELD_OUT_SEED + 2, CLEAN, toy=toy, clean=True)
        fits = [s.background == "white" and s.view != "overhead view" for s in shard.scenes]
        clean = shard.images[torch.tensor(fits)].float() / 255
        return cls(PoseReference.fit(judge, known, new), features(judge, clean))


@dataclass(frozen=True)
class SceneFigures:
    """The figures of one scene. Those of pose are None for toys without a front."""

    objective: str
    toy: str
    seed: int
    r_precision: float
    """Share of views whose top toy is the prompt's."""
    taken_for: dict[str, int]
    """Views by the other toys that they are taken for."""
    world_view_accuracy: float
    """View accuracy of the world's own renders, which decides whether the toy has a front."""
    view_accuracy: float | None
    orientation: float | None
    """Degrees; see `PoseFigures`."""
    turning: float | None
    orientation_right: bool | None
    distance_ratio: float
    """Feature distance ratio; see `PoseFigures`."""
    frechet_distance: float
    """Of the views to the world's clean images of the toy before white."""
    seconds: float

    @property
    def relative_accuracy(self) -> float | None:
        """View accuracy divided by the world's own."""
        return None if self.view_accuracy is None else self.view_accuracy / self.world_view_accuracy


def measured(judge: Judge, reference: ToyReference, run: Run, scene: Scene) -> SceneFigures:
    """The figures of a scene, whose views are a turntable's."""
    seen = Counter(judged(judge, scene.views).toys)
    azimuths = turntable_azimuths(len(scene.views))
    pose = reference.pose.figures(spatial_features(judge, scene.views), azimuths)
    front = reference.pose.has_front
    return SceneFigures(
        objective=run.objective,
        toy=run.toy,
        seed=run.seed,
        r_precision=seen[run.toy] / seen.total(),
        taken_for={toy: n for toy, n in seen.most_common() if toy != run.toy},
        world_view_accuracy=reference.pose.view_accuracy,
        view_accuracy=pose.view_accuracy if front else None,
        orientation=pose.orientation if front else None,
        turning=pose.turning if front else None,
        orientation_right=pose.orientation_right if front else None,
        distance_ratio=pose.distance_ratio,
        frechet_distance=frechet_distance(features(judge, scene.views), reference.features),
        seconds=scene.seconds,
    )


def toy_figure(scenes: Sequence[SceneFigures], views: int) -> Figure:
    """The row of a toy: means over its seeds, R-precision first.

    Args:
        views: Images of all its scenes.
    """
    toy = scenes[0].toy
    details = []
    if accuracies := _known(scenes, "view_accuracy"):
        turned = ", ".join(f"{s.orientation:+.0f}" for s in scenes)
        right = sum(bool(s.orientation_right) for s in scenes)
        details += [
            f"view accuracy {_mean(accuracies):.2f} (the world's own {scenes[0].world_view_accuracy:.2f})",
            f"orientation right {right} of {len(scenes)} ({turned} degrees)",
        ]
    details += [
        f"feature distance ratio {_mean(_known(scenes, 'distance_ratio')):.2f}",
        f"Frechet distance {_mean(_known(scenes, 'frechet_distance')):.1f}",
        f"{_mean(_known(scenes, 'seconds')):.0f} s",
    ]
    if others := sum((Counter(s.taken_for) for s in scenes), Counter()):
        details.append("taken for " + ", ".join(f"{n} x {other}" for other, n in others.most_common()))
    goal = "= 1.00" if toy == "pineapple" else "-"
    name = f"{scenes[0].objective} 3D, {article(toy)}: R-precision"
    return Figure(name, _mean(_known(scenes, "r_precision")), goal, views, ", ".join(details))


def summary(scenes: Sequence[SceneFigures], views: int) -> Iterator[Figure]:
    """All scenes of an objective together. Intervals are over scenes, each taken as independent of others.

    Args:
        views: Images of all scenes.
    """
    name, toys = f"{scenes[0].objective} 3D", len({s.toy for s in scenes})
    precisions = _known(scenes, "r_precision")
    label, interval = f"{name}: R-precision, mean over {toys} toys", bootstrap_interval(precisions)
    yield Figure(label, _mean(precisions), ">= 0.90", views, interval=interval)
    if fronted := [s for s in scenes if s.view_accuracy is not None]:
        yield from _pose_summary(name, fronted)
    ratios = _known(scenes, "distance_ratio")
    farthest = _worst(scenes, lambda s: -s.distance_ratio, lambda s: f"{s.distance_ratio:.2f}")
    label, interval = f"{name}: feature distance ratio, mean", bootstrap_interval(ratios)
    yield Figure(label, _mean(ratios), "-", len(scenes), f"farthest: {farthest}", interval)


def _pose_summary(name: str, scenes: Sequence[SceneFigures]) -> Iterator[Figure]:
    accuracies, ratios = _known(scenes, "view_accuracy"), _known(scenes, "relative_accuracy")
    world = _mean(_known(scenes, "world_view_accuracy"))
    label, interval = f"{name}: view accuracy, mean", bootstrap_interval(accuracies)
    details = f"the world's own {world:.3f}, of {len({s.toy for s in scenes})} toys with a front"
    yield Figure(label, _mean(accuracies), "-", len(scenes), details, interval)
    low = [s for s in scenes if (s.relative_accuracy or 0) < GOAL]
    worst = _worst(low, lambda s: s.relative_accuracy or 0, lambda s: f"{s.relative_accuracy:.2f}")
    label, interval = f"{name}: view accuracy / the world's own, mean", bootstrap_interval(ratios)
    yield Figure(label, _mean(ratios), f">= {GOAL:.2f}", len(scenes), worst and f"below: {worst}", interval)
    wrong = [s for s in scenes if not s.orientation_right]
    right = len(scenes) - len(wrong)
    worst = _worst(
        wrong, lambda s: s.turning or 0, lambda s: f"{s.orientation:+.0f} degrees, turning {s.turning:.2f}"
    )
    details = f"{right} of {len(scenes)}" + (f"; wrong: {worst}" if wrong else "")
    interval = wilson_interval(right, len(scenes))
    yield Figure(f"{name}: orientation right", right / len(scenes), "= 1.00", len(scenes), details, interval)


def _worst(
    scenes: Sequence[SceneFigures], key: Callable[[SceneFigures], float], said: Callable[[SceneFigures], str]
) -> str:
    """The scenes of the lowest keys with what is said of each, and how many more there are."""
    names = [f"{s.toy} {s.seed} ({said(s)})" for s in sorted(scenes, key=key)]
    more = [f"{len(names) - NAMED} more"] if len(names) > NAMED else []
    return ", ".join(names[:NAMED] + more)


def _known(scenes: Sequence[SceneFigures], name: str) -> list[float]:
    return [value for s in scenes if (value := getattr(s, name)) is not None]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
