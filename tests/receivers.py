"""A mail server and a web server that keep what they are sent, for the documentation's recipes."""

from __future__ import annotations

import email
import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Received:
    """What was sent.

    :param posts: path, headers and JSON body.
    """

    mails: list[Message] = field(default_factory=list)
    posts: list[tuple[str, Any, Any]] = field(default_factory=list)
    smtp_port: int = 0
    http_port: int = 0


@contextmanager
def receiving() -> Iterator[Received]:
    """Serve mail and web on free ports of this machine."""
    received = Received()

    class Mail(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self._answer("220 ready")
            for line in self.rfile:
                command = line.strip().upper()
                if command == b"DATA":
                    self._answer("354 go on")
                    received.mails.append(email.message_from_bytes(self._data()))
                    self._answer("250 kept")
                elif command == b"QUIT":
                    self._answer("221 bye")
                    return
                else:
                    self._answer("250 fine")

        def _data(self) -> bytes:
            lines = []
            for line in self.rfile:
                if line == b".\r\n":
                    break
                lines.append(line)
            return b"".join(lines)

        def _answer(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

    class Web(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.posts.append((self.path, self.headers, json.loads(body)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with (
        socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail) as mail,
        ThreadingHTTPServer(("127.0.0.1", 0), Web) as web,
    ):
        received.smtp_port, received.http_port = mail.server_address[1], web.server_port
        for server in (mail, web):
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield received
        for server in (mail, web):
            server.shutdown()
