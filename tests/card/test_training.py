"""Training the toybox on the pretended card: the modules' steps by hand, and Lightning's trainer on "gpu".

Its loaders' workers and its own processes are not seen; there are none here.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from bridge_nerf.toybox.dataset import Shard
from bridge_nerf.toybox.judge import Judge
from bridge_nerf.toybox.training import recipe
from bridge_nerf.toybox.training.autoencoder import AutoencoderModule, build_autoencoder
from bridge_nerf.toybox.training.diffusion import DiffusionModule, build_unet, encode
from bridge_nerf.toybox.training.judge import JudgeModule
from bridge_nerf.toybox.training.text import build_text_encoder, single_words, word_tokenizer
from bridge_nerf.toybox.words import vocabulary
from tests.card.memory import Ledger, on_card

pytestmark = pytest.mark.filterwarnings("ignore")
BATCH = 4


def diffusion() -> tuple[nn.Module, tuple]:
    tokenizer = word_tokenizer(single_words(vocabulary()))
    module = DiffusionModule(build_unet((16, 32, 32)), build_text_encoder(tokenizer), 1e-3, 3)
    ids = tokenizer(["a duck"] * BATCH, padding="max_length", return_tensors="pt").input_ids
    return module, (torch.rand(BATCH, 8, 16, 16, device="cuda"), ids.to("cuda"))


def judge() -> tuple[nn.Module, list]:
    numbers = [torch.zeros(BATCH, dtype=torch.long, device="cuda") for _ in range(3)]
    flaws = torch.zeros(BATCH, Judge().sizes[-1], device="cuda")
    return JudgeModule(Judge(), 1e-3, 3), [torch.rand(BATCH, 3, 64, 64, device="cuda"), *numbers, flaws]


def autoencoder() -> tuple[nn.Module, torch.Tensor]:
    images = torch.randint(256, (BATCH, 3, 64, 64), dtype=torch.uint8, device="cuda")
    return AutoencoderModule(build_autoencoder(), 1e-3, 3), images


@pytest.mark.parametrize("made", [autoencoder, diffusion, judge], ids=lambda made: made.__name__)
def test_a_step_by_hand(card: Ledger, monkeypatch: pytest.MonkeyPatch, made) -> None:
    module, batch = made()
    for name in ("log", "log_dict"):  # Lightning's, for which there must be a trainer
        monkeypatch.setattr(module, name, lambda *_, **__: None)
    module.to("cuda")
    optimiser = torch.optim.AdamW(module.parameters())
    for _ in range(2):
        optimiser.zero_grad()
        with torch.autocast("cuda", torch.bfloat16):
            loss = module.training_step(batch, 0)
        loss.backward()
        optimiser.step()
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        assert on_card(loss) and gradients and all(map(on_card, gradients))


def test_all_images_are_encoded_by_the_card_and_come_back(card: Ledger) -> None:
    images = torch.randint(256, (BATCH, 3, 64, 64), dtype=torch.uint8)
    with card.counted() as tally:
        latents = encode(build_autoencoder().to("cuda"), images, batch=2)
    assert not on_card(latents) and tally.kernels.total() and latents.shape == (BATCH, 8, 16, 16)


@pytest.mark.slow
def test_the_smallest_training_resumes(card: Ledger, tmp_path: Path) -> None:
    preset, alone = recipe.PRESETS["smoke"], {"accelerator": "gpu", "workers": 0}
    for _ in range(2):
        assert (recipe.train_prior(tmp_path, preset, **alone) / "model_index.json").is_file()
        assert (recipe.train_judge(tmp_path, preset, **alone) / "model.safetensors").is_file()
    assert len(Shard.load(tmp_path / "pictures.npz")) == 2 * preset.renders
