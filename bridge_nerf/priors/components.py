"""Loading of a pipeline's parts one by one, such that no weight stays random."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from transformers.utils import logging

from bridge_nerf.errors import UserError
from bridge_nerf.flags import Range
from bridge_nerf.priors.cpu import keep_channels_last
from bridge_nerf.priors.families import Family
from bridge_nerf.priors.fingerprint import fingerprint
from bridge_nerf.priors.inspection import load_tokenizer, reading
from bridge_nerf.priors.pipeline_files import (
    check_folder,
    choose_weights,
    components_of,
    files_in,
    read_header,
    read_index,
)
from bridge_nerf.priors.text import Text
from bridge_nerf.reading import read_json

FACTOR, SHIFT = Range(1e-4, 1e4), Range(-1e4, 1e4)
"""Range of what latents are multiplied with, and of what is taken from them before."""
SIDE = Range(1, 4096)
"""Range of the side of latents, or of pixels, that a network was trained on."""
ROUNDED = 1 + 1e-5
"""The largest entry of a table up to 1 that is computed in float32."""
SMALL = 512
"""Number that any configuration may hold, where it need not be a side of a weight."""
ATTENTION = "sdpa"
"""Name of transformers' for the attention of text encoders: torch's own."""


@dataclass(frozen=True, eq=False)
class Components:
    """The parts of a pipeline, frozen; the networks on their device, the text encoders in main memory.

    The types of Diffusers call every config a plain dict, so the networks are `Any` here.
    """

    denoiser: Any
    """UNet2DConditionModel, or SD3Transformer2DModel."""
    vae: Any
    """AutoencoderKL or AutoencoderTiny; None for a model of pixels."""
    text_encoders: tuple[Text | None, ...]
    """Text encoders in the order of the family; None for one that was left out."""
    scheduler: Any
    """DDPMScheduler or FlowMatchEulerDiscreteScheduler: only its table and configuration are used."""
    index: Mapping[str, Any]
    """Content of model_index.json."""
    name: str = "the prior"
    """Name of the pipeline, for messages."""
    fingerprint: str = ""
    """Hash of the weights; empty for parts that were not loaded from a folder."""


def load_components(folder: Path, device: torch.device, dtype: torch.dtype) -> tuple[Family, Components]:
    """All parts of the pipeline in the folder.

    Parts that would overflow in float16 are in bfloat16 then, which takes the same memory.

    Raises:
        UserError: A part is missing, damaged or does not fit.
    """
    family = check_folder(folder)
    index = read_index(folder)
    scheduler = _load_scheduler(folder, family)
    present = components_of(family, index)
    texts = tuple(
        _load_text(folder, family, name, dtype) if name in present else None for name in family.text_encoders
    )
    networks = {name: load_model(family, folder, name, dtype) for name in family.networks}
    vae, denoiser = networks.get("vae"), networks[family.denoiser]
    _check_fit(folder, family, denoiser, vae, texts)
    if vae is not None:
        _check_autoencoder(folder, vae)
    encoders = {name: text.encoder for name, text in zip(family.text_encoders, texts, strict=True) if text}
    # Before they go to a card: on ZeroGPU, what has gone there cannot be read until a run has a GPU.
    weights = fingerprint(folder, networks | encoders)
    for network in (denoiser, vae):
        if network is not None:
            place(network, device)
    return family, Components(denoiser, vae, texts, scheduler, index, fingerprint=weights)


def place(network: Any, device: torch.device) -> None:
    """Move a network to the device, channels last, the order in which convolutions are fastest (on a CPU)."""
    network.to(device, memory_format=torch.channels_last)
    if device.type == "cpu":
        keep_channels_last(network)


def _load_scheduler(folder: Path, family: Family) -> Any:
    with reading("scheduler", folder):
        kind: Any = getattr(diffusers, family.scheduler)
        named = kind.load_config(folder / "scheduler").get("_class_name", "")
    if not isinstance(named, str):
        raise UserError(f"the scheduler in {folder} names no class: get it again")
    if named.startswith("EDM") or ("FlowMatch" in named) != ("FlowMatch" in family.scheduler):
        raise UserError(
            f"the scheduler in {folder} is a {named}, which is not how a {family.title} model was trained: "
            "give the base model"
        )
    with reading("scheduler", folder):
        scheduler = kind.from_pretrained(folder / "scheduler")
    # Diffusion has the first two, a flow the third.
    for name in ("betas", "alphas_cumprod", "sigmas"):
        table = getattr(scheduler, name, torch.zeros(2))
        if table.ndim != 1 or len(table) < 2 or not ((table >= 0) & (table <= ROUNDED)).all():
            raise UserError(f"the scheduler in {folder} makes no list of {name} from 0 to 1: get it again")
    return scheduler


def _load_text(folder: Path, family: Family, name: str, dtype: torch.dtype) -> Text:
    tokenizer, encoder = load_tokenizer(folder, family, name), load_model(family, folder, name, dtype)
    positions = getattr(encoder.config, "max_position_embeddings", family.t5_tokens)
    # A tokenizer saved without its length claims to take 10^30 tokens.
    return Text(tokenizer, encoder, min(tokenizer.model_max_length, positions))


def load_model(family: Family, folder: Path, name: str, dtype: torch.dtype) -> Any:
    """One network or text encoder of a pipeline's folder, frozen, in main memory.

    Raises:
        UserError: It cannot be read, or lacks weights.
    """
    variant, files = choose_weights(files_in(folder), family, name, half=dtype.itemsize < 4)
    _check_sizes(folder, name, files)
    if dtype == torch.float16 and name in family.overflowing and not _mended(folder, name):
        dtype = torch.bfloat16
    options = {"dtype": dtype, "variant": variant, "use_safetensors": True}
    if name in family.networks:
        # Without accelerate Diffusers' loader prints a warning unless this is off.
        kind: Any = getattr(diffusers, _class_of(folder, name) or family.networks[name])
        options["low_cpu_mem_usage"] = find_spec("accelerate") is not None
    else:
        kind = getattr(transformers, family.text_encoders[name])
        # A configuration may name a kernel of the hub, which is code that would be fetched and run.
        options["attn_implementation"] = ATTENTION
    if "quantization_config" in _config(folder, name):
        raise UserError(f"the {name} in {folder} is quantised, which priors are not: give its full weights")
    with reading(name, folder), _quiet():
        model, info = kind.from_pretrained(folder / name, output_loading_info=True, **options)
    if absent := sorted(info["missing_keys"]):
        raise UserError(
            f"the {name} in {folder} lacks {len(absent)} weights, the first is {absent[0]}: get it again"
        )
    if name in family.networks:
        # Diffusers leaves SD3Transformer2DModel in float32, and its own `to` would print a warning.
        torch.nn.Module.to(model, dtype)
    return model.eval().requires_grad_(False)


def _check_sizes(folder: Path, name: str, files: Sequence[str]) -> None:
    """Refuse a configuration that no weights of these files can have: it would be built before they are read,
    and may take all the memory there is.
    """
    shapes = [entry["shape"] for file in files for entry in read_header(folder / file).values()]
    most = max(SMALL, len(shapes), *(side for shape in shapes for side in shape))

    def check(key: str, value: Any) -> None:
        for part in value if isinstance(value, list) else []:
            check(key, part)
        for inner, part in value.items() if isinstance(value, dict) else []:
            check(inner, part)
        sized = key != "sample_size" and not key.endswith("_token_id")  # which build nothing
        if isinstance(value, int) and abs(value) > most and sized:
            raise UserError(
                f"the {name} in {folder} says {key} {value}, more than its weights have: get it again"
            )

    check(name, _config(folder, name))


def _class_of(folder: Path, name: str) -> str | None:
    """Class of a distilled autoencoder in the place of the family's; None for the family's own."""
    named = _config(folder, name).get("_class_name")
    return named if name == "vae" and named == "AutoencoderTiny" else None


def _mended(folder: Path, name: str) -> bool:
    """True for an autoencoder that was trained not to overflow, by its configuration."""
    return name == "vae" and not _config(folder, name).get("force_upcast", True)


def _config(folder: Path, name: str) -> dict[str, Any]:
    with reading(name, folder):
        return read_json(folder / name / "config.json", dict, "get it again")


@contextmanager
def _quiet() -> Iterator[None]:
    """Context without transformers' progress bar and its table of unused weights."""
    bar, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()


def _check_fit(folder: Path, family: Family, denoiser: Any, vae: Any, texts: tuple[Text | None, ...]) -> None:
    config = denoiser.config
    if not (type(side := config.get("sample_size")) is int and SIDE.holds(side)):
        raise UserError(
            f"the {family.denoiser} in {folder} has sample_size {side!r:.40}, not {SIDE}: get it again"
        )
    channels = config.in_channels, 3 if vae is None else vae.config.latent_channels
    if channels[0] != channels[1]:
        raise UserError(
            f"the {family.denoiser} in {folder} takes {channels[0]} channels and its images have "
            f"{channels[1]}: inpainting, depth and upscaling models cannot be priors, give their base model"
        )
    widths = [0 if text is None else text.encoder.config.hidden_size for text in texts]
    # The XL's two encoders stand side by side; elsewhere the last one fills the whole width.
    width = sum(widths) if config.get("addition_embed_type") == "text_time" else widths[-1]
    if width and width != _text_width(config):
        raise UserError(
            f"the {family.denoiser} in {folder} wants text of width {_text_width(config)}, the text "
            f"encoder gives {width}: the parts belong to different models"
        )


def _check_autoencoder(folder: Path, vae: Any) -> None:
    """Its images would be of one colour, or none at all, with numbers that are not finite; some layers of a
    decoder hide them.
    """
    for name, within in {"scaling_factor": FACTOR, "shift_factor": SHIFT}.items():
        number = vae.config.get(name)
        absent = name == "shift_factor" and number is None
        if not absent and not (isinstance(number, int | float) and within.holds(number)):
            raise UserError(f"the vae in {folder} has {name} {number!r}, not {within}: get it again")
    for name, value in vae.named_parameters():
        if not torch.isfinite(value).all():
            raise UserError(f"the vae in {folder} holds numbers that are not finite ({name}): get it again")


def _text_width(config: Any) -> int:
    """Width of the text embeddings that the network takes."""
    if "joint_attention_dim" in config:
        return config.joint_attention_dim
    return config.encoder_hid_dim or config.cross_attention_dim
