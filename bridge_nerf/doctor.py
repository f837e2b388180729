"""`bridge-nerf doctor`: problems of an installation, each with its fix. Uses no network."""

import ctypes.util
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module, metadata
from typing import Literal

from bridge_nerf.errors import UserError, first_line
from bridge_nerf.extras import CORE, install

State = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    state: State
    """Note for a limit of what can be done, problem for a mistake."""
    what: str
    fix: str = ""


def versions() -> Iterator[Finding]:
    """torch and torchvision: the wheel of one is built against exactly one of the other."""
    try:
        torch, vision = (metadata.version(name) for name in ("torch", "torchvision"))
    except metadata.PackageNotFoundError as error:
        yield Finding("problem", f"{error.name} is not installed", install(CORE))
        return
    wanted = [line for line in metadata.requires("torchvision") or [] if line.startswith("torch==")]
    pair = f"torch {torch} and torchvision {vision}"
    same = f"pip install {' '.join(wanted) or 'torch'} torchvision=={vision}, both from one index"
    try:
        import_module("torchvision")
    except Exception as error:  # RuntimeError and AttributeError have both been seen
        yield Finding("problem", f"{pair} do not work together ({first_line(error)})", same)
        return
    if wanted and torch.split("+")[0] != wanted[0].removeprefix("torch=="):
        yield Finding("problem", f"{pair} do not belong together: {wanted[0]} is wanted", same)
    else:
        yield Finding("ok", pair)


def old_packages() -> Iterator[Finding]:
    """Packages that are too old: nerfstudio's extra `gen` installs those of 2023."""
    for name, least in (("diffusers", (0, 42)), ("transformers", (5, 0)), ("huggingface-hub", (1, 0))):
        version = metadata.version(name)
        if tuple(int(part) for part in version.split(".")[:2]) < least:
            fix = (
                f'pip install "{name}>={least[0]}.{least[1]}"; do not install nerfstudio[gen], which pins it'
            )
            yield Finding("problem", f"{name} {version} is too old", fix)
        else:
            yield Finding("ok", f"{name} {version}")


def gpu() -> Iterator[Finding]:
    """The GPUs, and a GPU that torch does not see."""
    import torch

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            free, total = (size / 2**30 for size in torch.cuda.mem_get_info(index))
            name = torch.cuda.get_device_name(index)
            yield Finding("ok", f"cuda:{index}: {name}, {free:.1f} of {total:.1f} GiB free")
    elif shutil.which("nvidia-smi"):
        build = torch.version.cuda or "no CUDA"
        fix = "install the driver that this build wants, or the build that the driver supports"
        yield Finding("problem", f"an NVIDIA driver is here, but torch (built for {build}) sees no GPU", fix)
    else:
        yield Finding("note", "no GPU: the toybox runs, Stable Diffusion would take hours")


def programs() -> Iterator[Finding]:
    """Programs that some of nerfstudio's commands need."""
    if shutil.which("ffmpeg"):
        yield Finding("ok", "ffmpeg")
    else:
        yield Finding("note", "no ffmpeg: ns-render cannot write videos", "install the system package ffmpeg")
    if ctypes.util.find_library("usb-1.0"):
        yield Finding("ok", "libusb-1.0")
    else:
        fix = "install the system package libusb-1.0-0"
        yield Finding("note", "no libusb-1.0: ns-export cannot import open3d", fix)


def methods() -> Iterator[Finding]:
    """The methods that nerfstudio finds, and other plug-ins that break it."""
    try:
        version = metadata.version("nerfstudio")
    except metadata.PackageNotFoundError:
        yield Finding("note", "no nerfstudio: text to 3D is not available", install("nerf"))
        return
    entries = metadata.entry_points(group="nerfstudio.method_configs")
    own = [entry.name for entry in entries if entry.name.startswith("bridge-distill")]
    if own:
        yield Finding("ok", f"nerfstudio {version} knows {', '.join(sorted(own))}")
    else:
        yield Finding("problem", "nerfstudio does not know bridge-distill", install("nerf"))
    for entry in entries:
        try:
            entry.load()
        except Exception as error:  # one broken plug-in stops every ns- command
            fix = f"uninstall or update the package of {entry.value}"
            reason = first_line(error)
            yield Finding("problem", f"the plug-in {entry.name} breaks all ns- commands ({reason})", fix)


def priors() -> Iterator[Finding]:
    """The shipped prior and those in the cache: complete, with a tokenizer that is whole."""
    from huggingface_hub import constants, get_token

    from bridge_nerf.paths import asset
    from bridge_nerf.priors.hub import cached_folder
    from bridge_nerf.priors.inspection import inspect
    from bridge_nerf.priors.names import ALIASES, REMOVED

    offline = "set: nothing is downloaded" if constants.HF_HUB_OFFLINE else "not set"
    token = "a token is set" if get_token() else "no token (needed for sd3.5 and if: `hf auth login`)"
    yield Finding("ok", f"HF_HUB_OFFLINE is {offline}; {token}")
    folders = {"toybox": asset("toybox/prior")}
    known = ALIASES | {name: name for name in REMOVED}
    folders |= {name: folder for name, repo in known.items() if (folder := cached_folder(repo))}
    for name, folder in folders.items():
        try:
            yield Finding("ok", f"{name}: {inspect(folder)}")
        except UserError as error:
            shipped = name == "toybox"
            fix = "install the package again" if shipped else "delete that folder, it is downloaded again"
            yield Finding("problem", f"{name}: {error}", fix)
        if name in REMOVED:
            yield Finding("note", f"{name} has left the hub, the copy here is used", f"use {REMOVED[name]}")
    if absent := sorted(known.keys() - folders.keys() - REMOVED.keys()):
        yield Finding("note", f"not in the cache: {', '.join(absent)}")


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (versions, old_packages, gpu, programs, methods, priors)


def examine() -> Iterator[Finding]:
    """All findings; a check that fails itself is a problem and does not end the others."""
    yield Finding("ok", f"Python {sys.version.split()[0]}")
    for check in CHECKS:
        try:
            yield from check()
        except Exception as error:
            reason = first_line(error)
            yield Finding("problem", f"the check of {check.__name__} failed ({reason})", install("all"))


def report() -> int:
    """Print every finding with its fix; returns the number of problems."""
    problems = 0
    for finding in examine():
        problems += finding.state == "problem"
        print(f"{finding.state:<8}{finding.what}" + (f"\n        fix: {finding.fix}" if finding.fix else ""))
    print(f"{problems} problem{'s' * (problems != 1)} found" if problems else "no problems found")
    return problems
