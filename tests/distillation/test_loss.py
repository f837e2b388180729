from dataclasses import dataclass

import pytest
import torch

from bridge_nerf.distillation.loss import NonFinite, distillation_loss, explained, read
from bridge_nerf.distillation.objectives import bridge_second_stage, sds
from bridge_nerf.distillation.sample import Sample

from .worlds import MIXED_T, MIXTURE, draws, problem

NOISE = draws("noise", 6, 2)


# Small against x, where the usual 0.5 |x - stopgrad(x - gradient)|^2 loses it in single precision.
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("objective", [sds(7.5), bridge_second_stage(40.0)])
def test_the_derivative_is_the_weighted_gradient_exactly(objective, dtype):
    p = problem(TARGET="left", SOURCE="right, high", NULL="")
    x = draws("x", 6, 2).to(dtype).requires_grad_()
    out = distillation_loss(objective, p, Sample(x, MIXED_T, NOISE.to(dtype)), 1e-9)
    out.loss.backward()
    expected = 1e-9 * objective.gradient(p, Sample(x.detach(), MIXED_T, NOISE.to(dtype))).value
    assert x.grad is not None and x.grad.abs().min() > 0
    assert torch.equal(x.grad, out.gradient) and torch.equal(out.gradient, expected)
    torch.testing.assert_close(out.loss, 0.5 * expected.square().sum())


@dataclass
class Network:
    """A prior with parameters."""

    weight: torch.nn.Parameter
    schedule = MIXTURE.schedule
    embed = MIXTURE.embed

    def eps(self, x_t, t, condition):
        return self.weight * x_t


def test_no_graph_goes_through_the_network():
    network = Network(torch.nn.Parameter(torch.tensor(0.7, dtype=torch.float64)))
    x = draws("x", 6, 2).requires_grad_()
    out = distillation_loss(sds(1.0), problem(network, TARGET="left"), Sample(x, MIXED_T, NOISE))
    out.loss.backward()
    assert not out.gradient.requires_grad and not out.metrics["pull"].requires_grad
    assert network.weight.grad is None and x.grad is not None


def test_metrics_tell_the_pull_before_any_weight():
    p, sample = problem(TARGET="left", SOURCE="right"), Sample(draws("x", 6, 2), MIXED_T, NOISE)
    objective = bridge_second_stage(2.0)
    out = distillation_loss(objective, p, sample, weight=0.1)
    pull = objective.gradient(p, sample).pull
    torch.testing.assert_close(out.metrics["pull"], pull.square().mean().sqrt())
    torch.testing.assert_close(out.metrics["gradient"], out.gradient.square().mean().sqrt())


def test_a_nan_is_never_hidden():
    network = Network(torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64)))
    x = draws("x", 6, 2)
    x[2, 1] = float("nan")
    out = distillation_loss(sds(1.0), problem(network, TARGET="left"), Sample(x, MIXED_T, NOISE))
    assert not out.loss.isfinite()
    error = out.why()
    assert error.cause == "x" and str(error).startswith("non-finite gradient at t = [199] of [20, 150, 199")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_the_loss_says_of_every_entry_whether_it_is_finite(bad):
    network = Network(torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64)))
    for entry in range(12):
        noise = NOISE.clone()
        noise.view(-1)[entry] = bad
        out = distillation_loss(
            sds(1.0), problem(network, TARGET="left"), Sample(draws("x", 6, 2), MIXED_T, noise)
        )
        assert not out.loss.isfinite()


def test_a_gradient_whose_square_is_not_finite():
    out = distillation_loss(
        sds(1.0), problem(TARGET="left"), Sample(draws("x", 6, 2), MIXED_T, NOISE), weight=1e200
    )
    assert out.gradient.isfinite().all() and not out.loss.isfinite()
    assert out.why().cause == "gradient" and "the distillation loss is inf" in str(out.why())


def test_numbers_are_read_as_they_are():
    numbers = {"a": torch.tensor(0.1), "b": torch.tensor(float("nan")), "c": torch.tensor(7.0)}
    numbers["a"].requires_grad_()
    said = read(numbers)
    assert list(said) == ["a", "b", "c"] and said["a"] == numbers["a"].item() and said["b"] != said["b"]


@pytest.mark.parametrize(
    "weight, scale, cause", [(float("nan"), 7.5, "answer"), (1.0, float("inf"), "gradient")]
)
def test_the_prior_is_told_apart_from_what_is_made_of_its_answers(weight, scale, cause):
    network = Network(torch.nn.Parameter(torch.tensor(weight, dtype=torch.float64)))
    p = problem(network, TARGET="left", NULL="")
    error = distillation_loss(sds(scale), p, Sample(draws("x", 6, 2), MIXED_T, NOISE)).why()
    assert error.cause == cause and "non-finite gradient" in str(error)


HALF, SINGLE = torch.float16, torch.float32
RESUME = "lower the learning rate or the guidance"
SAID = {
    ("answer", 0, HALF): "the prior sd in float16 answers numbers that are not finite; give --flag",
    (
        "answer",
        0,
        SINGLE,
    ): "the prior sd in float32 answers numbers that are not finite; get its weights again",
    (
        "answer",
        3,
        HALF,
    ): f"the prior sd in float16 answers numbers that are not finite; {RESUME}, or give --flag",
    (
        "answer",
        3,
        SINGLE,
    ): f"the prior sd in float32 answers numbers that are not finite; {RESUME}",
    ("x", 0, HALF): "the latents are not finite; the prior sd in float16 encodes them so: give --flag",
    ("x", 3, SINGLE): f"the latents are not finite; {RESUME}",
    (
        "render",
        0,
        HALF,
    ): "the render is not finite, before any prior has seen it; check the flags of the model",
    (
        "render",
        3,
        SINGLE,
    ): f"the render is not finite, before any prior has seen it; {RESUME}",
    ("regulariser", 0, HALF): "the render and the prior's answers are finite; lower its weight",
    (
        "regulariser",
        3,
        HALF,
    ): f"the render and the prior's answers are finite; {RESUME}",
    ("gradient", 0, HALF): "the prior's answers are finite, but not what is made of them; lower the guidance",
    (
        "gradient",
        3,
        HALF,
    ): f"the prior's answers are finite, but not what is made of them; {RESUME}",
}


@pytest.mark.parametrize("cause, step, dtype", SAID)
def test_what_is_blamed_depends_on_what_has_been_learnt(cause, step, dtype):
    said = str(explained(NonFinite(cause, "bad"), step, "sd", dtype, "--flag"))
    learnt = ", and nothing has been learnt yet" if step == 0 else ""
    assert said.startswith(f"step {step}: bad{learnt}: {SAID[cause, step, dtype]}")
    assert (RESUME in said) == (step > 0)
