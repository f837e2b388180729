"""Networks with more latent channels, made of trained ones with fewer: what was learned goes on from there.

The first channels are those of before. The new ones begin as numbers that nobody looks at: the decoder and
the UNet's first layer weigh them with 0, and the UNet's last answers 0 for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bridge_nerf.toybox.training.autoencoder import build_autoencoder

PRECISE = -4.0
"""Logarithm of the variance with which new channels are sampled at first: little beside their means'."""


@torch.no_grad()
def grown_autoencoder(earlier: Any, channels: int) -> Any:
    """An `AutoencoderKL` of `channels` latent channels that encodes the first ones, and decodes, as `earlier`
    does, which has fewer."""
    few, config = earlier.config.latent_channels, earlier.config
    grown = build_autoencoder(tuple(config.block_out_channels), config.sample_size, channels)
    for layer in (grown.quant_conv, grown.post_quant_conv):  # 1x1: each new channel goes through as it is
        layer.weight.copy_(torch.eye(len(layer.weight))[:, :, None, None])
        layer.bias.zero_()
    grown.encoder.conv_out.bias[channels:] = PRECISE
    grown.decoder.conv_in.weight.zero_()
    means = torch.arange(few)
    moments = torch.cat([means, channels + means])
    places = {
        "encoder.conv_out": (moments, None),
        "quant_conv": (moments, moments),
        "post_quant_conv": (means, means),
        "decoder.conv_in": (None, means),
    }
    return _taken_over(grown, earlier, places)


@torch.no_grad()
def grown_unet(earlier: Any, channels: int) -> Any:
    """A `UNet2DConditionModel` of `channels` latent channels that answers for the first ones as `earlier`
    does, which has fewer."""
    grown = type(earlier).from_config({**earlier.config, "in_channels": channels, "out_channels": channels})
    for parameter in (grown.conv_in.weight, grown.conv_out.weight, grown.conv_out.bias):
        parameter.zero_()
    few = torch.arange(earlier.config.in_channels)
    return _taken_over(grown, earlier, {"conv_in": (None, few), "conv_out": (few, None)})


def _taken_over(grown: Any, earlier: Any, places: Mapping[str, tuple[Tensor | None, Tensor | None]]) -> Any:
    """`grown`, with the parameters of `earlier` put in.

    Args:
        places: Outputs and inputs of `grown` at which those of an earlier layer go, for layers that differ in
            size; None is all.
    """
    state = grown.state_dict()
    for name, value in earlier.state_dict().items():
        layer, _, kind = name.rpartition(".")
        rows, columns = places.get(layer, (None, None))
        target = state[name]
        rows = torch.arange(len(target)) if rows is None else rows
        if kind == "bias" or columns is None:
            target[rows] = value
        else:
            target[rows[:, None], columns] = value
    return grown
