"""The commands that a run prints, read back by nerfstudio's own command line."""

import shlex
from copy import deepcopy
from pathlib import Path

import tyro

from bridge_nerf.nerf import commands
from bridge_nerf.nerf.run_config import BridgeTrainerConfig, default_config


def parsed(command: str) -> BridgeTrainerConfig:
    from nerfstudio.configs.method_configs import AnnotatedBaseConfigUnion

    program, *arguments = shlex.split(command)
    assert program == "ns-train"
    return tyro.cli(AnnotatedBaseConfigUnion, args=arguments)


def changed(config: BridgeTrainerConfig) -> BridgeTrainerConfig:
    config.pipeline.model.prompt = 'a cat\'s pineapple, "ripe"'
    config.pipeline.objective = "sds"
    config.pipeline.view.front = ""
    config.pipeline.background_words = False
    config.pipeline.guidance_scale = 12.5
    config.pipeline.datamanager.orbit.elevation_range = (-5.0, 20.0)
    config.optimizers["encoding"]["optimizer"].lr = 0.07
    config.viewer.websocket_port = 7123
    config.machine.seed = 7
    config.gradient_accumulation_steps = {"encoding": 4, "network": 2}
    return config


def test_a_command_says_all_that_differs_from_the_defaults(config: BridgeTrainerConfig) -> None:
    run = changed(deepcopy(config))
    run.set_experiment_name()
    command = commands.resume(run, default_config(run), Path("some where/nerfstudio_models/x.ckpt"), 25, 40)
    again = parsed(command)
    assert again.prompt == run.pipeline.model.prompt
    again.pipeline.model.prompt = again.prompt
    assert again.load_dir == Path("some where/nerfstudio_models")
    assert (again.load_step, again.max_num_iterations) == (25, 40)
    again.max_num_iterations = run.max_num_iterations
    again.set_experiment_name()
    assert commands.train(again, default_config(again)) == commands.train(run, default_config(run))
    parts = ("pipeline", "machine", "optimizers", "viewer", "experiment_name", "steps_per_save", "vis")
    for part in (*parts, "gradient_accumulation_steps"):
        assert getattr(again, part) == getattr(run, part)


def test_defaults_need_no_flags() -> None:
    run = parsed("ns-train bridge-distill --prompt 'a pineapple'")
    run.set_experiment_name()
    assert commands.train(run, default_config(run)) == "ns-train bridge-distill --prompt 'a pineapple'"


def test_an_experiment_name_of_ones_own_is_kept(config: BridgeTrainerConfig) -> None:
    config.experiment_name = "mine"
    assert "--experiment-name mine" in commands.train(config, default_config(config))
