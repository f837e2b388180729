"""The viewer's panel, without a viewer; `test_viewer` drives a real one."""

from dataclasses import replace

import pytest
import torch
import yaml

from bridge_nerf.nerf.controls import Controls, LiveSettings
from bridge_nerf.nerf.engine.trainer import BridgeTrainer, BridgeTrainerConfig
from tests.nerf.stub import StubPrior

SETTINGS = LiveSettings("a ball", "sharp", "blurry", 7.0)


def press(controls: Controls) -> None:
    controls.f_apply.pressed(None)


def test_typing_does_nothing_until_apply_is_pressed() -> None:
    controls = Controls(SETTINGS)
    controls.a_prompt.value = "a c"
    assert controls.take() is None
    controls.a_prompt.value = "a cube"
    controls.e_stage.value = "2"
    press(controls)
    assert controls.take() == replace(SETTINGS, prompt="a cube", stage="2")
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


def test_the_next_step_takes_the_settings_over(trainer: BridgeTrainer, prior: StubPrior) -> None:
    controls = trainer.pipeline.controls
    controls.a_prompt.value, controls.d_guidance.value = "a ball", 11.0
    press(controls)
    step(trainer, 0)
    controls.a_prompt.value, controls.e_stage.value = "a ball, sharp", "2"
    press(controls)
    prior.asked.clear()
    step(trainer, 1)
    assert prior.asked and all(text.startswith("a ball,") for text in prior.asked if text)
    assert trainer.pipeline.distiller.active(1).index == 1
    assert "applied at step 1" in controls.message
    saved = yaml.load((trainer.base_dir / "config.yml").read_text(), Loader=yaml.Loader)
    assert saved.pipeline.model.prompt == "a ball, sharp"
    assert (saved.pipeline.guidance.objective.guidance_scale, saved.pipeline.guidance.stage) == (11.0, "2")
    assert "--prompt 'a ball, sharp'" in trainer._resume()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"a_prompt": "a xylophone"}, 'unknown word "xylophone"'),
        ({"a_prompt": " "}, "the prompt is empty"),
        ({"a_prompt": "ball " * 50}, "shorten it"),
        ({"c_source": "xylophone"}, 'unknown word "xylophone"'),
    ],
)
def test_settings_that_cannot_be_read_change_nothing(
    trainer: BridgeTrainer, change: dict[str, str], said: str
) -> None:
    controls, distiller, config = trainer.pipeline.controls, trainer.pipeline.distiller, trainer.config
    before = distiller.config, distiller.table, distiller.stages
    for name, value in change.items():
        getattr(controls, name).value = value
    controls.d_guidance.value = 9.0
    press(controls)
    step(trainer, 0)
    assert (distiller.config, distiller.table, distiller.stages) == before
    assert said in controls.message
    assert config.pipeline.model.prompt == "a pineapple"
    assert config.pipeline.guidance.objective.guidance_scale == 5.0
    assert all(torch.isfinite(p).all() for p in trainer.pipeline.parameters())


def test_a_setting_that_would_change_nothing_is_said(config: BridgeTrainerConfig, prior: StubPrior) -> None:
    config.pipeline.objective, config.timestamp = "sds", "run"
    config.save_config()
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    controls = trainer.pipeline.controls
    for name, value, said in (
        ("c_source", "foggy", "Source changes nothing in sds"),
        ("e_stage", "2", "no stage 2"),
    ):
        before = getattr(controls, name).value
        getattr(controls, name).value = value
        press(controls)
        step(trainer, 0)
        assert said in controls.message
        getattr(controls, name).value = before
