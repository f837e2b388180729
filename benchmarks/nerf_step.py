"""Seconds a step and peak memory of bridge-distill against nerfstudio's generfacto, on one 64x64 image a
step.

Neither asks a diffusion model: in both, a stub stands in for it, so that what is compared is rendering and
its gradient. The two take turns, each time in a process of its own, so that a busy machine is busy for
both.

    python benchmarks/nerf_step.py --rounds 3 --steps 5
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from bridge_nerf.errors import UserError
from bridge_nerf.extras import required

with required("nerf_step.py"):
    import nerfstudio  # noqa: F401  # its processes need it
    import torch

OBJECTIVES = ("bridge-distill", "generfacto")
GOALS = {"seconds a step": 20.0, "peak memory": 2.0}
"""generfacto's figure over ours, at least."""


class Silent:
    """A prior of 64x64 pixels that answers nothing: what is left of a step is rendering."""

    image_size, latent_shape, dtype = 64, (3, 64, 64), torch.float32
    fingerprint = "silent"

    def __init__(self, device) -> None:
        from bridge_nerf.schedules import NoiseSchedule

        self.device, self.schedule = torch.device(device), NoiseSchedule.scaled_linear()

    def eps(self, x_t, t, condition):
        return torch.zeros_like(x_t)

    def embed(self, prompts):
        from bridge_nerf.distillation.prior import Condition

        return Condition(torch.zeros(len(prompts), 1, device=self.device), says=tuple(prompts))

    def encode(self, images):
        return images

    def decode(self, latents):
        return latents

    def check_prompts(self, prompts):
        pass


def bridge_pipeline(config, device):
    """Ours, with a prior whose answer is nothing."""
    config.datamanager.train_resolution = Silent.image_size
    pipeline = config.setup(device=device)
    pipeline.setup_guidance(seed=0, prior=Silent(device))
    return pipeline


def generfacto_pipeline(config, device):
    """nerfstudio's, with a diffusion model whose loss is that of an image alone."""
    from nerfstudio.models import generfacto

    class Mute(torch.nn.Module):
        def __init__(self, device) -> None:
            super().__init__()
            self.device = device

        def get_text_embeds(self, prompt, negative_prompt):
            return torch.zeros(2, 1, 1)

        def sds_loss(self, embeddings, image, guidance_scale, grad_scaler):
            return 0.5 * image.square().sum()

    generfacto.DeepFloyd = Mute  # type: ignore[misc,assignment]
    config.model.implementation = "torch"  # tiny-cuda-nn is no part of this package
    return config.setup(device=device, grad_scaler=None)


def work(method: str, steps: int, device: str) -> dict[str, float]:
    """Train `steps` steps after one to warm up; medians, and MiB at the peak, of the card where it is one."""
    from nerfstudio.configs.method_configs import all_methods
    from nerfstudio.engine.optimizers import Optimizers

    config = all_methods[method]
    build: Callable = {"bridge-distill": bridge_pipeline, "generfacto": generfacto_pipeline}[method]
    torch.manual_seed(0)
    pipeline = build(config.pipeline, device)
    pipeline.train()
    optimizers = Optimizers(config.optimizers.copy(), pipeline.get_param_groups())
    seconds = []
    for step in range(steps + 1):
        start = time.perf_counter()
        optimizers.zero_grad_all()
        _, losses, _ = pipeline.get_train_loss_dict(step)
        sum(losses.values(), torch.zeros((), device=device)).backward()
        optimizers.optimizer_step_all()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    if device.startswith("cuda"):
        peak = torch.cuda.max_memory_allocated() / 2**20
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds a step": statistics.median(seconds[1:]), "peak memory": peak}


def measure(method: str, steps: int, device: str) -> dict[str, float]:
    """`work` in a fresh process."""
    command = [sys.executable, "-W", "ignore", __file__, "--work", method, "--steps", str(steps)]
    command += ["--device", device]
    # By default OpenMP's threads wait by spinning: where a core is busy with something else, each of the many
    # short parallel loops of a step then costs a time slice of the scheduler (25 times slower, as measured).
    environment = os.environ | {"OMP_WAIT_POLICY": "passive"}
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout
    return json.loads(answer.splitlines()[-1])


def compare(rounds: int, steps: int, device: str) -> None:
    """Print both methods' figures and their ratios."""
    figures: dict[str, list[dict[str, float]]] = {method: [] for method in OBJECTIVES}
    for _ in range(rounds):
        for method in OBJECTIVES:
            figures[method].append(measure(method, steps, device))
            said = "  ".join(f"{name} {value:.3f}" for name, value in figures[method][-1].items())
            print(f"{method} on {device:<6}{said}", flush=True)
    for name, goal in GOALS.items():
        ours, theirs = (statistics.median(f[name] for f in figures[method]) for method in OBJECTIVES)
        unit = "s" if name.startswith("seconds") else "MiB"
        verdict = "reached" if theirs / ours >= goal else "missed"
        ratio = f"{theirs / ours:.1f} x (goal {goal:g} x, {verdict})"
        print(f"{name}: ours {ours:.3f} {unit}, generfacto {theirs:.3f} {unit}: {ratio}")


def refuse_missing(device: str) -> None:
    """End in one line where there is no such device."""
    from bridge_nerf.priors.registry import check_device

    try:
        check_device(device)
    except UserError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="turns of each method")
    parser.add_argument("--steps", type=int, default=5, help="steps measured each turn")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--work", choices=OBJECTIVES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    refuse_missing(arguments.device)
    if arguments.work:
        print(json.dumps(work(arguments.work, arguments.steps, arguments.device)))
    else:
        compare(arguments.rounds, arguments.steps, arguments.device)
