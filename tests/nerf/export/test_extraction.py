"""A mesh of a known object: true to its renders, drawn by two renderers, and in four kinds of files."""

from __future__ import annotations

import io
import json
import struct

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from bridge_nerf.errors import UserError
from bridge_nerf.nerf.export.extraction import extract, fidelity
from bridge_nerf.nerf.export.fidelity import compare, draw
from bridge_nerf.nerf.export.formats import FORMATS, POINTS
from bridge_nerf.nerf.export.mesh import TexturedMesh
from bridge_nerf.nerf.model import BridgeModel
from bridge_nerf.nerf.scene.orbit import Orbit


@pytest.fixture
def mesh(egg: BridgeModel, around: Orbit) -> TexturedMesh:
    return extract(egg, around, resolution=96, faces=3000, texels=128)


def test_a_mesh_is_true_to_the_renders(egg: BridgeModel, around: Orbit, mesh: TexturedMesh) -> None:
    found = fidelity(mesh, egg, around, 192)
    assert found.psnr > 30 and found.iou > 0.96, "without the crumb, an eightieth of the silhouette"
    assert mesh.closed and len(mesh.faces) <= 3000
    moved = TexturedMesh(**vars(mesh) | {"vertices": mesh.vertices + 0.1})
    other = fidelity(moved, egg, around, 192)
    assert other.psnr < 24 and other.iou < 0.85, "the figures can fall"
    wrong = TexturedMesh(**vars(mesh) | {"texture": 1 - mesh.texture})
    assert fidelity(wrong, egg, around, 192).psnr < found.psnr - 10


def test_texels_have_the_colour_of_their_place(mesh: TexturedMesh) -> None:
    index = torch.arange(len(mesh.faces))
    middle = torch.full((len(index), 3), 1 / 3)
    from bridge_nerf.nerf.export.texture import read_texture

    colour = read_texture(mesh.texture, mesh.at(mesh.uv, index, middle))
    torch.testing.assert_close(colour, (mesh.at(mesh.vertices, index, middle) + 1) / 2, atol=0.03, rtol=0)


def test_a_ray_caster_sees_what_is_drawn(mesh: TexturedMesh, around: Orbit) -> None:
    _, cover = draw(mesh, around, 48)
    origins, directions = around.rays(48)
    body = trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False)
    hit = body.ray.intersects_any(origins.numpy(), directions.numpy())
    assert ((cover.flatten() > 0.5).numpy() != hit).mean() < 0.005


def test_what_is_behind_a_camera_is_not_drawn(mesh: TexturedMesh, around: Orbit) -> None:
    inside = Orbit(around.azimuth, around.elevation, around.distance * 0, around.fov)
    colour, cover = draw(mesh, inside, 16)
    assert torch.isfinite(colour).all() and (cover >= 0).all() and (cover <= 1).all()
    beyond = TexturedMesh(**vars(mesh) | {"vertices": mesh.vertices + torch.tensor([9.0, 0, 0])})
    one = Orbit(*(part[:1] for part in (around.azimuth, around.elevation, around.distance, around.fov)))
    assert not draw(beyond, one, 16)[1].any()


def test_identical_images_differ_by_nothing_and_a_shift_is_seen() -> None:
    image = torch.rand(2, 8, 8, 3, generator=torch.Generator().manual_seed(0))
    shown = torch.zeros(2, 8, 8, 1, dtype=torch.bool)
    shown[:, 2:6, 2:6] = True
    assert compare(image, shown, image, shown).iou == 1
    assert compare(image, shown, image + 0.1, shown).psnr == pytest.approx(20, abs=1e-4)
    assert compare(image, shown, image, shown.roll(2, 2)).iou == pytest.approx(1 / 3)


def test_it_stands_on_the_ground_one_unit_tall_and_shows_its_front(mesh: TexturedMesh) -> None:
    standing = mesh.standing()
    low, high = standing.vertices.aminmax(dim=0)
    assert low[1] == 0 and float(high[1]) == pytest.approx(1)
    torch.testing.assert_close((low + high)[[0, 2]], torch.zeros(2), atol=1e-6, rtol=0)
    # The field's +x, its front, is z; +y, its left, x; z is y.
    widths = (high - low) / (high - low)[1]
    torch.testing.assert_close(widths, torch.tensor([0.3 / 0.5, 1.0, 0.4 / 0.5]), atol=0.03, rtol=0)
    a, b, c = standing.vertices[standing.faces].unbind(1)
    outwards = torch.linalg.cross(b - a, c - a)
    assert ((outwards * standing.normals[standing.faces[:, 0]]).sum(1) > 0).float().mean() > 0.99


def test_nothing_to_see_is_said(egg: BridgeModel, around: Orbit) -> None:
    egg.field.forward = lambda x: (torch.zeros(len(x)), torch.zeros(len(x), 3))  # type: ignore[method-assign]
    with pytest.raises(UserError, match="nothing to export"):
        extract(egg, around, resolution=32)


def test_a_glb_holds_the_mesh_its_colours_and_how_it_was_made(mesh: TexturedMesh) -> None:
    (data,) = FORMATS["glb"](mesh.standing(), "an egg").values()
    length = struct.unpack("<I", data[12:16])[0]
    tree = json.loads(data[20 : 20 + length])
    assert tree["asset"]["version"] == "2.0" and tree["asset"]["extras"] == {"prompt": "an egg"}
    assert tree["materials"][0]["extensions"] == {"KHR_materials_unlit": {}}
    loaded = trimesh.load(io.BytesIO(data), file_type="glb", force="mesh")
    assert len(loaded.faces) == len(mesh.faces)
    assert np.allclose(loaded.vertices, mesh.standing().vertices.numpy(), atol=1e-5)
    texture = np.asarray(loaded.visual.material.baseColorTexture.convert("RGB"))
    assert np.abs(texture / 255 - mesh.texture.numpy()).max() < 1 / 255
    loaded.merge_vertices(merge_tex=True, merge_norm=True)
    assert loaded.is_watertight


def test_an_obj_names_its_material_and_that_its_texture(mesh: TexturedMesh) -> None:
    files = FORMATS["obj"](mesh.standing(), "an egg\nf 1 2 3")
    text, material = files["mesh.obj"].decode(), files["mesh.mtl"].decode()
    assert "mtllib mesh.mtl" in text
    (image,) = [name for name in files if name.endswith(".png")]
    assert f"map_Kd {image}" in material
    assert sum(line.startswith("f ") for line in text.splitlines()) == len(mesh.faces)
    assert Image.open(io.BytesIO(files[image])).size == (128, 128)


def test_a_cloud_has_points_all_round_with_normals_and_colours(mesh: TexturedMesh) -> None:
    (data,) = FORMATS["ply"](mesh.standing(), "an egg").values()
    assert data == FORMATS["ply"](mesh.standing(), "an egg")["points.ply"], "the same points every time"
    head, _, body = data.partition(b"end_header\n")
    assert f"element vertex {POINTS}".encode() in head
    row = np.dtype([("place", "<f4", 3), ("normal", "<f4", 3), ("colour", "u1", 4)])
    cloud = np.frombuffer(body, row, POINTS)
    assert np.allclose(np.linalg.norm(cloud["normal"], axis=1), 1, atol=1e-4)
    eighth = (
        np.floor((np.arctan2(cloud["place"][:, 0], cloud["place"][:, 2]) / np.pi + 1) * 4).astype(int) % 8
    )
    assert np.bincount(eighth, minlength=8).min() > POINTS / 20
    assert len(np.unique(cloud["place"], axis=0)) > 0.999 * POINTS


def test_a_usdz_keeps_the_formats_rules(mesh: TexturedMesh, tmp_path) -> None:
    from pxr import Usd, UsdGeom, UsdValidation

    context = UsdValidation.ValidationContext(UsdValidation.ValidationRegistry().GetOrLoadAllValidators())
    assert context.Validate(Usd.Stage.CreateInMemory()), "the validator finds what an empty stage lacks"

    (data,) = FORMATS["usdz"](mesh.standing(), "an egg").values()
    (path := tmp_path / "mesh.usdz").write_bytes(data)
    stage = Usd.Stage.Open(str(path))
    assert [error.GetMessage() for error in context.Validate(stage)] == []
    assert UsdGeom.GetStageUpAxis(stage) == "Y"
    shape = UsdGeom.Mesh(stage.GetPrimAtPath("/Object/Mesh"))
    assert len(shape.GetFaceVertexCountsAttr().Get()) == len(mesh.faces)
