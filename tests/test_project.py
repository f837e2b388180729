"""The project itself: who imports whom, what is imported early, and what a wheel holds."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bridge_nerf import __version__
from bridge_nerf.errors import UserError
from bridge_nerf.paths import asset

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TREE = ("bridge_nerf", "method_configs", "assets")
OFFENCES = {
    "bridge_nerf/distillation/offence.py": "import bridge_nerf.priors",
    "bridge_nerf/nerf/offence.py": "import diffusers\nimport lightning\nimport bridge_nerf.toybox",
    "bridge_nerf/toybox/offence.py": "import nerfstudio",
    "bridge_nerf/priors/offence.py": "import gradio",
}
"""File -> imports that some contract forbids there; between them they break every contract."""


def python(*arguments: str, cwd: Path = ROOT, path: str = "") -> subprocess.CompletedProcess[str]:
    """A fresh interpreter; the answer is not checked."""
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def copy_tree(folder: Path) -> Path:
    """What a build reads, without leaving build/ and *.egg-info in the checkout."""
    for name in TREE:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


def lint_imports(folder: Path) -> str:
    command = "from importlinter.cli import lint_imports; lint_imports(cache_dir=None)"
    return python("-c", command, cwd=folder, path=str(folder)).stdout


def test_import_contracts_hold() -> None:
    assert "6 kept, 0 broken" in (answer := lint_imports(ROOT)), answer


def test_import_contracts_bite(tmp_path: Path) -> None:
    copy_tree(tmp_path)
    for file, imports in OFFENCES.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).with_name("__init__.py").touch()
        (tmp_path / file).write_text(imports)
    assert "0 kept, 6 broken" in (answer := lint_imports(tmp_path)), answer


def modules_after(statement: str) -> set[str]:
    """Top-level names of all modules that are loaded once the statement has run."""
    answer = python("-c", f"{statement}; import sys; print('LOADED', *sys.modules)")
    assert answer.returncode == 0, answer.stderr
    return {name.split(".")[0] for name in answer.stdout.split("LOADED")[1].split()}


def test_the_method_config_is_light() -> None:
    pytest.importorskip("nerfstudio")
    if not (ROOT / "method_configs/bridge_distill.py").exists():
        pytest.skip("the method has no config yet")
    loaded = modules_after("import bridge_nerf.method_configs.bridge_distill")
    assert not loaded & {"diffusers", "lightning", "gradio", "transformers"}


def test_the_names_of_priors_are_light() -> None:
    loaded = modules_after("import bridge_nerf.priors.registry")
    assert "torch" in loaded
    assert not loaded & {"diffusers", "transformers", "huggingface_hub", "torchvision", "nerfstudio"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("setuptools", minversion="77.0.3")
    folder = copy_tree(tmp_path_factory.mktemp("project"))
    build = "import setuptools.build_meta as b, sys; print('WHEEL', b.build_wheel('.'))"
    answer = python("-W", "error::DeprecationWarning:setuptools", "-c", build, cwd=folder)
    assert answer.returncode == 0, answer.stderr
    return folder / answer.stdout.split("WHEEL ")[1].strip()


def test_a_wheel_holds_the_method_and_the_assets(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    files = [file.relative_to(ROOT) for top in TREE for file in (ROOT / top).rglob("*") if file.is_file()]
    shipped = [file for file in files if not any(part.startswith((".", "__pyc")) for part in file.parts)]
    for file in shipped:
        assert (file if file.parts[0] == "bridge_nerf" else "bridge_nerf" / file).as_posix() in names
    tops = {name.split("/")[0] for name in names}
    assert tops == {"bridge_nerf", f"bridge_nerf-{__version__}.dist-info"}
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_a_wheel_works_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    (site / "bridge_nerf/assets").mkdir(exist_ok=True)
    (site / "bridge_nerf/assets/probe.txt").touch()
    program = """
from importlib.metadata import distribution
import bridge_nerf.method_configs
from bridge_nerf.paths import asset
print(bridge_nerf.__file__, bridge_nerf.method_configs.__file__, asset("probe.txt"))
print(sorted((e.group, e.name, e.value) for e in distribution("bridge_nerf").entry_points))
"""
    answer = python("-c", program, cwd=tmp_path, path=str(site))
    assert answer.returncode == 0, answer.stderr
    places, entries = answer.stdout.splitlines()
    assert all(place.startswith(str(site)) for place in places.split())
    method = "bridge_nerf.method_configs.bridge_distill:bridge_distill"
    assert f"('nerfstudio.method_configs', 'bridge-distill', '{method}')" in entries
    assert "('console_scripts', 'bridge-nerf', 'bridge_nerf.cli:main')" in entries


def test_assets_are_found_in_a_checkout_and_missing_ones_are_named() -> None:
    assert asset(".") == ROOT / "assets"
    with pytest.raises(UserError, match=r"'nothing.png' is missing: looked in .*assets"):
        asset("nothing.png")


def names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in requirements}


def lines(file: str) -> list[str]:
    return [line for line in (ROOT / file).read_text().splitlines() if line and not line.startswith("#")]


def test_a_space_installs_what_the_package_needs_and_no_nerfstudio() -> None:
    assert names(lines("requirements.txt")) == names(PROJECT["dependencies"])
    pins = [line for line in lines("requirements.txt") if line.startswith(("torch=", "torchvision="))]
    assert set(pins) <= set(lines("constraints.txt")) and len(pins) == 2


def test_constraints_pin_every_dependency_within_its_range() -> None:
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+", line) for line in lines("constraints.txt"))
    pins = dict(line.split("==") for line in lines("constraints.txt"))
    extras = PROJECT["optional-dependencies"]
    for line in [
        *PROJECT["dependencies"],
        *(line for name in ("nerf", "app", "docs", "dev") for line in extras[name]),
    ]:
        requirement = Requirement(line)
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), line
    assert Requirement(extras["all"][0]).extras == extras.keys() - {"all"}


@pytest.mark.parametrize("module", ["engine.headless", "engine.validation"])
def test_nerfs_modules_can_be_imported_first(module: str) -> None:
    """Some modules of nerfstudio can only be imported in one order."""
    assert not (answer := python("-c", f"import bridge_nerf.nerf.{module}")).returncode, answer.stderr


def test_contributing_has_the_layers_of_the_contract() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    drawn = re.search(r"\n((?:    [\w |]+\n)+)", text)
    assert drawn is not None
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [re.sub(r"bridge_nerf\.|[()]", "", line) for line in contracts[0]["layers"]]
    assert [line.strip() for line in drawn[1].splitlines()] == layers
