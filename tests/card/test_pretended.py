"""The pretence itself: what CUDA refuses raises, what costs is counted, what is harmless passes."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bridge_nerf.devices import send
from tests.card.memory import CARD, DeviceMismatch, Ledger, on_card
from tests.card.pretended import pretended_card


@pytest.fixture
def x(card: Ledger) -> Tensor:
    return torch.linspace(0, 1, 12, device="cuda").view(4, 3)


class Adding(torch.autograd.Function):
    """x, whose gradient gets what `extra` makes added on its way back."""

    @staticmethod
    def forward(ctx, x, extra):
        ctx.extra = extra
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[override]
        return gradient + ctx.extra(gradient), None


def test_a_constant_made_in_main_memory(x: Tensor) -> None:
    with pytest.raises(DeviceMismatch, match="test_pretended.py"):
        x + torch.ones(3)


def test_a_single_number_in_main_memory_is_welcome_on_the_right_alone(x: Tensor) -> None:
    assert (x * torch.tensor(2.0)).device == CARD
    with pytest.raises(DeviceMismatch):
        torch.tensor(2.0).add_(x)
    with pytest.raises(DeviceMismatch):
        torch.stack([x[0, 0], torch.tensor(2.0)])


def test_a_single_number_on_the_card_is_not_welcome_in_main_memory(x: Tensor) -> None:
    with pytest.raises(DeviceMismatch):
        torch.ones(3) * x[0, 0]


def test_indices_in_main_memory_are_copied(card: Ledger, x: Tensor) -> None:
    with card.counted() as tally:
        assert x[torch.tensor([0, 2])].device == CARD
    assert tally.copies.total() == tally.waits.total() == 1


def test_indices_on_the_card_for_main_memory(x: Tensor) -> None:
    with pytest.raises(DeviceMismatch):
        torch.ones(4)[x[:, 0].argsort()]


def test_an_embedding_of_words_in_main_memory(card: Ledger) -> None:
    with pytest.raises(DeviceMismatch):
        nn.Embedding(5, 2).to("cuda")(torch.tensor([1]))


def test_values_put_from_main_memory(x: Tensor) -> None:
    with pytest.raises(DeviceMismatch):
        x[torch.tensor([0, 2], device="cuda")] = torch.ones(2, 3)


def test_a_network_that_is_given_another_type_but_not_the_device(card: Ledger) -> None:
    network = nn.Conv2d(3, 3, 1).to("cuda", torch.bfloat16)
    with pytest.raises(DeviceMismatch):
        network(torch.ones(1, 3, 4, 4).to(network.weight.dtype))


def test_a_parameter_that_a_moved_module_makes_in_main_memory(x: Tensor) -> None:
    network = nn.Sequential(nn.Linear(3, 3)).to("cuda")
    network[0].bias = nn.Parameter(torch.zeros(3))
    with pytest.raises(DeviceMismatch):
        network(x)


def test_tensors_of_numbers_made_in_a_loop(card: Ledger) -> None:
    with card.counted() as tally:
        for k in range(5):
            torch.tensor([float(k)], device="cuda")
    assert tally.copies.total() == 5
    assert "5 copies" in tally.table("copies") and "test_pretended.py" in tally.table("copies")


def test_what_the_card_makes_itself_is_no_copy(card: Ledger, x: Tensor) -> None:
    with card.counted() as tally:
        made = [
            torch.zeros(2, device="cuda"),
            torch.full_like(x, 2.0),
            x.new_ones(3),
            torch.arange(3, device=x.device),
            torch.linspace(0, 1, 3, device="cuda"),
        ]
    assert [on_card(value) for value in made] == [True] * 5
    assert tally.copies.total() == tally.waits.total() == 0
    assert tally.kernels.total() == len(made)


def test_a_mask_waits(card: Ledger, x: Tensor) -> None:
    with card.counted() as tally:
        x[x > 0.5]
        x[x[:, 0] > 0.5] = x[:1].repeat(int((x[:, 0] > 0.5).sum()), 1)
    assert tally.waits.total() == 3


def test_a_number_put_by_a_mask_does_not(card: Ledger, x: Tensor) -> None:
    with card.counted() as tally:
        x[x > 0.5] = 0.0
        torch.where(x > 0.5, x, 0.0)
    assert tally.waits.total() == 0 and x.max().item() <= 0.5


@pytest.mark.parametrize(
    "look",
    [
        lambda x: x.sum().item(),
        lambda x: bool(torch.isfinite(x).all()),
        lambda x: torch.equal(x, x + 1),
        lambda x: torch.allclose(x, x),
        lambda x: x.tolist(),
        lambda x: x.cpu(),
        lambda x: x.nonzero(),
        lambda x: x.unique(),
        lambda x: torch.cuda.synchronize(),
        lambda x: torch.cuda.Event().synchronize(),
        lambda x: torch.zeros(4, 3).copy_(x),
    ],
)
def test_what_the_host_must_know_waits(card: Ledger, x: Tensor, look) -> None:
    with card.counted() as tally:
        look(x)
    assert tally.waits.total() == 1 and not tally.copies


@pytest.mark.parametrize("read", [lambda x: x.numpy(), np.asarray, lambda x: x.detach().numpy()])
def test_numpy_cannot_read_the_card(x: Tensor, read) -> None:
    with pytest.raises(TypeError, match="to numpy"):
        read(x)
    assert np.asarray(x.cpu()).shape == (4, 3)


def test_a_generator_on_the_wrong_device(card: Ledger, x: Tensor) -> None:
    for where, other in (("cuda", "cpu"), ("cpu", "cuda")):
        assert torch.randn(2, device=where, generator=torch.Generator(where)).device.type == where
        with pytest.raises(DeviceMismatch, match="generator"):
            torch.randn(2, device=where, generator=torch.Generator(other))
    with pytest.raises(DeviceMismatch, match="generator"):
        x.normal_(generator=torch.Generator().manual_seed(0))


def test_an_optimizer_state_left_in_main_memory(x: Tensor) -> None:
    parameter = nn.Parameter(x)
    optimizer = torch.optim.Adam([parameter])
    for moved in (True, False):
        parameter.grad = torch.ones_like(parameter)
        optimizer.step() if moved else None
    optimizer.state[parameter]["exp_avg"] = torch.zeros(4, 3)
    with pytest.raises(DeviceMismatch):
        optimizer.step()


def test_an_optimizer_that_is_loaded_takes_its_state_to_the_card(x: Tensor) -> None:
    parameter = nn.Parameter(x)
    optimizer = torch.optim.Adam([parameter])
    parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    saved = {k: v.cpu() if v.ndim else v for k, v in optimizer.state_dict()["state"][0].items()}
    optimizer.load_state_dict(optimizer.state_dict() | {"state": {0: saved}})
    optimizer.step()
    assert on_card(optimizer.state[parameter]["exp_avg"])


def test_the_backward_pass_alone(x: Tensor) -> None:
    x.requires_grad_()
    Adding.apply(x, torch.ones_like).sum().backward()
    assert x.grad is not None and x.grad.device == CARD and x.grad[0, 0].item() == 2
    with pytest.raises(DeviceMismatch):
        Adding.apply(x, lambda g: torch.ones(g.shape)).sum().backward()
    with pytest.raises(DeviceMismatch):
        torch.autograd.grad(Adding.apply(x, lambda g: torch.ones(g.shape)).sum(), x)


def test_the_backward_pass_sees_devices(x: Tensor) -> None:
    seen = []
    x.requires_grad_()
    Adding.apply(x, lambda g: seen.append(g.device) or torch.zeros(3, device=g.device)).sum().backward()
    assert seen == [CARD]


def test_a_gradient_goes_back_the_way_its_tensor_came(card: Ledger) -> None:
    here = torch.ones(3, requires_grad=True)
    with card.counted() as tally:
        (here.to("cuda") * 2).sum().backward()
    assert here.grad is not None and here.grad.device.type == "cpu" and here.grad.tolist() == [2, 2, 2]
    assert (tally.copies.total(), tally.waits.total()) == (1, 2)


def test_a_gradient_from_the_other_device(x: Tensor) -> None:
    with pytest.raises(DeviceMismatch):
        x.grad = torch.ones(4, 3)


def test_pinned_memory_is_copied_without_a_wait(card: Ledger) -> None:
    with card.counted() as tally:
        assert send(torch.ones(3), CARD).device == CARD
    assert (tally.copies.total(), tally.waits.total()) == (1, 0)
    with card.counted() as tally:
        torch.ones(3).to("cuda", non_blocking=True)
    assert (tally.copies.total(), tally.waits.total()) == (1, 1)
    with pytest.raises(RuntimeError, match="pin"):
        torch.ones(3, device="cuda").pin_memory()


def test_modules_move_with_all_they_have(card: Ledger) -> None:
    network = nn.BatchNorm1d(3).to("cuda", torch.float64)
    assert all(map(on_card, network.state_dict().values()))
    assert (
        network.weight.is_cuda and network.weight.dtype == torch.float64 and network.weight.get_device() == 0
    )
    assert on_card(deepcopy(network).weight) and not on_card(network.cpu().weight)


def test_views_and_other_types_stay_where_they_are(x: Tensor) -> None:
    seen = [
        x.half(),
        x.detach(),
        x.T,
        x[0],
        x.data,
        x.reshape(-1),
        x.to(torch.float64),
        x.clone(),
        x.new_zeros(2),
    ]
    assert all(part.device == CARD for part in seen)
    assert torch.ones(1).to(x).device == CARD and x.to("cpu").device.type == "cpu"
    assert torch.zeros_like(x, device="cpu").device.type == "cpu" and x.to("cuda:0") is x


def test_scaled_mixed_precision(card: Ledger) -> None:
    network = nn.Linear(3, 1).to("cuda")
    optimizer, scaler = torch.optim.SGD(network.parameters(), lr=0.1), torch.amp.GradScaler("cuda")
    before = network.weight.detach().clone()
    with torch.autocast("cuda", torch.bfloat16):
        answer = network(torch.ones(2, 3, device="cuda"))
    assert answer.dtype == torch.bfloat16
    scaler.scale(F.mse_loss(answer.float(), torch.zeros_like(answer.float()))).backward()
    scaler.step(optimizer)
    scaler.update()
    assert scaler.is_enabled() and not torch.equal(network.weight, before)


def test_streams_and_properties(card: Ledger) -> None:
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda.Event().record()
    assert torch.cuda.get_device_properties(0).total_memory == torch.cuda.mem_get_info()[1]
    assert torch.cuda.is_bf16_supported()


def test_afterwards_everything_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)  # a trainer of before may have set it
    names = [name for name in dir(torch.cuda) if not name.startswith("__")]
    before = {name: getattr(torch.cuda, name) for name in names}, torch.Generator, torch.autocast.__init__
    with pytest.raises(DeviceMismatch), pretended_card():
        left = torch.ones(3, device="cuda")
        torch.backends.cudnn.benchmark = True
        left + torch.ones(3)
    assert (
        {name: getattr(torch.cuda, name) for name in names},
        torch.Generator,
        torch.autocast.__init__,
    ) == before
    assert left.device.type == "cpu" and not torch.backends.cudnn.benchmark
    assert not torch.cuda.is_available() and not torch.overrides._get_current_function_mode_stack()


def test_zeros_that_the_backward_pass_makes_lie_where_they_are_needed(x: Tensor) -> None:
    x.requires_grad_()
    first, _ = x.chunk(2)
    (first[0].sum() + x[2, 1]).backward()
    assert x.grad is not None and on_card(x.grad)


def test_a_module_moves_with_its_gradients(card: Ledger) -> None:
    network = nn.Linear(3, 3)
    network(torch.ones(2, 3)).sum().backward()
    for where in ("cuda", "cpu"):
        network.to(where)
        assert network.weight.grad is not None and network.weight.grad.device.type == where
