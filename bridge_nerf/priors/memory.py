"""Memory of a prior, estimated before any of it is taken.

The headers of safetensors files say how many numbers they hold; nothing else of them is read.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.errors import UserError
from bridge_nerf.priors.adapter import HasNetwork
from bridge_nerf.priors.families import Family
from bridge_nerf.priors.pipeline_files import choose_weights, components_of, files_in, read_header, read_index

GIB = 2**30
ACTIVATIONS = 16
"""Tensors of the size of a UNet's finest level that it holds at a time, at the least (18 to 29 measured)."""


@dataclass(frozen=True)
class Estimate:
    """Bytes of the weights."""

    networks: Mapping[str, int]
    """Sizes by component; they stay on the prior's device."""
    text_encoders: Mapping[str, int]
    """Sizes by text encoder; they rest in main memory and visit the device one at a time."""

    @property
    def on_device(self) -> int:
        """The most that weights take on the prior's device, the activations not counted."""
        return sum(self.networks.values()) + max(self.text_encoders.values(), default=0)

    def __str__(self) -> str:
        parts = ", ".join(
            f"{name} {size / GIB:.2f}" for name, size in {**self.networks, **self.text_encoders}.items()
        )
        return f"{self.on_device / GIB:.2f} GiB of weights at most on the device ({parts})"


def estimate(folder: Path, family: Family, dtype: torch.dtype) -> Estimate:
    """The memory of the pipeline in the folder in this dtype. UserError for a damaged file of weights."""
    files = files_in(folder)

    def size(name: str) -> int:
        chosen = choose_weights(files, family, name, half=dtype.itemsize < 4)[1]
        return sum(count_numbers(folder / file) for file in chosen) * dtype.itemsize

    sizes = {name: size(name) for name in components_of(family, read_index(folder))}
    return Estimate(
        {name: size for name, size in sizes.items() if name in family.networks},
        {name: size for name, size in sizes.items() if name in family.text_encoders},
    )


def count_numbers(file: Path) -> int:
    """Number of entries of all tensors in a safetensors file. UserError where it is damaged or cut short."""
    return sum(math.prod(entry["shape"]) for entry in read_header(file).values())


def keep_few_activations(autoencoder: Any) -> None:
    """Let its encoder and decoder keep the activations between blocks alone for their gradient, compute the
    others again (Chen et al. 2016), and take images one at a time."""

    # Nothing in them is random: to save and restore the generators would only keep CUDA graphs away.
    def recomputed(module: Any, *args: Any) -> Any:
        return checkpoint(module.__call__, *args, use_reentrant=False, preserve_rng_state=False)

    autoencoder.enable_gradient_checkpointing(recomputed)
    autoencoder.enable_slicing()


def check_room(need: Estimate, name: str, device: torch.device | str) -> None:
    """Raise UserError unless the weights fit into the free memory, where the system reports it."""
    free = free_bytes(torch.device(device))
    size = sum((*need.networks.values(), *need.text_encoders.values()))
    if torch.device(device).type == "cuda":
        size = need.on_device
    if free is not None and size > free:
        raise UserError(too_big(name, device, f"needs {size / GIB:.1f} GiB, {free / GIB:.1f} GiB are free"))


def check_images(prior: ImagePrior, size: tuple[int, int], count: int) -> None:
    """Raise UserError for images that are made together and do not fit into the free memory, by what the
    finest level of the network alone holds at a time; nothing is known of networks other than UNets.

    Args:
        size: (height, width) in pixels.
    """
    config: Any = getattr(prior.network, "config", {}) if isinstance(prior, HasNetwork) else {}
    free = free_bytes(prior.device)
    if free is None or "block_out_channels" not in config:
        return
    factor = prior.image_size // prior.latent_shape[-1]
    entries = count * (size[0] // factor) * (size[1] // factor) * config["block_out_channels"][0]
    if (need := ACTIVATIONS * entries * prior.dtype.itemsize) > free:
        raise UserError(
            f"{count} images of {size[1]} x {size[0]} take more than {need / GIB:.1f} GiB, "
            f"{free / GIB:.1f} GiB are free: ask for a smaller --size, or for fewer at once"
        )


def too_big(name: str, device: torch.device | str, why: str) -> str:
    """The message for a prior that does not fit."""
    return (
        f'not enough memory on {device} for the prior "{name}" ({why}): end other programs, choose a smaller '
        'prior (sd-2.1, toybox), half precision, or another device, as in "cuda:1"'
    )


def free_bytes(device: torch.device) -> int | None:
    """Free memory of the device; None where the system does not report it."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type != "cpu" or not os.path.exists("/proc/meminfo"):
        return None
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024
