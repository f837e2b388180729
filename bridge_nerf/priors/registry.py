"""Resolves names of priors, and loads them. Imports nothing heavier than torch."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from bridge_nerf.devices import check_device, tune
from bridge_nerf.distillation.prior import ImagePrior
from bridge_nerf.errors import UserError, first_line
from bridge_nerf.paths import asset
from bridge_nerf.priors.cpu import multiplies_bfloat16
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
from bridge_nerf.priors.plugins import is_external, kind_of_external, make_external
from bridge_nerf.priors.prompts import Vocabulary
from bridge_nerf.priors.single_files import ENDINGS, refusal

Graphs = Literal["auto", "on", "off"]
MAX_FLOAT32_BYTES = 2**27
"""Size in float32 up to which networks gain nothing from bfloat16 on a CPU; the toybox's take a sixth."""


def resolve_prior(name: str, device: torch.device | str) -> tuple[str, str]:
    """(name that does not depend on the machine, a line for the user: what was chosen, and how to choose).

    The first is "toybox", a registered name, package.module:attribute, an absolute folder or a hub id, with @
    and a revision where the name had one, and resolves to itself. The address of a model's page counts as its
    id. Nothing is loaded, no hub is asked.

    Raises:
        UserError: The name is none of the CHOICES, or the folder is not a pipeline, or not whole.
    """
    base, revision = split_revision(name)
    resolved, description = _resolved(base, device)
    if revision is not None:
        if not revision:
            raise UserError(
                f'no revision of "{base}" is named; give a branch, a tag or a commit, or leave it'
            )
        if not _is_hosted(resolved):
            raise UserError(
                f'revision "{revision}" means nothing for "{resolved}", which is not a hub id: leave it'
            )
        resolved, description = f"{resolved}@{revision}", f"{description}, revision {revision}"
    return resolved, f"prior: {description}; other priors: {CHOICES}"


def _resolved(name: str, device: torch.device | str) -> tuple[str, str]:
    """(resolved name, description) of a name without a revision."""
    if name == AUTO:
        chosen, why = ("sd-2.1", "a GPU is used") if _on_gpu(device) else (TOYBOX, "no GPU is used")
        return ALIASES.get(chosen, chosen), f"{chosen}, as {why}"
    if name == TOYBOX:
        return name, f"{name}, which comes with the package"
    if name in ALIASES:
        return ALIASES[name], ALIASES[name]
    if name in REMOVED and not _cached(name):
        return REMOVED[name], f"{REMOVED[name]}, a mirror of {name}, which has left the hub"
    if is_external(name):
        return name, f"{name}, from another package"
    path = expanded(name)
    # Those of Path raise for a name that no file can have.
    if name and os.path.isdir(path):
        check_folder(path)
        return str(path.absolute()), f"the folder {path}"
    if name and (os.path.isfile(path) or path.suffix.lower() in ENDINGS):
        raise refusal(path)
    if is_hub_id(name) and not is_path(name):
        return name, name
    raise unknown(name)


def is_here(name: str) -> bool:
    """True for a prior that can be loaded without a download.

    Raises:
        UserError: There is no such prior; as for `resolve_prior`.
    """
    from bridge_nerf.priors.hub import cached_folder

    base, revision = split_revision(resolve_prior(name, "cpu")[0])
    if not _is_hosted(base):
        return True
    cached = cached_folder(base, revision)
    try:
        return cached is not None and bool(check_folder(cached))
    except UserError:  # a part of it is missing
        return False


def is_toybox(resolved: str) -> bool:
    """True for a prior of the toybox's world: the shipped one, or a folder with the same words.

    Args:
        resolved: Resolved name.

    Raises:
        UserError: The words of the folder cannot be read.
    """
    if resolved == TOYBOX:
        return True
    folder = Path(resolved)
    return folder.is_dir() and Vocabulary.read(folder) == Vocabulary.read(asset("toybox/prior"))


def kind_of(resolved: str) -> tuple[str, str]:
    """(kind of a prior, by which numbers are chosen; a line where that is a guess), by its resolved name.

    The kinds are "toybox" and those of FAMILIES. No weights are loaded and no hub is asked: the kind of a hub
    id follows from its name; a prior of another package says its own (`PriorFactory`).
    """
    if is_toybox(resolved):
        return TOYBOX, ""
    if is_external(resolved):
        return kind_of_external(resolved), ""
    if Path(resolved).is_dir():
        return check_folder(Path(resolved)).kind, ""
    kind, known = kind_by_name(split_revision(resolved)[0])
    title = next(family.title for family in FAMILIES if family.kind == kind)
    guess = f"{resolved} is taken for a {title}, by its name: where it is another, give its numbers as flags"
    return kind, "" if known else guess


def check_words(resolved: str, texts: Sequence[str]) -> None:
    """Raise UserError for a word that a prior with a closed vocabulary does not know, before it is loaded.

    Args:
        resolved: Resolved name; vocabularies on a hub, and of priors from other packages, are not looked at.
    """
    folder = asset("toybox/prior") if resolved == TOYBOX else Path(resolved)
    vocabulary = Vocabulary.read(folder) if folder.is_dir() else None
    if vocabulary is not None:
        for text in texts:
            vocabulary.check(text)


def dtype_of(name: str) -> torch.dtype | None:
    """The precision of a prior by its name, such as "float32"; None for "auto".

    Raises:
        UserError: It is no precision.
    """
    dtype = None if name == "auto" else getattr(torch, name, name)
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise UserError(f'unknown precision "{name:.200}"; give auto, float32, float16 or bfloat16')
    return dtype


def check_graphs(graphs: Graphs, device: torch.device | str) -> None:
    """Raise UserError for CUDA graphs that are requested where there are none."""
    if graphs == "on" and not _on_gpu(device):
        raise UserError(
            f"there are no CUDA graphs on {device}: leave --prior.graphs (of ns-train: "
            "--pipeline.prior.graphs) at auto, or use a CUDA device"
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
        name: "auto", "toybox", one of the ALIASES, a registered name, package.module:attribute, the folder of
            a pipeline, or a hub id; one on the hub may name its revision, as in "sdxl@main".
        device: Where it computes; also decides what "auto" means.
        dtype: Precision of the networks; None is the family's half precision on a GPU. On a CPU it is
            bfloat16 where the processor multiplies it and the networks exceed MAX_FLOAT32_BYTES, and else
            float32.
        revision: Branch, tag or commit of a hub id; it counts before that of the name.
        checkpointing: `encode` keeps few activations for its gradient and computes the others again, and the
            autoencoder takes images one at a time.
        compiling: The network goes through `torch.compile`; its first calls take minutes.
        graphs: "on" records network and encoder as CUDA graphs, "auto" does on a CUDA device.

    Raises:
        UserError: It cannot be had, or does not fit into memory.
    """
    device = check_device(device)
    check_graphs(graphs, device)
    tune(device)
    resolved, line = resolve_prior(with_revision(name, revision), device)
    base = split_revision(name)[0]
    if base in REMOVED and split_revision(resolved)[0] != base:
        print(line)
    if is_external(resolved):
        if checkpointing or compiling or graphs == "on":
            raise UserError(
                f'prior "{resolved}" comes from another package: checkpointing, compiling and CUDA graphs '
                "are for pipelines of Diffusers; leave them"
            )
        return make_external(resolved, device, dtype)
    prior = _load_pipeline(resolved, device, dtype)
    if checkpointing:
        prior.keep_few_activations()
    if compiling:
        prior.compile()
    if graphs != "off" and _on_gpu(device):
        prior.record_graphs()
    return prior


def _load_pipeline(resolved: str, device: torch.device, dtype: torch.dtype | None) -> Any:
    """The `DiffusersPrior` of a resolved name."""
    from bridge_nerf.priors.memory import check_room, estimate, too_big

    base, revision = split_revision(resolved)
    half = _on_gpu(device) or multiplies_bfloat16(device) if dtype is None else dtype.itemsize < 4
    folder = _folder(base, half, revision)
    family = check_folder(folder)
    precision = dtype or _usual_dtype(folder, family, device)
    need = estimate(folder, family, precision)
    if base != TOYBOX:
        print(f"prior: {base} in {str(precision).removeprefix('torch.')} on {device}, {need}")
    check_room(need, base, device)

    from bridge_nerf.priors.diffusers_prior import DiffusersPrior

    try:
        return DiffusersPrior.load(folder, device, precision, base)
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise UserError(too_big(base, device, first_line(error))) from None


def _usual_dtype(folder: Path, family: Family, device: torch.device) -> torch.dtype:
    from bridge_nerf.priors.memory import estimate

    if _on_gpu(device):
        return getattr(torch, family.half)
    large = sum(estimate(folder, family, torch.float32).networks.values()) >= MAX_FLOAT32_BYTES
    return torch.bfloat16 if large and multiplies_bfloat16(device) else torch.float32


def _folder(base: str, half: bool, revision: str | None) -> Path:
    from bridge_nerf.priors.hub import hub_folder

    if _is_hosted(base):
        return hub_folder(base, half, revision)
    return asset("toybox/prior") if base == TOYBOX else Path(base)


def _is_hosted(resolved: str) -> bool:
    return resolved != TOYBOX and not is_external(resolved) and not Path(resolved).is_dir()


def _on_gpu(device: torch.device | str) -> bool:
    return torch.device(device).type == "cuda"


def _cached(repo_id: str) -> bool:
    from bridge_nerf.priors.hub import cached_folder

    return cached_folder(repo_id) is not None
