"""The idea in the plane, against what is known of it in closed form."""

from __future__ import annotations

import re

import pytest
import torch

from bridge_nerf.app.plane import BELIEFS, WORLDS, Plane
from bridge_nerf.app.plane_plots import drawing, error_curves, errors_at

SDS, NULL, DESCRIBED = BELIEFS
WORLD = next(iter(WORLDS))


@pytest.mark.parametrize("world", WORLDS)
def test_the_bridge_lands_in_the_target(world):
    plane = Plane(world, SDS)
    landed = plane.landings(0.95, 60).paths[-1]
    t = torch.zeros(len(landed), dtype=torch.long)

    def likelihood(points, group):
        condition = plane.prior.embed([plane.prompt(group)]).expand(len(points))
        return plane.prior.log_density(points, t, condition).mean()

    rows = plane.prior.embed([plane.prompt("target")]).expand(len(landed))
    target = plane.prior.sample(rows, torch.Generator().manual_seed(1))
    assert likelihood(landed, "target") > likelihood(target, "target") - 1.0
    assert likelihood(landed, "target") > likelihood(plane.cloud, "target") + 2.0


def test_a_true_description_has_no_mismatch_and_a_wrong_one_has_more_the_more_wrong_it_is():
    mismatch = [
        Plane(WORLD, DESCRIBED, wrong).errors([0.5], 8)["source mismatch"][0] for wrong in (0.0, 0.5, 1.0)
    ]
    assert mismatch[0] < 1e-12 < mismatch[1] < mismatch[2]


def test_the_first_order_error_is_that_of_the_known_source_whatever_is_believed():
    one, other = (Plane(WORLD, belief).errors([0.6], 8)["first-order error"] for belief in (SDS, DESCRIBED))
    assert one == other and one[0] > 0.05


def test_sds_lands_on_averages():
    """Its landings spread less than the bridge's."""
    landings = Plane(WORLD, SDS).landings(0.75, 40)
    assert landings.one_step.var(0).sum() < 0.5 * landings.paths[-1].var(0).sum()


def test_other_seeds_are_other_points():
    assert not torch.equal(Plane(WORLD, SDS, seed=0).cloud, Plane(WORLD, SDS, seed=1).cloud)


def test_the_drawing_shows_all_of_it():
    plane = Plane(WORLD, DESCRIBED, 0.5)
    svg = drawing(plane, 0.5, 6)
    dots = re.findall(r'class="[a-z-]+ dots" d="([^"]*)"', svg)
    assert [path.count("M") for path in dots] == [len(plane.cloud)] * 3
    assert "data:image/png" in svg and "http" not in svg
    errors = errors_at(plane, 0.5, 6)
    assert set(errors) == {"first-order error", "source mismatch", "distance from the true bridge"}
    curves = error_curves(plane, 0.5, 6)
    assert set(curves["curve"]) == {"first-order error", "source mismatch", "this level"}
