"""How fast is it? Steps of all presets and their parts, with random weights of the true shapes; peaks."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from benchmarks import nerf_step, prior_step
from benchmarks.card.items import Item, NotHere, Options
from benchmarks.card.timing import launches, milliseconds, peak
from bridge_nerf.priors.autoencoders import deferred_checks

KINDS = {"sd-2.1": "sd", "sdxl": "sdxl", "sd3.5": "sd3"}
"""Shapes of priors -> the kinds that presets have numbers for."""


def pipeline(name: str, kind: str, objective: str, options: Options) -> Any:
    """A preset's pipeline, ready to train, with a prior of that shape."""
    from bridge_nerf.method_configs.presets import variant_config  # pyright: ignore[reportMissingImports]
    from nerfstudio.configs import base_config  # noqa: F401  (before its other modules: they import each other)

    from benchmarks.card.priors import random_prior

    config = variant_config(name, KINDS[kind], objective).pipeline
    config.objective, config.prior.name = objective, kind
    if options.small:
        cameras = config.datamanager
        cameras.train_resolution, config.model.samples = 16, 16
        cameras.final_resolution = 24 if cameras.final_resolution else None
    prior = random_prior(kind, options, checkpointing=config.prior.checkpointing)
    torch.manual_seed(0)
    made: Any = config.setup(device=options.device)
    made.setup_guidance(0, prior=prior)
    made.train()
    return made


def stepping(made: Any, first: int) -> Any:
    """What makes a training step, from step `first` on, each time it is called."""
    optimizers = [torch.optim.Adam(group, lr=1e-4) for group in made.get_param_groups().values()]
    steps = itertools.count(first)

    def step() -> None:
        for optimizer in optimizers:
            optimizer.zero_grad()
        _, losses, _ = made.get_train_loss_dict(next(steps))
        sum(losses.values(), torch.zeros((), device=made.device)).backward()
        for optimizer in optimizers:
            optimizer.step()

    return step


def preset(name: str, kind: str, options: Options) -> Mapping[str, Any]:
    """Milliseconds of a step at both resolutions and of its parts, launches, and the peak."""
    made = pipeline(name, kind, "bridge", options)
    cameras, prior = made.config.datamanager, made.distiller.prior
    firsts = {cameras.train_resolution: 0}
    if cameras.final_resolution:
        firsts[cameras.final_resolution] = cameras.final_resolution_from
    found: dict[str, Any] = {}
    for side, first in firsts.items():
        step = stepping(made, first)
        found[f"step at {side} px, ms"] = milliseconds(step, options)
        found[f"peak at {side} px, GiB"] = peak(step, options)
        found |= {f"{what} at {side} px": value for what, value in launches(step, options).items()}

        def render(first: int = first) -> None:
            made.model.update_to_step(first)
            rays, _ = made.datamanager.next_train(first)
            made.model(rays)["rgb"].sum().backward()

        found[f"render and its gradient at {side} px, ms"] = milliseconds(render, options)
    image = torch.rand(1, 3, prior.image_size, prior.image_size, device=prior.device, requires_grad=True)

    def encode() -> None:
        with deferred_checks():
            latents = prior.encode(image)
        latents.sum().backward()

    found["encode and its gradient, ms"] = milliseconds(encode, options)
    found["network, 2 rows, ms"] = milliseconds(asking(prior), options)
    if kind == "sd-2.1" and name == "bridge-distill":
        found |= _whole_run(found, made.config, cameras)
    return found


def _whole_run(found: Mapping[str, Any], config: Any, cameras: Any) -> dict[str, float]:
    """Minutes that the steps of the preset's run would take."""
    from bridge_nerf.method_configs.presets import variant_config  # pyright: ignore[reportMissingImports]

    steps = variant_config("bridge-distill", "sd").max_num_iterations
    late = steps - cameras.final_resolution_from if cameras.final_resolution else 0
    sides = {cameras.train_resolution: steps - late, cameras.final_resolution: late}
    spent = sum(n * found[f"step at {side} px, ms"] for side, n in sides.items() if n)
    return {"steps of a run": steps, "a run, minutes": round(spent / 6e4, 2)}


def asking(prior: Any) -> Any:
    """What asks the network for two rows."""
    x = torch.randn(2, *prior.latent_shape, device=prior.device)
    t, told = torch.tensor([500, 500], device=prior.device), prior.embed(["a", "b"])

    def ask() -> None:
        with torch.no_grad():
            prior.eps(x, t, told)

    return ask


def adapter_step(name: str, kind: str, options: Options) -> Mapping[str, Any]:
    """A step of vsd: milliseconds and peak."""
    step = stepping(pipeline(name, kind, "vsd", options), 0)
    return {"step, ms": milliseconds(step, options, rounds=5), "peak, GiB": peak(step, options)}


def ways(options: Options) -> Mapping[str, Any]:
    """Milliseconds of Stable Diffusion 2.1's network for two rows: as it is, as CUDA graphs, compiled."""
    if not options.cuda:
        raise NotHere("CUDA graphs want a CUDA device")
    from benchmarks.card.priors import random_prior
    from bridge_nerf.priors.compiling import compile_network

    found = {}
    for way in ("as it is", "CUDA graphs", "torch.compile"):
        prior = random_prior("sd-2.1", options, graphs=way == "CUDA graphs")
        if way == "torch.compile":
            compile_network(prior.components.denoiser, prior.device)
        found[f"{way}, ms"] = milliseconds(asking(prior), options)
        del prior
        gc.collect()
        torch.cuda.empty_cache()
    return found


def image(options: Options) -> Mapping[str, Any]:
    """Seconds that 1000 steps of an image would take at Stable Diffusion 2.1's shape, from some of them."""
    import time

    from benchmarks.card.priors import random_prior
    from bridge_nerf.images.defaults import default_config
    from bridge_nerf.images.generation import generate
    from bridge_nerf.images.spec import Spec, Subject

    prior = random_prior("sd-2.1", options)
    size = (prior.image_size, prior.image_size)
    spec = Spec((Subject(("a red apple",), 0),), "sd-2.1", "bridge", default_config("sd", "image"), size)
    course = generate([spec], prior)
    warm, count = (1, 2) if options.small else (10, 100)
    for _ in range(1 + warm):  # the first is the state before any step
        next(course)
    begun = time.perf_counter()
    for _ in range(count):
        next(course)
    if options.cuda:
        torch.cuda.synchronize()
    return {"1000 steps, s": round(1000 * (time.perf_counter() - begun) / count, 1)}


def published(options: Options) -> Mapping[str, Any]:
    """The objective's step over the bare call of the network, and the published composition's over ours."""
    width, steps = ("fifth", 1) if options.small else ("full", 20)
    measured = {
        way: prior_step.measure(way, "bridge", options.device, width, steps) for way in ("half", "published")
    }
    ours, theirs = measured["half"], measured["published"]
    return {
        "ours, ms": round(1e3 * ours["ours s"], 2),
        "over the bare call": round(ours["ours s"] / ours["bare s"], 3),
        "published over ours": round(theirs["published s"] / ours["ours s"], 2),
        "memory of the published": round(ours["MiB"] / theirs["MiB"], 3),
    }


def generfacto(options: Options) -> Mapping[str, Any]:
    """nerfstudio's generfacto over ours, without a diffusion model in either."""
    steps = 1 if options.small else 20
    figures = {name: nerf_step.measure(name, steps, options.device) for name in nerf_step.OBJECTIVES}
    ours, theirs = figures["bridge-distill"], figures["generfacto"]
    return {
        **{f"ours, {name}": round(value, 4) for name, value in ours.items()},
        **{f"generfacto over ours, {name}": round(theirs[name] / value, 2) for name, value in ours.items()},
    }


ITEMS: dict[str, Item] = {
    "bridge-distill, sd-2.1": partial(preset, "bridge-distill", "sd-2.1"),
    "published step": published,
    "image": image,
    "network": ways,
    "bridge-distill-lite, sd-2.1": partial(preset, "bridge-distill-lite", "sd-2.1"),
    "bridge-distill-big, sdxl": partial(preset, "bridge-distill-big", "sdxl"),
    "bridge-distill-big, sdxl, vsd": partial(adapter_step, "bridge-distill-big", "sdxl"),
    "bridge-distill-lite, sd-2.1, vsd": partial(adapter_step, "bridge-distill-lite", "sd-2.1"),
    "bridge-distill-lite, sd3.5": partial(preset, "bridge-distill-lite", "sd3.5"),
    "generfacto": generfacto,
}
"""What the goals are about comes first."""
