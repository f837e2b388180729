"""Versions, also where a package lies without being installed, as in a Space."""

import importlib.metadata

import pytest

from bridge_nerf.versions import version_of


def test_the_own_version_is_that_of_the_installed_package():
    assert version_of("bridge_nerf") == importlib.metadata.version("bridge_nerf")


def test_nothing_needs_to_be_installed(monkeypatch: pytest.MonkeyPatch):
    installed = version_of("bridge_nerf")

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert version_of("bridge_nerf") == installed
    assert version_of("torch") == "not installed"
