"""Every shape that a signature promises is checked while the tests run."""

from jaxtyping import install_import_hook

install_import_hook("bridge_nerf", "beartype.beartype")
