"""The commands that a run prints, read back by nerfstudio's own command line."""

import re
import shlex
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import tyro

from bridge_nerf.nerf.engine import checkpoint, commands
from bridge_nerf.nerf.engine.trainer import BridgeTrainer, BridgeTrainerConfig
from bridge_nerf.paths import asset


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
    config.pipeline.guidance.objective.guidance_scale = 12.5
    config.pipeline.datamanager.orbit.elevation_range = (-5.0, 20.0)
    config.optimizers["encoding"]["optimizer"].lr = 0.07
    config.viewer.websocket_port = 7123
    config.machine.seed = 7
    config.gradient_accumulation_steps = {"encoding": 4, "network": 2}
    return config


def test_a_command_says_all_that_differs_from_the_defaults(config: BridgeTrainerConfig) -> None:
    run = changed(deepcopy(config))
    run.set_experiment_name()
    command = commands.resume(run, run.default(), Path("some where/nerfstudio_models/x.ckpt"), 25, 40)
    again = parsed(command)
    assert again.prompt == run.pipeline.model.prompt
    again.pipeline.model.prompt = again.prompt
    assert again.load_dir == Path("some where/nerfstudio_models")
    assert (again.load_step, again.max_num_iterations) == (25, 40)
    again.max_num_iterations = run.max_num_iterations
    again.set_experiment_name()
    assert commands.train(again, again.default()) == commands.train(run, run.default())
    parts = ("pipeline", "machine", "optimizers", "viewer", "experiment_name", "steps_per_save", "vis")
    for part in (*parts, "gradient_accumulation_steps"):
        assert getattr(again, part) == getattr(run, part)


def test_defaults_need_no_flags() -> None:
    run = parsed("ns-train bridge-distill --prompt 'a pineapple'")
    run.set_experiment_name()
    assert commands.train(run, run.default()) == "ns-train bridge-distill --prompt 'a pineapple'"


def test_an_experiment_name_of_ones_own_is_kept(config: BridgeTrainerConfig) -> None:
    config.experiment_name = "mine"
    assert "--experiment-name mine" in commands.train(config, config.default())


@pytest.fixture
def relative(
    config: BridgeTrainerConfig,
    trained: Callable[[BridgeTrainerConfig, str], BridgeTrainer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """The folder in which a run was made whose paths were all relative; the current one is another."""
    for name in ("here", "elsewhere"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    shutil.copytree(asset("toybox/prior"), "prior")
    config.output_dir, config.pipeline.prior.name = Path("outputs"), "prior"
    first = deepcopy(config)
    first.max_num_iterations = 2
    trained(first, "first")
    config.load_dir, config.load_step = Path("outputs/a-pineapple/bridge-distill/first"), 1
    config.max_num_iterations = 2
    trained(config, "run")
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "here"


def test_what_is_noted_holds_in_any_folder(relative: Path) -> None:
    from nerfstudio.utils.eval_utils import eval_setup

    run = relative / "outputs/a-pineapple/bridge-distill/run"
    noted = dict(re.findall(r"^(\w+) +(.*)$", (run / "commands.txt").read_text(), re.MULTILINE))
    again = parsed(noted["resume"])
    assert again.output_dir == relative / "outputs"
    assert again.pipeline.prior.name == str(relative / "prior")
    assert checkpoint.chosen(again.load_dir, again.load_step, None) is not None
    words = shlex.split(noted["view"])
    config, *_, step = eval_setup(Path(words[words.index("--load-config") + 1]))
    assert step == 3
    for name in ("render", "export"):
        assert shlex.split(noted[name])[:3] == ["bridge-nerf", name, str(run)]
    assert config.load_dir == run / "nerfstudio_models"


def test_the_home_may_be_written_as_a_tilde(
    config: BridgeTrainerConfig,
    trained: Callable[[BridgeTrainerConfig, str], BridgeTrainer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    shutil.copytree(asset("toybox/prior"), tmp_path / "home" / "prior")
    config.output_dir, config.pipeline.prior.name = Path("~/outputs"), "~/prior"
    config.max_num_iterations = 2
    first = deepcopy(config)
    trained(first, "first")
    second = deepcopy(config)
    config.load_dir = earlier = Path("~/outputs/a-pineapple/bridge-distill/first")
    trained(config, "run")
    second.load_checkpoint = earlier / "nerfstudio_models/step-000000001.ckpt"
    trained(second, "second")
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    run = tmp_path / "home/outputs/a-pineapple/bridge-distill/run"
    assert "~" not in (run / "commands.txt").read_text() and "~" not in (run / "config.yml").read_text()
    taken = parsed(
        "ns-train bridge-distill --load-config ~/outputs/a-pineapple/bridge-distill/run/config.yml"
    )
    assert taken.load_config == run / "config.yml"


def test_a_run_that_was_moved_is_found_from_where_its_outputs_lie(relative: Path) -> None:
    from nerfstudio.utils.eval_utils import eval_setup

    shutil.move(relative / "outputs", "outputs")
    *_, path, step = eval_setup(Path("outputs/a-pineapple/bridge-distill/run/config.yml"))
    assert step == 3 and path.is_relative_to(Path.cwd())


def test_a_run_of_the_same_name_elsewhere_is_not_taken_for_it(
    relative: Path, config: BridgeTrainerConfig, trained: Callable
) -> None:
    shutil.copytree(relative / "outputs", "outputs")
    fresh = deepcopy(config)
    fresh.output_dir, fresh.load_dir = relative / "new" / "outputs", None
    assert trained(fresh, "run").checkpoint_dir.is_relative_to(relative / "new")
