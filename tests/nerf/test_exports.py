"""`ns-export` and `ns-render` on a run: what comes out, and what is refused in words."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np
import open3d
import pytest
import torch
from nerfstudio.cameras.camera_paths import get_spiral_path
from nerfstudio.scripts import exporter, render
from numpy.typing import NDArray
from PIL import Image

from bridge_nerf.nerf.datamanager import OrbitDataManagerConfig
from bridge_nerf.nerf.refusals import REFUSED
from bridge_nerf.nerf.scene.orbit import turntable
from tests.nerf.conftest import small_config, train
from tests.nerf.stub import StubPrior
from tests.nerf.test_command_line import run as run_command


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a run of six steps: still nearly the ball that a field begins with."""
    config = small_config(tmp_path_factory.mktemp("export"))
    config.pipeline.datamanager.eval_resolution = 64
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bridge_nerf.priors.registry.load_prior", lambda *_, **__: StubPrior())
        yield train(config, "run").base_dir


def points(path: Path) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Positions, colours and normals."""
    cloud = open3d.io.read_point_cloud(str(path))
    return np.asarray(cloud.points), np.asarray(cloud.colors), np.asarray(cloud.normals)


def eighths(positions: NDArray[Any]) -> NDArray[Any]:
    """Numbers of points in each eighth of azimuth."""
    azimuth = np.arctan2(positions[:, 1], positions[:, 0])
    return np.histogram(azimuth, 8, (-np.pi, np.pi))[0]


def main_part(path: Path) -> float:
    """Share of the faces that hang together."""
    _, sizes, _ = open3d.io.read_triangle_mesh(str(path)).cluster_connected_triangles()
    return max(sizes) / sum(sizes)


def test_every_camera_counts_once_in_means() -> None:
    manager = OrbitDataManagerConfig(eval_cameras=4).setup(device="cpu")
    assert len(list(manager.fixed_indices_eval_dataloader)) == 4
    assert len(manager.eval_dataset.cameras) == 5, "ns-render's path is closed"


@pytest.mark.parametrize(("method", "number"), [("open3d", 4000), ("model_output", 4000), ("open3d", 100)])
def test_a_point_cloud_has_all_sides(run: Path, tmp_path: Path, method: Any, number: int) -> None:
    exporter.ExportPointCloud(
        run / "config.yml", tmp_path, num_points=number, normal_method=method, num_rays_per_batch=2048
    ).main()
    positions, colours, normals = points(tmp_path / "point_cloud.ply")
    assert len(np.unique(positions, axis=0)) == len(positions) >= 0.95 * number
    assert eighths(positions).min() > len(positions) / 16
    assert np.linalg.norm(positions, axis=1).max() < 0.6, "no ball of nothing around the object"
    assert colours.min(1).max() < 0.9, "no background, which is white"
    outwards = positions / np.linalg.norm(positions, axis=1, keepdims=True)
    if method == "model_output":
        assert ((normals * outwards).sum(1) > 0.5).mean() > 0.95


def test_a_crop_box_of_the_viewer_and_the_worlds_frame(run: Path, tmp_path: Path) -> None:
    whole = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (2.0, 2.0, 2.0))
    exporter.ExportPointCloud(
        run / "config.yml",
        tmp_path,
        num_points=1000,
        num_rays_per_batch=2048,
        obb_center=whole[0],
        obb_rotation=whole[1],
        obb_scale=whole[2],
        save_world_frame=True,
    ).main()
    positions, _, _ = points(tmp_path / "point_cloud.ply")
    assert eighths(positions).min() > len(positions) / 16
    assert np.linalg.norm(positions, axis=1).max() < 0.6, "the world's frame is the object's"


def test_a_poisson_mesh_is_one(run: Path, tmp_path: Path) -> None:
    exporter.ExportPoissonMesh(
        run / "config.yml", tmp_path, num_points=40_000, texture_method="point_cloud"
    ).main()
    assert main_part(tmp_path / "poisson_mesh.ply") > 0.95


def test_a_fused_mesh_is_one_and_stands_where_the_object_does(run: Path, tmp_path: Path) -> None:
    exporter.ExportTSDFMesh(run / "config.yml", tmp_path, resolution=[48] * 3, texture_method="tsdf").main()
    path = tmp_path / "tsdf_mesh.ply"
    assert main_part(path) > 0.95
    radius = np.linalg.norm(points(path)[0], axis=1)
    assert radius.min() > 0.2 and radius.max() < 0.6


def test_cameras_stand_on_all_sides_and_look_at_the_object(run: Path, tmp_path: Path) -> None:
    exporter.ExportCameraPoses(run / "config.yml", tmp_path).main()
    for name, number in (("train", 64), ("eval", 5)):
        frames = json.loads((tmp_path / f"transforms_{name}.json").read_text())
        poses = np.array([frame["transform"] for frame in frames])
        assert len({frame["file_path"] for frame in frames}) == len(poses) == number
        if name == "train":
            assert eighths(poses[:, :, 3]).min() > 4
        middle = poses[:, :, 3] - 3.3 * poses[:, :, 2]
        np.testing.assert_allclose(middle, 0, atol=1e-5)


@pytest.mark.parametrize(
    "command", ["ns-export marching-cubes", "ns-export gaussian-splat", "ns-render dataset"]
)
def test_what_a_run_has_no_use_for_is_refused_in_a_line(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    program, name = command.split()
    chosen: Any = {
        "marching-cubes": exporter.ExportMarchingCubesMesh,
        "gaussian-splat": exporter.ExportGaussianSplat,
        "dataset": render.DatasetRender,
    }[name]
    monkeypatch.setattr("sys.argv", [f"/usr/bin/{program}", name, "--load-config", str(run / "config.yml")])
    with pytest.raises(SystemExit, match="^error: .*bridge-nerf (export|render) RUN") as refused:
        chosen(run / "config.yml", tmp_path).main()
    assert "\n" not in str(refused.value) and command in str(refused.value)


def test_other_programs_may_have_commands_of_these_names(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["my-tool", next(iter(REFUSED))])
    exporter.ExportCameraPoses(run / "config.yml", tmp_path).main()


@pytest.mark.parametrize("elevation", [-20.0, 15.0, 80.0])
def test_a_spiral_is_the_right_way_up_from_every_side(elevation: float) -> None:
    manager = OrbitDataManagerConfig(eval_cameras=5, eval_elevation=elevation).setup(device="cpu")
    upright = manager.turntable(5).poses()
    for index in range(5):
        start, _ = manager.eval_dataloader.get_camera(index)
        path = get_spiral_path(start, steps=4, radius=0.1)
        turned = path.camera_to_worlds[:, :, :3] - upright[index, :, :3]
        assert turned.abs().max() < 0.01
        assert (path.camera_to_worlds[:, :, 3] - upright[index, :, 3]).norm(dim=-1).max() < 0.2


def test_outside_training_each_batch_of_rays_comes_from_other_sides() -> None:
    manager = OrbitDataManagerConfig(train_resolution=8).setup(device="cpu")
    law = manager.next_train(3)[0].origins
    assert torch.equal(manager.next_train(3)[0].origins, law)
    manager.eval()
    manager.train_pixel_sampler.num_rays_per_batch = 800
    first, second = (manager.next_train(0)[0].origins for _ in range(2))
    assert len(first) == len(second) == 800
    assert len(torch.cat([first, second]).unique(dim=0)) == 16
    manager.train()
    assert torch.equal(manager.next_train(3)[0].origins, law)


OUTPUTS = ["rgb", "normals", "albedo", "depth", "accumulation"]


@pytest.mark.skipif(which("ffmpeg") is None, reason="ns-render wants the program ffmpeg")
@pytest.mark.parametrize("crop", [None, 2.0, 0.1])
def test_rendered_paths_show_all_outputs(run: Path, tmp_path: Path, crop: float | None) -> None:
    pose = turntable(1, 15.0, 3.3, 40.0).poses()[0]
    square = torch.cat([pose, torch.tensor([[0.0, 0, 0, 1]])]).flatten().tolist()
    path: dict[str, Any] = {"render_height": 32, "render_width": 32, "seconds": 1, "crop": None}
    path["camera_path"] = [{"camera_to_world": square, "fov": 40.0}]
    if crop is not None:
        white = {"r": 255, "g": 255, "b": 255}
        path["crop"] = {"crop_bg_color": white, "crop_center": [0, 0, 0], "crop_scale": [crop] * 3}
    (tmp_path / "path.json").write_text(json.dumps(path))
    options: dict[str, Any] = {
        "rendered_output_names": OUTPUTS,
        "output_format": "images",
        "image_format": "png",
    }
    file = tmp_path / "path.json"
    render.RenderCameraPath(run / "config.yml", tmp_path / "a", camera_path_filename=file, **options).main()
    image = np.asarray(Image.open(tmp_path / "a" / "00000.png"), float) / 255
    rgb, normals, albedo, _, _ = np.split(image, len(OUTPUTS), axis=1)
    hit = albedo.min(-1) < 0.99
    assert np.allclose(rgb[0, 0], 1) and np.allclose(normals[0, 0], 0.5, atol=0.01)
    assert (hit.sum() > 30) == (crop != 0.1)


@pytest.mark.skipif(which("ffmpeg") is None, reason="ns-render wants the program ffmpeg")
def test_a_spiral_and_a_circle_show_the_object(run: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"output_format": "images", "image_format": "png"}
    render.SpiralRender(run / "config.yml", tmp_path / "spiral", seconds=0.2, **options).main()
    render.RenderInterpolated(
        run / "config.yml", tmp_path / "circle", interpolation_steps=1, **options
    ).main()
    for name, number in (("spiral", 4), ("circle", 4)):
        images = [np.asarray(Image.open(file)) for file in (tmp_path / name).glob("*.png")]
        assert len(images) >= number
        assert all(image[32, 32].min() < 250 and image[0].min() == 255 for image in images)


@pytest.mark.slow
def test_a_real_run_in_four_forms_by_the_commands_that_the_viewer_prints(tmp_path: Path) -> None:
    code, said = run_command('ns-train bridge-distill-tiny --prompt "a duck" --vis tensorboard', tmp_path)
    assert code == 0, said
    (config,) = tmp_path.glob("outputs/*/*/*/config.yml")
    load, common = (
        f"--load-config {shlex.quote(str(config))}",
        "--remove-outliers True --normal-method open3d",
    )
    for command in (
        f"pointcloud {load} --output-dir exports/pcd/ --num-points 200000 {common} --save-world-frame False ",
        f"poisson {load} --output-dir exports/mesh/ --target-num-faces 5000 --num-pixels-per-side 512 "
        f"--num-points 200000 {common} ",
        f"tsdf {load} --output-dir exports/tsdf --target-num-faces 1000 --num-pixels-per-side 64",
        f"cameras {load} --output-dir exports/cameras",
    ):
        code, said = run_command(f"ns-export {command}", tmp_path)
        assert code == 0 and "Traceback" not in said, said
    exports = tmp_path / "exports"
    positions, _, _ = points(exports / "pcd" / "point_cloud.ply")
    assert len(np.unique(positions, axis=0)) == len(positions) > 190_000
    assert eighths(positions).min() > 8000
    for mesh in ("mesh/poisson_mesh.ply", "tsdf/tsdf_mesh.ply"):
        assert main_part(exports / mesh) >= 0.95
        assert (exports / mesh).with_name("mesh.obj").exists()
    assert len(json.loads((exports / "cameras" / "transforms_train.json").read_text())) == 64
