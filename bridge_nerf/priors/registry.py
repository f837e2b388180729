"""From the name of a prior, as a user gives it, to the prior. Imports nothing heavier than torch."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

import torch

from bridge_nerf.devices import tune
from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.errors import UserError
from bridge_nerf.flags import Range
from bridge_nerf.paths import asset
from bridge_nerf.priors.families import FAMILIES, Family
from bridge_nerf.priors.names import (
    ALIASES,
    AUTO,
    CHOICES,
    REMOVED,
    TOYBOX,
    expanded,
    is_hub_id,
    is_path,
    kind_by_name,
    split_revision,
    unknown,
    with_revision,
)
from bridge_nerf.priors.pipeline_files import check_folder
from bridge_nerf.priors.processor import multiplies_bfloat16
from bridge_nerf.priors.prompts import Vocabulary
from bridge_nerf.priors.single_files import ENDINGS, refusal

Graphs = Literal["auto", "on", "off"]
SMALL = 2**27
"""Bytes in float32 up to which networks gain nothing from bfloat16 on a CPU; the toybox's take a sixth."""


def resolve_prior(name: str, device: torch.device | str) -> tuple[str, str]:
    """(name that does not depend on the machine, a line for the user: what was chosen, and how to choose).

    The answer is "toybox", an absolute folder or a hub id, with @ and a revision where the name had one, and
    resolves to itself. The address of a model's page counts as its id. Nothing is loaded, no hub is asked.

    Raises:
        UserError: The name is none of the CHOICES, or the folder is not a pipeline, or not whole.
    """
    base, revision = split_revision(name)
    resolved, said = _resolved(base, device)
    if revision is not None:
        if not _is_hosted(resolved):
            raise UserError(
                f'revision "{revision}" means nothing for "{resolved}", which is no hub id: leave it'
            )
        resolved, said = f"{resolved}@{revision}", f"{said}, revision {revision}"
    return resolved, f"prior: {said}; other priors: {CHOICES}"


def _resolved(name: str, device: torch.device | str) -> tuple[str, str]:
    """(the answer, in words) for a name without a revision."""
    if name == AUTO:
        chosen, why = ("sd-2.1", "a GPU is used") if _on_gpu(device) else (TOYBOX, "no GPU is used")
        return ALIASES.get(chosen, chosen), f"{chosen}, as {why}"
    if name == TOYBOX:
        return name, f"{name}, which comes with the package"
    if name in ALIASES:
        return ALIASES[name], ALIASES[name]
    if name in REMOVED and not _cached(name):
        return REMOVED[name], f"{REMOVED[name]}, a mirror of {name}, which has left the hub"
    path = expanded(name)
    if name and path.is_dir():
        check_folder(path)
        return str(path.absolute()), f"the folder {path}"
    if name and (path.is_file() or path.suffix.lower() in ENDINGS):
        raise refusal(path)
    if is_hub_id(name) and not is_path(name):
        return name, name
    raise unknown(name)


def is_toybox(resolved: str) -> bool:
    """Whether a prior, by its resolved name, is of the toybox's world: the one that ships, or one in a folder
    with the same words. UserError where those cannot be read."""
    if resolved == TOYBOX:
        return True
    folder = Path(resolved)
    return folder.is_dir() and Vocabulary.read(folder) == Vocabulary.read(asset("toybox/prior"))


def kind_of(resolved: str) -> tuple[str, str]:
    """(the kind of a prior that numbers are chosen by, a line where that is a guess), by its resolved name.

    The kinds are "toybox" and those of FAMILIES. Nothing is loaded and no hub is asked: what a hub's id is,
    its name must say.
    """
    if is_toybox(resolved):
        return TOYBOX, ""
    if Path(resolved).is_dir():
        return check_folder(Path(resolved)).kind, ""
    kind, known = kind_by_name(split_revision(resolved)[0])
    title = next(family.title for family in FAMILIES if family.kind == kind)
    guess = f"{resolved} is taken for a {title}, by its name: where it is another, give its numbers as flags"
    return kind, "" if known else guess


def check_words(resolved: str, texts: Sequence[str]) -> None:
    """Raises UserError for a word that a prior with a closed vocabulary does not know, before it is loaded.

    Args:
        resolved: Its resolved name; what a hub would have to be asked for is not looked at.
    """
    folder = asset("toybox/prior") if resolved == TOYBOX else Path(resolved)
    vocabulary = Vocabulary.read(folder) if folder.is_dir() else None
    if vocabulary is not None:
        for text in texts:
            vocabulary.check(text)


def _is_hosted(resolved: str) -> bool:
    return resolved != TOYBOX and not Path(resolved).is_dir()


def check_device(device: torch.device | str) -> torch.device:
    """The device. UserError where there is no such thing, or not in this machine."""
    try:
        known = torch.device(device)
    except RuntimeError:
        raise UserError(
            f'unknown device "{device}": give cpu, cuda, or one of several, as in cuda:1'
        ) from None
    if known.type == "cuda" and (known.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise UserError(
            f"there is no device {device}: torch sees {count} CUDA devices; use cpu, or mend that"
        )
    if known.type not in ("cpu", "cuda") and not (known.type == "mps" and torch.backends.mps.is_available()):
        raise UserError(f"there is no device {device} here; give cpu, or cuda where there is a GPU")
    return known


def dtype_of(name: str) -> torch.dtype | None:
    """What a flag for the precision of a prior says: "float32" and so on; None for "auto"."""
    return None if name == "auto" else getattr(torch, name)


def check_processes(devices: int) -> None:
    """Raises UserError for more processes than GPUs, where there are any: each takes one."""
    there = torch.cuda.device_count()
    if there and devices > there:
        raise UserError(f"--devices {devices} is more than there are: give {Range(1, there)}")


def check_graphs(graphs: Graphs, device: torch.device | str) -> None:
    """Raises UserError for CUDA graphs that are asked for where there are none."""
    if graphs == "on" and not _on_gpu(device):
        raise UserError(
            f"there are no CUDA graphs on {device}: leave --graphs (bridge-nerf) or --pipeline.prior-graphs "
            "(ns-train) at auto, or use a CUDA device"
        )


def load_prior(
    name: str,
    device: torch.device | str,
    dtype: torch.dtype | None = None,
    revision: str | None = None,
    checkpointing: bool = False,
    compiling: bool = False,
    graphs: Graphs = "auto",
) -> ImagePrior:
    """The prior of that name, frozen, on the device.

    Args:
        name: "auto", "toybox", one of the ALIASES, the folder of a pipeline, or a hub id; one on the hub may
            name its revision, as in "sdxl@main".
        device: Where it computes; also decides what "auto" means.
        dtype: Of the networks; None is the family's half precision on a GPU. On a CPU it is bfloat16 where
            the processor multiplies it and the networks are not SMALL, and else float32.
        revision: Branch, tag or commit of a hub id; it counts before that of the name.
        checkpointing: `encode` keeps few activations for its gradient and computes the others again, and the
            autoencoder takes images one at a time.
        compiling: The network goes through `torch.compile`; its first calls take minutes.
        graphs: Whether network and encoder are recorded as CUDA graphs; "auto" is on a CUDA device.

    Raises UserError, in one line, where it cannot be had or does not fit into memory.
    """
    from bridge_nerf.priors.memory import check_room, estimate, keep_few_activations, too_big

    device = check_device(device)
    check_graphs(graphs, device)
    tune(device)
    resolved, line = resolve_prior(with_revision(name, revision), device)
    resolved, revision = split_revision(resolved)
    base, _ = split_revision(name)
    if base in REMOVED and resolved != base:
        print(line)
    half = _on_gpu(device) or multiplies_bfloat16(device) if dtype is None else dtype.itemsize < 4
    folder = _folder(resolved, half, revision)
    family = check_folder(folder)
    precision = dtype or _usual_dtype(folder, family, device)
    need = estimate(folder, family, precision)
    if resolved != TOYBOX:
        print(f"prior: {resolved} in {str(precision).removeprefix('torch.')} on {device}, {need}")
    check_room(need, resolved, device)

    from bridge_nerf.priors.diffusers_prior import DiffusersPrior

    try:
        prior = DiffusersPrior.load(folder, device, precision, resolved)
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise UserError(too_big(resolved, device, str(error).splitlines()[0])) from None
    if checkpointing and prior.components.vae is not None:
        keep_few_activations(prior.components.vae)
    if compiling:
        from bridge_nerf.priors.compiling import compile_network

        compile_network(prior.components.denoiser, device)
        # The compiler would unroll every block of it.
        prior.attention = nullcontext
    if graphs != "off" and _on_gpu(device):
        from bridge_nerf.priors.autoencoders import Latents
        from bridge_nerf.priors.graphs import graph_network

        graph_network(prior.components.denoiser, f"the network of {resolved}")
        if isinstance(prior.space, Latents):
            prior.space.graph(f"the autoencoder of {resolved}")
    return prior


def _usual_dtype(folder: Path, family: Family, device: torch.device) -> torch.dtype:
    from bridge_nerf.priors.memory import estimate

    if _on_gpu(device):
        return getattr(torch, family.half)
    large = sum(estimate(folder, family, torch.float32).networks.values()) >= SMALL
    return torch.bfloat16 if large and multiplies_bfloat16(device) else torch.float32


def _folder(resolved: str, half: bool, revision: str | None) -> Path:
    from bridge_nerf.priors.hub import hub_folder

    if _is_hosted(resolved):
        return hub_folder(resolved, half, revision)
    return asset("toybox/prior") if resolved == TOYBOX else Path(resolved)


def _on_gpu(device: torch.device | str) -> bool:
    return torch.device(device).type == "cuda"


def _cached(repo_id: str) -> bool:
    from bridge_nerf.priors.hub import cached_folder

    return cached_folder(repo_id) is not None
