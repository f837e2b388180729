"""The app as a program sees it: gradio_client against the served app."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from bridge_nerf.app.plane import BELIEFS, WORLDS
from bridge_nerf.app.requests import BALANCED
from bridge_nerf.images.image_files import note_in
from bridge_nerf.paths import asset
from tests.waiting import PATIENCE

IMAGE = {
    "prompt": "a duck",
    "objective": "bridge",
    "seed": 3,
    "randomise": False,
    "steps": 10,
    "guidance": 5,
    "target_descriptors": "sharp",
    "source_descriptors": "blurry",
    "api_name": "/text_to_image",
}
PAINT = {
    "prompt": "a red house",
    "strength": BALANCED,
    "negative_descriptor": "painting",
    "steps": 10,
    "seed": 0,
    "randomise": False,
    "api_name": "/painting_to_real",
}
COMPARE = {
    "prompt": "a duck",
    "objectives": ["sds", "csd"],
    "steps": 10,
    "seed": 0,
    "randomise": False,
    "api_name": "/compare",
}
PLANE = {
    "world": next(iter(WORLDS)),
    "belief": next(iter(BELIEFS)),
    "noise_level": 0.5,
    "wrong": 0.0,
    "steps": 8,
    "seed": 0,
    "api_name": "/how_it_works",
}


@pytest.fixture(scope="module")
def client(served, tmp_path_factory) -> Client:
    return Client(served, verbose=False, download_files=tmp_path_factory.mktemp("client"))


def test_every_public_event_has_a_name_types_and_words(client):
    described = client.view_api(return_format="dict")
    named = described["named_endpoints"]
    assert set(named) == {"/text_to_image", "/painting_to_real", "/compare", "/how_it_works", "/scenes"}
    assert not described["unnamed_endpoints"]
    for endpoint in named.values():
        assert endpoint["description"]
        for parameter in endpoint["parameters"]:
            assert parameter["type"] and parameter["python_type"]["type"], parameter


def test_an_image_streams_and_knows_how_it_was_made(client):
    job = client.submit(**IMAGE)
    _, line, seed, png, csv, video, command = job.result(timeout=PATIENCE)
    assert len(job.outputs()) >= 8
    assert line.startswith("Done") and seed == 3 and "--seed 3" in command
    assert note_in(Path(png))["done"] == 10
    assert Path(csv).read_text().startswith("step,objective") and Path(video).stat().st_size > 0


def test_a_painting_becomes_an_image_of_the_same_size(client):
    file = handle_file(asset("paintings") / "house.png")
    (before, after), *_, png, _, _, command = client.predict(painting=file, **PAINT)
    assert Image.open(before).size == Image.open(after).size
    assert np.abs(np.asarray(Image.open(before), float) - np.asarray(Image.open(after), float)).mean() > 0.5
    assert "house.png" in command and note_in(Path(png))["spec"]["task"] == "paint"


def test_a_comparison_draws_its_curves(client):
    grid, status, saturation, *_, pull = client.predict(**COMPARE)
    assert status.startswith("Done")
    for name, curve, first in (("saturation", saturation, 0), ("pull", pull, 1)):
        assert curve["columns"] == ["step", "objective", "saturation", "pull"], name
        assert [row[0] for row in curve["data"]][::2] == list(range(first, 11)), name
    assert Image.open(grid).width > 2 * 256


def test_the_plane_answers_numbers(client):
    drawing, *_, measured = client.predict(**PLANE)
    assert "<svg" in drawing and measured["first-order error"] > 0


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (IMAGE | {"prompt": ""}, "prompt is empty"),
        (IMAGE | {"prompt": "a zeppelin"}, "zeppelin"),
        (IMAGE | {"steps": -5}, "steps|minimum"),
        (IMAGE | {"steps": 10**7}, "steps|maximum"),
        (IMAGE | {"guidance": 1e9}, "guidance|maximum"),
        (IMAGE | {"seed": -1}, "seed|minimum"),
        (IMAGE | {"objective": "magic"}, "magic"),
        (IMAGE | {"seed": None}, "seed is None"),
        (IMAGE | {"source_descriptors": "a zeppelin"}, "zeppelin"),
        (COMPARE | {"objectives": ["sds"]}, "compared"),
        (PAINT | {"painting": None}, "no painting"),
        (PLANE | {"noise_level": 7}, "noise level|maximum"),
        (PLANE | {"world": "hollow"}, "hollow"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(client, wanted, said):
    with pytest.raises((AppError, ValueError), match=said):
        client.predict(**wanted)


@pytest.mark.parametrize("content", [b"only text", b"", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"])
def test_uploads_that_are_no_images_are_refused(client, tmp_path, content):
    path = tmp_path / "painting.png"
    path.write_bytes(content)
    with pytest.raises(AppError, match="painting"):
        client.predict(painting=handle_file(path), **PAINT)
    assert client.predict(**PLANE)  # and the server is well


def test_uploads_that_are_too_large_are_refused(client, tmp_path):
    path = tmp_path / "painting.png"
    path.write_bytes(b"0" * 11_000_000)
    with pytest.raises(Exception, match="413|large|size"):
        client.predict(painting=handle_file(path), **PAINT)


def posted(url: str, wish: dict) -> str:
    """The server's answer to a request in its own format, without a client that would upload files first."""
    request = urllib.request.Request(url, json.dumps(wish).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return answer.read().decode()


def answer_to_painting(served: str, path: str) -> str:
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    words = [
        PAINT[name] for name in ("prompt", "strength", "negative_descriptor", "steps", "seed", "randomise")
    ]
    call = f"{served}gradio_api/call/painting_to_real"
    event = json.loads(posted(call, {"data": [file, *words]}))["event_id"]
    with urllib.request.urlopen(f"{call}/{event}") as stream:
        return stream.read().decode()


@pytest.mark.parametrize(
    "place", ["/etc/passwd", "../../../etc/passwd", "{root}/app.py", "{root}/assets/teaser.png"]
)
def test_no_path_outside_of_the_upload_folder_is_taken(served, place):
    """Also none of a real image, which nothing but the check of its place can refuse."""
    answer = answer_to_painting(served, place.format(root=Path(__file__).parents[2]))
    assert "event: error" in answer and "event: complete" not in answer


def test_a_path_inside_of_the_upload_folder_is_taken(served):
    """The control of the test above: the same request with a file that was uploaded."""
    with (asset("paintings") / "car.png").open("rb") as file:
        (path,) = httpx.post(f"{served}gradio_api/upload", files={"files": file}).json()
    assert "event: complete" in answer_to_painting(served, path)


def test_nobody_passes_the_line_by(served):
    with pytest.raises(urllib.error.HTTPError) as refused:
        posted(f"{served}gradio_api/run/text_to_image", {"data": ["a duck", "sds", 0, False, 10, 5, "", ""]})
    assert refused.value.code in (403, 404)


@pytest.mark.parametrize("place", ["/etc/passwd", "{root}/app.py", "{root}/assets/toybox/prior/words.json"])
def test_nothing_outside_of_the_apps_folders_can_be_read(served, place):
    path = place.format(root=Path(__file__).parents[2])
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{served}gradio_api/file={path}")
    assert refused.value.code in (403, 404)


def test_it_listens_on_this_machine_alone(served):
    """Another address of this machine gets no answer."""
    import socket

    port = int(served.rsplit(":", 1)[1].strip("/"))
    with socket.socket() as other:
        other.settimeout(2)
        assert other.connect_ex(("127.0.0.2", port)) != 0
