"""The coefficients of posterior distillation sampling on a table in float32, as Diffusers keeps it."""

import torch

from bridge_nerf.distillation.weighting import chi, psi_over_chi
from bridge_nerf.priors.diffusers_prior import DiffusersPrior


def test_chi_and_psi_are_those_of_the_schedulers_own_betas(open_folder) -> None:
    """Koo et al. 2024, from the two tables that their code reads; a beta taken out of the product would be
    1e-4 off."""
    prior = DiffusersPrior.load(open_folder)
    scheduler = prior.components.scheduler
    betas, abar = scheduler.betas.double(), scheduler.alphas_cumprod.double()
    assert prior.schedule.alphas_cumprod.dtype == torch.float32
    t = torch.tensor([2, 3, 20, 101, 500, 979])
    now, far, beta = abar[t], abar[t - 2], betas[t]
    deviation = (beta * (1 - far) / (1 - now)).sqrt()
    # The mean of x_{t-2} is share x0 + rest x_t, with x0 = (x_t - sigma eps) / alpha.
    share, rest = far.sqrt() * beta / (1 - now), (1 - beta).sqrt() * (1 - far) / (1 - now)
    expected_chi = share * (1 - now).sqrt() / now.sqrt() / deviation
    psi = (far.sqrt() - share - rest * now.sqrt()) / deviation
    torch.testing.assert_close(chi(prior.schedule, t), expected_chi, rtol=1e-6, atol=0)
    torch.testing.assert_close(psi_over_chi(prior.schedule, t), psi / expected_chi, rtol=1e-6, atol=0)
