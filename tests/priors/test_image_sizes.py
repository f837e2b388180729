"""Sizes of images: what is said to suit a prior does, and what is refused would not have worked."""

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from bridge_nerf.errors import UserError
from bridge_nerf.priors.image_sizes import ImageSizes, image_sizes
from bridge_nerf.priors.memory import check_images
from bridge_nerf.priors.registry import load_prior
from tests.nerf.stub import StubPrior
from tests.priors.tiny_families import build


@pytest.mark.parametrize(
    ("family", "sizes"),
    [
        ("sd-eps", ImageSizes(4, 512)),
        ("sdxl", ImageSizes(4, 512)),
        ("sd3", ImageSizes(8, 64)),
        ("if", ImageSizes(1, 256)),
    ],
)
def test_the_least_size_and_the_next_are_answered(family: str, sizes: ImageSizes, tmp_path: Path) -> None:
    prior = load_prior(str(build(family, tmp_path)), "cpu")
    assert image_sizes(prior) == sizes
    told, t = prior.embed(["apple"]), torch.tensor([3])
    for side in (sizes.multiple_of, 2 * sizes.multiple_of, 3 * sizes.multiple_of):
        latents = prior.encode(torch.rand(1, 3, side, sizes.multiple_of))
        assert prior.eps(latents, t, told).shape == latents.shape
        assert prior.decode(latents).shape == (1, 3, side, sizes.multiple_of)


def test_a_transformer_fails_where_it_is_refused(tmp_path: Path) -> None:
    prior = load_prior(str(build("sd3", tmp_path)), "cpu")
    told, t = prior.embed(["apple"]), torch.tensor([3])
    for side in (4, 12, 72):
        with pytest.raises(UserError, match="give multiples of 8 pixels up to 64"):
            image_sizes(prior).check((side, 64))
        with pytest.raises((RuntimeError, ValueError)):
            prior.eps(torch.zeros(1, 16, side // 4, 16), t, told)


def test_the_blocks_of_deepfloyd_cannot_pad() -> None:
    """In the blocks of the published IF-I, of which the tiny pipeline has simpler ones."""
    unet: Any = diffusers.UNet2DConditionModel(
        sample_size=16,
        in_channels=3,
        down_block_types=("ResnetDownsampleBlock2D", *["SimpleCrossAttnDownBlock2D"] * 2),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        block_out_channels=(8, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=8,
        attention_head_dim=4,
    )
    prior: Any = StubPrior()  # of pixels, as DeepFloyd's
    prior.network = unet
    assert image_sizes(prior) == ImageSizes(4, 16 * prior.image_size)
    text, works = torch.zeros(1, 5, 8), []
    for side in range(1, 13):
        try:
            unet(torch.zeros(1, 3, side, side), 3, text)
            works.append(side)
        except RuntimeError:
            pass
    assert works == [4, 8, 12]


def test_a_size_that_does_not_suit_says_width_first() -> None:
    ImageSizes(4).check((8, 12))
    for size in ((0, 8), (6, 8), (8, 2)):
        with pytest.raises(UserError, match=f"size {size[1]} x {size[0]} does not suit this prior"):
            ImageSizes(4).check(size)


def test_more_than_fits_is_refused_before_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    prior = load_prior("toybox", "cpu")
    check_images(prior, (64, 64), 1024)
    with pytest.raises(UserError, match="size 8192 x 8192 does not suit this prior.* up to 1024"):
        image_sizes(prior).check((8192, 8192))
    monkeypatch.setattr("bridge_nerf.priors.memory.free_bytes", lambda _: 2**30)
    check_images(prior, (64, 64), 64)
    with pytest.raises(UserError, match="1024 images of 256 x 256 take more than .* GiB, 1.0 GiB are free"):
        check_images(prior, (256, 256), 1024)
