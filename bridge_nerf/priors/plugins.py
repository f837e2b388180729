"""Priors from outside the package: registered, entry points, or written package.module:attribute."""

import re
from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any

import torch

from bridge_nerf.distillation.prior import DiffusionPrior, ImagePrior
from bridge_nerf.errors import UserError, first_line
from bridge_nerf.priors.families import FAMILIES
from bridge_nerf.priors.names import ALIASES, AUTO, TOYBOX
from bridge_nerf.registries import Registry

ATTRIBUTE = re.compile(r"[^\W\d][\w.]*:[^\W\d]\w*")
KINDS = (TOYBOX, *(family.kind for family in FAMILIES))

PriorFactory = Callable[..., Any]
"""Function or class, called as factory(device=torch.device, dtype=torch.dtype | None), that makes a prior.

Its attribute `kind`, by default "sd", is the kind of prior whose numbers suit it (one of KINDS).
"""
PRIORS: Registry[PriorFactory] = Registry("prior", "bridge_nerf.priors", None, {}, (AUTO, TOYBOX, *ALIASES))
"""Priors of other packages by name; one that has the name of one of this package is never reached."""


def is_external(name: str) -> bool:
    """True for a registered name, an entry point's, and for package.module:attribute. Nothing is imported."""
    return name in PRIORS or ATTRIBUTE.fullmatch(name) is not None


def kind_of_external(name: str) -> str:
    """Kind of prior whose numbers suit an external one; one of KINDS.

    Raises:
        UserError: The factory cannot be imported, or its kind is unknown.
    """
    kind = getattr(_factory(name), "kind", "sd")
    if kind not in KINDS:
        raise UserError(f'prior "{name}" is of the unknown kind {kind!r}: give one of {", ".join(KINDS)}')
    return kind


def make_external(name: str, device: torch.device, dtype: torch.dtype | None) -> ImagePrior:
    """The prior that an external factory makes.

    Raises:
        UserError: The factory cannot be imported, fails, or makes something else than an `ImagePrior`.
    """
    factory = _factory(name)
    try:
        prior: Any = factory(device=device, dtype=dtype)
    except (UserError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise _broken(name, "cannot be made", error) from error
    members = {*DiffusionPrior.__dict__, *ImagePrior.__dict__, *ImagePrior.__annotations__}
    if absent := sorted(m for m in members if not m.startswith("_") and not hasattr(prior, m)):
        raise UserError(
            f'prior "{name}" is a {type(prior).__name__} without {", ".join(absent)}: give it what '
            "bridge_nerf.distillation.prior.ImagePrior lists"
        )
    return prior


def _factory(name: str) -> PriorFactory:
    if name in PRIORS:
        return PRIORS[name]
    try:
        factory = EntryPoint(name, name, PRIORS.group).load()
    except Exception as error:  # whatever a module raises while it is imported
        raise _broken(name, "cannot be imported", error) from error
    if not callable(factory):
        raise UserError(f'prior "{name}" is a {type(factory).__name__}, not a function or class')
    return factory


def _broken(name: str, what: str, error: Exception) -> UserError:
    reason = f"{type(error).__name__}: {first_line(error)}"
    return UserError(f'prior "{name}" {what} ({reason}): mend or remove its package')
