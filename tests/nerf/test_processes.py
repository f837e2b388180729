"""VSD with several processes: they train one adapter, each on views of its own."""

from copy import deepcopy
from pathlib import Path

import torch
from torch import Tensor, distributed, multiprocessing

from bridge_nerf.nerf.engine.trainer import BridgeTrainerConfig
from tests.nerf.stub import StubPrior

STEPS = 2


def adapter_states(config: BridgeTrainerConfig, rank: int, world: int) -> tuple[list[Tensor], list[Tensor]]:
    """The adapter's gradients at the first step, and its parameters after a few."""
    torch.manual_seed(0)
    pipeline = config.pipeline.setup(device="cpu")
    pipeline.world_size = world  # set afterwards: nerfstudio wraps the model for GPUs only
    pipeline.setup_guidance(config.machine.seed, rank, StubPrior())
    pipeline.train()
    parameters = pipeline.get_param_groups()["adapter"]
    optimizer, gradients = torch.optim.Adam(parameters, lr=0.1), []
    for step in range(STEPS):
        optimizer.zero_grad()
        _, losses, _ = pipeline.get_train_loss_dict(step)
        sum(losses.values(), torch.zeros(())).backward()
        gradients.append([p.grad.clone() for p in parameters])
        optimizer.step()
    return gradients[0], [p.detach() for p in parameters]


def process(rank: int, world: int, folder: Path, config: BridgeTrainerConfig) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=world)
    torch.save(adapter_states(config, rank, world), folder / f"{rank}.pt")
    distributed.destroy_process_group()


def test_processes_train_one_adapter_on_the_mean_of_their_gradients(
    config: BridgeTrainerConfig, tmp_path: Path
) -> None:
    config.pipeline.objective = "vsd"
    config.pipeline.model.prompt = "a ball"
    multiprocessing.spawn(process, (2, tmp_path, config), nprocs=2)
    (first, end), (other_first, other_end) = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert all(map(torch.equal, first, other_first)) and all(map(torch.equal, end, other_end))
    alone = [adapter_states(deepcopy(config), rank, 1)[0] for rank in (0, 1)]
    assert any((a - b).abs().max() > 1e-3 * a.abs().max() for a, b in zip(*alone, strict=True))
    for mean, a, b in zip(first, *alone, strict=True):
        torch.testing.assert_close(mean, (a + b) / 2)
