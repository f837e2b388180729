"""VSD in a run: the adapter learns, is saved with the canvas, and the prior stays out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from bridge_nerf.errors import UserError
from bridge_nerf.images.generation import generate
from bridge_nerf.images.module import ImageModule
from bridge_nerf.images.run import optimise_images
from bridge_nerf.images.spec import Spec, subjects_for
from bridge_nerf.priors.diffusers_prior import DiffusersPrior
from tests.images.conftest import CONFIG, SPEC, changed
from tests.priors.tiny import build_tiny_pipeline


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return DiffusersPrior.load(build_tiny_pipeline(tmp_path_factory.mktemp("tiny"), "epsilon"))


@pytest.fixture(scope="module")
def spec(tiny) -> Spec:
    side = tiny.image_size
    config = changed(CONFIG, steps=6, target_descriptors="", source_descriptors="bad", adapter_rate=0.01)
    return Spec(subjects_for(("a ball",), 0, 1), "tiny", "vsd", config, (side, side))


def test_the_adapter_learns_beside_the_canvas(tiny, spec):
    course = generate([spec], tiny)
    (module,) = next(course).modules
    before = {name: value.clone() for name, value in module.state_dict().items()}
    losses = [progress.metrics[0]["adapter"] for progress in course]
    assert all(loss > 0 for loss in losses)
    changed = {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}
    assert "canvas.values" in changed and any(name.startswith("adapter.") for name in changed)


def test_a_stopped_run_goes_on_with_the_adapter_it_had(tiny, spec, tmp_path):
    whole = optimise_images(spec, tmp_path / "whole", tiny)
    optimise_images(spec, tmp_path / "part", tiny, on_step=lambda p: p.done < 3)
    part = optimise_images(spec, tmp_path / "part", tiny)
    assert np.array_equal(Image.open(part.images[0]), Image.open(whole.images[0]))
    states = [torch.load(r.folder / "last.ckpt", weights_only=True)["state_dict"] for r in (whole, part)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    network = tiny.components.denoiser.state_dict()
    corrections = {name for name in states[0] if name != "canvas.values"}
    assert corrections and all(name.startswith("adapter.corrections.") for name in corrections)
    assert sum(states[0][name].numel() for name in corrections) < sum(v.numel() for v in network.values()) / 4


def test_a_prior_without_a_network_cannot_be_adapted(prior):
    del prior.network
    with pytest.raises(UserError, match="needs a prior whose network is known"):
        ImageModule(replace(SPEC, objective="vsd"), prior)
