"""The README: its pictures are there, and the files it speaks of."""

import re
from pathlib import Path

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
