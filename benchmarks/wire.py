"""Round trips, counted on the wire between a client and its server."""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

from sqlalchemy.engine import URL, make_url

LOOPBACK = "127.0.0.1"
CHUNK = 65_536


class CountingProxy:
    """Passes on TCP connections to a server, and counts round trips: how often the client sends
    and is then answered. Two statements sent at once are one, as they are to the network.

    A context manager. Its threads end with the connections, and at the latest with it.
    """

    def __init__(self, host: str, port: int) -> None:
        self.round_trips = 0
        self._server = (host, port)
        self._lock = threading.Lock()
        self._listener = socket.create_server((LOOPBACK, 0))
        self._open: list[socket.socket] = [self._listener]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        for one in self._open:
            _shut(one)
        for thread in self._threads:
            thread.join(timeout=10)
        for one in self._open:
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._server)
            self._open += [client, server]
            thread = threading.Thread(target=self._pass_on, args=(client, server), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        for one in (client, server):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peers = {client: server, server: client}
        is_asked = False
        with selectors.DefaultSelector() as selector:
            for one in peers:
                selector.register(one, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    sender = client if key.fileobj is client else server
                    data = _receive(sender)
                    # Before it is passed on: the client reads the count as soon as it has it.
                    if data and sender is server and is_asked:
                        self._count()
                    is_asked = sender is client
                    if not data or not _send(peers[sender], data):
                        _shut(client)
                        _shut(server)
                        return

    def _count(self) -> None:
        with self._lock:
            self.round_trips += 1


def through(proxy: CountingProxy, database_url: str) -> str:
    """Return the URL of a PostgreSQL database with the proxy in between, and nothing encrypted."""
    url: URL = make_url(database_url).set(host=LOOPBACK, port=proxy.port)
    url = url.update_query_dict({"sslmode": "disable", "gssencmode": "disable"})
    return url.render_as_string(hide_password=False)


def proxy_to(database_url: str) -> CountingProxy:
    url = make_url(database_url)
    return CountingProxy(url.host or LOOPBACK, url.port or 5432)


def _receive(one: socket.socket) -> bytes:
    try:
        return one.recv(CHUNK)
    except OSError:
        return b""


def _send(one: socket.socket, data: bytes) -> bool:
    try:
        one.sendall(data)
    except OSError:
        return False
    return True


def _shut(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
