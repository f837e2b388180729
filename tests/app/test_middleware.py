"""Which requests reach gradio: by the place they come from, their path and their size."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.testclient import TestClient

from bridge_nerf.app.middleware import MAX_BODY_BYTES, RequestFilter, is_loopback


async def echo(scope, receive, send):
    """An app that reads what it is sent; some paths break, before their answer or in the middle of it."""
    request = Request(scope, receive)
    size = sum([len(part) async for part in request.stream()])
    if scope["path"].endswith("/broken"):
        raise KeyError("no such function")
    if scope["path"].endswith("/torn"):

        async def parts():
            yield "half"
            raise RuntimeError("the rest is missing")

        await StreamingResponse(parts())(scope, receive, send)
        return
    await PlainTextResponse(f"{size} bytes")(scope, receive, send)


@pytest.fixture
def rooms() -> list[int]:
    """Sizes for which room was made."""
    return []


@pytest.fixture
def ask(rooms):
    """Status and text of a request: ask(path, only_local, **options of the test client)."""

    def asked(path: str, only_local: bool = True, method: str = "GET", **options) -> tuple[int, str]:
        uploads = SimpleNamespace(make_room=rooms.append)
        client = TestClient(RequestFilter(echo, uploads, only_local), base_url="http://127.0.0.1:7860")
        answer = client.request(method, path, **options)
        return answer.status_code, answer.text

    return asked


@pytest.mark.parametrize("host", ["localhost:7860", "LOCALHOST", "127.0.0.1", "127.0.0.2:1", "[::1]:7860"])
def test_this_machine_is_answered(ask, host):
    assert ask("/config", headers={"host": host})[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "192.168.0.7", "[::2]", "[", ""]
)
def test_a_name_that_leads_here_is_refused_unless_others_are_served(ask, host):
    status, said = ask("/config", headers={"host": host})
    assert status == 403 and "this app answers at localhost, not at" in said and "--host 0.0.0.0" in said
    assert ask("/config", only_local=False, headers={"host": host})[0] == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "https://localhost.evil.example", "null", "http://["]
)
@pytest.mark.parametrize("path", ["/gradio_api/queue/join", "/gradio_api/upload", "/gradio_api/call/compare"])
def test_pages_from_elsewhere_are_refused(ask, rooms, path, origin):
    assert ask(path, method="POST", headers={"origin": origin})[0] in (400, 403)
    assert not rooms
    for own in ("http://localhost:7860", "http://127.0.0.1:7860", "http://[::1]:7860"):
        assert ask(path, method="POST", headers={"origin": own})[0] == 200


def test_a_proxy_on_this_machine_may_say_under_which_name_it_serves(ask):
    headers = {"origin": "https://toys.example", "x-forwarded-host": "toys.example"}
    assert ask("/gradio_api/upload", method="POST", headers=headers)[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/config", "/theme.css", "/assets/a.js", "/gradio_api/info", "/gradio_api/heartbeat/x"),
        *(
            "/gradio_api/queue/data?session_hash=x",
            "/gradio_api/file=/tmp/a.png",
            "/gradio_api/call/compare/7",
        ),
    ],
)
def test_what_the_page_and_the_client_need_is_served(ask, path):
    assert ask(path) == (200, "0 bytes")


def test_a_request_is_bounded_also_where_it_does_not_say_its_size(ask):
    assert ask("/gradio_api/queue/join", method="POST", content=b"a" * 1000) == (200, "1000 bytes")
    for content in (b"a" * (MAX_BODY_BYTES + 1), iter([b"a" * 2**20] * (MAX_BODY_BYTES // 2**20 + 1))):
        status, said = ask("/gradio_api/queue/join", method="POST", content=content)
        assert status == 413 and "10 MB" in said


def test_room_is_made_before_an_upload(ask, rooms):
    ask("/config")
    assert not rooms
    ask("/gradio_api/upload", method="POST", content=b"a")
    assert rooms == [MAX_BODY_BYTES]


def test_what_breaks_is_one_line_in_the_log(ask, capsys):
    status, said = ask("/gradio_api/call/broken")
    assert status == 400 and "no such function" not in said
    assert capsys.readouterr().err == "GET '/gradio_api/call/broken': KeyError: 'no such function'\n"
    assert ask("/gradio_api/call/torn") == (200, "half")
    assert capsys.readouterr().err == "GET '/gradio_api/call/torn': RuntimeError: the rest is missing\n"


def test_a_loopback_address_is_one_by_name_or_number():
    assert all(map(is_loopback, ("//127.0.0.1", "//[::1]", "//localhost:1", "http://LOCALHOST/")))
    assert not any(map(is_loopback, ("//0.0.0.0", "//[::]", "//myself", "//", None, "null")))
