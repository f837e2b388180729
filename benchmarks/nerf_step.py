"""Seconds a step and peak memory of bridge-distill against nerfstudio's generfacto, on one 64x64 picture a
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

from bridge_nerf.extras import required

with required("nerf_step.py"):
    import nerfstudio  # noqa: F401  # its processes need it
    import torch

METHODS = ("bridge-distill", "generfacto")
GOALS = {"seconds a step": 20.0, "peak memory": 2.0}
"""generfacto's figure over ours, at least."""


def bridge_pipeline(config):
    """Ours, with a prior whose answer is nothing."""
    from bridge_nerf.distillation.prior import Condition
    from bridge_nerf.schedules import NoiseSchedule

    class Silent:
        schedule = NoiseSchedule.scaled_linear()
        image_size, latent_shape = 64, (3, 64, 64)
        device, dtype = torch.device("cpu"), torch.float32

        def eps(self, x_t, t, condition):
            return torch.zeros_like(x_t)

        def embed(self, prompts):
            return Condition(torch.zeros(len(prompts), 1))

        def encode(self, images):
            return images

        def check_prompts(self, prompts):
            pass

    pipeline = config.setup(device="cpu")
    pipeline.start_training(Silent(), seed=0)
    return pipeline


def generfacto_pipeline(config):
    """nerfstudio's, with a diffusion model whose loss is that of a picture alone."""
    from nerfstudio.models import generfacto

    class Silent(torch.nn.Module):
        def __init__(self, device) -> None:
            super().__init__()
            self.device = device

        def get_text_embeds(self, prompt, negative_prompt):
            return torch.zeros(2, 1, 1)

        def sds_loss(self, embeddings, image, guidance_scale, grad_scaler):
            return 0.5 * image.square().sum()

    generfacto.DeepFloyd = Silent  # type: ignore[misc,assignment]
    config.model.implementation = "torch"  # tiny-cuda-nn needs a GPU
    return config.setup(device="cpu", grad_scaler=None)


def work(method: str, steps: int) -> dict[str, float]:
    """Train `steps` steps after one to warm up; medians."""
    from nerfstudio.configs.method_configs import all_methods
    from nerfstudio.engine.optimizers import Optimizers

    config = all_methods[method]
    assert config.pipeline.datamanager.train_resolution == 64  # type: ignore[attr-defined]
    build: Callable = {"bridge-distill": bridge_pipeline, "generfacto": generfacto_pipeline}[method]
    torch.manual_seed(0)
    pipeline = build(config.pipeline)
    pipeline.train()
    optimizers = Optimizers(config.optimizers.copy(), pipeline.get_param_groups())
    seconds = []
    for step in range(steps + 1):
        start = time.perf_counter()
        optimizers.zero_grad_all()
        _, losses, _ = pipeline.get_train_loss_dict(step)
        sum(losses.values(), torch.zeros(())).backward()
        optimizers.optimizer_step_all()
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds a step": statistics.median(seconds[1:]), "peak memory": peak}


def measure(method: str, steps: int) -> dict[str, float]:
    """`work` in a fresh process."""
    command = [sys.executable, "-W", "ignore", __file__, "--work", method, "--steps", str(steps)]
    # By default OpenMP's threads wait by spinning: where a core is busy with something else, each of the many
    # short parallel loops of a step then costs a time slice of the scheduler (25 times slower, as measured).
    environment = os.environ | {"OMP_WAIT_POLICY": "passive"}
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout
    return json.loads(answer.splitlines()[-1])


def compare(rounds: int, steps: int) -> None:
    """Print both methods' figures and their ratios."""
    figures: dict[str, list[dict[str, float]]] = {method: [] for method in METHODS}
    for _ in range(rounds):
        for method in METHODS:
            figures[method].append(measure(method, steps))
            said = "  ".join(f"{name} {value:.3f}" for name, value in figures[method][-1].items())
            print(f"{method:<16}{said}", flush=True)
    for name, goal in GOALS.items():
        ours, theirs = (statistics.median(f[name] for f in figures[method]) for method in METHODS)
        unit = "s" if name.startswith("seconds") else "MiB"
        verdict = "reached" if theirs / ours >= goal else "missed"
        ratio = f"{theirs / ours:.1f} x (goal {goal:g} x, {verdict})"
        print(f"{name}: ours {ours:.3f} {unit}, generfacto {theirs:.3f} {unit}: {ratio}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="turns of each method")
    parser.add_argument("--steps", type=int, default=5, help="steps measured each turn")
    parser.add_argument("--work", choices=METHODS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        print(json.dumps(work(arguments.work, arguments.steps)))
    else:
        compare(arguments.rounds, arguments.steps)
