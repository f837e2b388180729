"""The authors' runs, written out as their loops have it, against what a preset makes of the same numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from bridge_nerf.distillation.registry import IMAGE_PRESETS, stages_for
from bridge_nerf.errors import UserError
from bridge_nerf.images.defaults import PRESETS, configured
from bridge_nerf.images.generation import generate
from bridge_nerf.images.module import ImageModule
from bridge_nerf.images.spec import Spec, subjects_for
from bridge_nerf.schedules import sample_times
from bridge_nerf.seeding import generator
from tests.nerf.stub import SIZE, StubPrior

BETTER = ", detailed high resolution, high quality, sharp"
WORSE = ", oversaturated, smooth, pixelated, cartoon, foggy, hazy, blurry, bad structure, noisy, malformed"
UGLY = (
    "unrealistic, blurry, low quality, out of focus, ugly, low contrast, dull, dark, low-resolution, gloomy"
)
STEPS = 520
"""Past the switch of every two-stage preset of images but the full bridge's."""


class EveryTextItsImage(StubPrior):
    """Knows another image for every text, so that no two prompts can be taken for each other."""

    def image(self, prompt: str) -> Float[Tensor, "3 h w"]:
        return torch.rand(self.latent_shape, generator=generator(0, "image", prompt), dtype=torch.float64)

    def __init__(self) -> None:
        super().__init__()
        self.network.double()


def spec_of(name: str, steps: int = STEPS) -> Spec:
    config = replace(PRESETS[name], steps=steps)
    return Spec(subjects_for(("a ball",), 3, 1), "stub", name, config, (SIZE, SIZE))


def theirs(name: str, module: ImageModule) -> Tensor:
    """z after the authors' loop (SDS-Bridge's 2D_experiments, or the evaluation scripts), from the module's
    start, times and noise."""
    abar = module.prior.schedule.alphas_cumprod
    prior, times = module.prior, module.spec.config.guidance.times
    z = module.canvas.latents("0").detach().clone().requires_grad_()
    # AdamW's weight decay of 0.01 is torch's default, which they left.
    optimiser = torch.optim.AdamW([z], lr=0.01, betas=(0.9, 0.99), eps=1e-15)
    for step in range(module.spec.config.steps):
        first = step < (501 if name == "bridge:paper-eval" else 500)
        drawn = stages_for(name).at(step).times or times
        sample = module.distiller.draws.sample(z, step, drawn, prior.schedule.num_timesteps)
        t, noise = sample.t, sample.noise
        a = abar[t].view(-1, 1, 1, 1)
        z_t = a.sqrt() * z.detach() + (1 - a).sqrt() * noise

        def e(text: str, z_t: Tensor = z_t, t: Tensor = t) -> Tensor:
            return prior.eps(z_t, t, prior.embed([text]))

        def guided(s: float, e=e) -> Tensor:
            return e("") + s * (e("a ball") - e(""))

        if name == "sds:release" or (name == "bridge:release" and first):
            gradient = (1 - a) * (guided(40) - noise)
        elif name == "sds:paper-eval":
            gradient = (1 - a) * (guided(100) - noise)
        elif name == "nfsd:release":
            rest = e("") if t < 200 else e("") - e(UGLY)
            gradient = (1 - a) * (40 * (e("a ball") - e("")) + rest)
        elif name == "nfsd:paper-eval":
            gradient = (1 - a) * (7.5 * (e("a ball") - e("")) + (e("") if t < 200 else 0))
        elif name == "bridge:release":
            gradient = 40 * (1 - a) * (e("a ball" + BETTER) - e("a ball" + WORSE))
        elif first:
            gradient = z.detach() - (z_t - (1 - a).sqrt() * guided(40)) / a.sqrt()
        else:
            optimiser.param_groups[0]["lr"] = 0.002
            gradient = 100 * (e("a ball") - e("a ball" + WORSE))
        optimiser.zero_grad()
        z.backward(gradient=gradient)
        optimiser.step()
    return z.detach()


LOOPS = [
    "sds:release",
    "nfsd:release",
    "bridge:release",
    "sds:paper-eval",
    "nfsd:paper-eval",
    "bridge:paper-eval",
]


@pytest.mark.parametrize("name", LOOPS)
def test_a_preset_ends_where_its_authors_loop_ends(name):
    spec = spec_of(name, STEPS if len(IMAGE_PRESETS[name].stages) > 1 else 40)
    course = generate([spec], EveryTextItsImage())
    module = next(course).modules[0].double()
    expected = theirs(name, module)
    for _ in course:
        pass
    torch.testing.assert_close(module.canvas.latents("0").detach(), expected, rtol=1e-6, atol=1e-6)


def test_times_are_those_of_their_grids():
    def drawn(name: str, steps: range) -> set[int]:
        times = {step: IMAGE_PRESETS[name].at(step).times or PRESETS[name].guidance.times for step in steps}
        return {
            int(t) for step in steps for t in sample_times(times[step], step, 8, 1000, generator(0, step))
        }

    assert drawn("bridge:release", range(1000)) == set(range(21, 980, 2))
    assert drawn("bridge:paper-eval", range(501)) == set(range(101, 962, 20))
    assert drawn("bridge:paper-eval", range(501, 2800)) == set(range(21, 962, 20))
    begin, end = (drawn("vsd-bridge:paper-eval", steps) for steps in (range(700, 702), range(790, 801)))
    assert begin <= set(range(890, 981)) and max(begin) - min(begin) > 60
    assert end <= set(range(81)) and max(end) - min(end) > 60


def test_the_adapter_learns_at_their_rate():
    rates = {}
    for name in ("vsd:release", "vsd:paper-eval", "vsd-bridge:paper-eval"):
        groups = (
            ImageModule(spec_of(name), EveryTextItsImage()).configure_optimizers()["optimizer"].param_groups
        )
        rates[name] = [(group["lr"], group["weight_decay"]) for group in groups]
    canvas = (0.01, 0.01)
    assert rates == {
        "vsd:release": [canvas, (3e-4, 0.0)],
        "vsd:paper-eval": [canvas, (1e-4, 0.0)],
        "vsd-bridge:paper-eval": [canvas, (1e-5, 0.0)],
    }


def test_every_preset_of_images_has_its_numbers_and_reaches_its_last_stage():
    assert PRESETS.keys() == IMAGE_PRESETS.keys()
    for name, config in PRESETS.items():
        config.guidance.stages(name).check_reached(config.steps)
        assert configured("toybox", "image", name) == config == configured("sd", "image", name)


def test_a_preset_cut_short_of_its_last_stage_is_refused():
    with pytest.raises(UserError, match="stage 2 begins at step 500 and the run ends at 300"):
        configured("toybox", "image", "bridge:release", {"steps": 300})
    config = configured("toybox", "image", "bridge:release", {"steps": 600})
    assert config == replace(PRESETS["bridge:release"], steps=600)
