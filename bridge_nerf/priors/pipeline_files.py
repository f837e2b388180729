"""Which files make a Stable Diffusion pipeline, on a disk or on the hub, and what may be wrong with them.

Nothing heavy is imported here, so that a wrong folder is reported at once.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from bridge_nerf.errors import UserError

PIPELINES = ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline")
WEIGHTS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}
"""Component -> stem of its weights."""
CONFIGS = (*(f"{component}/config.json" for component in WEIGHTS), "scheduler/scheduler_config.json")
TOKENIZERS = (("tokenizer/vocab.json", "tokenizer/merges.txt"), ("tokenizer/tokenizer.json",))
"""The two forms in which a tokenizer is stored."""


def choose_weights(files: Sequence[str], component: str, half: bool) -> tuple[str | None, list[str]]:
    """(variant, weight files) of a component among relative paths: half or full precision, else the other.

    Only safetensors count; (None, []) where there are none.
    """
    found: dict[str | None, list[str]] = {}
    pattern = re.compile(rf"{component}/{WEIGHTS[component]}(?:\.(fp16))?(?:-\d+-of-\d+)?\.safetensors")
    for file in sorted(files):
        if match := pattern.fullmatch(file):
            found.setdefault(match[1], []).append(file)
    for variant in ("fp16", None) if half else (None, "fp16"):
        if variant in found:
            return variant, found[variant]
    return None, []


def files_in(folder: Path) -> list[str]:
    """Paths of all files, relative to the folder."""
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


def needed_files(files: Sequence[str], half: bool) -> list[str]:
    """The part of a repository that a prior reads: one variant of the weights, no safety checker."""
    folders = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
    texts = [
        file
        for file in files
        if file in ("model_index.json", "words.json")
        or (file.split("/")[0] in folders and file.endswith((".json", ".txt")))
    ]
    return texts + [file for component in WEIGHTS for file in choose_weights(files, component, half)[1]]


def check_folder(folder: Path) -> None:
    """UserError naming what is missing and the fix, unless this is a complete Stable Diffusion pipeline."""
    if not folder.is_dir():
        raise UserError(f"no folder {folder}: give the folder of a Stable Diffusion pipeline")
    index = folder / "model_index.json"
    if not index.exists():
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise UserError(f"{folder} has no model_index.json (found: {found}): give a pipeline's top folder")
    try:
        kind = json.loads(index.read_text(encoding="utf-8")).get("_class_name")
    except (ValueError, AttributeError) as error:
        raise UserError(f"{index} cannot be read ({error}): download the pipeline again") from None
    if kind not in PIPELINES:
        raise UserError(f"{folder} is a {kind}; a prior can be one of {', '.join(PIPELINES)}")
    _check_files(folder, set(files_in(folder)))


def _check_files(folder: Path, files: set[str]) -> None:
    for config in CONFIGS:
        if config not in files:
            raise UserError(f"{folder} has no {config}: download or save the pipeline again")
    for component, stem in WEIGHTS.items():
        if not choose_weights(sorted(files), component, half=False)[1]:
            found = ", ".join(sorted(file for file in files if file.startswith(f"{component}/")))
            raise UserError(
                f"{folder} has no weights of the {component}: looked for {component}/{stem}.safetensors, "
                f"found {found}; download them, or save the pipeline again as safetensors"
            )
    if not any(files.issuperset(form) for form in TOKENIZERS):
        wanted = " or ".join(" with ".join(form) for form in TOKENIZERS)
        raise UserError(f"{folder} has no vocabulary: looked for {wanted}; download the tokenizer files")
