"""ASGI middleware: which requests reach gradio's server, by their place, path and size."""

from __future__ import annotations

import re
import sys
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from bridge_nerf.app.requests import MAX_UPLOAD_BYTES
from bridge_nerf.errors import first_line

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from bridge_nerf.app.storage import Uploads

SERVED = re.compile(
    r"/|/config/?|/(theme\.css|robots\.txt|favicon\.ico|manifest\.json)|/(assets|static|svelte)/.*"
    r"|/gradio_api/("
    r"info/?|openapi\.json|app_id/?|startup-events|theme\.css|heartbeat/.*|upload|upload_progress"
    r"|(call|run|api|queue)/.*|cancel|reset/?|file=(?!\w+:).*)",
    re.DOTALL,
)
"""Paths that the page and gradio_client need, as opposed to what else gradio serves, with each version
more: its run history (which lends visitors the owner's login at Hugging Face), an editor of the app's code,
a fetcher of addresses, conversion of videos, figures of who called what.
"""
UPLOAD = "/gradio_api/upload"
MAX_BODY_BYTES = MAX_UPLOAD_BYTES + 2**20
"""Maximum size of a request: an upload and what is written around it."""


def is_loopback(address: str | None) -> bool:
    """Whether the host of an address such as "http://[::1]:7860" is this machine's own, by name or number."""
    try:
        host = urlsplit(address or "").hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class RequestFilter:
    """ASGI middleware that refuses requests, each in a sentence, and lets no exception through.

    Args:
        app: What is behind it.
        uploads: Where room is made before anything is uploaded.
        only_local: Whether browsers reach the app under names of this machine alone. A page from elsewhere
            that is open in such a browser is then refused, both by its origin and by its name, which can be
            made to lead here (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, uploads: Uploads, only_local: bool) -> None:
        self.app, self._uploads, self._only_local = app, uploads, only_local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = False

        async def send_on(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            self._check(scope)
            await self.app(scope, _bounded(receive), send_on)
        except HTTPException as refused:
            answer = JSONResponse({"detail": refused.detail}, refused.status_code)
        except Exception as error:  # gradio's, whose handlers of requests take much for granted
            said = f"{scope['method']} {scope['path']!r}: {type(error).__name__}: {first_line(error)}"
            print(said, file=sys.stderr, flush=True)
            answer = JSONResponse({"detail": "that is no request this app knows; see the page's API"}, 400)
        else:
            return
        if not begun:
            await answer(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if self._only_local:
            _check_place(headers)
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if not SERVED.fullmatch(path):
            raise HTTPException(404, "there is no such page")
        size = headers.get("content-length", "0")
        if size.isdecimal() and int(size) > MAX_BODY_BYTES:
            raise _too_large()
        if path == UPLOAD:
            self._uploads.make_room(MAX_BODY_BYTES)


def _check_place(headers: Headers) -> None:
    host, origin = headers.get("host", ""), headers.get("origin")
    if not is_loopback(f"//{host}"):
        raise HTTPException(
            403, f'this app answers at localhost, not at "{host}"; --host 0.0.0.0 lets it answer everywhere'
        )
    # Behind a proxy: a page from elsewhere cannot set this header without a permission that gradio denies.
    behind = headers.get("x-forwarded-host")
    if origin is not None and not is_loopback(origin) and urlsplit(origin).netloc != behind:
        raise HTTPException(403, f'pages of "{origin}" may not use this app')


def _bounded(receive: Receive) -> Receive:
    """The same, but a request that turns out too large is refused: not every one says its size beforehand."""
    size = 0

    async def receive_on() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > MAX_BODY_BYTES:
            raise _too_large()
        return message

    return receive_on


def _too_large() -> HTTPException:
    return HTTPException(
        413, f"that is too large; a file may have {MAX_UPLOAD_BYTES // 2**20} MB, one at a time"
    )
