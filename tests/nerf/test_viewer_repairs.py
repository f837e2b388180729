"""Repairs of nerfstudio's viewer; `test_viewer` uses them in a browser."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from splines.quaternion import PiecewiseSlerp, UnitQuaternion

from bridge_nerf.nerf import viewer_repairs
from bridge_nerf.nerf.viewer_repairs import KochanekBartels, SceneUpdate

A = UnitQuaternion.from_axis_angle((1, 2, 3), 0.3)
B = UnitQuaternion.from_axis_angle((0, 1, 1), 1.9)
C = UnitQuaternion.from_axis_angle((1, 0, 1), -0.7)


@pytest.mark.parametrize("pair", [(A, B), (A, -B), (A, A)])
def test_two_rotations_are_joined_by_their_arc(pair: tuple[UnitQuaternion, UnitQuaternion]) -> None:
    ours = KochanekBartels(pair, tcb=(0.5, 0.0, 0.0), endconditions="natural")
    arc = PiecewiseSlerp(pair)
    for t in np.linspace(0, 1, 7):
        np.testing.assert_allclose(ours.evaluate(t).xyzw, arc.evaluate(t).xyzw, atol=1e-12)


@pytest.mark.parametrize(("rotations", "ends"), [((A, B, C), "natural"), ((A, B), "closed")])
def test_others_are_joined_as_before(rotations: tuple[UnitQuaternion, ...], ends: str) -> None:
    ours = KochanekBartels(rotations, tcb=(0.5, 0.0, 0.0), endconditions=ends)
    (theirs,) = KochanekBartels.__bases__
    expected = theirs(rotations, tcb=(0.5, 0.0, 0.0), endconditions=ends)
    for t in np.linspace(0, ours.grid[-1], 7):
        np.testing.assert_allclose(ours.evaluate(t).xyzw, expected.evaluate(t).xyzw)


def test_training_goes_on_while_a_camera_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    updated: list[int] = []
    shown: list[int] = []
    viewer: Any = SimpleNamespace(
        step=0,
        last_move_time=float("inf"),  # never over: nerfstudio's own update would never return
        update_scene=lambda step, _: updated.append(step),
        update_step=shown.append,
    )
    monkeypatch.setattr(viewer_repairs, "LONGEST_REST_S", 0.01)
    update = SceneUpdate(viewer)
    update(7)
    assert (viewer.step, updated, shown) == (7, [], [7])
    viewer.last_move_time = 0.0
    update(8)
    assert (updated, shown) == ([8], [7])
