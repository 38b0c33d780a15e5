"""An app, served on a loopback port for a browser."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask
from werkzeug.serving import WSGIRequestHandler, make_server


@contextmanager
def serving(app: Flask) -> Iterator[int]:
    """Serve an app until the end of the block; give its port."""
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=QuietHandler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.port
    finally:
        server.shutdown()
        thread.join(timeout=10)
        server.server_close()


class QuietHandler(WSGIRequestHandler):
    def log_request(self, *arguments: object) -> None:
        pass
