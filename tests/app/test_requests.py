"""From what a visitor asks for to what is made: refused in words, or the same as at a terminal."""

from __future__ import annotations

import math
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from bridge_nerf.app import requests
from bridge_nerf.distillation.registry import objectives_from_noise
from bridge_nerf.errors import UserError
from bridge_nerf.guidance.config import PriorConfig
from bridge_nerf.paths import asset
from bridge_nerf.toybox.paintings import PAINTINGS, prompt_of


@pytest.fixture(scope="module")
def prior():
    return PriorConfig("toybox").load()[1]


@pytest.fixture
def painting(tmp_path: Path) -> Path:
    path = tmp_path / "a painting.png"
    Image.fromarray(np.full((96, 128, 3), 90, np.uint8)).save(path)
    return path


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"prompt": " "}, "prompt is empty"),
        ({"prompt": "a zeppelin"}, "zeppelin"),
        ({"prompt": "a " + "red " * 200 + "apple"}, "characters"),
        ({"objective": "magic"}, "unknown objective"),
        ({"objective": "dds"}, "unknown objective"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**40}, "seed"),
        ({"steps": 0}, "steps"),
        ({"steps": 10**9}, "steps"),
        ({"guidance": math.inf}, "guidance"),
        ({"guidance": -3.0}, "guidance"),
        (
            {"objective": "bridge-ode", "guidance": 7.0},
            "Guidance changes nothing in bridge-ode: leave it as it was",
        ),
        ({"objective": "sds", "source": "blurry"}, "Source descriptors changes nothing in sds"),
        ({"target": "sharp, " * 100}, "characters"),
        ({"source": "a zeppelin"}, "zeppelin"),
        ({"prompt": None}, "prompt is empty"),
        ({"seed": None}, "seed is None, not a number"),
        ({"guidance": None}, "guidance is None, not a number"),
    ],
)
def test_what_cannot_be_made_is_refused_in_words(prior, changed, said):
    with pytest.raises(UserError, match=said):
        requests.text_to_image("toybox", prior, **{"prompt": "an apple"} | changed)


def test_the_command_asks_for_the_same(prior):
    """The specification of the command's words is the request's own."""
    from bridge_nerf.images.options import ImageOptions
    from bridge_nerf.images.spec import subjects_for

    request = requests.text_to_image(
        "toybox", prior, "a red apple", "bridge", 7, 20, 3.123456789, source="blurry"
    )
    words = shlex.split(request.command)
    assert words[:2] == ["bridge-nerf", "image"]
    flags = dict(zip(words[2::2], words[3::2], strict=True))
    overrides = {
        "steps": int(flags["--steps"]),
        "guidance-scale": float(flags["--guidance-scale"]),
        "source-descriptors": flags["--source-descriptors"],
    }
    options = ImageOptions(seed=int(flags["--seed"]), overrides=overrides)
    subjects = subjects_for((flags["--prompt"],), options.seed, 1)
    again = options.spec("toybox", prior, "image", flags["--objective"], subjects)
    assert again.digest == request.specs[0].digest


def test_an_objective_without_guidance_takes_the_slider_as_it_stands(prior):
    request = requests.text_to_image("toybox", prior, "a duck", "bridge-ode", 0, 10, 5.0)
    assert "--guidance-scale" not in request.command


def test_an_emptied_box_asks_nothing_of_an_objective_that_does_not_listen(prior):
    (spec,) = requests.text_to_image("toybox", prior, "a duck", "sds", source="").specs
    assert spec.config.guidance.prompts.source_descriptors


def test_a_painting_keeps_its_aspect_and_its_folder_stays_unknown(prior, painting):
    request = requests.painting_to_real("toybox", prior, painting, "a house", seed=1, steps=10)
    assert request.start is not None and request.start.shape[-1] > request.start.shape[-2]
    assert str(painting.parent) not in request.specs[0].to_json() + request.command


def test_what_was_guessed_of_a_painting_is_said_without_its_place(prior, painting):
    Image.open(painting).save(painting, icc_profile=b"nonsense")
    (note,) = requests.painting_to_real("toybox", prior, painting, "a house", seed=1, steps=10).notes
    assert note.startswith("the painting: its colour profile cannot be used")


def test_the_folder_of_the_prior_stays_unknown(prior, tmp_path):
    tiny = tmp_path / "secret" / "tiny"
    shutil.copytree(asset("toybox/prior"), tiny)
    request = requests.text_to_image(str(tiny), prior, "an apple")
    assert (
        "--prior ./tiny " in request.command and "secret" not in request.specs[0].to_json() + request.command
    )


@pytest.mark.parametrize("strength", requests.STRENGTHS)
def test_every_strength_and_objective_can_be_had_of_another_prior(prior, painting, strength):
    """Whose times are not annealed, and whose guidance is the objective's own."""
    open_words = SimpleNamespace(**vars(prior) | {"vocabulary": None, "check_prompts": lambda prompts: None})
    for name in ("embed", "encode", "decode", "eps"):
        setattr(open_words, name, getattr(prior, name))
    words = {"source": "painting"}
    assert requests.painting_to_real("some/where", open_words, painting, "a house", strength, **words).specs
    for objective in objectives_from_noise():
        request = requests.text_to_image("some/where", open_words, "a house", objective, guidance=40.0)
        assert request.specs


def test_strength_is_noise_and_step_size(prior, painting):
    light, bold = (
        requests.painting_to_real("toybox", prior, painting, "a house", strength).specs[0].config
        for strength in (next(iter(requests.STRENGTHS)), list(requests.STRENGTHS)[-1])
    )
    assert light.guidance.times.maximum < bold.guidance.times.maximum <= 0.98
    assert light.learning_rate < bold.learning_rate


@pytest.mark.parametrize(
    ("content", "said"), [(b"no image", "image"), (b"", "empty"), (b"\x89PNG\r\n\x1a\n", "image|torn")]
)
def test_bad_files_are_refused_without_their_place(prior, tmp_path, content, said):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(UserError, match=said) as refused:
        requests.painting_to_real("toybox", prior, path, "a house")
    assert str(tmp_path) not in str(refused.value)


def test_a_file_too_large_is_refused_unread(prior, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"0" * (requests.MAX_UPLOAD_BYTES + 1))
    with pytest.raises(UserError, match="10 MB"):
        requests.painting_to_real("toybox", prior, path, "a house")


def test_a_painting_too_large_or_too_long_is_refused(prior, tmp_path):
    for size, said in (((5000, 5000), "pixels"), ((900, 10), "8 : 1")):
        path = tmp_path / "a.png"
        Image.new("L", size).save(path)
        with pytest.raises(UserError, match=said):
            requests.painting_to_real("toybox", prior, path, "a house")


def test_a_comparison_has_two_to_four_objectives_from_one_start(prior):
    request = requests.compare("toybox", prior, "a duck", ["sds", "bridge", "sds"], 3, 10)
    assert request.objectives == ("sds", "bridge")
    assert {spec.subjects for spec in request.specs} == {request.specs[0].subjects}
    for names in (None, ["sds"], ["sds", "csd", "nfsd", "vsd", "bridge"]):
        with pytest.raises(UserError, match="compared"):
            requests.compare("toybox", prior, "a duck", names)


def test_the_prior_can_read_every_example(prior):
    prior.check_prompts([prompt_of(name) for name in PAINTINGS])
