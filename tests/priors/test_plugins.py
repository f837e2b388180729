"""Priors of other packages wherever a prior's name is taken."""

from importlib.metadata import EntryPoint

import pytest
import torch

from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.errors import UserError
from bridge_nerf.evaluation.sampling import ddim
from bridge_nerf.priors.plugins import PRIORS
from bridge_nerf.priors.registry import check_words, is_toybox, kind_of, load_prior, resolve_prior
from tests.priors.closed_form import PlainImages

MODULE = "tests.priors.closed_form"
WRITTEN = f"{MODULE}:PlainImages"


@pytest.fixture(params=["registered", "an entry point", "written"])
def name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(PRIORS, "_own", {})
    if request.param == "registered":
        PRIORS.register("plain", PlainImages)
        return "plain"
    if request.param == "an entry point":
        entry = EntryPoint("plain-entry", WRITTEN, PRIORS.group)
        monkeypatch.setattr(PRIORS, "_entry_points", lambda: {entry.name: entry})
        return entry.name
    return WRITTEN


def test_a_prior_of_another_package_works_like_one_of_ours(name: str) -> None:
    resolved, line = resolve_prior(name, "cpu")
    assert resolved == name and name in line and resolve_prior(resolved, "cuda")[0] == name
    assert kind_of(resolved) == ("toybox", "") and not is_toybox(resolved)
    check_words(resolved, ["anything"])
    prior = load_prior(name, "cpu", torch.float64)
    assert isinstance(prior, ImagePrior) and prior.dtype == torch.float64
    generators = [torch.Generator().manual_seed(k) for k in range(2)]
    images = ddim(prior, ["red", "green"], steps=20, generators=generators)
    assert (images.argmax(1).flatten(1) == torch.tensor([[0], [1]])).all()


def test_revisions_and_settings_of_pipelines_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=f'revision "v2" means nothing for "{name}"'):
        resolve_prior(f"{name}@v2", "cpu")
    for option in ("checkpointing", "compiling"):
        with pytest.raises(UserError, match=f'prior "{name}" comes from another package'):
            load_prior(name, "cpu", **{option: True})


@pytest.mark.parametrize(
    ("attribute", "said"),
    [
        ("Nothing", r"cannot be imported \(AttributeError: .*\): mend or remove its package"),
        ("a_number", 'a_number" is a int, not a function or class'),
        ("without_weights", r"cannot be made \(OSError: no such file\): mend"),
        ("out_of_licence", "accept the licence first"),
        ("half_a_prior", "is a object without check_prompts, decode, device, .*ImagePrior lists"),
    ],
)
def test_what_is_broken_is_one_line(attribute: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        load_prior(f"{MODULE}:{attribute}", "cpu")
    assert "\n" not in str(caught.value)


def test_a_package_that_is_not_installed_is_named() -> None:
    with pytest.raises(UserError, match="no_such_package:Prior.*ModuleNotFoundError"):
        load_prior("no_such_package:Prior", "cpu")


def test_an_unknown_kind_is_named_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="unknown kind 'oil': give one of toybox, sd, sdxl, sd3, if"):
        kind_of(f"{MODULE}:Strange")


@pytest.mark.parametrize("name", ["auto", "toybox", "sdxl", "", "a/b", "a b", "x@v2", "m:a"])
def test_names_that_mean_something_else_cannot_be_registered(name: str) -> None:
    with pytest.raises(UserError, match=f'"{name}"'):
        PRIORS.register(name, PlainImages)
