"""The README: its pictures are there, and the files it speaks of."""

import re
import tomllib
from pathlib import Path

import yaml
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]


def test_every_linked_file_exists():
    text = (ROOT / "README.md").read_text()
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert links
    for link in links:
        assert (ROOT / link).is_file(), link


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
