"""A finished object as files for other programs: meshes with a texture, and points."""
