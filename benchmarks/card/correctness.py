"""Is what the card answers right? Everything against the CPU in float32, from the same weights and draws.

What a half precision may be off by is what it is off by on the CPU: TWICE that, and the LEAST, is allowed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.card.items import Item, NotHere, Options
from bridge_nerf.distillation.config import ObjectiveConfig
from bridge_nerf.distillation.epsilon import Slot
from bridge_nerf.distillation.loss import distillation_loss
from bridge_nerf.distillation.problem import Problem
from bridge_nerf.distillation.registry import OBJECTIVES, stages_for
from bridge_nerf.distillation.sample import Sample
from bridge_nerf.priors.adapter import Adapter
from bridge_nerf.priors.autoencoders import deferred_checks
from bridge_nerf.priors.registry import load_prior
from bridge_nerf.seeding import generator

LEAST = 2e-3
"""Of a relative error that counts."""
PROMPTS = {
    Slot.TARGET: "a red apple",
    Slot.SOURCE: "a red apple, blurry",
    Slot.NULL: "",
    Slot.NEGATIVE: "blurry",
    Slot.PROMPT: "apple",
    Slot.ADAPTER: "a red apple",
}
PRECISIONS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def relative(found: Tensor, expected: Tensor) -> float:
    """|found - expected| / |expected|, in double precision."""
    found, expected = found.double().cpu().flatten(), expected.double().cpu().flatten()
    return ((found - expected).norm() / expected.norm().clamp_min(1e-30)).item()


def gradient(prior: Any, objective: str) -> Tensor:
    """With respect to an image, through the encoder, of all stages of an objective; vsd's adapter's too."""
    stages = stages_for(objective, ObjectiveConfig(ode_steps=2))
    # One that has learnt something: a fresh one answers as the prior.
    adapter = None
    if Slot.ADAPTER in stages.slots:
        adapter = Adapter(prior, rank=2)
        for name, parameter in adapter.named_parameters():
            if name.endswith("up"):
                draws = generator(0, name)
                parameter.data.copy_(0.05 * torch.randn(parameter.shape, generator=draws))
    side = prior.image_size
    image = torch.rand(1, 3, side, side, generator=generator(0, "image")).to(prior.device)
    image.requires_grad_()
    x = prior.encode(image)
    noise = torch.randn(x.shape, generator=generator(0, "noise")).to(x)
    reference = x.detach().flip(-1) if stages.edits else None
    told = {slot: prior.embed([prompt]) for slot, prompt in PROMPTS.items()}
    problem = Problem(prior, told, adapter, reference)
    t, loss = torch.tensor([400], device=prior.device), torch.zeros((), device=prior.device)
    for stage in stages.stages:
        loss = loss + distillation_loss(stage.objective, problem, Sample(x, t, noise)).loss
    if adapter is not None:
        loss = loss + adapter.loss(Sample(x.detach(), t, noise), told[Slot.ADAPTER])
    loss.backward()
    parts = [image.grad, *(() if adapter is None else (p.grad for p in adapter.parameters()))]
    return torch.cat([part.flatten().double().cpu() for part in parts if part is not None])


def family(name: str, options: Options) -> Mapping[str, Any]:
    """Relative errors of every objective's gradient in all precisions, and how many are too large."""
    from tests.priors.tiny_families import FAMILIES

    folder = str(FAMILIES[name](Path(tempfile.mkdtemp()) / "prior"))
    found: dict[str, Any] = {"gradients": 0, "too large": 0, "not finite": 0}
    methods = ("sds", "vsd", "dds") if options.small else OBJECTIVES
    reference = load_prior(folder, "cpu", torch.float32)
    expected = {method: gradient(reference, method) for method in methods}
    for word, dtype in PRECISIONS.items():
        here, there = (load_prior(folder, device, dtype) for device in ("cpu", options.device))
        for method in methods:
            answer = gradient(there, method)
            usual = 0.0 if word == "float32" else relative(gradient(here, method), expected[method])
            error, allowed = relative(answer, expected[method]), 2 * usual + LEAST
            found["gradients"] += 1
            found["not finite"] += not torch.isfinite(answer).all().item()
            if not error <= allowed:
                found["too large"] += 1
                found[f"{word}, {method}"] = f"{error:.2e}, allowed {allowed:.2e}"
            found[f"worst in {word}"] = max(found.get(f"worst in {word}", 0.0), error)
    return found


def adapter(options: Options) -> Mapping[str, Any]:
    """Relative errors of an adapter's gradients in half precision, by layer, at Stable Diffusion's shape."""
    from benchmarks.card.priors import random_prior

    layers: dict[str, dict[str, Tensor]] = {}
    for word, dtype in PRECISIONS.items():
        prior = random_prior("sd-2.1", options, dtype, graphs=False)
        learner = Adapter(prior, rank=4)
        draws = [torch.randn(1, *prior.latent_shape, generator=generator(0, k)) for k in ("x", "noise")]
        x, noise = (value.to(prior.device) for value in draws)
        told = prior.embed(["a red apple"])
        learner.loss(Sample(x, torch.tensor([300], device=prior.device), noise), told).backward()
        grads = {name: p.grad for name, p in learner.named_parameters() if name.endswith("up")}
        layers[word] = {name: grad.double().cpu() for name, grad in grads.items() if grad is not None}
    found: dict[str, Any] = {"layers": len(layers["float32"])}
    for word in ("float16", "bfloat16"):
        errors = sorted(
            relative(layers[word][name], expected) for name, expected in layers["float32"].items()
        )
        found |= {f"median in {word}": errors[len(errors) // 2], f"worst in {word}": errors[-1]}
    found["too large"] = int(not found["median in float16"] < 0.05)
    return found


def renderer(encoding: str, options: Options) -> Mapping[str, Any]:
    """The relative error of the field's gradients through a rendered image."""
    from bridge_nerf.method_configs.presets import variant_config  # pyright: ignore[reportMissingImports]
    from nerfstudio.configs import base_config  # noqa: F401  (before its other modules: they import each other)

    grads = []
    for device in ("cpu", options.device):
        config = variant_config("bridge-distill", "toybox").pipeline
        config.model.field.encoding, config.prior.name = encoding, "toybox"
        config.datamanager.train_resolution = 16 if options.small else 64
        torch.manual_seed(0)
        pipeline: Any = config.setup(device=device)
        pipeline.train()
        for parameter in pipeline.model.field.encoding.parameters():
            values = torch.randn(parameter.shape, generator=generator(0, "field"))
            parameter.data.copy_(0.1 * values)
        pipeline.model.update_to_step(0)
        rays, _ = pipeline.datamanager.next_train(0)
        rgb = pipeline.model(rays)["rgb"]
        (rgb * torch.randn(rgb.shape, generator=generator(0, "slope")).to(rgb)).sum().backward()
        parts = [p.grad for p in pipeline.model.field.parameters() if p.grad is not None]
        grads.append(torch.cat([part.flatten().double().cpu() for part in parts]))
    error = relative(grads[1], grads[0])
    return {"error": error, "too large": int(not error <= LEAST)}


def triton(options: Options) -> Mapping[str, Any]:
    """The hash encoding's Triton kernel against the torch loops, both on the card: features and gradient."""
    if not options.cuda:
        raise NotHere("Triton's kernels want a CUDA device; the tests compare them in its interpreter")
    from bridge_nerf.nerf.scene.hash_encoding import HashEncoding

    x = torch.rand(100_003, 3, generator=generator(0, "x")).to(options.device)
    answers = []
    for kernel in ("torch", "triton"):
        torch.manual_seed(0)
        encoding = HashEncoding(12, 512, kernel).to(options.device)
        features = encoding(x)
        slope = torch.randn(features.shape, generator=generator(0, "slope")).to(features)
        (features * slope).sum().backward()
        answers.append((features.detach(), encoding.hash_table.grad))
    errors = [relative(found, expected) for expected, found in zip(*answers, strict=True)]
    return {"features": errors[0], "gradient": errors[1], "too large": int(not max(errors) <= 1e-4)}


def graphs(kind: str, options: Options) -> Mapping[str, Any]:
    """The network's answers as CUDA graphs against those without, for two batches by turns."""
    if not options.cuda:
        raise NotHere("CUDA graphs want a CUDA device")
    from benchmarks.card.priors import random_prior

    asked = []
    for on in (False, True):
        prior = random_prior(kind, options, graphs=on)
        answers = []
        for rows in (2, 3, 2, 3):
            x = torch.randn(rows, *prior.latent_shape, generator=generator(0, rows)).to(prior.device)
            told = prior.embed([f"prompt {k}" for k in range(rows)])
            t = torch.full((rows,), 500, device=prior.device)
            with torch.no_grad():
                answers.append(prior.eps(x, t, told).flatten().cpu())
        asked.append(torch.cat(answers))
        recorded = getattr(prior.components.denoiser._compiled_call_impl, "_recordings", {})
        del prior
        torch.cuda.empty_cache()
    error = relative(asked[1], asked[0])
    wrong = int(not error <= LEAST or len(recorded) != 2)  # without a recording there was nothing to compare
    return {"error": error, "recordings": len(recorded), "too large": wrong}


def encoder_graphs(kind: str, checkpointing: bool, options: Options) -> Mapping[str, Any]:
    """Latents and gradients of an encoder as CUDA graphs against those without, for two images by turns."""
    if not options.cuda:
        raise NotHere("CUDA graphs want a CUDA device")
    from benchmarks.card.priors import random_prior

    answers, recordings = [], 0
    for on in (False, True):
        prior = random_prior(kind, options, checkpointing=checkpointing, graphs=on)
        side, found = prior.image_size, []
        images = [torch.rand(1, 3, side, side, generator=generator(0, k)).to(prior.device) for k in range(2)]
        for image in images:
            image.requires_grad_()
        with deferred_checks():
            latents = [prior.encode(image) for image in (*images, *images)]
        for k in (1, 0, 3, 2):
            slope = torch.randn(latents[k].shape, generator=generator(1, k)).to(latents[k])
            (slopes,) = torch.autograd.grad(latents[k], images[k % 2], slope)
            found += [latents[k].detach().flatten().cpu(), slopes.flatten().cpu()]
        answers.append(torch.cat(found))
        recordings = len(getattr(prior.latent_space._unchecked, "_recordings", {}))
        del prior, latents
        torch.cuda.empty_cache()
    error = relative(answers[1], answers[0])
    return {"error": error, "recordings": recordings, "too large": int(not error <= LEAST or recordings != 1)}


def _families() -> dict[str, Item]:
    from tests.priors.tiny_families import FAMILIES

    return {f"gradients, {name}": partial(family, name) for name in FAMILIES}


ITEMS: dict[str, Item] = {
    **_families(),
    "renderer, grid": partial(renderer, "grid"),
    "renderer, hash": partial(renderer, "hash"),
    "hash kernel": triton,
    "adapter": adapter,
    "CUDA graphs, sd-2.1": partial(graphs, "sd-2.1"),
    "CUDA graphs, sdxl": partial(graphs, "sdxl"),
    "CUDA graphs, sd3.5": partial(graphs, "sd3.5"),
    "CUDA graphs, encoder": partial(encoder_graphs, "sd-2.1", False),
    "CUDA graphs, encoder computed again": partial(encoder_graphs, "sd-2.1", True),
    "CUDA graphs, encoder of sdxl": partial(encoder_graphs, "sdxl", True),
}
