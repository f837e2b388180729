"""A package that is not installed: one sentence with the command that installs it, wherever it is missed."""

import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bridge_nerf.extras import CORE, PARTS, install, required
from tests.test_project import PROJECT, ROOT
from tests.waiting import PATIENCE

NERF = 'nerfstudio is not installed; in the repository\'s folder: pip install -c constraints.txt -e ".[nerf]"'


def without(package: str, *command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """What the script or the module answers where a package is not installed."""
    code = f"""
import runpy, sys

class Gone:
    def find_spec(self, name, *_):
        if name == {package!r}:
            raise ModuleNotFoundError(f"No module named '{{name}}'", name=name)

sys.meta_path.insert(0, Gone())
sys.argv = sys.argv[1:]
sys.path.insert(0, {str(ROOT)!r})
run = runpy.run_path if sys.argv[0].endswith(".py") else runpy.run_module
run(sys.argv[0], run_name="__main__")
"""
    program = [sys.executable, "-c", code, *command]
    return subprocess.run(program, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE)


@pytest.mark.parametrize(
    ("package", "command", "said"),
    [
        ("gradio", (str(ROOT / "app.py"),), r'app.py: gradio is not installed; .* -e "\.\[app\]"$'),
        ("torch", (str(ROOT / "app.py"),), r'app.py: torch is not installed; .* -e "\."$'),
        ("torch", ("bridge_nerf.cli", "image", "--prompt", "a duck"), "bridge-nerf: torch is not installed"),
        ("nerfstudio", ("bridge_nerf.cli", "evaluate", "prior"), re.escape(f"bridge-nerf: {NERF}")),
    ],
)
def test_a_missing_package_is_one_sentence(package, command, said, tmp_path):
    answer = without(package, *command, cwd=tmp_path)
    assert answer.returncode == 1
    (line,) = answer.stderr.splitlines()
    assert re.match(said, line), line
    assert not list(tmp_path.iterdir()), "before any work"


def test_what_is_none_of_ours_stays_an_error():
    with pytest.raises(ModuleNotFoundError), required("bridge-nerf"):
        import no_such_package  # noqa: F401  # pyright: ignore[reportMissingImports]


@pytest.mark.parametrize("extra", PARTS)
def test_every_package_is_known_by_the_name_that_it_is_imported_by(extra):
    known = packages_distributions()
    listed = {canonicalize_name(owner) for name in PARTS[extra].split() for owner in known.get(name, [name])}
    wanted = PROJECT["dependencies"] if extra == CORE else PROJECT["optional-dependencies"][extra]
    assert {canonicalize_name(Requirement(line).name) for line in wanted} <= listed


def test_the_commands_name_extras_that_there_are():
    assert PARTS.keys() - {CORE} | {"all"} == PROJECT["optional-dependencies"].keys()
    assert install(CORE).endswith(' -e "."') and install("nerf").endswith(' -e ".[nerf]"')
