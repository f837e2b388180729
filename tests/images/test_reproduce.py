"""What an image says of the machine that it was made on, and how it is made again elsewhere."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bridge_nerf import cli
from bridge_nerf.errors import UserError
from bridge_nerf.images.image_files import file_hash, note_in
from bridge_nerf.images.noting import noted_command, noted_prior
from bridge_nerf.images.reproduce import noted_spec, prior_of, source_of
from bridge_nerf.images.run import optimise_images
from bridge_nerf.images.spec import Spec
from bridge_nerf.paths import asset
from bridge_nerf.pixels import png
from tests.images.conftest import SPEC
from tests.nerf.stub import StubPrior


def called(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> str | None:
    """What the command line answers to an error; None where all is well."""
    monkeypatch.setattr("sys.argv", ["bridge-nerf", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as stop:
        return str(stop.code)
    return None


@pytest.fixture
def secret(tmp_path: Path, prior, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that nobody should hear of, with a painting and a prior; the current folder is another."""
    for name in ("secret", "here"):
        (tmp_path / name).mkdir()
    folder = tmp_path / "secret"
    shutil.copytree(asset("toybox/prior"), folder / "model", copy_function=os.symlink)
    Image.effect_noise((30, 30), 50).save(folder / "painting.png")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(
        "bridge_nerf.guidance.config.PriorConfig.load",
        lambda config, device=None: (str(Path(config.name).absolute()), prior),
    )
    monkeypatch.setattr("bridge_nerf.images.reproduce.is_here", lambda name: True)
    return folder


def painted(secret: Path, monkeypatch: pytest.MonkeyPatch, *more: object) -> Path:
    """An image that began with the painting, away from it."""
    asked = (
        "--input",
        secret / "painting.png",
        f"--prior={secret / 'model'}",
        "--out",
        secret / "out",
        *more,
    )
    assert (
        called(monkeypatch, "paint", "--prompt", "a ball", "--steps", 4, "--objective", "sds", *asked) is None
    )
    (image,) = secret.glob("out/*/picture*.png")
    return image


def test_no_file_of_a_run_says_where_things_lie(secret, monkeypatch):
    image = painted(secret, monkeypatch)
    for path in image.parent.rglob("*"):
        assert path.is_dir() or b"secret" not in path.read_bytes(), path
    note = note_in(image)
    assert (note["spec"]["source"], note["spec"]["prior"]) == ("painting.png", "./model")
    words = "bridge-nerf paint --prompt 'a ball' --steps 4 --objective sds --input painting.png"
    assert note["command"] == f"{words} --prior=model --out out"


def test_where_a_painting_lies_makes_no_other_run(secret, monkeypatch, tmp_path):
    first = painted(secret, monkeypatch)
    (tmp_path / "painting.png").write_bytes((secret / "painting.png").read_bytes())
    before = first.stat().st_mtime_ns
    monkeypatch.setattr("bridge_nerf.images.generation.ImageModule", lambda *_: pytest.fail("made again"))
    again = painted(secret, monkeypatch, "--input", tmp_path / "painting.png")
    assert again == first and again.stat().st_mtime_ns == before


@pytest.mark.parametrize("place", ["beside", "here", "named"])
def test_a_painting_is_found_again(secret, monkeypatch, capsys, tmp_path, place):
    image = painted(secret, monkeypatch)
    shown = tmp_path / "shown" / "picture.png"
    shown.parent.mkdir()
    image.rename(shown)
    folder = {"beside": shown.parent, "here": Path.cwd(), "named": tmp_path / "elsewhere"}[place]
    folder.mkdir(exist_ok=True)
    (secret / "painting.png").rename(folder / "painting.png")
    (secret / "model").rename(folder / "model")
    flags = ("--input", folder / "painting.png", "--prior", folder / "model") if place == "named" else ()
    assert called(monkeypatch, "reproduce", shown, "--out", tmp_path / "again", *flags) is None
    assert "identical" in capsys.readouterr().out
    (again,) = tmp_path.glob("again/*/picture*.png")
    assert note_in(again)["spec"] == note_in(shown)["spec"]


def test_what_is_not_found_is_asked_for_in_one_line(secret, monkeypatch, tmp_path):
    image = painted(secret, monkeypatch)
    assert called(monkeypatch, "reproduce", image) == (
        f"bridge-nerf: {image} began with the image painting.png, which is neither beside it nor here; "
        "give it with --input"
    )
    assert called(monkeypatch, "reproduce", image, "--input", secret / "painting.png") == (
        f"bridge-nerf: the prior of {image} was a folder model, which is neither beside it nor here; "
        "give it with --prior"
    )
    Image.new("L", (30, 30)).save(tmp_path / "other.png")
    Image.new("L", (30, 30)).save("painting.png")
    assert "neither beside it nor here" in (called(monkeypatch, "reproduce", image) or "")
    answer = called(monkeypatch, "reproduce", image, "--input", tmp_path / "other.png")
    assert answer is not None and "other.png is not the image that this run began with" in answer


def test_an_image_that_began_with_noise_wants_no_input(secret, monkeypatch):
    asked = ("image", "--prompt", "a ball", "--steps", 4, "--objective", "sds", "--out", "out")
    assert called(monkeypatch, *asked, "--prior", secret / "model") is None
    (image,) = Path.cwd().glob("out/*/picture*.png")
    answer = called(monkeypatch, "reproduce", image, "--input", secret / "painting.png")
    assert answer is not None and answer.endswith("did not begin with an image; leave --input out")


def noting(path: Path, size: tuple[int, int] = SPEC.size, **changes: object) -> Path:
    """An image of that size whose note is that of SPEC with some changes."""
    noted = json.loads(SPEC.to_json()) | changes
    path.write_bytes(
        png(np.zeros((*size, 3), np.uint8), {"spec": noted, "index": 0, "done": 1, "versions": {}})
    )
    return path


def test_older_notes_with_folders_are_read_and_their_files_looked_for_by_name(secret):
    source, folder = secret / "painting.png", secret / "model"
    noted = asdict(SPEC) | {"source": str(source), "source_hash": file_hash(source), "prior": str(folder)}
    old = noting(secret / "old.png", **noted)
    assert source_of(old) == source and prior_of(old) == str(folder)
    Path("old.png").write_bytes(old.read_bytes())
    for find in (source_of, prior_of):
        with pytest.raises(UserError, match="which is neither beside it nor here"):
            find(Path("old.png"))
    spec = Spec.from_json(json.dumps(noted))
    assert spec == replace(SPEC, source="painting.png", source_hash=noted["source_hash"], prior="./model")


@pytest.mark.parametrize(
    "name, noted",
    [
        ("toybox", "toybox"),
        ("stabilityai/stable-diffusion-xl-base-1.0", "stabilityai/stable-diffusion-xl-base-1.0"),
        ("some/where@v2", "some/where@v2"),
        ("/home/me/models/tiny", "./tiny"),
        ("./tiny", "./tiny"),
    ],
)
def test_a_folder_is_noted_by_its_name(name, noted):
    assert noted_prior(name) == noted


def test_a_command_is_noted_without_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "private").mkdir()
    Path("private/list.txt").touch()
    for words, shown in [
        (["batch", "private/list.txt", "--out=/not/yet"], "batch list.txt --out=yet"),
        (["batch", str(tmp_path / "private/list.txt"), "--out", "/not/yet"], "batch list.txt --out yet"),
        (["image", "--prompt", "a red/blue ball", "--out", "."], "image --prompt 'a red/blue ball' --out ."),
        (["image", "--prompt=/imagine a=b", "--prior", "a/b"], "image '--prompt=/imagine a=b' --prior a/b"),
        (["image", "--prompt", "x" * 5000], f"image --prompt {'x' * 5000}"),
    ]:
        assert noted_command(words) == f"bridge-nerf {shown}"


def test_nothing_is_found_of_nothing(secret):
    noting(Path("a.png"), prior="./gone")
    assert source_of(Path("a.png")) is None
    with pytest.raises(UserError, match="a folder gone, which is neither"):
        prior_of(Path("a.png"))


@pytest.mark.parametrize(
    ("letters", "said"),
    [
        ("a ball on white.", None),
        ("another ball....", "stub has other weights now: pixels will differ"),
        ("0123abcd", "made by an earlier version: whether stub has the same weights now cannot be told"),
    ],
)
def test_what_is_known_of_the_weights_is_said(secret, monkeypatch, capsys, letters, said):
    monkeypatch.setattr("bridge_nerf.guidance.config.PriorConfig.load", lambda *_: ("stub", StubPrior()))
    spec = replace(SPEC, weights=letters, precision="float32")
    (image,) = optimise_images(spec, Path("made"), StubPrior()).images
    assert called(monkeypatch, "reproduce", image, "--out", "again") is None
    answer = capsys.readouterr().out
    assert "identical" in answer
    assert said in answer if said else "weights" not in answer


def test_a_note_writes_nowhere_but_below_out(secret, monkeypatch, tmp_path):
    """A seed or a task with ../ in it once planted folders outside --out."""
    outside = sorted(tmp_path.rglob("*"))
    for changes in (
        {"task": "../../planted"},
        {"subjects": [{"prompts": ["a ball"], "seed": "/../../../planted"}]},
        {"objective": "../../planted"},
        {"precision": "load"},
        {"precision": "hub"},
    ):
        image = noting(Path("forged.png"), **{"prior": "toybox", **changes})
        answer = called(monkeypatch, "reproduce", image, "--out", "again")
        assert answer is not None and "\n" not in answer
        image.unlink()
        assert sorted(tmp_path.rglob("*")) == outside


def test_a_note_neither_runs_nor_downloads_a_prior_unasked(secret, monkeypatch):
    monkeypatch.setattr("bridge_nerf.images.reproduce.is_here", lambda name: name == "stub")
    assert prior_of(noting(Path("a.png"), prior="stub")) == "stub"
    with pytest.raises(
        UserError, match="a program of another package; if you trust it, give it with --prior"
    ):
        prior_of(noting(Path("a.png"), prior="os:system"))
    image = noting(Path("a.png"), prior="some/where")
    with pytest.raises(UserError, match="would be downloaded from the hub, .* --allow-download"):
        prior_of(image)
    assert prior_of(image, allow_download=True) == "some/where"


@pytest.mark.parametrize("name", ["nobody's", "a" * 10_000])
def test_a_prior_that_nobody_knows_is_said_to_be_the_notes(tmp_path, name):
    image = noting(tmp_path / "a.png", prior=name)
    with pytest.raises(UserError, match=f'the prior of .*a.png cannot be taken: .*"{name[:200]}"') as said:
        prior_of(image)
    assert len(str(said.value)) < 1000


@pytest.mark.parametrize(
    ("note", "said"),
    [
        ({"done": 13}, "step 13 of 12"),
        ({"done": -1}, "step -1 of 12"),
        ({"index": -1}, "image -1 of 1"),
        ({"index": 1}, "image 1 of 1"),
        ({"index": 0.0}, "Expected `int`, got `float`"),
        ({"versions": []}, "Expected `object`, got `array`"),
        ({"versions": {"torch": 2}}, "Expected `str`, got `int`"),
        ({"spec": []}, "Expected `object`, got `array`"),
        ({"more": 1}, "nothing here is called 'more'"),
        ({"compare": []}, "shows a comparison"),
        ({"done": 0}, "it was edited"),
    ],
)
def test_a_note_is_not_believed(tmp_path, note, said):
    noted = {"spec": json.loads(SPEC.to_json()), "index": 0, "done": 1, "versions": {}} | note
    path = tmp_path / "a.png"
    path.write_bytes(png(np.zeros((*SPEC.size, 3), np.uint8), noted))
    with pytest.raises(UserError, match=re.escape(str(path))) as caught:
        noted_spec(path)
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"precision": "load"}, 'unknown precision "load"'),
        ({"config": asdict(SPEC.config) | {"canvas": "late<ts"}}, "unknown canvas 'late<ts'"),
    ],
)
def test_a_name_that_is_none_is_said_to_be_the_notes(tmp_path, change, said):
    image = noting(tmp_path / "a.png", **change)
    with pytest.raises(UserError, match=f"a.png cannot be made again: {said}"):
        noted_spec(image)


def test_an_image_of_another_size_than_noted_is_refused_before_it_is_made(tmp_path):
    with pytest.raises(UserError, match="is 4 x 4, not what its note says; it was edited"):
        noted_spec(noting(tmp_path / "a.png", (4, 4)))
