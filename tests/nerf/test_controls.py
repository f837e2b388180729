"""The viewer's panel, without a viewer; `test_viewer` drives a real one."""

import html
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from bridge_nerf.nerf.controls import Controls, LiveSettings
from bridge_nerf.nerf.engine import checkpoint
from bridge_nerf.nerf.engine.trainer import BridgeTrainer, BridgeTrainerConfig
from tests.nerf.conftest import noted, ns_train
from tests.nerf.engine.test_trainer import same
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


def watched(controls: Controls, state: str, folder: Path) -> None:
    """Put the panel into the viewer of a run."""
    trainer = None if state == "shown" else SimpleNamespace(training_state=state)
    controls.run.viewer = SimpleNamespace(trainer=trainer, log_filename=folder / "log")  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("state", "said"), [("shown", "nothing trains here"), ("completed", "training has ended")]
)
def test_where_nothing_trains_the_command_that_does_is_said(state: str, said: str, tmp_path: Path) -> None:
    controls, resume = Controls(SETTINGS), "ns-train bridge-distill --prompt 'a {ball}' --load-dir x"
    watched(controls, state, tmp_path)
    press(controls)
    assert controls.message == f"not applied: {said}" and controls.take() is None
    assert "commands.txt of this run" in html.unescape(controls.g_message.content)
    (tmp_path / "commands.txt").write_text(f"view    ns-viewer\nresume  {resume}\n")
    press(controls)
    assert f">{resume}</code>" in html.unescape(controls.g_message.content)


def test_a_pause_keeps_what_is_applied(tmp_path: Path) -> None:
    controls = Controls(SETTINGS)
    watched(controls, "paused", tmp_path)
    press(controls)
    assert controls.message == "applied when training goes on" and controls.take() == SETTINGS


def test_what_comes_after_the_last_step_is_said_to_be_late(tmp_path: Path) -> None:
    controls = Controls(SETTINGS)
    watched(controls, "training", tmp_path)
    press(controls)
    assert controls.message == "applied at the next step"
    watched(controls, "completed", tmp_path)
    controls.refuse_late()
    assert controls.message == "not applied: training has ended" and controls.take() is None


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
    assert "--prompt 'a ball, sharp'" in noted(trainer.base_dir)["resume"]


@pytest.mark.parametrize(
    "change",
    [
        {"a_prompt": "a red apple"},
        {"b_target": "a duck", "d_guidance": 11.0},
        {"d_guidance": 11.0, "e_stage": "1"},
        {"c_source": ""},
        {"e_stage": "1"},
        {"e_stage": "2", "c_source": "blurry"},
    ],
)
def test_the_noted_command_goes_on_with_what_was_applied(
    trainer: BridgeTrainer, change: dict[str, str | float]
) -> None:
    """It does so from the step at which it was applied."""
    step(trainer, 0)
    step(trainer, 1)
    for name, value in change.items():
        getattr(trainer.pipeline.controls, name).value = value
    press(trainer.pipeline.controls)
    step(trainer, 2)
    applied = LiveSettings.of(
        trainer.config.pipeline.model.prompt or "", "bridge", trainer.config.pipeline.guidance
    )
    assert applied != SETTINGS and "--load-step 1 --max-num-iterations 4" in noted(trainer.base_dir)["resume"]
    for number in (3, 4, 5):
        step(trainer, number)
    ns_train(noted(trainer.base_dir)["resume"])
    (second,) = (path for path in trainer.base_dir.parent.iterdir() if path != trainer.base_dir)
    resumed = checkpoint.read(checkpoint.latest(second / "nerfstudio_models"))
    assert resumed["step"] == 5 and same(resumed["pipeline"], dict(trainer.pipeline.state_dict()))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"a_prompt": "a xylophone"}, 'unknown word "xylophone"'),
        ({"a_prompt": " "}, "the prompt is empty"),
        ({"a_prompt": "ball " * 50}, "shorten it"),
        ({"c_source": "xylophone"}, 'unknown word "xylophone"'),
        ({"a_prompt": "a ball, side view"}, 'Prompt says "side view"'),
        ({"c_source": "blurry, back view"}, 'Source says "back view"'),
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


def test_a_background_in_the_prompt_is_noted(trainer: BridgeTrainer) -> None:
    controls = trainer.pipeline.controls
    controls.a_prompt.value = "a ball, Gray background"
    press(controls)
    step(trainer, 0)
    assert controls.message.startswith('applied at step 0; note: the prompt says "Gray background"')
    assert trainer.config.pipeline.model.prompt == "a ball, Gray background"


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
