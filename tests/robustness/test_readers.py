"""Whatever a file says, its reader takes it or refuses it in one line that names it: no other exception, no
program run, nothing written outside its folder, no end that does not come.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given

from tests.robustness.files import MAKERS, READERS
from tests.robustness.judging import cases, refusal
from tests.robustness.mutations import SPECIAL, UNPICKLED, Damaged, put_special
from tests.robustness.processes import end

pytestmark = pytest.mark.filterwarnings("ignore")
QUICK = (
    "the note of an image",
    "a painting",
    "run.json",
    "item.json",
    "prompts",
    "scenes.json",
    "words.json",
)
"""Readers that the fast tests show devices to."""
LONGER = 20
"""Cases of the slow tests for one of the fast ones."""


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Name in MAKERS -> its folder, made once. Not to be changed."""
    top = tmp_path_factory.mktemp("real")

    def made(name: str) -> Path:
        if not (folder := top / name).exists():
            folder.mkdir()
            MAKERS[name](folder)
        return folder

    return made


@pytest.mark.parametrize("name", READERS)
def test_a_real_file_is_read(real: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    reader, folder = READERS[name], tmp_path / "case"
    shutil.copytree(real(reader.made), folder)
    said = refusal(lambda: reader.read(folder))
    assert said is None or name == "a single file", said


@pytest.mark.parametrize("length", ["fast", pytest.param("longer", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_read_or_refused(
    real: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, length: str
) -> None:
    reader, seen = READERS[name], []
    (file,) = (path.relative_to(real(reader.made)) for path in real(reader.made).glob(reader.file))
    number = reader.cases * (1 if length == "fast" else LONGER)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    @cases(number)
    @given(reader.damage((real(reader.made) / file).read_bytes()))
    def check(damaged: Damaged) -> None:
        seen.append(damaged.what)
        folder = tmp_path / "case"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(real(reader.made), folder)
        (folder / file).write_bytes(damaged.data)
        said = refusal(lambda: reader.read(folder))
        assert said is None or names(said, folder / file), said
        assert not list(tmp_path.rglob(UNPICKLED)), "a program in the file was run"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["case", "here"]

    check()
    assert len(seen) >= number


def names(said: str, file: Path) -> bool:
    """True where a line names the file or a folder that it lies in, the step at which a run broke off that
    had begun with what the file says, or the word that it does not know."""
    begun = re.match(r"(error: )?((training )?step \d+|after \d+ steps): ", said) is not None
    unknown = file.name == "words.json" and said.startswith("unknown word")
    return (
        begun or unknown or file.name in said or any(str(folder) in said for folder in list(file.parents)[:3])
    )


@pytest.mark.skipif(sys.platform != "linux", reason="the devices are Linux's")
@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in READERS]
)
def test_what_is_no_file_is_refused(real: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    """In a process that can be killed: what waits for a device hears no alarm."""
    reader = READERS[name]
    (file,) = (path.relative_to(real(reader.made)) for path in real(reader.made).glob(reader.file))

    def check() -> None:
        for what in SPECIAL:
            folder = tmp_path / what
            shutil.copytree(real(reader.made), folder)
            put_special(folder / file, what)
            os.chdir(folder)
            said = refusal(lambda folder=folder: reader.read(folder))
            assert said is None or names(said, folder / file), f"{what}: {said}"

    assert end(check).code is None
