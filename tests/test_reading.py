"""What files say: read whole and of the type that is asked for, or refused in one line."""

from __future__ import annotations

import codecs
import os
import pickle
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from bridge_nerf import reading
from bridge_nerf.errors import UserError
from tests.waiting import PATIENCE


def refused(call, *arguments: Any) -> str:
    """The one line in which a call refuses."""
    with pytest.raises(UserError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_only_regular_files_are_read(tmp_path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    assert reading.read_bytes(tmp_path / "link", most=3) == b"abc"
    assert "has 3 bytes; give a file of at most 2" in refused(reading.read_bytes, tmp_path / "file", 2)
    said = {
        tmp_path / "pipe": "is a device or a pipe; give a file",
        Path("/dev/zero"): "is a device or a pipe; give a file",
        tmp_path: "is a folder; give a file",
        tmp_path / "none": "there is no file",
        tmp_path / "loop": "cannot be read: Too many levels of symbolic links",
        tmp_path / ("x" * 300): "cannot be read: File name too long",
        tmp_path / "x\0y": "there is no file",
    }
    for path, words in said.items():
        assert words in refused(reading.read_bytes, path)


def test_a_file_of_the_kernel_that_never_ends_is_not_waited_for() -> None:
    done = threading.Event()

    def read() -> None:
        with suppress(UserError):
            reading.read_bytes(Path("/proc/kmsg"))
        done.set()

    threading.Thread(target=read, daemon=True).start()
    assert done.wait(PATIENCE)


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_the_mark_of_windows_is_no_part_of_a_text(tmp_path, mark: bytes) -> None:
    (tmp_path / "text").write_bytes(mark + "é\r\n".encode())
    assert reading.read_text(tmp_path / "text") == "é\r\n"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("a".encode("utf-16"), "is text in UTF-16; save it as UTF-8"),
        (codecs.BOM_UTF16_BE + "a".encode("utf-16-be"), "is text in UTF-16; save it as UTF-8"),
        ("a".encode("utf-16-le"), "holds zeros"),
        ("aé".encode("latin-1"), "byte 1"),
    ],
)
def test_another_encoding_is_one_line(tmp_path, data: bytes, said: str) -> None:
    (tmp_path / "text").write_bytes(data)
    with pytest.raises(UserError, match=said) as caught:
        reading.read_text(tmp_path / "text")
    assert str(tmp_path / "text") in str(caught.value) and "\n" not in str(caught.value)


@dataclass(frozen=True)
class Part:
    name: str
    share: float = 0.5


@dataclass(frozen=True)
class Whole:
    parts: tuple[Part, ...]
    step: int = 0
    more: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.step > 9:
            raise UserError(f"step {self.step} is past the end")


def test_json_is_read_as_the_type_that_is_asked_for() -> None:
    text = '{"parts": [{"name": "a", "share": 1}, {"name": "b"}], "more": {"x": [{"y": 1}]}}'
    whole = reading.parsed(Whole, text, "it", "get it again")
    assert whole == Whole((Part("a", 1.0), Part("b")), more={"x": [{"y": 1}]})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "truncated"),
        ("[]", "Expected `object`, got `array`"),
        ("{}", "missing required field `parts`"),
        ('{"parts": [{"name": 3}]}', "Expected `str`, got `int` - at `$.parts[0].name`"),
        ('{"parts": [], "step": "1"}', "Expected `int`, got `str`"),
        ('{"parts": [], "step": 1.5}', "Expected `int`, got `float`"),
        ('{"parts": [], "step": true}', "Expected `int`, got `bool`"),
        ('{"parts": [], "step": NaN}', "invalid character"),
        ('{"parts": [], "step": 10}', "step 10 is past the end"),
        ('{"parts": [{"name": "a", "size": 2}]}', "nothing here is called 'size'"),
        ('{"parts": [{"name": "a", "share": 1e999}]}', "out of range"),
        ("[" * 100_000, "nested too deep"),
        ('{"parts": ' + "9" * 100_000 + "}", "out of range"),
    ],
)
def test_other_json_is_refused_in_one_line(text, said) -> None:
    message = refused(reading.parsed, Whole, text, "it", "get it again")
    assert message.startswith("it cannot be read (") and said in message
    assert message.endswith("; get it again") and len(message) < 300


def test_an_empty_log_has_no_rows(tmp_path) -> None:
    (tmp_path / "log.csv").touch()
    assert reading.read_rows(tmp_path / "log.csv", "remove it") == []


@pytest.mark.parametrize(
    "text", ["a,b\n1,2\n", "step\n-1\n", "step\n1.5\n", "step\n1,2\n", "step\n" + "9" * 9999]
)
def test_a_log_without_steps_is_refused(tmp_path, text) -> None:
    (tmp_path / "log.csv").write_text(text)
    assert "is not the log of a run" in refused(reading.read_rows, tmp_path / "log.csv", "remove it")


@dataclass
class Checkpoint:
    step: int
    weights: dict[str, torch.Tensor]


class Marker:
    def __reduce__(self) -> Any:
        return os.mkdir, ("unpickled",)


def test_a_checkpoint_is_tensors_and_nothing_is_run(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    path, state = tmp_path / "a.ckpt", {"step": 3, "weights": {"a": torch.ones(2)}, "extra": [1]}
    torch.save(state, path)
    read = reading.read_tensors(path, Checkpoint, "choose another")
    assert read.step == 3 and torch.equal(read.weights["a"], torch.ones(2))
    whole = path.read_bytes()
    for data in (b"", b"text", bytes(1000), whole[:-100], whole[:100], pickle.dumps(Marker())):
        path.write_bytes(data)
        said = refused(reading.read_tensors, path, Checkpoint, "choose another")
        assert said.startswith(f"{path} is torn or not a checkpoint") and said.endswith("; choose another")
    torch.save(state | {"extra": Marker()}, path)
    assert "is torn or not" in refused(reading.read_tensors, path, Checkpoint, "choose another")
    assert not (tmp_path / "unpickled").exists()
    odd = (
        {"step": 3},
        {**state, "step": "3"},
        {**state, "weights": [1]},
        {**state, "weights": {"a": 1}},
        {**state, "weights": torch.ones(2)},
        [3],
        None,
    )
    for other in odd:
        torch.save(other, path)
        assert "is another kind of checkpoint" in refused(
            reading.read_tensors, path, Checkpoint, "choose another"
        )
