"""The viewer's panel, without a viewer; `test_viewer` drives a real one."""

from dataclasses import replace

import pytest
import torch
import yaml

from bridge_nerf.nerf.controls import Controls
from bridge_nerf.nerf.engine.run_config import BridgeTrainerConfig
from bridge_nerf.nerf.engine.trainer import BridgeTrainer
from bridge_nerf.nerf.guidance_config import Wishes
from tests.nerf.stub import StubPrior

WISHES = Wishes("a ball", "sharp", "blurry", 7.0)


def press(controls: Controls) -> None:
    controls.f_apply.cb_hook(controls.f_apply)


def test_typing_does_nothing_until_apply_is_pressed() -> None:
    controls = Controls(WISHES)
    controls.a_prompt.value = "a c"
    assert controls.take() is None
    controls.a_prompt.value = "a cube"
    controls.e_stage.value = "2"
    press(controls)
    assert controls.take() == replace(WISHES, prompt="a cube", stage="2")
    assert controls.take() is None


@pytest.fixture
def trainer(config: BridgeTrainerConfig, prior: StubPrior) -> BridgeTrainer:
    config.timestamp = "run"
    config.save_config()
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    return trainer


def step(trainer: BridgeTrainer, number: int) -> None:
    from nerfstudio.engine.callbacks import TrainingCallbackLocation

    for callback in trainer.callbacks:
        callback.run_callback_at_location(number, TrainingCallbackLocation.BEFORE_TRAIN_ITERATION)
    trainer.train_iteration(number)


def test_the_next_step_takes_the_wishes_over(trainer: BridgeTrainer, prior: StubPrior) -> None:
    controls = trainer.pipeline.controls
    controls.a_prompt.value, controls.d_guidance.value, controls.e_stage.value = "a ball", 11.0, "2"
    press(controls)
    prior.asked.clear()
    step(trainer, 0)
    assert all(text.startswith("a ball,") for text in prior.asked if text)
    assert trainer.pipeline._guidance is not None and trainer.pipeline._guidance.active(0).index == 1
    assert "applied at step 0" in controls.g_message.value
    saved = yaml.load((trainer.base_dir / "config.yml").read_text(), Loader=yaml.Loader)
    assert saved.pipeline.model.prompt == "a ball"
    assert (saved.pipeline.guidance_scale, saved.pipeline.stage) == (11.0, "2")
    assert "--prompt 'a ball'" in trainer._resume()


def test_an_unknown_word_is_said_and_changes_nothing(trainer: BridgeTrainer) -> None:
    controls = trainer.pipeline.controls
    guidance = trainer.pipeline._guidance
    assert guidance is not None
    before = guidance.wishes
    controls.a_prompt.value = "a xylophone"
    press(controls)
    step(trainer, 0)
    assert guidance.wishes == before
    assert 'unknown word "xylophone"' in controls.g_message.value
    assert trainer.config.pipeline.model.prompt == "a pineapple"
    assert all(torch.isfinite(p).all() for p in trainer.pipeline.parameters())
