"""The extras of the installation, and one sentence where a package of one is missing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

CORE = ""
PARTS = {
    CORE: "torch torchvision lightning diffusers transformers tokenizers huggingface_hub safetensors tyro "
    "jaxtyping msgspec numpy matplotlib torchmetrics PIL av rich filelock",
    "nerf": "nerfstudio nerfacc viser tensorboard trimesh xatlas skimage scipy fast_simplification pxr",
    "app": "gradio gradio_client",
    "docs": "mkdocs mkdocstrings",
    "dev": "beartype hypothesis importlinter playwright psutil pyright pytest xdist ruff setuptools",
}
"""Extra in pyproject.toml -> import names of its packages."""


def install(extra: str) -> str:
    """The command that installs an extra, in the repository's folder: the package is on no index."""
    return f'pip install -c constraints.txt -e "{f".[{extra}]" if extra else "."}"'


@contextmanager
def required(program: str) -> Iterator[None]:
    """Context that ends the program with one sentence where it imports a package of PARTS that is missing.

    Any other missing module stays an error.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        for extra, names in PARTS.items():
            if package in names.split():
                command = install(extra)
                sys.exit(f"{program}: {package} is not installed; in the repository's folder: {command}")
        raise
