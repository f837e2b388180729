"""Who may use the viewer, and what its panel may name.

viser's server takes WebSockets from any page that a browser has open, and answers to any name of this
machine. Here the viewer takes them from its own pages alone.
"""

from __future__ import annotations

import http
import ipaddress
import re
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from nerfstudio.viewer.viewer_elements import ViewerControl
from viser._messages import GuiUpdateMessage

if TYPE_CHECKING:
    from nerfstudio.viewer.viewer import Viewer
    from websockets.datastructures import Headers
    from websockets.legacy.server import WebSocketServerProtocol

SHARED = ".share.viser.studio"
"""End of the names under which viser shares a viewer, where that was asked for."""
MAX_NAME = 100
"""Characters of the name of a rendering."""


def refusal(headers: Headers, own_names: set[str]) -> str | None:
    """The reason for which a request is refused; None where it is not.

    A page of another site has another Origin than the Host that it asks. One that has let its own name point
    here (DNS rebinding) asks for that name: addresses, which are no names, and one's own names remain.

    Args:
        own_names: Names of this machine.
    """
    hosts, origins = headers.get_all("Host"), headers.get_all("Origin")
    host = urlsplit(f"//{hosts[0]}") if len(hosts) == 1 else None
    name = host.hostname if host else None
    if host is None or name is None or not (_is_address(name) or name in own_names or name.endswith(SHARED)):
        return "the viewer does not go by this name; open it by its address, as in http://127.0.0.1:7007"
    if any(urlsplit(origin).netloc.lower() != host.netloc.lower() for origin in origins):
        return "a page of another site may not use the viewer"
    return None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class OwnPages(ViewerControl):
    """Lets the viewer's own pages in and no others, and keeps what it writes in the run's folder."""

    def _setup(self, viewer: Viewer) -> None:
        super()._setup(viewer)
        own_names = {"localhost", socket.gethostname().lower(), viewer.config.websocket_host.lower()}
        interface: Any = self.viser_server._websock_server  # viser has no settings for any of this
        server = interface._ws_server
        register = server.register

        def guard(connection: WebSocketServerProtocol) -> None:
            answer = connection.process_request

            async def process_request(path: str, request_headers: Headers) -> Any:
                if reason := refusal(request_headers, own_names):
                    return http.HTTPStatus.FORBIDDEN, [], f"{reason}\n".encode()
                return await answer(path, request_headers)

            connection.process_request = process_request
            register(connection)

        server.register = guard  # every new connection comes by here, before it is read
        for connection in list(server.websockets):  # came before; a page comes again by itself
            connection.loop.call_soon_threadsafe(connection.fail_connection)
        (name,) = [
            id
            for id, element in self.viser_server.gui._gui_input_handle_from_id.items()
            if element._impl.label == "Render name"
        ]

        def keep_within(_: int, message: GuiUpdateMessage) -> None:
            if isinstance(value := message.updates.get("value"), str):
                message.updates["value"] = file_name(value) if message.id == name else one_line(value)

        interface._incoming_handlers[GuiUpdateMessage].insert(0, keep_within)  # before it is taken over


def one_line(text: str) -> str:
    """The text without what would end its line, and with it the block of code in which nerfstudio shows its
    commands: what comes after is compiled, in the browser of whoever sees it."""
    return "".join(c if c.isprintable() else " " for c in text)


def file_name(text: str) -> str:
    """The text without what would lead a file of this name into another folder."""
    return re.sub(r"[^\w -]+", "-", text)[:MAX_NAME] or "render"
