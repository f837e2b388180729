import pytest
import torch

from bridge_nerf.errors import UserError
from bridge_nerf.nerf.engine import checkpoint

STATE: checkpoint.State = {
    "step": 3,
    "pipeline": {"x": torch.arange(3.0)},
    "optimizers": {},
    "schedulers": {},
    "scalers": {},
}


def test_what_is_saved_is_read(tmp_path) -> None:
    path = tmp_path / "nerfstudio_models" / "step-000000003.ckpt"
    checkpoint.save(path, STATE)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert torch.equal(checkpoint.read(path)["pipeline"]["x"], STATE["pipeline"]["x"])


def test_torn_and_foreign_files_are_refused(tmp_path) -> None:
    whole = tmp_path / "models" / "step-000000003.ckpt"
    checkpoint.save(whole, STATE)
    data = whole.read_bytes()
    bad = {"torn": data[: len(data) // 2], "empty": b"", "text": b"hello"}
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match="torn or not a checkpoint") as caught:
            checkpoint.read(tmp_path / name)
        assert "\n" not in str(caught.value)
    torch.save({"weights": torch.zeros(3)}, tmp_path / "other")
    with pytest.raises(UserError, match="another kind of checkpoint"):
        checkpoint.read(tmp_path / "other")


def test_which_checkpoint_is_meant(tmp_path) -> None:
    for step in (5, 40, 100):
        (tmp_path / f"step-{step:09d}.ckpt").touch()
    (tmp_path / "notes.txt").touch()
    assert checkpoint.chosen(tmp_path, None, None) == tmp_path / "step-000000100.ckpt"
    assert checkpoint.chosen(tmp_path, 40, None) == tmp_path / "step-000000040.ckpt"
    assert checkpoint.chosen(None, None, tmp_path / "step-000000005.ckpt") == tmp_path / "step-000000005.ckpt"
    assert checkpoint.chosen(None, None, None) is None
    run = tmp_path / "run" / "nerfstudio_models"
    run.mkdir(parents=True)
    (run / "step-000000007.ckpt").touch()
    assert checkpoint.chosen(run.parent, None, None) == checkpoint.chosen(run, 7, None) == next(run.iterdir())
    with pytest.raises(UserError, match="there is no checkpoint"):
        checkpoint.chosen(tmp_path, 41, None)
    with pytest.raises(UserError, match="--load-checkpoint changes nothing"):
        checkpoint.chosen(tmp_path, 5, tmp_path / "step-000000005.ckpt")
    with pytest.raises(UserError, match="--load-step changes nothing"):
        checkpoint.chosen(None, 5, tmp_path / "step-000000005.ckpt")
    with pytest.raises(UserError, match="no checkpoint"):
        checkpoint.chosen(tmp_path / "nowhere", None, None)
