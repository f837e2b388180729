"""Replays answer as calls do. A card is pretended: what replays a work does it once more."""

import pytest
import torch
from torch import nn

from bridge_nerf.errors import UserError
from bridge_nerf.priors import graphs
from bridge_nerf.priors.autoencoders import deferred_checks
from bridge_nerf.priors.graphs import MAX_RECORDINGS, Graphed, graph_network
from bridge_nerf.priors.registry import load_prior
from tests.priors.test_compiling import asked, with_corrections


@pytest.fixture
def recorded(monkeypatch):
    """How often something was recorded; works are done as often as on a card: to warm up, and to record."""
    recordings = []

    def record(works, device, pool):
        for _ in range(graphs.WARM_UP + 1):
            for work in works:
                work()
        recordings.append(len(works))
        return works

    monkeypatch.setattr(graphs, "record", record)
    monkeypatch.setattr(graphs, "new_pool", object)
    return recordings


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Slow(nn.Module):
    """Something with a gradient that depends on where it is taken."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x, shift=0.0):
        self.calls += 1
        return (x + shift).tanh() * x


def gradient(answer: torch.Tensor, x: torch.Tensor, seed: int) -> torch.Tensor:
    (found,) = torch.autograd.grad(answer, x, drawn(*answer.shape, seed=seed), retain_graph=True)
    return found


def test_a_graphed_network_answers_the_same_and_adapters_pass_it_by(closed_folder, recorded):
    plain, graphed = (load_prior(str(closed_folder), "cpu") for _ in range(2))
    graph_network(graphed.components.denoiser, "the network")
    for _ in range(2):
        assert torch.equal(asked(graphed), asked(plain))
    assert recorded == [1]
    corrected = asked(graphed, with_corrections(graphed))
    assert torch.equal(corrected, asked(plain, with_corrections(plain))) and recorded == [1]
    assert not torch.equal(corrected, asked(graphed))


def test_answers_are_nobody_elses_memory(recorded):
    graphed = Graphed(Slow(), "it")
    first = graphed(drawn(3, seed=1))
    kept = first.clone()
    graphed(drawn(3, seed=2))
    assert torch.equal(first, kept)


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (0, 0, 1), (1, 0, 1)])
def test_gradients_are_those_of_their_own_call(recorded, order):
    plain, graphed = Slow(), Graphed(Slow(), "it")
    points = [drawn(4, seed=k).requires_grad_() for k in range(2)]
    answers = [[way(x, shift=0.5) for x in points] for way in (plain, graphed)]
    for k in order:
        expected, found = (gradient(answer[k], points[k], seed=7) for answer in answers)
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert recorded == [2]


def test_each_set_of_shapes_and_each_number_is_recorded_apart(recorded):
    plain, graphed = Slow(), Graphed(Slow(), "it")
    for x, shift in ((drawn(3), 0.0), (drawn(4), 0.0), (drawn(3), 0.5), (drawn(3).double(), 0.0)):
        torch.testing.assert_close(graphed(x, shift=shift), plain(x, shift=shift), rtol=0, atol=0)
    assert len(recorded) == 4


def test_only_so_many_are_kept(recorded):
    graphed = Graphed(Slow(), "it")
    for size in range(1, MAX_RECORDINGS + 4):
        assert graphed(drawn(size)).shape == (size,)
    assert len(recorded) == MAX_RECORDINGS


def test_what_cannot_be_recorded_says_so_once_and_runs(monkeypatch, capsys):
    def refuse(works, device, pool):
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    monkeypatch.setattr(graphs, "record", refuse)
    monkeypatch.setattr(graphs, "new_pool", object)
    graphed = Graphed(Slow(), "the network of sd-2.1")
    for _ in range(2):
        assert torch.equal(graphed(drawn(3)), Slow()(drawn(3)))
    (line,) = capsys.readouterr().out.splitlines()
    assert "the network of sd-2.1" in line and "not permitted" in line and "--prior.graphs off" in line


def test_there_are_none_on_a_cpu(closed_folder):
    with pytest.raises(UserError, match="no CUDA graphs on cpu"):
        load_prior(str(closed_folder), "cpu", graphs="on")
    for way in ("auto", "off"):
        assert (
            load_prior(str(closed_folder), "cpu", graphs=way).components.denoiser._compiled_call_impl is None
        )


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_graphed_encoder_has_the_same_gradient(closed_folder, recorded, checkpointing):
    answers = []
    for graphed in (False, True):
        prior = load_prior(str(closed_folder), "cpu", checkpointing=checkpointing)
        if graphed:
            prior.latent_space.record_graphs("the encoder")
        images = [drawn(2, 3, prior.image_size, prior.image_size, seed=k).requires_grad_() for k in range(2)]
        with deferred_checks():
            latents = [prior.encode(image) for image in images]
        slopes = [gradient(latents[k], images[k], seed=5) for k in (1, 0)]
        answers.append([*latents, *slopes])
    for found, expected in zip(answers[1], answers[0], strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert recorded == [2]


def test_recording_warms_up_and_captures_on_one_stream_of_the_device(monkeypatch):
    """On a pretended `torch.cuda`; what a capture does on a card is not seen here."""
    said = []

    class Context:
        def __init__(self, *given, **named):
            self.given = given

        def __enter__(self):
            said.append((type(self).__name__, *self.given))

        def __exit__(self, *error):
            said.append(f"end of {type(self).__name__}")

    class Stream:
        def __init__(self, name="side"):
            self.name = name

        def wait_stream(self, other):
            said.append(f"{self.name} waits for {other.name}")

    class Graph:
        def replay(self):
            said.append("replay")

    main, kinds = Stream("main"), {name: type(name, (Context,), {}) for name in ("device", "stream", "graph")}
    for name, value in {**kinds, "Stream": Stream, "CUDAGraph": Graph}.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: main)
    works = [lambda: said.append("forward"), lambda: said.append("backward")]
    replays = graphs.record(works, torch.device("cuda", 1), "pool")
    plain = [part[0] if isinstance(part, tuple) else part for part in said]
    assert said[0] == ("device", torch.device("cuda", 1))
    assert plain[1:3] == ["side waits for main", "stream"]
    assert plain[3 : 3 + 2 * graphs.WARM_UP] == ["forward", "backward"] * graphs.WARM_UP
    assert plain[3 + 2 * graphs.WARM_UP :] == [
        "graph", "forward", "end of graph", "graph", "backward", "end of graph",
        "end of stream", "main waits for side", "end of device",
    ]  # fmt: skip
    stream = next(part[1] for part in said if part[0] == "stream")
    assert [part[2:] for part in said if part[0] == "graph"] == [("pool", stream)] * 2
    replays[1]()
    assert said[-1] == "replay"


def test_a_capture_that_failed_says_what_ended_it(monkeypatch, capsys):
    def refuse(works, device, pool):
        try:
            raise RuntimeError("nonzero would wait for the card")
        except RuntimeError:
            raise RuntimeError("operation failed due to a previous error during capture")  # noqa: B904

    monkeypatch.setattr(graphs, "record", refuse)
    monkeypatch.setattr(graphs, "new_pool", object)
    Graphed(Slow(), "it")(drawn(3))
    assert "nonzero would wait" in capsys.readouterr().out
