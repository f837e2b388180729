"""The viewer's doors: its own pages come in, pages of other sites do not."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import torch
from viser._messages import GuiUpdateMessage
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from bridge_nerf.nerf.engine.trainer import BridgeTrainer, BridgeTrainerConfig
from bridge_nerf.nerf.viewer_access import refusal
from bridge_nerf.nerf.viewer_defaults import TEXTURE
from tests.nerf.stub import StubPrior
from tests.waiting import PATIENCE


@pytest.mark.parametrize(
    ("host", "origin", "refused"),
    [
        ("127.0.0.1:7007", None, False),
        ("127.0.0.1:7007", "http://127.0.0.1:7007", False),
        ("localhost:7007", "http://LOCALHOST:7007", False),
        ("[::1]:7007", "http://[::1]:7007", False),
        ("192.0.2.7:7007", "http://192.0.2.7:7007", False),
        ("my-box:7007", "http://my-box:7007", False),
        ("abc.share.viser.studio", "https://abc.share.viser.studio", False),
        ("127.0.0.1:7007", "https://evil.example", True),
        ("127.0.0.1:7007", "http://127.0.0.1:8000", True),
        ("127.0.0.1:7007", "http://localhost:7007", True),
        ("127.0.0.1:7007", "null", True),
        ("127.0.0.1:7007", "", True),
        ("127.0.0.1:7007", "http://127.0.0.1:7007.evil.example", True),
        ("evil.example:7007", "http://evil.example:7007", True),
        ("evil.example:7007", None, True),
        ("localhost.evil.example:7007", None, True),
        ("", None, True),
        (None, None, True),
    ],
)
def test_who_is_refused(host: str | None, origin: str | None, refused: bool) -> None:
    pairs = {"Host": host, "Origin": origin}
    headers = Headers([(key, value) for key, value in pairs.items() if value is not None])
    assert bool(refusal(headers, {"localhost", "my-box"})) == refused


def test_a_request_says_each_once() -> None:
    own = ("Host", "127.0.0.1:7007"), ("Origin", "http://127.0.0.1:7007")
    assert refusal(Headers([*own, ("Host", "127.0.0.1:7007")]), set())
    assert refusal(Headers([*own, ("Origin", "http://evil.example")]), set())


@pytest.fixture(scope="module")
def viewer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The viewer of a run that has not begun to train."""
    from tests.nerf.conftest import small_config

    config = small_config(tmp_path_factory.mktemp("viewer"))
    config.timestamp, config.vis = "run", "viewer"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bridge_nerf.priors.registry.load_prior", lambda *_, **__: StubPrior())
        heaps: list[bool] = []
        patch.setattr("bridge_nerf.nerf.engine.trainer.limit_heaps", lambda: heaps.append(True))
        config.save_config()
        trainer = config.setup(local_rank=0, world_size=1)
        assert isinstance(trainer, BridgeTrainer) and isinstance(config, BridgeTrainerConfig)
        trainer.setup()
    assert heaps, "threads that serve visitors would each keep a heap"
    yield trainer.viewer_state
    trainer.shutdown()


def test_a_page_of_another_site_is_refused_at_the_door(viewer: Any) -> None:
    address = f"127.0.0.1:{viewer.viser_server.get_port()}"
    for origin in (None, f"http://{address}"):
        with connect(f"ws://{address}", origin=origin) as socket:  # type: ignore[arg-type]
            assert isinstance(socket.recv(PATIENCE), bytes)
    for origin in ("https://evil.example", "null"):
        with pytest.raises(InvalidStatus, match="403"):
            connect(f"ws://{address}", origin=origin)  # type: ignore[arg-type]


@pytest.mark.parametrize(("host", "status"), [("localhost", 200), ("evil.example", 403)])
def test_a_name_that_is_not_ours_gets_no_page(viewer: Any, host: str, status: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", viewer.viser_server.get_port(), timeout=PATIENCE)
    connection.request("GET", "/", headers={"Host": host})
    assert connection.getresponse().status == status
    connection.close()


@pytest.mark.parametrize(
    ("label", "typed", "kept"),
    [
        ("Render name", "../../../home/me/.bashrc", "-home-me-bashrc"),
        ("Render name", "a\0b/c", "a-b-c"),
        ("Render name", "..", "-"),
        ("Render name", "fine 2", "fine 2"),
        ("Output Directory", "x\n```\n{alert(1)}\u2028y\x85z", "x ``` {alert(1)} y z"),
        ("Output Directory", "déjà vu: ~/a b", "déjà vu: ~/a b"),
    ],
)
def test_what_a_visitor_types_stays_in_its_folder_and_its_line(
    viewer: Any, label: str, typed: str, kept: str
) -> None:
    elements = viewer.viser_server.gui._gui_input_handle_from_id
    name = next(element for element in elements.values() if element._impl.label == label)
    name.value = "before"
    message = GuiUpdateMessage(name._impl.id, {"value": typed})
    with connect(f"ws://127.0.0.1:{viewer.viser_server.get_port()}") as socket:
        socket.send(msgspec.msgpack.encode(message.as_serializable_dict()))
        end = time.monotonic() + PATIENCE
        while name.value == "before" and time.monotonic() < end:
            time.sleep(0.01)
    assert name.value == kept


def test_the_crop_box_holds_the_whole_object(viewer: Any) -> None:
    panel = viewer.control_panel
    model = viewer.pipeline.model.eval()
    camera = viewer.pipeline.datamanager.eval_dataset.cameras[0:1]
    with torch.no_grad():
        whole, cropped = (
            model.get_outputs_for_camera(camera, obb_box=box)["accumulation"]
            for box in (None, panel.crop_obb)
        )
    model.train()
    assert whole.max() > 0.9
    torch.testing.assert_close(cropped, whole, atol=0.01, rtol=0)
    assert panel.crop_obb.within(torch.tensor([[0.99, 0.0, 0.0], [0.0, -0.99, 0.0]])).all()
    assert panel.background_color == (255, 255, 255)


def test_a_texture_takes_a_cpu_no_hours(viewer: Any) -> None:
    elements = viewer.viser_server.gui._gui_input_handle_from_id.values()
    shown = {element._impl.label: element.value for element in elements if element._impl.label in TEXTURE}
    assert shown == TEXTURE


def test_a_thread_that_draws_ends_before_the_run_does() -> None:
    class Drawing(threading.Thread):
        running = True

        def run(self) -> None:
            while self.running:
                time.sleep(0.01)

    trainer, drawing = object.__new__(BridgeTrainer), Drawing(daemon=True)
    state: Any = SimpleNamespace(render_statemachines={0: drawing}, viser_server=None)
    trainer.viewer_state = state
    drawing.start()
    trainer.shutdown()
    assert not drawing.is_alive()
    trainer.shutdown()
