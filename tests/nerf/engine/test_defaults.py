"""Numbers that follow from the prior that is used, and what was given to no effect."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import torch
import tyro
import yaml
from bridge_nerf.method_configs.presets import variant_config

from bridge_nerf.nerf.controls import LiveSettings
from bridge_nerf.nerf.engine import commands
from bridge_nerf.nerf.engine.trainer import BridgeTrainerConfig
from bridge_nerf.paths import asset
from tests.priors.tiny_families import build

BEGIN = "bridge-distill --prompt pineapple"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A run as ns-train begins it, up to the point where something would be loaded."""
    monkeypatch.chdir(tmp_path)

    def begin(line: str) -> BridgeTrainerConfig:
        from nerfstudio.configs.method_configs import AnnotatedBaseConfigUnion

        monkeypatch.setattr(sys, "argv", ["ns-train", *shlex.split(line)])
        config = tyro.cli(AnnotatedBaseConfigUnion, args=sys.argv[1:])
        config.pipeline.model.prompt = config.prompt
        config.set_timestamp()
        config.set_experiment_name()
        return config

    return begin


def numbers(config: BridgeTrainerConfig) -> tuple:
    guidance = config.pipeline.guidance.objective
    rate = config.optimizers["encoding"]["optimizer"].lr
    return guidance.guidance_scale, guidance.stage_start, config.max_num_iterations, rate


TOYBOX, STABLE_DIFFUSION = (5.0, 280, 400, 0.03), (100.0, 8000, 10_000, 0.01)


def test_numbers_follow_the_prior_and_not_the_machine(run, monkeypatch: pytest.MonkeyPatch) -> None:
    from nerfstudio.configs.method_configs import all_methods

    assert numbers(run(BEGIN)) == TOYBOX
    assert numbers(run(f"{BEGIN} --pipeline.prior sd-2.1")) == STABLE_DIFFUSION
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setitem(all_methods, "bridge-distill", variant_config("bridge-distill"))
    on_a_card = variant_config("bridge-distill")
    on_a_card.pipeline.model.prompt, on_a_card.pipeline.prior.name = "a pineapple", "toybox"
    assert numbers(on_a_card) == STABLE_DIFFUSION and on_a_card.machine.device_type == "cuda"
    on_a_card.settle()
    assert numbers(on_a_card) == TOYBOX and on_a_card.prior_kind == "toybox"
    assert on_a_card.machine.device_type == "cuda"


def test_the_toyboxs_weights_in_a_folder_are_the_toybox(run, tmp_path: Path) -> None:
    shutil.copytree(asset("toybox/prior"), tmp_path / "mine")
    assert numbers(run(f"{BEGIN} --pipeline.prior {tmp_path / 'mine'}")) == TOYBOX


def test_what_was_given_stays_even_where_it_is_the_other_priors_default(run, capsys) -> None:
    config = run(f"{BEGIN} --pipeline.prior sd-2.1 --pipeline.guidance_scale=5 --max-num-iterations 9000")
    assert numbers(config) == (5.0, 8000, 9000, 0.01)
    said = capsys.readouterr().out
    assert "--pipeline.stage-start 8000" in said and "guidance-scale" not in said
    # The printed command, read anew, is the same run.
    again = run(commands.train(config, config.default()).removeprefix("ns-train "))
    assert numbers(again) == numbers(config) and again.pipeline == config.pipeline


def test_a_saved_configuration_is_taken_as_it_is(run) -> None:
    config = run(f"{BEGIN} --pipeline.prior sd-2.1 --pipeline.guidance-scale 5")
    loaded = yaml.load(yaml.dump(config), Loader=yaml.Loader)
    loaded.set_timestamp()
    assert loaded == config


def test_numbers_follow_the_family_of_a_prior(run, capsys, tmp_path: Path) -> None:
    for prior, kind, scale in (("sdxl", "sdxl", 100.0), ("sd3.5", "sd3", 100.0), ("if", "if", 20.0)):
        config = run(f"{BEGIN} --pipeline.prior {prior}")
        assert (config.prior_kind, config.pipeline.guidance.objective.guidance_scale) == (kind, scale)
    assert "is taken for" not in capsys.readouterr().out
    assert run(f"{BEGIN} --pipeline.prior {build('if', tmp_path / 'mine')}").prior_kind == "if"
    for prior, kind, title in (
        ("DeepFloyd/IF-I-XL-v1.0", "if", "DeepFloyd IF, first stage"),
        ("somebody/xl-of-mine@v2", "sdxl", "Stable Diffusion XL"),
        ("stabilityai/stable-diffusion-3-medium-diffusers", "sd3", "Stable Diffusion 3 or 3.5"),
        ("somebody/something", "sd", "Stable Diffusion 1.x or 2.x"),
    ):
        assert run(f"{BEGIN} --pipeline.prior {prior}").prior_kind == kind
        assert f"is taken for a {title}, by its name" in capsys.readouterr().out


def test_guidance_is_the_objectives_own_where_the_prior_decides_none(run) -> None:
    for objective, scale in (("sds", 100.0), ("bridge", 100.0), ("vsd", 7.5), ("nfsd", 7.5), ("csd", 40.0)):
        config = run(f"{BEGIN} --pipeline.prior sd-2.1 --pipeline.objective {objective}")
        assert LiveSettings.of("", objective, config.pipeline.guidance).guidance_scale == scale


def test_a_preset_takes_the_guidance_that_the_viewer_has_noted(run) -> None:
    config = run(f"{BEGIN} --pipeline.objective bridge:release-3d --pipeline.guidance-scale 100")
    assert config.max_num_iterations == 25_000


def test_a_loaded_configuration_begins_a_run_of_its_own(run, tmp_path, monkeypatch) -> None:
    config = run(f"{BEGIN} --output-dir {tmp_path}")
    config.timestamp = "then"
    monkeypatch.setattr(sys, "argv", ["ns-train", "bridge-distill", "--load-config", "config.yml"])
    config.set_timestamp()
    assert config.timestamp == "then"  # nothing is there that could be lost
    (folder := config.get_checkpoint_dir()).mkdir(parents=True)
    (folder / "step-000000005.ckpt").touch()
    config.set_timestamp()
    assert not config.get_checkpoint_dir().exists()
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--prompt", "a duck"])
    with pytest.raises(SystemExit, match="--prompt changes nothing beside --load-config"):
        config.set_timestamp()


def test_the_preset_for_objects_brings_its_numbers(run) -> None:
    config = run(f"{BEGIN} --pipeline.objective bridge:release-3d")
    assert (config.max_num_iterations, config.pipeline.guidance.prompts.target_descriptors) == (25_000, "")
    times = config.pipeline.guidance.times
    assert [times.at(step) for step in (0, 5000, 5001, 25_000)] == [(0.02, 0.98)] * 2 + [(0.02, 0.5)] * 2
    assert [config.pipeline.stages().at(step).index for step in (19_999, 20_000)] == [0, 1]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--pipeline.objective bridge:release-3d --max-num-iterations 100", "begins at step 20000"),
        ("--pipeline.objective bridge:release-3d --pipeline.guidance-scale 5", "leave --pipeline.guidance"),
        (
            "--pipeline.objective bridge:release-3d --pipeline.stage-start 9",
            "leave --pipeline.stage-start out",
        ),
        ("--pipeline.objective bridge:release", "a preset for images; choose bridge:release-3d"),
        ("--pipeline.objective sds --pipeline.stage 2", 'the objective "sds" has no stage 2'),
        ("--pipeline.target-descriptors xylophone", 'unknown word "xylophone"'),
        ("--pipeline.view.front-only smiling", '"smiling" changes nothing, as the prompt does not say it'),
        (
            "--optimizers.encoding.optimizer.lr 1e38",
            "1e+38 makes no sense; give a number from 0 to 1000000",
        ),
        ("--pipeline.guidance-scale 1e30", "--pipeline.guidance-scale 1e+30 makes no sense"),
        ("--pipeline.objective alchemy", "unknown objective 'alchemy'"),
        ("--pipeline.negative-prompt ugly", "--pipeline.negative-prompt changes nothing in bridge"),
        (
            "--pipeline.objective sds --pipeline.stage-start 420",
            "--pipeline.stage-start changes nothing in sds",
        ),
        ("--pipeline.objective sds --pipeline.source-prompt apple", "or choose bridge-ode, bridge"),
        ("--pipeline.objective vsd --pipeline.ode-steps 4", "--pipeline.ode-steps changes nothing in vsd"),
        ("--optimizers.adapter.optimizer.lr 0.1", "or choose vsd, vsd-bridge"),
        ("--pipeline.times.anneal-steps 0 --pipeline.times.final-maximum 0.4", "anneal-steps is 0"),
        (
            "--pipeline.model.field.hash-levels 4",
            "changes nothing while --pipeline.model.field.encoding is grid",
        ),
        ("--pipeline.model.entropy-weight 0 --pipeline.model.regularise-from 9", "weights of sparsity"),
        ("--pipeline.model.entropy-weight 0 --pipeline.model.entropy-from 9", "entropy-weight is 0"),
        (
            "--pipeline.datamanager.final-resolution None --pipeline.datamanager.final-resolution-from 9",
            "training images keep their size",
        ),
        (
            "--pipeline.datamanager.final-resolution 32 --pipeline.datamanager.final-resolution-from 9",
            "training images keep their size",
        ),
        (
            "--pipeline.datamanager.orbit.overhead-share 0 --pipeline.datamanager.orbit.overhead-range 70 80",
            "overhead-share is 0",
        ),
        ("--pipeline.orient-every 0 --pipeline.orient-until 9", "--pipeline.orient-every is 0"),
        ("--pipeline.view.back 'front view' --pipeline.orient-every 9", "have the same words"),
        ("--pipeline.model.background random --pipeline.background-words True", "which has no name"),
    ],
)
def test_what_would_change_nothing_is_refused(run, flags: str, said: str) -> None:
    with pytest.raises(SystemExit) as caught:
        run(f"{BEGIN} {flags}")
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("flag", ["--prompt", "--pipeline.target-descriptors", "--pipeline.source-prompt"])
def test_words_that_say_a_view_are_refused(run, flag: str) -> None:
    line = f"{BEGIN} {flag} 'a pineapple, side view'"
    with pytest.raises(SystemExit) as caught:
        run(line)
    assert f'{flag} says "side view"' in str(caught.value)
    off = re.findall(r"--pipeline\.view\.\w+ ''", str(caught.value))
    run(f"{line} {' '.join(off)}")


def test_a_background_in_the_prompt_is_noted(run, capsys) -> None:
    line = "bridge-distill --prompt 'a pineapple, white background'"
    run(line)
    (noted,) = [line for line in capsys.readouterr().out.splitlines() if "white background" in line]
    fix = "--pipeline.model.background white"
    assert noted.startswith("note: ") and noted.endswith(fix)
    run(f"{line} {fix}")
    assert "note: the prompt" not in capsys.readouterr().out


def test_steps_of_a_probability_flow_count_where_errors_are_measured(run) -> None:
    config = run(f"{BEGIN} --pipeline.errors-every 5 --pipeline.ode-steps 4")
    assert config.pipeline.guidance.objective.ode_steps == 4


def test_a_trial_that_ends_before_stage_two_is_told_so(run, capsys) -> None:
    run(f"{BEGIN} --max-num-iterations 100")
    assert "note: stage 2 begins at step 280 and the run ends at 100" in capsys.readouterr().out
