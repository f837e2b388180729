"""Do whole runs end well? The commands of the README on the toybox, and a few steps of its training."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.card.items import ROOT, Item, NotHere, Options

METHOD = "bridge-distill-tiny"
PLUGIN = f"{METHOD}=bridge_nerf.method_configs.bridge_distill:bridge_distill_tiny"
"""For an installation that has not told nerfstudio of its methods."""


def command(module: str, *words: str) -> float:
    """Seconds of a command that must succeed.

    Raises:
        RuntimeError: It did not; with its last lines.
    """
    environment = os.environ | {"NERFSTUDIO_METHOD_CONFIGS": PLUGIN, "HF_HUB_OFFLINE": "1"}
    begun = time.perf_counter()
    line = [sys.executable, "-W", "ignore", "-m", module, *words]
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        tail = " | ".join((done.stdout + done.stderr).strip().splitlines()[-3:])
        raise RuntimeError(f"{module} ended with code {done.returncode}: {tail}")
    return round(time.perf_counter() - begun, 1)


def _folder(options: Options, name: str) -> Path:
    return options.out / "runs" / name.replace(", ", "-").replace(" ", "-")


def scene(name: str, words: tuple[str, ...], options: Options) -> Mapping[str, Any]:
    """An object from a prompt, to its end: seconds, and whether turntable and checkpoint are there."""
    if "--mixed-precision" in words and not options.cuda:
        raise NotHere("nerfstudio has no mixed precision on a CPU")
    folder, more = _folder(options, name), ()
    if options.small:
        sizes = ("datamanager.train-resolution", "datamanager.eval-resolution", "model.samples")
        more = tuple(word for size in sizes for word in (f"--pipeline.{size}", "16"))
        more += ("--max-num-iterations", "4", "--steps-per-save", "2", "--turntable-frames", "4")
    device = ("--machine.device-type", options.device.split(":")[0])
    where = ("--output-dir", str(folder), "--vis", "tensorboard")
    told = ("--prompt", "a pineapple")
    seconds = command("nerfstudio.scripts.train", METHOD, *told, *where, *device, *more, *words)
    return {"seconds": seconds, **_left(folder, ("turntable.mp4", "turntable.png", "config.yml"))}


def resumed(options: Options) -> Mapping[str, Any]:
    """A run that goes on from the checkpoints of `scene`'s first one."""
    found = sorted(_folder(options, "grid").rglob("step-*.ckpt"))
    if not found:
        raise RuntimeError("there is no run to go on from: the item before failed")
    more = ("--load-dir", str(found[-1].parent), "--max-num-iterations", "2" if options.small else "50")
    return scene("resumed", more, options)


def image(verb: str, objective: str, options: Options) -> Mapping[str, Any]:
    """An image from a prompt or a painting, to its end."""
    folder = _folder(options, f"{verb}, {objective}")
    words = ["--prior", "toybox", "--prompt", "a red car", "--objective", objective, "--out", str(folder)]
    if verb == "paint":
        words += ["--input", str(ROOT / "assets/paintings/car.png")]
    if options.small:
        words += ["--steps", "10"]
    seconds = command("bridge_nerf.cli", verb, *words)
    return {"seconds": seconds, **_left(folder, ("picture*.png", "video.mp4"))}


def _left(folder: Path, patterns: tuple[str, ...]) -> dict[str, bool]:
    return {pattern: any(folder.rglob(pattern)) for pattern in patterns}


def training(options: Options) -> Mapping[str, Any]:
    """Milliseconds a step of each part of the toybox's own training, at the sizes of its preset for a GPU."""
    from bridge_nerf.toybox.training import recipe

    preset, folder, found = recipe.PRESETS["smoke"], _folder(options, "training"), {}
    if not options.small:
        steps = {"autoencoder_steps": 600, "diffusion_steps": 1000, "judge_steps": 150}
        preset = replace(recipe.PRESETS["gpu"], renders=4000, **steps)
    begun = time.perf_counter()
    recipe.shard_of(folder, "pictures", 0, preset.renders)
    found["rendering, s for 1000 toys"] = round(1e3 * (time.perf_counter() - begun) / preset.renders, 1)
    fit = recipe.fit

    def timed(
        module: Any, data: Any, batch: int, seed: int, where: Path, steps: int, *more: Any, **named: Any
    ):
        begun = time.perf_counter()
        fit(module, data, batch, seed, where, steps, *more, **named)
        spent = 1e3 * (time.perf_counter() - begun) / steps
        found[f"{type(module).__name__}, ms a step, batch {batch}"] = round(spent, 1)

    recipe.fit = timed
    recipe.train_prior(folder, preset, 0)
    recipe.train_judge(folder, preset, 0)
    return found


MIXED = ("--mixed-precision", "True")
ITEMS: dict[str, Item] = {
    **{
        f"image, {objective}": partial(image, "image", objective)
        for objective in ("bridge", "vsd", "sds", "vsd-bridge")
    },
    "paint, bridge": partial(image, "paint", "bridge"),
    **{
        name: partial(scene, name, words)
        for name, words in {
            "grid": (),
            "hash": ("--pipeline.model.field.encoding", "hash"),
            "vsd": ("--pipeline.objective", "vsd"),
            "mixed precision": MIXED,
            "hash, vsd, mixed precision": (
                "--pipeline.model.field.encoding",
                "hash",
                "--pipeline.objective",
                "vsd",
                *MIXED,
            ),
        }.items()
    },
    "resumed": resumed,
    "training": training,
}
