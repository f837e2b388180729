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


def file_of(path: object) -> dict:
    """A file as gradio's clients name it."""
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


ODD = [
    None,
    [],
    {},
    "x",
    10**400,
    -5,
    [["x"]],
    True,
    file_of("/etc/passwd"),
    file_of("app.py"),
    file_of("a\0b"),
]
ODD += [file_of("x" * 5000), file_of("http://127.0.0.1:1/a.png"), file_of("https://example.invalid/a.png")]
"""Values that no widget would send."""


def refusal(served: str, name: str, values: list) -> str:
    """The message to whoever sends these values to an event of that name, which starts no run."""
    call = f"{served}gradio_api/call/{name}"
    event = json.loads(posted(call, {"data": values}))["event_id"]
    with urllib.request.urlopen(f"{call}/{event}") as stream:
        answer = stream.read().decode()
    assert "event: error" in answer and "event: complete" not in answer, (values, answer)
    said = json.loads(answer.split("event: error")[1].strip().removeprefix("data:"))["error"]
    assert said and "\n" not in said
    return said


def test_what_a_widget_refuses_is_one_line_without_a_traceback_or_a_folder(served, log):
    """Odd values in every place of every event, missing and too few values, files that are not uploads."""
    before = len(log.read_text())
    events: dict[str, list[dict]] = {
        "text_to_image": [{"steps": odd} for odd in ODD if odd is not True],
        "painting_to_real": [{"painting": odd} for odd in ODD],
        "compare": [{"objectives": odd} for odd in ODD[:8]],
        "how_it_works": [{"world": odd} for odd in ODD[:8]],
    }
    events["text_to_image"] += [{"objective": odd} for odd in (None, ["sds", "x"], {"a": 1}, file_of("b"))]
    events["text_to_image"] += [{"seed": odd} for odd in ("x", [1], -1, 10**12)]
    events["painting_to_real"] += [{"strength": odd} for odd in (None, [], "magic")]
    usual = {
        "text_to_image": [IMAGE[key] for key in ("prompt", "objective", "seed", "randomise", "steps")]
        + ["sds", "", ""],
        "painting_to_real": [None, *(list(PAINT.values())[k] for k in (0, 1, 2, 3, 4, 5))],
        "compare": list(COMPARE.values())[:-1],
        "how_it_works": list(PLANE.values())[:-1],
    }
    places = {
        "steps": 4, "objective": 1, "seed": 2, "painting": 0, "strength": 2, "objectives": 1, "world": 0
    }  # fmt: skip
    said = []
    for name, changes in events.items():
        values = usual[name]
        for change in changes:
            ((place, odd),) = change.items()
            said.append(
                refusal(served, name, [odd if k == places[place] else v for k, v in enumerate(values)])
            )
        said.append(refusal(served, name, values[:2]))
    root = str(Path(__file__).parents[2])
    assert not [line for line in said if root in line or str(log.parent) in line]
    new = log.read_text()[before:]
    assert not [line for line in new.splitlines() if not line.startswith("* ")]  # those are of its start


def test_an_upload_that_is_gone_is_said_without_its_folder(served, log):
    with (asset("paintings") / "car.png").open("rb") as file:
        (path,) = httpx.post(f"{served}gradio_api/upload", files={"files": ("gone.png", file)}).json()
    Path(path).unlink()
    words = [
        PAINT[name] for name in ("prompt", "strength", "negative_descriptor", "steps", "seed", "randomise")
    ]
    said = refusal(served, "painting_to_real", [file_of(path), *words])
    assert "upload it again" in said and str(log.parent) not in said


@pytest.mark.parametrize("odd", [None, "x", 99, file_of("/etc/passwd")])
def test_events_of_the_page_itself_leave_no_traceback_either(served, log, odd):
    """Their numbers are in the page's configuration, for whoever looks."""
    before = len(log.read_text())
    for event in httpx.get(f"{served}config").json()["dependencies"]:
        if event["queue"] is False and "unload" not in str(event["targets"]):
            wish = {"data": [odd] * len(event["inputs"]), "fn_index": event["id"]}
            httpx.post(f"{served}gradio_api/run/{event['api_name']}", json=wish, timeout=PATIENCE)
    assert "Traceback" not in log.read_text()[before:]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", f"gradio_api/{path}") for path in ("runs", "run-history/buckets", "run-history/records")),
        *(("POST", f"gradio_api/{path}") for path in ("run-history/connect", "vibe-edit", "vibe-code")),
        *(("POST", f"gradio_api/{path}") for path in ("process_recording", "component_server", "mcp/")),
        *(("GET", f"gradio_api/{path}") for path in ("vibe-code", "dev/reload", "deep_link?session_hash=x")),
        *(("GET", f"gradio_api/{path}") for path in ("proxy=https://a.hf.space", "file=https://example.com")),
        *(("GET", f"gradio_api/{path}") for path in ("file/https://example.com", "profiling/summary")),
        *(("GET", path) for path in ("monitoring", "monitoring/summary", "openapi.json", "docs", "logout")),
        *(("POST", path) for path in ("login", "login/huggingface")),
    ],
)
def test_what_gradio_serves_besides_is_not_served(served, method, path):
    assert httpx.request(method, f"{served}{path}").status_code == 404


def test_runs_are_not_recorded_nor_counted_for_others(served):
    """gradio would keep runs with the owner's login at Hugging Face, which it takes from this machine."""
    config = httpx.get(f"{served}config").json()
    assert config["run_history"] is False and config["analytics_enabled"] is False
    assert not config.get("is_mcp_server") and not config["dev_mode"]


def test_other_pages_and_other_names_get_no_answer(served):
    assert httpx.get(served, headers={"host": "evil.example"}).status_code == 403
    elsewhere = {"origin": "https://evil.example"}
    upload = {"files": {"files": ("a.png", b"a")}}
    assert httpx.post(f"{served}gradio_api/upload", headers=elsewhere, **upload).status_code == 403
    wish = {"data": [], "fn_index": 0, "session_hash": "x"}
    assert httpx.post(f"{served}gradio_api/queue/join", headers=elsewhere, json=wish).status_code == 403
    own = {"origin": served.strip("/")}
    assert httpx.post(f"{served}gradio_api/upload", headers=own, **upload).status_code == 200


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
