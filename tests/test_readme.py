"""The README and the pages of docs: the files they speak of are there, and their commands are understood."""

import contextlib
import io
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import get_args

import pytest
import tyro
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from bridge_nerf.cli.main import Command
from bridge_nerf.flags import leaves

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]


def commands(page: Path, program: str = "") -> list[list[str]]:
    """The words of each indented line that begins with the program."""
    lines = re.findall(rf"^    ({program}\b.*)$", page.read_text(encoding="utf-8"), flags=re.M)
    return [shlex.split(line, comments=True) for line in lines]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_ours_is_understood(page, capsys):
    for _, *arguments in commands(page, "bridge-nerf"):
        try:
            tyro.cli(Command, prog="bridge-nerf", args=arguments)  # type: ignore[arg-type]
        except SystemExit:
            pytest.fail(f"{page.name}: bridge-nerf {shlex.join(arguments)}: {capsys.readouterr()}")


FLAG = re.compile(r"(?<![\w-])--([a-z][\w-]*(?:\.[a-z][\w-]*)*)")
FOREIGN = re.compile(r"srun|torchrun|benchmarks/|app\.py|ns-render")
"""Lines with flags of other programs."""


@pytest.fixture(scope="module")
def flags() -> set[str]:
    """The flags of all commands of `bridge-nerf`, and of `ns-train bridge-distill`."""
    bridge_distill = pytest.importorskip("bridge_nerf.method_configs.bridge_distill").bridge_distill
    commands = [note.name for part in get_args(Command) for note in part.__metadata__]
    said = io.StringIO()
    for words in [*([name] for name in commands), ["evaluate", "toybox"], ["evaluate", "prior"]]:
        with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
            tyro.cli(Command, prog="bridge-nerf", args=[*words, "--help"])  # type: ignore[arg-type]
    return {*FLAG.findall(said.getvalue()), *(leaf.flag for leaf in leaves(bridge_distill.config))}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_flag_is_one_that_there_is(page, flags):
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if not FOREIGN.search(line)]
    assert set(FLAG.findall("\n".join(lines))) <= flags


def test_the_changelog_names_flags_that_there_are(flags):
    rows = re.findall(r"^\|.*\|.*\|(.*)\|$", (ROOT / "CHANGELOG.md").read_text(), flags=re.M)
    assert set(FLAG.findall("".join(rows))) - {"times"} <= flags  # --times.NAME


def test_the_pages_can_be_built_and_ask_no_other_host(tmp_path):
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    built = {path: path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.html")}
    assert {"index.html", "extending", "core"} <= {
        *(path.name for path in built),
        *(p.parent.name for p in built),
    }
    for path, text in built.items():
        assert not re.search(r"<(script|link|img)[^>]*(src|href)=.?(https?:)?//", text), path


def test_the_first_steps_can_be_taken_in_their_order():
    readme = ROOT / "README.md"
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [target for _, target in commands(readme, "make")]
    assert {"demo", "app", "test"} <= set(targets)
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.M), target
    text = readme.read_text(encoding="utf-8")
    active = text.index("\n    source .venv/bin/activate\n")
    for program in ("ns-train", "bridge-nerf", "python app.py"):
        assert active < text.index(f"\n    {program}"), f"{program} is not found before .venv is active"


def test_what_pip_is_to_install_is_there():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    installed = commands(ROOT / "README.md", "pip install")
    assert installed
    for *_, constraints, editable, what in installed:
        assert (ROOT / constraints).is_file() and editable == "-e"
        assert Requirement(f"bridge_nerf{what.removeprefix('.')}").extras <= extras.keys()
    for path in [*PAGES, *(ROOT / "bridge_nerf").rglob("*.py")]:
        assert not re.search(r"pip install .*bridge.nerf\[", path.read_text("utf-8")), f"{path}: on no index"


def test_every_linked_file_exists():
    text = (ROOT / "README.md").read_text()
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert links
    for link in links:
        path, _, heading = link.partition("#")
        assert (ROOT / path).is_file(), link
        if heading:
            headings = re.findall(r"^#+ (.*)$", (ROOT / path).read_text(), re.M)
            assert heading in {title.lower().replace(" ", "-") for title in headings}, link


def test_every_folder_of_the_overview_exists():
    text = (ROOT / "README.md").read_text()
    named = re.findall(r"^    ((?:bridge_nerf|method_configs)\S*)", text, flags=re.M)
    assert len(named) >= 8
    for name in named:
        assert (ROOT / name).exists(), name


def test_a_space_finds_what_it_needs():
    """The front matter, as Hugging Face reads it."""
    front = yaml.safe_load((ROOT / "README.md").read_text().split("---\n")[1])
    assert front["sdk"] == "gradio" and (ROOT / front["app_file"]).is_file()
    assert len(front["short_description"]) <= 60
    assert f"gradio=={front['sdk_version']}\n" in (ROOT / "constraints.txt").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert front["python_version"] in SpecifierSet(project["requires-python"])
