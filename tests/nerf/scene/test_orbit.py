"""Cameras, against nerfstudio's rays and the toybox's."""

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras

from bridge_nerf.nerf.scene.orbit import Orbit, OrbitConfig, random_orbit, turntable
from bridge_nerf.toybox.render import View, rays


def test_rays_are_those_of_nerfstudio() -> None:
    orbit = random_orbit(OrbitConfig(fov_range=(30.0, 60.0)), 3, seed=1, step=5)
    origins, directions = orbit.rays(8)
    focal = orbit.focal(8)
    cameras = Cameras(orbit.poses(), focal, focal, 4.0, 4.0, width=8, height=8)
    theirs = [cameras.generate_rays(i, keep_shape=True) for i in range(3)]
    torch.testing.assert_close(origins.view(3, 8, 8, 3), torch.stack([r.origins for r in theirs]))
    torch.testing.assert_close(directions.view(3, 8, 8, 3), torch.stack([r.directions for r in theirs]))


@pytest.mark.parametrize(("azimuth", "elevation"), [(0.0, 0.0), (130.0, 40.0), (-70.0, -10.0), (10.0, 88.0)])
def test_rays_are_those_of_the_toybox(azimuth: float, elevation: float) -> None:
    orbit = Orbit(*(torch.tensor([value]) for value in (azimuth, elevation, 3.3, 40.0)))
    origin, directions = rays(View(azimuth, elevation, 3.3), 16, 1)
    ours = orbit.rays(16)
    torch.testing.assert_close(ours[0], origin.expand(256, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(ours[1], directions, atol=1e-5, rtol=0)


def test_azimuth_zero_stands_in_front_on_x() -> None:
    pose = turntable(4, 0.0, 2.0, 40.0).poses()
    torch.testing.assert_close(
        pose[:, :, 3], 2 * torch.tensor([[1.0, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]])
    )
    torch.testing.assert_close(pose[:, :, 1], torch.tensor([[0.0, 0, 1]]).expand(4, 3))


def test_steps_are_independent_of_their_past() -> None:
    config = OrbitConfig()
    forwards = [random_orbit(config, 2, 3, step) for step in range(5)]
    backwards = [random_orbit(config, 2, 3, step) for step in reversed(range(5))][::-1]
    for one, other in zip(forwards, backwards, strict=True):
        assert torch.equal(one.poses(), other.poses())
    assert not torch.equal(forwards[0].poses(), random_orbit(config, 2, 4, 0).poses())


def test_ranges_hold_and_azimuths_are_even() -> None:
    config = OrbitConfig(overhead_share=0.25)
    orbits = [random_orbit(config, 4, 0, step) for step in range(250)]
    azimuth, elevation, distance = (
        torch.cat([getattr(o, n) for o in orbits]) for n in ("azimuth", "elevation", "distance")
    )
    counts = torch.histc(azimuth, 36, -180, 180)
    assert (counts - 1000 / 36).abs().max() <= 3, "independent draws would be off by 15"
    above = elevation > config.elevation_range[1]
    assert 0.2 < above.float().mean() < 0.3
    assert ((elevation[~above] >= -10) & (elevation[~above] <= 45)).all()
    assert ((elevation[above] >= 60) & (elevation[above] <= 85)).all()
    assert ((distance >= 3.1) & (distance <= 3.7)).all()


def test_rays_of_cameras_that_were_sent_are_the_same() -> None:
    orbit = random_orbit(OrbitConfig(), 2, seed=1, step=5)
    for sent, kept in zip(orbit.to(torch.device("cpu")).rays(8), orbit.rays(8), strict=True):
        assert torch.equal(sent, kept)
