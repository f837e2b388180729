"""One step of an objective in latent mode, on 64x64 latents (512x512 pixels) and random weights, against

bare       the one batched call of the network that the step needs, with the same attention, and nothing else;
           goal: at most 1.05 times its time
published  the same step composed as the published 2D code does it: float32, the network as it was loaded, its
           graph kept although nothing goes back through it, both texts encoded at every step;
           goal: at least 2 times faster, with half the peak memory

On a CPU the network has Stable Diffusion 2.1's structure at four fifths of its width, or at the share of it
that `--width` names: the narrower, the more of a step is the softmax of attention. With a CUDA device it also
runs with the full shape and says what 1000 steps take and what share of the card's own rate of matrix
products the network reaches. So that a busy machine is busy for all, the bare call and our step take turns
within a process, ours and the published one in processes of their own, and on a CPU it is the processor's
time that counts, not the clock's. Memory on a CPU is read as Linux tells it.

    python benchmarks/prior_step.py --rounds 3 --steps 5
    python benchmarks/prior_step.py --width full --objective sds --rounds 1 --steps 2
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bridge_nerf.distillation.epsilon import Slot
from bridge_nerf.distillation.loss import distillation_loss
from bridge_nerf.distillation.objectives import bridge_second_stage, sds
from bridge_nerf.distillation.problem import Problem
from bridge_nerf.distillation.sample import Sample
from bridge_nerf.seeding import generator

PROMPTS = ("a red apple, sharp", "")
# Stable Diffusion 2.1: channels of the UNet, width of the text, its layers and its inner width. Heads of
# attention have 64 channels, so that no other shares than these divide.
SHAPES = {
    "full": ((320, 640, 1280, 1280), 1024, 23, 4096),
    "four-fifths": ((256, 512, 1024, 1024), 832, 23, 3328),
    "three-fifths": ((192, 384, 768, 768), 640, 23, 2560),
    "two-fifths": ((128, 256, 512, 512), 384, 23, 1536),
    "fifth": ((64, 128, 256, 256), 256, 23, 1024),
}


def build_prior(shape: str, device: torch.device, dtype: torch.dtype, placed: bool) -> Any:
    """A prior of Stable Diffusion 2.1's structure with random weights, `placed` as ours are when loaded: on
    a card as CUDA graphs."""
    from diffusers import DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    from bridge_nerf.paths import asset
    from bridge_nerf.priors.components import Components, place
    from bridge_nerf.priors.graphs import graph_network
    from bridge_nerf.priors.text import Text
    from bridge_nerf.priors.unets import StableDiffusion

    channels, width, layers, inner = SHAPES[shape]
    torch.manual_seed(0)
    build: Any = UNet2DConditionModel  # its annotations do not allow what Stable Diffusion 2.1 is made with
    unet = build(
        sample_size=64,
        block_out_channels=channels,
        attention_head_dim=tuple(c // 64 for c in channels),
        cross_attention_dim=width,
        use_linear_projection=True,
    )
    tokenizer = CLIPTokenizer.from_pretrained(asset("toybox/prior") / "tokenizer")
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        max_position_embeddings=77,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    encoder: Any = CLIPTextModel(config)
    text = Text(tokenizer, encoder.eval().requires_grad_(False).to(dtype), 77)
    unet.eval().requires_grad_(False)
    # Diffusers' own `to` warns about precision that was not loaded.
    torch.nn.Module.to(unet, device, dtype)
    if placed:
        place(unet, device)
        if device.type == "cuda":
            graph_network(unet, "the network")
    scheduler = DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    return StableDiffusion(Components(unet, None, (text,), scheduler, {}))


def bare_step(prior: Any, problem: Problem, objective: Any, x: Any, t: Any, noise: Any) -> None:
    """The network and nothing else, on inputs of the step's size."""
    told = problem.conditions[Slot.TARGET].embedding.repeat(2, 1, 1)
    with torch.no_grad(), prior.attention():
        prior.components.denoiser(x.detach().to(prior.dtype).repeat(2, 1, 1, 1), t.repeat(2), told)


def our_step(prior: Any, problem: Problem, objective: Any, x: Any, t: Any, noise: Any) -> None:
    """Conditions from the cache, one batched call without a graph, the loss and its gradient."""
    slots = objective.target.slots | objective.source.slots
    told = {slot: prior.embed([prompt_of(slot)]) for slot in slots - {Slot.NOISE}}
    distillation_loss(objective, Problem(prior, told), Sample(x, t, noise)).loss.backward()


def published_step(prior: Any, problem: Problem, objective: Any, x: Any, t: Any, noise: Any) -> None:
    """As the authors' 2D code (guidance.py of SDS-Bridge): texts again, graph kept, gradient injected."""
    (text,) = prior.text_encoders
    text.encoder.to(prior.device)
    ids = text.tokenizer(list(PROMPTS), padding="max_length", max_length=77, return_tensors="pt").input_ids
    with torch.no_grad():
        told = text.encoder(ids.to(prior.device))[0]
    x_t = prior.schedule.add_noise(x, noise, t)
    target, other = prior.components.denoiser(x_t.repeat(2, 1, 1, 1), t.repeat(2), told).sample.chunk(2)
    weight = prior.schedule.sigma(t).to(x)[:, None, None, None] ** 2
    if Slot.NOISE in objective.source.slots:
        gradient = weight * (other + 40 * (target - other) - noise)
    else:
        gradient = 40 * weight * (target - other)
    x.backward(gradient=gradient.detach())


WAYS: dict[str, dict[str, Callable]] = {
    "ours": {"bare": bare_step, "ours": our_step},
    "half": {"bare": bare_step, "ours": our_step},
    "published": {"published": published_step},
}
"""What is measured in one process, taking turns: ours in float32 and in half precision, and the published."""
OBJECTIVES = {"sds": sds(40.0), "bridge": bridge_second_stage(40.0)}


def prompt_of(slot: Slot) -> str:
    """Two prompts stand for all slots: the network's work does not depend on what they say."""
    return PROMPTS[slot != Slot.TARGET]


def work(way: str, method: str, device: torch.device, width: str, steps: int) -> dict[str, float]:
    """Median seconds of each step after one to warm up, and MiB at the peak, without Python's libraries."""
    import diffusers  # noqa: F401  (imported now, so that it is not counted as memory of the prior)
    import transformers  # noqa: F401

    full = device.type == "cuda"
    half = torch.float16 if full else torch.bfloat16
    libraries = peak_memory(full, anew=True)
    prior = build_prior(width, device, half if way == "half" else torch.float32, placed=way != "published")
    problem = Problem(prior, {Slot.TARGET: prior.embed([PROMPTS[0]]), Slot.NULL: prior.embed([PROMPTS[1]])})
    x = torch.randn(1, 4, 64, 64, generator=generator(0, "x")).to(device).requires_grad_()
    noise = torch.randn(1, 4, 64, 64, generator=generator(0, "noise")).to(device)
    clock = time.perf_counter if full else time.process_time
    before, seconds = peak_memory(full, anew=True), {name: [] for name in WAYS[way]}
    for step in range(steps + 1):
        for name, act in WAYS[way].items():
            x.grad, t = None, torch.tensor([100 + 100 * (step % 8)], device=device)
            start = clock()
            act(prior, problem, OBJECTIVES[method], x, t, noise)
            if full:
                torch.cuda.synchronize()
            seconds[name].append(clock() - start)
    figures = {f"{name} s": statistics.median(measured[1:]) for name, measured in seconds.items()}
    figures |= {"MiB": peak_memory(full) - libraries, "of steps": peak_memory(full) - before}
    if full and way == "half":
        figures["share of the card"] = floating_point_rate(prior, problem, x, figures["bare s"])
    return figures


def peak_memory(cuda: bool, anew: bool = False) -> float:
    """MiB at the peak so far, of the process or of the card; `anew` begins with what is held now."""
    if cuda:
        if anew:
            torch.cuda.reset_peak_memory_stats()
        return torch.cuda.max_memory_allocated() / 2**20
    if anew:
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    return int(line.split()[1]) / 1024


def floating_point_rate(prior: Any, problem: Problem, x: Any, seconds: float) -> float:
    """The network's rate over that of large matrix products in bfloat16 on the same card."""
    from torch.utils.flop_counter import FlopCounterMode

    unet = prior.components.denoiser
    graphed, unet._compiled_call_impl = unet._compiled_call_impl, None  # a replay shows none of its products
    with FlopCounterMode(display=False) as counter:
        bare_step(prior, problem, None, x, torch.tensor([500], device=x.device), None)
    unet._compiled_call_impl = graphed
    size = 8192
    a = torch.randn(size, size, device=x.device, dtype=torch.bfloat16)
    product = torch.empty_like(a)
    for _ in range(3):
        torch.mm(a, a, out=product)
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(10):
        torch.mm(a, a, out=product)
    torch.cuda.synchronize()
    best = 10 * 2 * size**3 / (time.perf_counter() - start)
    return counter.get_total_flops() / seconds / best


def measure(way: str, method: str, device: str, width: str, steps: int) -> dict[str, float]:
    """`work` in a fresh process."""
    command = [sys.executable, "-W", "ignore", __file__, "--work", way, method]
    command += ["--device", device, "--width", width, "--steps", str(steps)]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(answer.splitlines()[-1])


def compare(method: str, device: str, width: str, rounds: int, steps: int) -> None:
    """Print the figures of all and their ratios."""
    figures: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            figures[way].append(measure(way, method, device, width, steps))
            said = "  ".join(f"{name} {value:.3f}" for name, value in figures[way][-1].items())
            print(f"{method} on {device}, {width} width, {way:<10}{said}", flush=True)

    def middle(way: str, name: str) -> float:
        return statistics.median(figure[name] for figure in figures[way])

    for way in ("ours", "half"):
        bare = middle(way, "ours s") / middle(way, "bare s")
        verdict(f"{method}, {way}: time over the bare call's", bare, bare <= 1.05, "at most 1.05")
        faster = middle("published", "published s") / middle(way, "ours s")
        verdict(f"{method}, {way}: the published step's time over it", faster, faster >= 2, "at least 2")
        memory = middle(way, "MiB") / middle("published", "MiB")
        verdict(f"{method}, {way}: memory over the published", memory, memory <= 0.5, "at most 0.5")
    if device == "cuda":
        print(f"{method}: 1000 steps take {1000 * middle('half', 'ours s') / 60:.2f} minutes (paper: 4.48)")


def verdict(what: str, ratio: float, reached: bool, goal: str) -> None:
    """One line."""
    print(f"{what}: {ratio:.2f} x (goal {goal}, {'reached' if reached else 'missed'})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="turns of each way")
    parser.add_argument("--steps", type=int, default=5, help="steps measured each turn")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="only this one")
    parser.add_argument(
        "--width", choices=SHAPES, help="of the network: four-fifths on a CPU, full on a card"
    )
    parser.add_argument("--objective", choices=OBJECTIVES, help="only this one")
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        way, method = arguments.work
        print(json.dumps(work(way, method, torch.device(arguments.device), arguments.width, arguments.steps)))
        sys.exit()
    there = torch.cuda.is_available()
    if arguments.device == "cuda" and not there:
        sys.exit("error: there is no CUDA device; give --device cpu, or leave it out")
    for device in (arguments.device,) if arguments.device else ("cpu", "cuda"):
        if device == "cuda" and not there:
            print("cuda: not run, there is no CUDA device")
            continue
        width = arguments.width or ("full" if device == "cuda" else "four-fifths")
        for method in (arguments.objective,) if arguments.objective else OBJECTIVES:
            compare(method, device, width, arguments.rounds, arguments.steps)
