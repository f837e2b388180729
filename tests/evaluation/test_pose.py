"""The pose probe: the world's own toys pass, and what R-precision cannot see fails by the figure for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import circmean, circvar
from torch import Tensor

from bridge_nerf.evaluation.pose import (
    PoseFigures,
    PoseProbe,
    PoseReference,
    angle_between,
    mean_turn,
    nearest_distance,
    spatial_features,
    view_accuracy,
)
from bridge_nerf.evaluation.world import Posed, posed_renders, turntable, turntable_azimuths
from bridge_nerf.paths import asset
from bridge_nerf.toybox.judge import Judge

SIDES = 24


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge.load(asset("toybox/judge"))


class Measured:
    """A toy of the world from all sides, and what is measured of images in its place."""

    def __init__(self, judge: Judge, toy: str) -> None:
        self.judge = judge
        self.reference = PoseReference.fit(
            judge, posed_renders(toy, 64, 1, workers=0), posed_renders(toy, 24, 2)
        )
        self.own = turntable(toy, SIDES, seed=3)
        self.loose = turntable(toy, SIDES, seed=3, loosened=0.3).images

    def __call__(self, images: Tensor) -> PoseFigures:
        return self.reference.figures(spatial_features(self.judge, images), self.own.azimuths)


@pytest.fixture(scope="module")
def duck(judge: Judge) -> Measured:
    return Measured(judge, "duck")


@pytest.fixture(scope="module")
def pineapple(judge: Judge) -> Measured:
    return Measured(judge, "pineapple")


def noisy(images: Tensor) -> Tensor:
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return (images + 0.3 * noise).clamp(0, 1)


def test_the_worlds_own_toys_pass(duck, pineapple):
    assert duck.reference.has_front and not pineapple.reference.has_front
    figures = duck(duck.own.images)
    assert figures.view_accuracy >= 0.9 * duck.reference.view_accuracy
    assert figures.turning > 0.9 and abs(figures.orientation) < 10 and figures.orientation_right
    for toy in (duck, pineapple):
        assert 0.8 < toy(toy.own.images).distance_ratio < 1.2


def test_a_turned_toy_turns_and_is_not_in_its_place(duck):
    """Rolled by 6 of 24 views, each camera sees what it should see 90 degrees earlier."""
    for views, degrees in ((6, -90), (-6, 90), (12, 180)):
        figures = duck(duck.own.images.roll(views, 0))
        assert abs((figures.orientation - degrees + 180) % 360 - 180) < 10 and figures.turning > 0.9
        assert figures.view_accuracy < 0.2 and not figures.orientation_right


def test_a_mirrored_toy_turns_the_other_way_round(duck):
    figures = duck(duck.own.images.flip(-1))
    assert figures.turning < 0.3 and figures.view_accuracy < 0.5 and not figures.orientation_right


@pytest.mark.parametrize("side", [0, 6, 12])
def test_a_toy_that_is_the_same_from_all_sides_does_not_turn(duck, side):
    figures = duck(duck.own.images[side].expand(SIDES, -1, -1, -1))
    assert figures.turning < 0.01 and figures.view_accuracy <= 0.3 and not figures.orientation_right


def test_views_in_disorder_do_not_turn(duck):
    order = torch.randperm(SIDES, generator=torch.Generator().manual_seed(0))
    figures = duck(duck.own.images[order])
    assert figures.turning < 0.4 and figures.view_accuracy < 0.5


def test_a_ruined_toy_is_far_from_the_world_also_a_round_one(duck, pineapple):
    for toy in (duck, pineapple):
        for ruined in (toy.loose, noisy(toy.own.images), torch.ones_like(toy.own.images)):
            assert toy(ruined).distance_ratio > 2
    assert duck(duck.loose).view_accuracy < 0.75 > duck(noisy(duck.own.images)).view_accuracy


def test_a_round_toy_may_stand_as_it_likes(pineapple):
    own, turned = (pineapple(pineapple.own.images.roll(k, 0)).distance_ratio for k in (0, 7))
    assert turned == pytest.approx(own, rel=1e-5)


def test_the_probe_is_the_ridge_regression_in_closed_form():
    """Against the primal solution: (f^T f / d + 0.1)^-1 f^T y / d."""
    r = torch.Generator().manual_seed(0)
    features, angles = torch.randn(30, 7, generator=r), 360 * torch.rand(30, generator=r)
    probe = PoseProbe.fit(features, angles)
    f = ((features - probe.mean) / probe.deviation).double()
    y = torch.stack([angles.deg2rad().cos(), angles.deg2rad().sin()], 1).double()
    expected = torch.linalg.solve(f.T @ f / 7 + 0.1 * torch.eye(7), f.T @ y / 7)
    assert probe.weights == pytest.approx(expected.numpy(), abs=1e-4)
    answers = f @ expected
    assert probe.azimuths(features).numpy() == pytest.approx(
        np.degrees(np.arctan2(answers[:, 1], answers[:, 0])), abs=0.01
    )


def test_directions_are_averaged_as_scipy_does():
    r = np.random.default_rng(0)
    cameras = turntable_azimuths(SIDES)
    estimates = cameras + torch.from_numpy(r.normal(170, 30, SIDES)).float()
    angle, length = mean_turn(estimates, cameras)
    off = (estimates - cameras).double().numpy()
    assert angle == pytest.approx(circmean(off, high=180, low=-180), abs=1e-3)
    assert length == pytest.approx(1 - circvar(off, high=360), abs=1e-6)


def test_angles_are_compared_around_the_circle():
    one, other = torch.tensor([179.0, -179.0, 350.0]), torch.tensor([-179.0, 179.0, 10.0])
    assert angle_between(one, other).tolist() == [-2, 2, -20]
    assert view_accuracy(
        torch.tensor([170.0, 0.0, 50.0]), torch.tensor([-150.0, 46.0, 5.0])
    ) == pytest.approx(2 / 3)


def test_only_the_same_side_is_near():
    known, new = torch.tensor([[0.0], [5.0], [9.0]]), torch.tensor([[1.0], [8.0]])
    assert nearest_distance(new, known) == 1
    sides = torch.tensor([0.0, 90.0]), torch.tensor([180.0, -14.0, 60.0])
    assert nearest_distance(new, known, sides) == 2.5, "5 is within 15 degrees of 1; 9 is the nearest to 8"


def test_renders_do_not_depend_on_who_makes_them():
    alone, shared = (
        posed_renders("mug", 52, 5, size=8, workers=0),
        posed_renders("mug", 52, 5, size=8, workers=2),
    )
    assert torch.equal(alone.images, shared.images) and torch.equal(alone.azimuths, shared.azimuths)
    assert not torch.equal(alone.images[:2], posed_renders("mug", 2, 6, size=8).images)
    assert isinstance(alone, Posed) and alone.azimuths.min() < -90 and alone.azimuths.max() > 90
