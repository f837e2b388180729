"""Versions of the packages at work."""

import importlib.metadata

import bridge_nerf


def version_of(package: str) -> str:
    """The version, or "not installed". Its own the package knows where it is not installed, as in a Space."""
    if package == bridge_nerf.__name__:
        return bridge_nerf.__version__
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
