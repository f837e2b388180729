"""The recipe of the toybox's prior and judge: images, autoencoder, latents, diffusion, export. Every stage
resumes.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning
import torch

from bridge_nerf.devices import check_processes
from bridge_nerf.errors import UserError
from bridge_nerf.files import sweep, whole_folder, write_atomic, write_tensors
from bridge_nerf.priors.components import load_model
from bridge_nerf.priors.inspection import load_tokenizer
from bridge_nerf.priors.pipeline_files import check_folder
from bridge_nerf.priors.registry import is_toybox
from bridge_nerf.reading import read_json, read_tensors
from bridge_nerf.toybox.dataset import Shard, make_shard
from bridge_nerf.toybox.judge import Judge
from bridge_nerf.toybox.training.autoencoder import (
    LATENT_CHANNELS,
    AutoencoderModule,
    Images,
    build_autoencoder,
    standardise,
)
from bridge_nerf.toybox.training.diffusion import CaptionedLatents, DiffusionModule, build_unet, encode
from bridge_nerf.toybox.training.fitting import fit
from bridge_nerf.toybox.training.growing import grown_autoencoder, grown_unet
from bridge_nerf.toybox.training.judge import JudgeImages, JudgeModule
from bridge_nerf.toybox.training.text import build_text_encoder, single_words, word_tokenizer
from bridge_nerf.toybox.words import vocabulary


@dataclass(frozen=True)
class Preset:
    """Sizes of a training run; `renders` are toys rendered, two images each."""

    renders: int
    autoencoder_steps: int
    autoencoder_batch: int
    autoencoder_rate: float
    diffusion_steps: int
    diffusion_batch: int
    diffusion_rate: float
    judge_steps: int
    judge_batch: int
    unet_channels: tuple[int, ...] = (48, 96, 192)
    latent_channels: int = LATENT_CHANNELS


PRESETS = {
    "cpu": Preset(45_000, 3_200, 64, 2e-3, 8_000, 64, 1e-3, 6_000, 128),
    "gpu": Preset(200_000, 15_000, 64, 2e-3, 45_000, 256, 1e-3, 8_000, 256),
    "fine": Preset(20_000, 2_400, 64, 1e-3, 8_000, 64, 5e-4, 6_000, 128, latent_channels=16),
    "smoke": Preset(40, 3, 4, 1e-3, 3, 4, 1e-3, 3, 8, (16, 32, 32)),
}
"""cpu: near what the shipped prior was trained with (its recipe.json has the exact numbers; not timed as one
run); fine: from the shipped prior to one with twice as many latent channels, not run to its end yet; smoke:
seconds, for tests; gpu: not run. It is to fit half an hour of one card once the images are
there, from an estimate of 12, 22 and 20 ms a step of autoencoder, diffusion and judge: the first two by their
numbers of kernels, the judge by what 15 cores make of its batches."""


LOOSE = 0.25
"""Share of the judge's flawless toys that get bad structure: in the world it is too rare to be learned."""


def named_preset(name: str) -> Preset:
    """The preset of that name; UserError lists the names."""
    if name not in PRESETS:
        raise UserError(f"unknown preset {name!r}; presets: {', '.join(PRESETS)}")
    return PRESETS[name]


def shard_of(folder: Path, name: str, seed: int, renders: int, **options: Any) -> Shard:
    """The shard stored in the folder, made first where it is missing.

    Raises:
        UserError: What is there is torn, or another shard.
    """
    path = folder / f"{name}.npz"
    if not path.exists():
        make_shard(seed, renders, **options).save(path)
    shard = Shard.load(path)
    if shard.images.shape != (2 * renders, 3, 64, 64):
        raise UserError(f"{path} holds images {list(shard.images.shape)}; remove it, and they are made anew")
    return shard


def claim(folder: Path, name: str, **identity: Any) -> None:
    """Note the training of `folder`; UserError if it already holds another.

    Only the numbers of steps may change between the calls that resume a training.
    """
    path = folder / f"{name}.json"
    text = json.dumps(identity, indent=1, default=str)
    if not path.exists():
        write_atomic(path, text.encode())
    elif read_json(path, dict, "choose another --folder") != json.loads(text):
        raise UserError(
            f"{folder} holds a training of other sizes, seed or start ({path.name}); choose another --folder"
        )
    sweep(folder)


def train_prior(
    folder: Path,
    preset: Preset,
    seed: int = 0,
    accelerator: str = "auto",
    devices: int = 1,
    start: Path | None = None,
    workers: int | None = None,
) -> Path:
    """Train the prior under `folder`; returns the finished Diffusers pipeline folder, `folder`/prior.

    `devices` > 1 trains the diffusion model data-parallel. `start` is the folder of an earlier prior: its
    networks are where this training begins, and its autoencoder is kept, unless the preset has more latent
    channels, which it is then trained to use. `workers` processes render images, and make batches as in
    `fit`.

    Raises:
        UserError: `start` is no prior, or has more latent channels than the preset; the folder holds another
            training.
    """
    check_processes(devices)
    if start is not None:
        check_folder(start)
    identity = {
        "renders": preset.renders,
        "channels": preset.unet_channels,
        "latents": preset.latent_channels,
    }
    claim(folder, "prior-run", seed=seed, **identity, start=start)
    shard = shard_of(folder, "pictures", seed, preset.renders, workers=workers)
    if start is None:
        tokenizer = word_tokenizer(single_words(vocabulary()))
        lightning.seed_everything(seed)
        untrained = build_autoencoder(latent_channels=preset.latent_channels)
        autoencoder = _autoencoder(folder, shard, preset, seed, accelerator, workers, untrained)
        lightning.seed_everything(seed)
        unet = build_unet(preset.unet_channels, latent_channels=preset.latent_channels)
        text_encoder = build_text_encoder(tokenizer)
    else:
        autoencoder, unet, text_encoder, tokenizer = _earlier(start)
        if (few := autoencoder.config.latent_channels) > (many := preset.latent_channels):
            raise UserError(
                f"{start} has {few} latent channels, and this preset {many}: choose another preset"
            )
        if few < many:
            lightning.seed_everything(seed)
            grown = grown_autoencoder(autoencoder, many)
            autoencoder = _autoencoder(folder, shard, preset, seed, accelerator, workers, grown, autoencoder)
            unet = grown_unet(unet, many)
    latents = standardise(autoencoder, _latents(folder, autoencoder, shard))
    module = DiffusionModule(unet, text_encoder, preset.diffusion_rate, preset.diffusion_steps)
    data = CaptionedLatents(latents, shard.scenes, tokenizer)
    steps, batch = preset.diffusion_steps, preset.diffusion_batch
    fit(module, data, batch, seed, folder / "diffusion", steps, accelerator, devices, workers=workers)
    autoencoder.register_to_config(scaling_factor=1.0)
    made = {"start": None if start is None else str(start), "devices": devices}
    made["unet_channels"] = list(unet.config.block_out_channels)
    with whole_folder(folder / "prior") as prior:
        export(prior, autoencoder, module.unet, module.text_encoder, tokenizer)
        record(prior, preset, seed, images=len(shard), **made)
    return folder / "prior"


def _autoencoder(
    folder: Path,
    shard: Shard,
    preset: Preset,
    seed: int,
    accelerator: str,
    workers: int | None,
    untrained: Any,
    earlier: Any | None = None,
) -> Any:
    """The autoencoder, trained; see `AutoencoderModule`."""
    rate, steps, batch = preset.autoencoder_rate, preset.autoencoder_steps, preset.autoencoder_batch
    module = AutoencoderModule(untrained, rate, steps, earlier=earlier)
    fit(
        module, Images(shard.images), batch, seed, folder / "autoencoder", steps, accelerator, workers=workers
    )
    return module.autoencoder.eval().requires_grad_(False)


def _earlier(start: Path) -> tuple[Any, Any, Any, Any]:
    """Autoencoder, UNet, text encoder and tokenizer of a prior's folder; all but the first are to be trained.

    Raises:
        UserError: It is not whole, or not a prior of the toybox's world.
    """
    family = check_folder(start)
    if not is_toybox(str(start)):
        raise UserError(f"{start} is not a prior of the toybox's words; give one that train-toybox made")
    parts = [load_model(family, start, name, torch.float32) for name in ("vae", "unet", "text_encoder")]
    for network in parts[1:]:
        network.train().requires_grad_(True)
    parts[2].set_attn_implementation("eager")
    return *parts, load_tokenizer(start, family, "text_encoder")


def _latents(folder: Path, autoencoder: Any, shard: Shard) -> torch.Tensor:
    path, cure = folder / "latents.pt", "remove it, and it is made anew"
    if not path.exists():
        device = "cuda" if torch.cuda.is_available() else "cpu"
        write_tensors(path, encode(autoencoder.to(device), shard.images))
    latents = read_tensors(path, torch.Tensor, cure)
    shape = (len(shard), autoencoder.config.latent_channels, 16, 16)
    if latents.shape != shape or not latents.is_floating_point() or not torch.isfinite(latents).all():
        raise UserError(f"{path} does not hold latents of these images; {cure}")
    return latents


def train_judge(
    folder: Path, preset: Preset, seed: int = 0, accelerator: str = "auto", workers: int | None = None
) -> Path:
    """Train the judge under `folder`, on images of its own that hold every colour; returns
    `folder`/judge. `workers` as in `train_prior`.
    """
    claim(folder, "judge-run", seed=seed, renders=preset.renders, loose=LOOSE)
    options = {"held_out": True, "loose": LOOSE, "workers": workers}
    shard = shard_of(folder, "judge-pictures", seed + 1, preset.renders // 2, **options)
    lightning.seed_everything(seed)
    module = JudgeModule(Judge(), 2e-3, preset.judge_steps)
    data, steps = JudgeImages(shard), preset.judge_steps
    batch = preset.judge_batch
    fit(module, data, batch, seed, folder / "judge-training", steps, accelerator, workers=workers)
    with whole_folder(folder / "judge") as judge:
        module.judge.save(judge)
        record(judge, preset, seed, images=len(shard), loose=LOOSE)
    return folder / "judge"


def export(folder: Path, autoencoder: Any, unet: Any, text_encoder: Any, tokenizer: Any) -> None:
    """Write a `StableDiffusionPipeline` folder in half precision, with the closed vocabulary in
    words.json.
    """
    from diffusers import DDPMScheduler, StableDiffusionPipeline

    scheduler = DDPMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="v_prediction",
        steps_offset=1,
        clip_sample=False,
    )
    build: Any = StableDiffusionPipeline  # its annotations do not allow the None that it takes
    pipeline = build(
        vae=autoencoder,
        unet=unet,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    for part in (autoencoder, unet):
        part.register_to_config(_name_or_path=None)  # the folder it was read from is nobody's business
    pipeline.to(torch.float16).save_pretrained(folder, safe_serialization=True)
    (folder / "words.json").write_text(json.dumps(vocabulary(), indent=1))


def record(folder: Path, preset: Preset, seed: int, **more: Any) -> None:
    """Write the recipe of the weights to recipe.json; sizes of batches are those of one device."""
    (folder / "recipe.json").write_text(json.dumps({"seed": seed, **asdict(preset), **more}, indent=1))
