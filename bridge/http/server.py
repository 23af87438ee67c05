"""The loopback server: binds the port, serves the HTTP door with waitress threads, stops at once from any thread."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import select
import socket
import threading
from collections.abc import Callable
from typing import Any

from waitress import wasyncore
from waitress.server import create_server

from bridge.app import App
from bridge.http.access import MAX_BODY_BYTES, Access
from bridge.http.events import MAX_STREAMS, Hub
from bridge.http.instance import new_secret
from bridge.http.routes import HttpApi
from bridge.http.server_errors import answered_by

THREADS = MAX_STREAMS + 16
_STOP_SECONDS = 3.0
_STREAMS_SECONDS = 1.0
_CONNECTIONS = 600  # more than a stranger's idle ones should hold
_IDLE_SECONDS = 10
_AGAIN_SECONDS = 0.2
log = logging.getLogger(__name__)


def bind(host: str, port: int) -> socket.socket:
    """A bound socket; OSError when the port is taken. Never shares a port with another process."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    bound = socket.socket(family, kind, protocol)
    try:
        if os.name == "nt":
            # On Windows SO_REUSEADDR would let two programs take the same port.
            bound.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_EXCLUSIVEADDRUSE", ~socket.SO_REUSEADDR), 1)
        else:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(128)
    except OSError:
        bound.close()
        raise
    return bound


class Server:
    """Serves one application on a bound socket, in a thread of its own."""

    def __init__(self, app: App, bound: socket.socket) -> None:
        environment = app.environment
        self.port: int = bound.getsockname()[1]
        self.token = environment.access_token or ("" if environment.loopback else secrets.token_urlsafe(24))
        self.instance_secret = new_secret()
        self.on_show: Callable[[], bool] = lambda: False
        self._hub = Hub(app)
        self._channels: dict[Any, Any] = {}
        api = HttpApi(app, Access(environment, self.port, self.token), self._hub, self._show, self.instance_secret)
        self._server: Any = create_server(
            api.app(),
            sockets=[bound],
            map=self._channels,
            threads=THREADS,
            ident=None,
            connection_limit=_CONNECTIONS,
            channel_timeout=_IDLE_SECONDS,  # of a connection that asks nothing; the page opens another one at once
            cleanup_interval=_IDLE_SECONDS // 5,
            asyncore_use_poll=hasattr(select, "poll"),  # select() ends at 1,024 descriptors
            max_request_body_size=2 * max(MAX_BODY_BYTES, environment.max_preset_import),
            max_request_header_size=64 * 1024,
            clear_untrusted_proxy_headers=False,  # `access.is_local` wants to see them; nothing trusts them
        )
        self._server.channel_class = answered_by(api.server_error)
        self._host = environment.host
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="server", daemon=True)

    @property
    def url(self) -> str:
        """Where a browser on this machine finds the page."""
        host = "127.0.0.1" if self._host in ("0.0.0.0", "::", "") else self._host  # noqa: S104 - compared, not bound
        shown = f"[{host}]" if ":" in host else host
        return f"http://{shown}:{self.port}/" + (f"?token={self.token}" if self.token else "")

    def start(self) -> None:
        """Serve from now on; the second call does nothing."""
        if not self._thread.is_alive():
            self._thread.start()

    def close(self) -> None:
        """End every stream and connection, let the port go. Safe to call twice."""
        self._ending.set()
        self._hub.close()
        self._hub.wait_ended(_STREAMS_SECONDS)  # their last words go out while the sockets are still open
        if self._thread.is_alive():
            # run() returns when the map is empty; from another thread that must be asked for through the trigger,
            # since close() alone waits for idle keep-alive connections.
            with contextlib.suppress(OSError):
                self._server.trigger.pull_trigger(lambda: wasyncore.close_all(self._channels, ignore_all=True))
            self._thread.join(_STOP_SECONDS)
        self._server.task_dispatcher.shutdown(cancel_pending=True, timeout=1)

    def _show(self) -> bool:
        return self.on_show()  # set after the server is made, when there is a window

    def _serve(self) -> None:
        while not self._ending.is_set():
            try:
                self._server.run()
                return
            except OSError:  # poll() fails while fewer files may be open than are; the door may not stay shut after it
                log.debug("server goes on", exc_info=True)
                self._ending.wait(_AGAIN_SECONDS)
