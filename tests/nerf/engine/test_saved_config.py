"""config.yml as `ns-train --load-config` takes it: data alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import tyro
import yaml
from nerfstudio.configs.method_configs import AnnotatedBaseConfigUnion, all_methods

from bridge_nerf.errors import UserError
from bridge_nerf.nerf.engine import saved_config
from bridge_nerf.nerf.engine.trainer import BridgeTrainerConfig

USUAL = all_methods["bridge-distill"]
TEXT = yaml.dump(USUAL)


def swap(old: str, new: str) -> str:
    assert old in TEXT
    return TEXT.replace(old, new)


MODEL = "!!python/name:bridge_nerf.nerf.model.BridgeModel"
ODD = {
    "nothing": "",
    "text": "root:x:0:0:root:/root:/bin/bash",
    "a list": "[1, 2]",
    "torn": TEXT[: len(TEXT) // 2],
    "another method": yaml.dump(all_methods["nerfacto"]),
    "a call": "!!python/object/apply:os.system ['true']",
    "a call within": swap("seed: 42", "seed: !!python/object/apply:os.getpid []"),
    "a call spelled out": "!<tag:yaml.org,2002:python/object/apply:os.getpid> []",
    "a function in place of a class": swap(MODEL, "!!python/name:os.system"),
    "a class in another's place": swap(MODEL, "!!python/name:bridge_nerf.nerf.pipeline.BridgePipeline"),
    "no fields": "!!python/object:bridge_nerf.nerf.engine.trainer.BridgeTrainerConfig {}",
    "a field that there is not": swap("seed: 42", "sede: 42"),
    "a text for a number": swap("seed: 42", "seed: '42'"),
    "a text for a rate": swap("lr: 0.03", "lr: fast"),
    "a number for a part": swap("scheduler: null", "scheduler: 3"),
    "a choice that there is not": swap("vis: viewer", "vis: cinema"),
    "itself": "&a [*a]",
    "no end": "[" * 1000,
    "a date that is none": "2001-99-99",
}


@pytest.mark.parametrize("text", ODD.values(), ids=ODD.keys())
def test_whatever_else_a_file_holds_is_one_line(tmp_path: Path, text: str) -> None:
    (path := tmp_path / "config.yml").write_text(text)
    with pytest.raises(UserError, match=r"config\.yml of a run .* commands\.txt instead") as caught:
        saved_config.read(path, USUAL)
    assert "\n" not in str(caught.value)


def test_nothing_is_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    (path := tmp_path / "config.yml").write_text(
        swap("seed: 42", f"seed: !!python/object/apply:os.mkdir [{trace}]")
    )
    yaml.load(path.read_text(), Loader=yaml.Loader)
    assert trace.exists()  # as nerfstudio reads it
    trace.rmdir()
    with pytest.raises(SystemExit, match="os.mkdir"):
        BridgeTrainerConfig(method_name="bridge-distill", load_config=path)
    assert not trace.exists()


@pytest.mark.parametrize("method", ["bridge-distill", "bridge-distill-big"])
def test_a_runs_own_is_taken(tmp_path: Path, method: str) -> None:
    (path := tmp_path / "config.yml").write_text(yaml.dump(all_methods[method]))
    assert saved_config.read(path, USUAL) == all_methods[method]
    taken = tyro.cli(AnnotatedBaseConfigUnion, args=["bridge-distill", "--load-config", str(path)])
    assert taken.load_config == path


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "there is no file"),
        (Path.mkdir, "is a folder"),
        (os.mkfifo, "is a device or a pipe"),
        (lambda path: path.symlink_to("/dev/zero"), "is a device or a pipe"),
    ],
)
def test_what_is_no_file_is_one_line_of_the_command(
    tmp_path: Path, make: Callable[[Path], None], said: str
) -> None:
    make(path := tmp_path / "config.yml")
    with pytest.raises(SystemExit, match=f"error: .*{said}"):
        tyro.cli(AnnotatedBaseConfigUnion, args=["bridge-distill", "--load-config", str(path)])


@pytest.mark.parametrize("change", [{"prior_kind": "cubist"}, {"method_name": "no-method"}])
def test_names_in_it_are_known_ones(config: BridgeTrainerConfig, change: dict[str, str]) -> None:
    vars(config).update(change)
    with pytest.raises(UserError, match=next(iter(change.values()))):
        config.settle()
