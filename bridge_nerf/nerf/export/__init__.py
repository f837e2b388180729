"""A finished object as files for other programs: meshes with a texture, and points."""

from typing import Literal

Output = Literal["rgb", "albedo", "normals", "accumulation", "depth"]
"""Images with which a scene answers rays."""
