"""What ships with the package: the embedded prior and the judge, asked about things that are known."""

import numpy as np
import pytest
import torch

from bridge_nerf.evaluation.sampling import ddim
from bridge_nerf.evaluation.statistics import share
from bridge_nerf.paths import asset
from bridge_nerf.priors.registry import load_prior
from bridge_nerf.toybox.dataset import make_shard
from bridge_nerf.toybox.judge import Judge
from bridge_nerf.toybox.words import vocabulary


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge.load(asset("toybox/judge"))


def test_the_judge_knows_the_world(judge):
    shard = make_shard(31_337, 100, workers=1, clean=True)
    verdict = judge(shard.images.float() / 255)
    assert share([seen == scene.toy for seen, scene in zip(verdict.toys, shard.scenes, strict=True)]) >= 0.97


def test_the_judge_sees_nothing_in_noise_that_it_calls_clean(judge):
    noise = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert judge(noise).clean.max() < 0.5


def test_the_prior_draws_what_it_is_asked(judge):
    prior = load_prior("toybox", "cpu")
    prompts = ["a pineapple, front view, white background, detailed, sharp"] * 6
    images = ddim(prior, prompts, steps=20, generators=[torch.Generator().manual_seed(k) for k in range(6)])
    assert share([seen == "pineapple" for seen in judge(images).toys]) >= 5 / 6


def test_the_prior_knows_every_word_of_the_world():
    prior = load_prior("toybox", "cpu")
    prior.check_prompts([entry for entries in vocabulary().values() for entry in entries])


def test_the_autoencoder_keeps_images():
    prior = load_prior("toybox", "cpu")
    images = make_shard(4, 8, workers=1, clean=True).images.float() / 255
    error = (prior.decode(prior.encode(images)) - images).square().mean()
    assert -10 * np.log10(float(error)) > 26  # dB


def test_what_ships_is_small():
    def megabytes(name: str) -> float:
        return sum(path.stat().st_size for path in asset(name).rglob("*") if path.is_file()) / 1e6

    assert megabytes("toybox/prior") < 25 and megabytes("toybox/judge") < 3
