"""From the id of a model on the Hugging Face hub to a folder: the cache is asked first, then the network."""

from pathlib import Path

from bridge_nerf.errors import UserError
from bridge_nerf.priors.pipeline_files import check_folder, needed_files

PATIENCE = 5.0
"""Seconds that the hub may take to answer at all."""
OTHERWISE = 'use "toybox" or a folder'


def cached_folder(repo_id: str) -> Path | None:
    """The snapshot in the local cache, complete or not; None where there is none."""
    from huggingface_hub import try_to_load_from_cache

    index = try_to_load_from_cache(repo_id, "model_index.json")
    return Path(index).parent if isinstance(index, str) else None


def hub_folder(repo_id: str, half: bool) -> Path:
    """The folder of a pipeline: the cached one where it is complete, else a download of the files needed.

    `half` prefers the half precision weights. UserError where it is neither cached nor to be had.
    """
    from huggingface_hub import constants

    cached = cached_folder(repo_id)
    if cached is not None:
        try:
            check_folder(cached)
            return cached
        except UserError as error:
            state = f"is incomplete in the cache ({error})"
    else:
        state = f"is no folder, is not in the cache ({constants.HF_HUB_CACHE})"
    if constants.HF_HUB_OFFLINE:
        raise UserError(f'prior "{repo_id}" {state} and HF_HUB_OFFLINE is set: unset it, or {OTHERWISE}')
    return _download(repo_id, half, state)


def _download(repo_id: str, half: bool, state: str) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        info = HfApi().model_info(repo_id, timeout=PATIENCE)
        files = [file.rfilename for file in info.siblings or []]
        folder = Path(snapshot_download(repo_id, revision=info.sha, allow_patterns=needed_files(files, half)))
    except HfHubHTTPError as error:
        raise UserError(
            f'the hub does not give out "{repo_id}" ({type(error).__name__}): check the name, accept the '
            f"licence at https://huggingface.co/{repo_id} and run `hf auth login`, or {OTHERWISE}"
        ) from None
    except Exception as error:  # no common base class: httpx, OSError and the hub's own errors all occur
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f'prior "{repo_id}" {state} and cannot be downloaded ({reason}): go online, or {OTHERWISE}'
        ) from None
    check_folder(folder)
    return folder
