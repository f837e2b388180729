"""Runs with an adapter, and runs that go on from others: other objectives, other prompts."""

from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path

import pytest
import torch

from bridge_nerf.distillation.diagnostics import ERRORS
from bridge_nerf.distillation.epsilon import Slot
from bridge_nerf.distillation.registry import OBJECTIVES, stages_for
from bridge_nerf.evaluation.diagnostics import read_errors
from bridge_nerf.nerf.engine.trainer import BridgeTrainer, BridgeTrainerConfig
from tests.nerf.engine.test_trainer import same, state
from tests.nerf.stub import SIZE, StubPrior
from tests.nerf.test_guidance import ORBIT, guided, step, texts
from tests.nerf.test_refusing import refused
from tests.priors.test_autoencoders import overflowing
from tests.priors.tiny_families import build

Train = Callable[[BridgeTrainerConfig, str], BridgeTrainer]


def test_the_adapter_learns_the_images_and_not_the_other_way_round() -> None:
    pipeline = guided(objective="vsd", adapter_rank=2)
    images, adapter = torch.rand(4, 3, SIZE, SIZE, requires_grad=True), pipeline.adapter
    losses = step(pipeline, images, ORBIT).losses
    losses["adapter"].backward(retain_graph=True)
    assert images.grad is None
    assert adapter is not None and any(p.grad is not None and p.grad.any() for p in adapter.parameters())
    adapter.zero_grad()
    losses["distillation"].backward()
    assert images.grad is not None and all(p.grad is None for p in adapter.parameters())


def test_the_adapter_is_given_the_camera_instead_of_the_view() -> None:
    pipeline = guided(objective="vsd", adapter_rank=2, background="white")
    said = set(texts(pipeline, ORBIT, Slot.ADAPTER))
    assert len(said) == 1 and said.pop().startswith("a ball, white background")
    problem = pipeline.distiller._problem(pipeline._rows(ORBIT, 0), ORBIT.poses())
    assert torch.equal(problem.conditions[Slot.ADAPTER].extra["camera"], ORBIT.poses())


@pytest.mark.parametrize("stop", [2, 4])
def test_resuming_with_an_adapter_is_never_having_stopped(
    config: BridgeTrainerConfig, trained: Train, stop: int
) -> None:
    config.pipeline.objective = "vsd-bridge"
    config.pipeline.guidance.objective.ode_steps = 2
    whole = state(trained(deepcopy(config), "whole"))
    assert {"adapter.corrections.to_q.up", "adapter.camera.shift"} <= whole["pipeline"].keys()
    assert whole["pipeline"]["adapter.corrections.to_q.up"].any(), "it has learned"
    first = deepcopy(config)
    first.max_num_iterations = stop
    stopped = trained(first, "first")
    second = deepcopy(config)
    second.load_dir, second.max_num_iterations = stopped.checkpoint_dir, 6 - stop
    assert same(state(trained(second, "second")), whole)


def test_looking_at_such_a_run_needs_neither_prior_nor_adapter(
    config: BridgeTrainerConfig, trained: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nerfstudio.utils.eval_utils import eval_setup

    config.pipeline.objective = "vsd"
    trained(config, "run")

    def forbidden(*_, **__) -> None:
        raise AssertionError("a finished run asked for its prior")

    monkeypatch.setattr("bridge_nerf.priors.registry.load_prior", forbidden)
    _, pipeline, _, step = eval_setup(config.get_base_dir() / "config.yml")
    assert step == 5 and pipeline.adapter is None


def go_on(
    config: BridgeTrainerConfig, trained: Train, run: BridgeTrainer, steps: int, name: str
) -> BridgeTrainer:
    config.load_dir, config.max_num_iterations = run.checkpoint_dir, steps
    return trained(config, name)


def test_a_second_stage_from_a_finished_run_also_of_another_prompt(
    config: BridgeTrainerConfig, trained: Train, prior: StubPrior
) -> None:
    first = deepcopy(config)
    first.pipeline.objective = "sds"
    finished = trained(first, "first")
    second = deepcopy(config)
    second.pipeline.objective, second.pipeline.guidance.objective.stage_start = "bridge", 0
    second.pipeline.model.prompt = "an apple"
    prior.asked.clear()
    resumed = go_on(second, trained, finished, 4, "second")
    content = state(resumed)
    assert content["step"] == 9
    assert [resumed.pipeline.distiller.active(step).index for step in (6, 9)] == [1, 1]
    assert all(text.startswith("an apple") for text in prior.asked if text)
    assert not same(content["pipeline"], state(finished)["pipeline"])
    assert "'an apple'" in (resumed.base_dir / "commands.txt").read_text()


@pytest.mark.parametrize(("before", "after"), [("sds", "vsd"), ("vsd", "sds")])
def test_an_adapter_comes_and_goes_with_the_objective(
    config: BridgeTrainerConfig, trained: Train, before: str, after: str
) -> None:
    first = deepcopy(config)
    first.pipeline.objective = before
    finished = trained(first, "first")
    config.pipeline.objective = after
    content = state(go_on(config, trained, finished, 2, "second"))
    for part in ("pipeline", "optimizers"):
        assert any(name.startswith("adapter") for name in content[part]) == (after == "vsd")


@pytest.mark.parametrize("objective", [name for name in OBJECTIVES if not stages_for(name).edits])
def test_every_objective_trains(config: BridgeTrainerConfig, trained: Train, objective: str) -> None:
    config.pipeline.objective, config.pipeline.guidance.objective.ode_steps = objective, 2
    config.pipeline.guidance.objective.stage_start, config.max_num_iterations = 1, 2
    before = {name: value.clone() for name, value in _fresh(config).items()}
    after = state(trained(config, "run"))["pipeline"]
    moved = [not torch.equal(value, after[name]) for name, value in before.items() if "field" in name]
    assert moved and all(moved)


def _fresh(config: BridgeTrainerConfig) -> dict[str, torch.Tensor]:
    """The state that training starts from."""
    with torch.random.fork_rng():
        torch.manual_seed(config.machine.seed)
        return dict(deepcopy(config).pipeline.setup(device="cpu").named_parameters())


def test_an_adapter_of_another_rank_is_refused(config: BridgeTrainerConfig, trained: Train) -> None:
    config.pipeline.objective = "vsd"
    finished = trained(deepcopy(config), "first")
    config.pipeline.guidance.adapter_rank, config.load_dir = 2, finished.checkpoint_dir
    assert "another model" in refused(config, trained)


def test_the_errors_of_the_bridge_are_logged(config: BridgeTrainerConfig, trained: Train) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config.pipeline.objective, config.pipeline.guidance.errors_every = "vsd", 3
    trained(config, "run")
    events = EventAccumulator(str(config.get_base_dir()))
    events.Reload()
    for error in ("mismatch", "first_order"):
        for source in ("null", "source", "adapter"):
            steps = [e.step for e in events.Scalars(f"Train Metrics Dict/{error}_{source}")]
            assert steps == [0, 3], (error, source)
    series = read_errors(config.get_base_dir())  # without TensorBoard too
    assert series.keys() == set(ERRORS)
    logged = [(e.step, e.value) for e in events.Scalars("Train Metrics Dict/mismatch_adapter")]
    for (number, value), (other_number, other) in zip(series["mismatch_adapter"], logged, strict=True):
        assert number == other_number and value == pytest.approx(other)


@pytest.mark.parametrize("objective", ["sds", "vsd"])
def test_a_step_whose_render_overflows_is_made_again_in_single_precision(
    config: BridgeTrainerConfig,
    trained: Train,
    prior: StubPrior,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    objective: str,
) -> None:
    """As if the autoencoder had been looked at from the first; also after a stop."""
    half = overflowing(build("sd-eps", tmp_path / "sd"), torch.float16)
    monkeypatch.setattr("bridge_nerf.priors.registry.load_prior", lambda *_, **__: half)
    config.pipeline.objective, config.max_num_iterations = objective, 4
    words = config.pipeline.guidance.prompts
    words.target_descriptors, words.source_descriptors = "sharp", "blurry"
    whole = state(trained(deepcopy(config), "whole"))
    first = deepcopy(config)
    first.max_num_iterations = 2
    stopped = trained(first, "first")
    assert same(state(go_on(deepcopy(config), trained, stopped, 2, "second")), whole)
    monkeypatch.setattr("bridge_nerf.guidance.distiller.deferred_checks", nullcontext)
    assert same(state(trained(deepcopy(config), "looking")), whole)
