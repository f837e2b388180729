"""Files of a mesh: GLB, OBJ, USDZ, and points as PLY."""

# The USD library's classes have no types.
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportOptionalMemberAccess=false
from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from bridge_nerf import __version__
from bridge_nerf.nerf.export.mesh import TexturedMesh
from bridge_nerf.nerf.export.texture import read_texture
from bridge_nerf.pixels import png, rounded

UNLIT = "KHR_materials_unlit"
POINTS = 100_000
"""Number of points of a cloud."""
MATERIAL = "material"


def glb(mesh: TexturedMesh, prompt: str) -> dict[str, bytes]:
    """Binary glTF 2.0. Colours are shown as they are, for they hold the light that they were made in; where a
    program does not know the extension for that, a matt material is lit.

    Args:
        prompt: Noted in the file, as `asset.extras`.
    """
    from trimesh.exchange.gltf import export_glb
    from trimesh.visual.material import PBRMaterial

    material = PBRMaterial(
        name=MATERIAL, baseColorTexture=_image(mesh), metallicFactor=0.0, roughnessFactor=1.0
    )

    def note(tree: dict[str, Any]) -> None:
        tree["asset"] |= {"generator": f"bridge_nerf {__version__}", "extras": {"prompt": prompt}}
        tree["extensionsUsed"] = [*tree.get("extensionsUsed", []), UNLIT]
        for entry in tree["materials"]:
            entry["extensions"] = entry.get("extensions", {}) | {UNLIT: {}}

    scene = _trimesh(mesh, material).scene()
    return {"mesh.glb": export_glb(scene, include_normals=True, tree_postprocessor=note)}


def obj(mesh: TexturedMesh, prompt: str) -> dict[str, bytes]:
    """Wavefront OBJ, with a material file and a texture beside it."""
    from trimesh.exchange.obj import export_obj
    from trimesh.visual.material import SimpleMaterial

    material = SimpleMaterial(image=_image(mesh), diffuse=[255] * 4, ambient=[0] * 4, specular=[0] * 4)
    material.name = MATERIAL
    header = " ".join(f"bridge_nerf {__version__}: {prompt}".split())
    text, beside = export_obj(
        _trimesh(mesh, material),
        include_normals=True,
        return_texture=True,
        mtl_name="mesh.mtl",
        header=header,
    )
    return {"mesh.obj": text.encode(), **beside}


def ply(mesh: TexturedMesh, prompt: str) -> dict[str, bytes]:
    """A cloud of POINTS evenly drawn points of the surface, with normals and colours."""
    from trimesh import Trimesh, triangles
    from trimesh.exchange.ply import export_ply
    from trimesh.sample import sample_surface

    surface = _trimesh(mesh)
    places, face, *_ = sample_surface(surface, POINTS, seed=0)
    at = torch.from_numpy(triangles.points_to_barycentric(surface.triangles[face], places)).float()
    index = torch.from_numpy(face)
    colours = read_texture(mesh.texture, mesh.at(mesh.uv, index, at))
    normals = torch.nn.functional.normalize(mesh.at(mesh.normals, index, at), dim=-1)
    cloud = Trimesh(
        places,
        np.zeros((0, 3), int),
        vertex_normals=normals.numpy(),
        vertex_colors=rounded(colours.clamp(0, 1)),
        process=False,
    )
    return {"points.ply": export_ply(cloud, vertex_normal=True)}


def usdz(mesh: TexturedMesh, prompt: str) -> dict[str, bytes]:
    """A USDZ archive, for Quick Look on Apple's devices. The material glows and reflects nothing, which shows
    its colours as they are."""
    from pxr import Gf, Sdf, Usd, UsdGeom, UsdShade, UsdUtils, Vt

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "texture.png").write_bytes(_png(mesh))
        stage = Usd.Stage.CreateNew(str(Path(folder, "mesh.usdc")))
        stage.SetMetadata("comment", f"bridge_nerf {__version__}: {prompt}")
        UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
        UsdGeom.SetStageMetersPerUnit(stage, 1.0)
        root = UsdGeom.Xform.Define(stage, "/Object")
        stage.SetDefaultPrim(root.GetPrim())
        shape = UsdGeom.Mesh.Define(stage, "/Object/Mesh")
        vertices = mesh.vertices.numpy()
        shape.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(vertices))
        shape.CreateExtentAttr([Gf.Vec3f(*map(float, end)) for end in (vertices.min(0), vertices.max(0))])
        shape.CreateFaceVertexCountsAttr(Vt.IntArray(len(mesh.faces), 3))
        shape.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(mesh.faces.numpy().ravel().astype(np.int32)))
        shape.CreateNormalsAttr(Vt.Vec3fArray.FromNumpy(mesh.normals.numpy()))
        shape.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
        shape.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
        places = UsdGeom.PrimvarsAPI(shape).CreatePrimvar(
            "st", Sdf.ValueTypeNames.TexCoord2fArray, UsdGeom.Tokens.vertex
        )
        places.Set(Vt.Vec2fArray.FromNumpy(mesh.uv.numpy()))
        UsdShade.MaterialBindingAPI.Apply(shape.GetPrim()).Bind(_usd_material(stage))
        stage.GetRootLayer().Save()
        archive = Path(folder, "mesh.usdz")
        if not UsdUtils.CreateNewUsdzPackage(Sdf.AssetPath(str(Path(folder, "mesh.usdc"))), str(archive)):
            raise OSError(f"the USD library could not write {archive.name}")
        return {archive.name: archive.read_bytes()}


def _usd_material(stage: Any) -> Any:
    from pxr import Gf, Sdf, UsdShade

    kinds = Sdf.ValueTypeNames
    material = UsdShade.Material.Define(stage, f"/Object/{MATERIAL}")
    surface, texture, reader = (
        UsdShade.Shader.Define(stage, f"/Object/{MATERIAL}/{name}")
        for name in ("surface", "texture", "reader")
    )
    reader.CreateIdAttr("UsdPrimvarReader_float2")
    reader.CreateInput("varname", kinds.String).Set("st")
    texture.CreateIdAttr("UsdUVTexture")
    texture.CreateInput("file", kinds.Asset).Set("texture.png")
    texture.CreateInput("sourceColorSpace", kinds.Token).Set("sRGB")
    for side in ("wrapS", "wrapT"):
        texture.CreateInput(side, kinds.Token).Set("clamp")
    texture.CreateInput("st", kinds.Float2).ConnectToSource(reader.CreateOutput("result", kinds.Float2))
    surface.CreateIdAttr("UsdPreviewSurface")
    surface.CreateInput("diffuseColor", kinds.Color3f).Set(Gf.Vec3f(0, 0, 0))
    surface.CreateInput("roughness", kinds.Float).Set(1.0)
    surface.CreateInput("emissiveColor", kinds.Color3f).ConnectToSource(
        texture.CreateOutput("rgb", kinds.Float3)
    )
    material.CreateSurfaceOutput().ConnectToSource(surface.CreateOutput("surface", kinds.Token))
    return material


def _trimesh(mesh: TexturedMesh, material: Any = None) -> Any:
    from trimesh import Trimesh
    from trimesh.visual import TextureVisuals

    return Trimesh(
        mesh.vertices.numpy(),
        mesh.faces.numpy(),
        vertex_normals=mesh.normals.numpy(),
        visual=TextureVisuals(uv=mesh.uv.numpy(), material=material),
        process=False,
    )


def _image(mesh: TexturedMesh) -> Image.Image:
    # It reads its own PNG: what has a format is stored as it is.
    return Image.open(io.BytesIO(_png(mesh)))


def _png(mesh: TexturedMesh) -> bytes:
    return png(rounded(mesh.texture.clamp(0, 1)))


FORMATS: dict[str, Callable[[TexturedMesh, str], dict[str, bytes]]] = {
    "glb": glb,
    "obj": obj,
    "ply": ply,
    "usdz": usdz,
}
"""Format -> what makes its files, by name."""
