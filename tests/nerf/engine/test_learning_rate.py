import io

import torch

from bridge_nerf.nerf.engine.learning_rate import RampSchedulerConfig


def test_it_falls_between_its_steps_and_torch_reads_it_back() -> None:
    parameter = torch.nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.Adam([parameter], lr=0.5)
    scheduler = RampSchedulerConfig(final=0.2, begin=4, end=8).setup().get_scheduler(optimizer, lr_init=0.5)
    rates = []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert [round(rate, 6) for rate in rates] == [0.5, 0.5, 0.5, 0.5, 0.5, 0.4, 0.3, 0.2, 0.1, 0.1]
    buffer = io.BytesIO()
    torch.save(scheduler.state_dict(), buffer)
    buffer.seek(0)
    assert torch.load(buffer, weights_only=True)["last_epoch"] == 10
