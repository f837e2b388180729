"""Folders of models on the Hugging Face hub: from the cache first, then from the network."""

import json
from pathlib import Path

from bridge_nerf.errors import UserError, first_line
from bridge_nerf.priors.pipeline_files import check_folder, family_of, needed_files

HUB_TIMEOUT_S = 5.0
"""Time within which the hub has to answer at all."""
OTHERWISE = 'use "toybox" or a folder'


def cached_folder(repo_id: str, revision: str | None = None) -> Path | None:
    """The snapshot in the local cache, complete or not; None where there is none."""
    from huggingface_hub import try_to_load_from_cache

    index = try_to_load_from_cache(repo_id, "model_index.json", revision=revision)
    return Path(index).parent if isinstance(index, str) else None


def hub_folder(repo_id: str, half: bool, revision: str | None = None) -> Path:
    """The folder of a pipeline: the cached one where it is complete, else a download of the files needed.

    Args:
        half: Prefers the half precision weights.
        revision: Branch, tag or commit; None is the main branch.

    Raises:
        UserError: It is neither cached nor to be had.
    """
    from huggingface_hub import constants

    cached = cached_folder(repo_id, revision)
    if cached is not None:
        try:
            check_folder(cached)
            return cached
        except UserError as error:
            state = f"is incomplete in the cache ({error})"
    else:
        at = f" at revision {revision}" if revision else ""
        state = f"is not a folder and is not in the cache ({constants.HF_HUB_CACHE}){at}"
    if constants.HF_HUB_OFFLINE:
        raise UserError(f'prior "{repo_id}" {state} and HF_HUB_OFFLINE is set: unset it, or {OTHERWISE}')
    try:
        folder = _download(repo_id, half, revision or "main")
    except UserError:
        raise
    except Exception as error:  # no common base class: httpx, OSError and the hub's own errors all occur
        raise UserError(_refusal(repo_id, revision, state, error)) from None
    check_folder(folder)
    return folder


def _download(repo_id: str, half: bool, revision: str) -> Path:
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download

    # Asked first, as the only call that can be given a time limit.
    info = HfApi().model_info(repo_id, revision=revision, timeout=HUB_TIMEOUT_S)
    files = [file.rfilename for file in info.siblings or []]
    if "model_index.json" not in files:
        raise UserError(
            f'"{repo_id}" has no model_index.json: it is not a pipeline of Diffusers, {OTHERWISE}'
        )
    index = Path(hf_hub_download(repo_id, "model_index.json", revision=revision))
    family = family_of(json.loads(index.read_text(encoding="utf-8")).get("_class_name"), repo_id)
    # By its name and not by its commit, or the cache could not be asked by that name later.
    wanted = needed_files(files, family, half)
    return Path(snapshot_download(repo_id, revision=revision, allow_patterns=wanted))


def _refusal(repo_id: str, revision: str | None, state: str, error: Exception) -> str:
    from huggingface_hub import errors, get_token

    if isinstance(error, errors.GatedRepoError):
        token = "a token is set" if get_token() else "no token is set: run `hf auth login`"
        return (
            f'the hub does not give out "{repo_id}" ({token}): accept the licence at '
            f"https://huggingface.co/{repo_id} with the account of your token, or {OTHERWISE}"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f'"{repo_id}" has no revision "{revision}": leave it out for the main branch'
    if isinstance(error, errors.HfHubHTTPError):
        return (
            f'the hub does not give out "{repo_id}" ({type(error).__name__}): check the name, run '
            f"`hf auth login` if it is private, or {OTHERWISE}"
        )
    reason = first_line(error)
    return f'prior "{repo_id}" {state} and cannot be downloaded ({reason}): go online, or {OTHERWISE}'
