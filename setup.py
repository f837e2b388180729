"""Lists the packages; everything else about the project is in pyproject.toml.

A list in pyproject.toml would have to be edited for each new folder, and its `find` cannot give
`method_configs/` and `assets/` the names under which they are installed.
"""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["bridge_nerf", "bridge_nerf.*"]),
        "bridge_nerf.method_configs",
        "bridge_nerf.assets",
    ]
)
