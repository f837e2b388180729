"""Checkpoints that say what none can: refused in one line before anything is loaded or written."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from nerfstudio.utils.eval_utils import eval_setup

from bridge_nerf.errors import UserError
from bridge_nerf.nerf.engine import checkpoint
from bridge_nerf.nerf.engine.trainer import BridgeTrainerConfig
from bridge_nerf.nerf.engine.validation import check_checkpoint
from bridge_nerf.nerf.pipeline import BridgePipeline
from tests.nerf.conftest import small_config, train
from tests.nerf.engine.test_trainer import Train
from tests.nerf.stub import StubPrior

State = dict[str, Any]
GRID, NETWORK = "_model.field.encoding.grids.0", "_model.field.network.0.weight"


def put(*keys: object, value: object) -> Callable[[State], None]:
    """A change of one entry."""

    def change(state: State) -> None:
        inner: Any = state
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value

    change.__name__ = f"{'.'.join(map(str, keys))}={value!r:.30}"
    return change


def drop(*keys: object) -> Callable[[State], None]:
    """An entry taken away."""

    def change(state: State) -> None:
        inner: Any = state
        for key in keys[:-1]:
            inner = inner[key]
        del inner[keys[-1]]

    change.__name__ = f"without {'.'.join(map(str, keys))}"
    return change


AVERAGES = ("optimizers", "network", "state", 0)
GROUP = ("optimizers", "network", "param_groups", 0)
ODD = [
    *(put("step", value=value) for value in ("3", 3.0, None, True, -1, 10**9, 10**30, [3], torch.tensor(3))),
    *(put(part, value=[1, 2]) for part in ("pipeline", "optimizers", "schedulers", "scalers")),
    *(put(part, value={3: {}}) for part in ("pipeline", "optimizers", "schedulers")),
    *(drop(part) for part in ("step", "pipeline", "optimizers", "schedulers", "scalers")),
    put("pipeline", GRID, value="a tensor"),
    put("pipeline", GRID, value=torch.zeros(1, 2, 9, 4, 4)),
    put("pipeline", GRID, value=torch.full((1, 2, 4, 4, 4), torch.nan)),
    put("pipeline", GRID, value=torch.zeros(1, 2, 4, 4, 4, dtype=torch.complex64)),
    put("pipeline", GRID, value=torch.zeros(1, 2, 4, 4, 4, dtype=torch.float64)),
    put("pipeline", NETWORK, value=torch.zeros(8, 4).to_sparse()),
    put("pipeline", NETWORK, value=None),
    put("pipeline", "_model.somebody.elses", value=torch.zeros(3)),
    drop("pipeline", NETWORK),
    drop("optimizers", "network"),
    put("optimizers", "somebodys", value={"state": {}, "param_groups": []}),
    put("optimizers", "network", value=7),
    put("optimizers", "network", "state", value={}),
    put("optimizers", "network", "state", value=[]),
    put(*AVERAGES, value=3),
    put(*AVERAGES, "exp_avg", value=torch.zeros(4, 4)),
    put(*AVERAGES, "exp_avg", value=torch.full((8, 4), torch.inf)),
    put(*AVERAGES, "step", value="1"),
    drop(*AVERAGES, "exp_avg_sq"),
    drop("optimizers", "network", "state", 0),
    put("optimizers", "network", "state", 99, value={}),
    put("optimizers", "network", "param_groups", value=[]),
    put(*GROUP, value=[]),
    put(*GROUP, "params", value=[0, 0, 2, 3]),
    put(*GROUP, "params", value=[0]),
    put(*GROUP, "lr", value="fast"),
    put(*GROUP, "lr", value=float("nan")),
    put(*GROUP, "betas", value=0.9),
    drop(*GROUP, "eps"),
    drop("schedulers", "network"),
    put("schedulers", "network", value=[]),
    put("schedulers", "network", "step", value=3),
    put("schedulers", "network", "last_epoch", value="2"),
    put("schedulers", "network", "lr_lambdas", value=[None]),
    put("schedulers", "network", "lr_lambdas", value=[{"begin": None}]),
]


class Malicious:
    """Leaves a file where it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:
        return Path.touch, (self.trace,)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> State:
    """The checkpoint of a run like `config`'s."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bridge_nerf.priors.registry.load_prior", lambda *_, **__: StubPrior())
        trainer = train(small_config(tmp_path_factory.mktemp("whole")), "run")
    return checkpoint.read(checkpoint.latest(trainer.checkpoint_dir))


@pytest.fixture(scope="module")
def draft(tmp_path_factory: pytest.TempPathFactory) -> BridgePipeline:
    """The pipeline by which checkpoints are checked before anything is loaded."""
    with torch.device("meta"):
        config = small_config(tmp_path_factory.mktemp("draft"))
        return config.pipeline.setup(device="meta", test_mode="inference")


def refused(config: BridgeTrainerConfig, path: Path) -> None:
    """Assert that a configuration which goes on from there is refused in one line."""
    config.load_checkpoint = path
    with pytest.raises(UserError) as caught:
        config.check()
    said = str(caught.value)
    assert "\n" not in said and str(path) in said and "nothing was changed" in said


@pytest.mark.parametrize("change", ODD, ids=lambda change: change.__name__)
def test_no_entry_is_believed(
    config: BridgeTrainerConfig,
    whole: State,
    draft: BridgePipeline,
    tmp_path: Path,
    change: Callable[[State], None],
) -> None:
    state = deepcopy(whole)
    change(state)
    torch.save(state, path := tmp_path / "step-000000005.ckpt")
    with pytest.raises(UserError) as caught:
        check_checkpoint(path, config, draft)
    said = str(caught.value)
    assert "\n" not in said and str(path) in said and "nothing was changed" in said


@pytest.mark.parametrize("content", [b"", b"hello", b"\0" * 5000, b"PK\x03\x04" + b"\0" * 99])
def test_files_that_are_no_checkpoints(config: BridgeTrainerConfig, tmp_path: Path, content: bytes) -> None:
    (path := tmp_path / "step-000000005.ckpt").write_bytes(content)
    refused(config, path)


@pytest.mark.parametrize("value", [[1, 2], 3, {"weights": torch.zeros(3)}])
def test_what_is_no_dictionary_of_a_trainer(
    config: BridgeTrainerConfig, tmp_path: Path, value: object
) -> None:
    torch.save(value, path := tmp_path / "step-000000005.ckpt")
    refused(config, path)


def test_what_versions_of_torch_differ_in_is_no_reason(
    config: BridgeTrainerConfig, whole: State, draft: BridgePipeline, tmp_path: Path
) -> None:
    state = deepcopy(whole)
    torch.save(state, path := tmp_path / "step-000000005.ckpt")
    assert check_checkpoint(path, config, draft) == 5
    del state["optimizers"]["network"]["param_groups"][0]["decoupled_weight_decay"]
    state["optimizers"]["network"]["param_groups"][0]["to come"] = False
    state["schedulers"]["network"]["_to_come"] = None
    torch.save(state, path)
    assert check_checkpoint(path, config, draft) == 5


def test_no_pickle_is_run_neither_in_training_nor_in_nerfstudios_commands(
    config: BridgeTrainerConfig, trained: Train, tmp_path: Path
) -> None:
    trainer = trained(deepcopy(config), "run")
    path, trace = checkpoint.latest(trainer.checkpoint_dir), tmp_path / "trace"
    for write in (torch.save, lambda value, file: file.write_bytes(pickle.dumps(value))):
        write(dict.fromkeys(checkpoint.State.__annotations__, Malicious(trace)), path)
        refused(config, path)
        with pytest.raises(pickle.UnpicklingError):
            eval_setup(trainer.base_dir / "config.yml", test_mode="inference")
        assert not trace.exists()


def test_an_adapter_of_another_rank_is_refused_once_the_prior_is_there(
    config: BridgeTrainerConfig, trained: Train
) -> None:
    config.pipeline.objective, config.pipeline.guidance.objective.guidance_scale = "vsd", None
    trainer = trained(deepcopy(config), "run")
    path = checkpoint.latest(trainer.checkpoint_dir)
    state = checkpoint.read(path)
    state["optimizers"]["adapter"]["state"][0]["exp_avg"] = torch.zeros(3)
    torch.save(state, path)
    config.load_checkpoint = path
    config.check()
    with pytest.raises(SystemExit, match="optimizers.adapter.state.0.exp_avg is float32 of 3, not"):
        trained(config, "again")
