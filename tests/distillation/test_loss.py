from dataclasses import dataclass

import pytest
import torch

from bridge_nerf.distillation.loss import distillation_loss
from bridge_nerf.distillation.objectives import bridge_second_stage, sds

from .worlds import MIXED_T, MIXTURE, draws, problem

NOISE = draws("noise", 6, 2)


# Small against x, where the usual 0.5 |x - stopgrad(x - gradient)|^2 loses it in single precision.
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("objective", [sds(7.5), bridge_second_stage(40.0)])
def test_the_derivative_is_the_weighted_gradient_exactly(objective, dtype):
    p = problem(TARGET="left", SOURCE="right, high", NULL="")
    x = draws("x", 6, 2).to(dtype).requires_grad_()
    out = distillation_loss(objective, p, x, MIXED_T, NOISE.to(dtype), weight=1e-9)
    out.loss.backward()
    expected = 1e-9 * objective.gradient(p, x.detach(), MIXED_T, NOISE.to(dtype))
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
    out = distillation_loss(sds(1.0), problem(network, TARGET="left"), x, MIXED_T, NOISE)
    out.loss.backward()
    assert not out.gradient.requires_grad and not out.metrics["pull"].requires_grad
    assert network.weight.grad is None and x.grad is not None


def test_metrics_tell_the_pull_before_any_weight():
    p, x = problem(TARGET="left", SOURCE="right"), draws("x", 6, 2)
    objective = bridge_second_stage(2.0)
    out = distillation_loss(objective, p, x, MIXED_T, NOISE, weight=0.1)
    pull = objective.pull(p, x, MIXED_T, NOISE)
    torch.testing.assert_close(out.metrics["pull"], pull.square().mean().sqrt())
    torch.testing.assert_close(out.metrics["gradient"], out.gradient.square().mean().sqrt())


def test_a_nan_is_never_hidden():
    network = Network(torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64)))
    x = draws("x", 6, 2)
    x[2, 1] = float("nan")
    with pytest.raises(FloatingPointError, match=r"non-finite gradient at t = \[199\]"):
        distillation_loss(sds(1.0), problem(network, TARGET="left"), x, MIXED_T, NOISE)
