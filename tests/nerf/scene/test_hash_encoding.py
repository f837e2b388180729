"""The hash encoding, against nerfstudio's; the Triton kernels, in Triton's interpreter, against its own."""

import os
import subprocess
import sys

import pytest
import torch
from nerfstudio.field_components.encodings import HashEncoding as Theirs

from bridge_nerf.errors import UserError
from bridge_nerf.nerf.engine.trainer import BridgeTrainerConfig
from bridge_nerf.nerf.engine.validation import check_hash_kernel
from bridge_nerf.nerf.scene import hash_encoding
from bridge_nerf.nerf.scene.hash_encoding import HashEncoding

BORDER = torch.tensor([[0.0, 0, 0], [1, 1, 1], [1, 0, 0.5], [0, 0.25, 1], [0.5, 0.5, 0.5]])


def pair(levels: int, finest: int) -> tuple[HashEncoding, Theirs]:
    """Both, from the same state of the random generator."""
    encodings = []
    for make in (
        lambda: HashEncoding(levels, finest),
        lambda: Theirs(levels, max_res=finest, implementation="torch"),
    ):
        torch.manual_seed(0)
        encodings.append(make())
    return encodings[0], encodings[1]


def points(n: int) -> torch.Tensor:
    return torch.cat([BORDER, torch.rand(n, 3, generator=torch.Generator().manual_seed(1))])


@pytest.mark.parametrize(("levels", "finest"), [(1, 16), (2, 32), (7, 333), (12, 512), (16, 2048)])
def test_it_starts_as_nerfstudios(levels: int, finest: int) -> None:
    ours, theirs = pair(levels, finest)
    assert torch.equal(ours.resolutions, theirs.scalings)
    assert torch.equal(ours.hash_table, theirs.hash_table)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    assert ours.out_dim == theirs.get_out_dim()


@pytest.mark.parametrize("at_once", [64, 2**16])
def test_values_and_gradients_are_nerfstudios(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hash_encoding, "AT_ONCE", at_once)
    x, encodings = points(300), pair(12, 512)
    answers = [encoding(x) for encoding in encodings]
    torch.testing.assert_close(*answers, atol=1e-9, rtol=1e-5)
    asked = torch.randn(answers[0].shape, generator=torch.Generator().manual_seed(2))
    for answer in answers:
        answer.backward(asked)
    gradients = [encoding.hash_table.grad for encoding in encodings]
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-5)
    assert gradients[0] is not None and gradients[0].count_nonzero() > 10_000


def test_no_points() -> None:
    encoding = HashEncoding(2, 32)
    features = encoding(torch.zeros(0, 3))
    assert features.shape == (0, 4)
    features.sum().backward()
    assert encoding.hash_table.grad is not None and not encoding.hash_table.grad.any()


def test_autocast_leaves_the_table_in_float32() -> None:
    encoding, x = HashEncoding(2, 32), points(20)
    with torch.autocast("cpu", torch.bfloat16):
        features = encoding(x)
    assert torch.equal(features, encoding(x))


def test_positions_have_no_gradient() -> None:
    with pytest.raises(NotImplementedError, match="positions"):
        HashEncoding(2, 32)(points(1).requires_grad_())


def test_triton_is_refused_without_a_card(config: BridgeTrainerConfig) -> None:
    said = "--pipeline.model.field.hash-kernel triton wants a CUDA device"
    with pytest.raises(UserError, match=said):
        HashEncoding(2, 32, "triton")(points(1))
    config.pipeline.model.field.encoding = "hash"
    config.pipeline.model.field.hash_kernel = "triton"
    with pytest.raises(UserError, match=said):
        config.check()


def test_triton_that_does_not_run_is_done_without(
    config: BridgeTrainerConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in ("scene.hash_encoding", "engine.validation"):
        monkeypatch.setattr(
            f"bridge_nerf.nerf.{module}.without_triton", lambda _: "does not run here (no gcc)"
        )
    assert not hash_encoding.fused("auto", torch.device("cuda"))
    with pytest.raises(UserError, match="no gcc"):
        hash_encoding.fused("triton", torch.device("cuda"))
    config.pipeline.model.field.encoding = "hash"
    check_hash_kernel(config.pipeline.model.field, torch.device("cuda"))
    assert "far slower: Triton does not run here" in capsys.readouterr().out


INTERPRETED = """
import torch
from bridge_nerf.nerf.scene import hash_triton
from bridge_nerf.nerf.scene.hash_encoding import HashEncoding

assert hash_triton.triton.knobs.runtime.interpret
hash_triton.BLOCK = 64
border = torch.tensor(BORDER)
for n, levels, finest in [(0, 1, 16), (59, 2, 64), (100, 3, 512)]:
    encoding, x = HashEncoding(levels, finest), torch.cat([border, torch.rand(n, 3)])
    table, asked = encoding.hash_table.detach(), torch.randn(len(x), encoding.out_dim)
    read = hash_triton.read(table, x, encoding.resolutions)
    torch.testing.assert_close(read, encoding.read(table, x), atol=1e-9, rtol=1e-5)
    spread = hash_triton.spread(table, x, encoding.resolutions, asked)
    torch.testing.assert_close(spread, encoding.spread(table, x, asked), atol=1e-6, rtol=1e-5)
assert hash_triton.read(table, x[:0], encoding.resolutions).shape == (0, encoding.out_dim)
"""


def test_triton_answers_as_torch() -> None:
    pytest.importorskip("triton")
    code = INTERPRETED.replace("BORDER", str(BORDER.tolist()))
    # A process of its own: a kernel is interpreted or compiled as is said when it is declared.
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
