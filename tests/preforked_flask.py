"""The ``flask`` command, from a process that has imported everything: the imports take ten times as
long as most commands.

``python preforked_flask.py SOCKET [argument ...]`` runs a command by the process that
:func:`preforked` has started, in a fork of it, with the caller's standard streams, folder and
environment.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_LARGEST_REQUEST = 1_000_000


@contextmanager
def preforked(path: str) -> Iterator[None]:
    """Have a process wait for commands at a Unix socket.

    :param path: the socket's file, which must not exist.
    """
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        command = [sys.executable, "-c", f"import {__name__} as this; this.serve()"]
        with subprocess.Popen([*command], stdin=listener.fileno()) as process:
            try:
                yield
            finally:
                process.terminate()


def serve() -> None:
    """Run each command in a fork, until the process is ended."""
    import flask_login  # noqa: F401
    import flask_migrate  # noqa: F401
    import flask_wtf  # noqa: F401
    import sqlalchemy.dialects.sqlite  # noqa: F401
    from flask.cli import main

    from flask_orgkeys import OrgKeys, commands  # noqa: F401

    with socket.socket(fileno=os.dup(0)) as listener:
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                _run(connection, main)
            connection.close()
            _reap()


def _run(connection: socket.socket, main: object) -> None:
    """Run one command in the fork, and tell its exit code."""
    request, streams, _, _ = socket.recv_fds(connection, _LARGEST_REQUEST, 3)
    arguments, folder, environment = json.loads(request)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    # Those of the parent may remember that they can seek.
    sys.stdin = os.fdopen(0, closefd=False, encoding="utf-8")
    sys.stdout = os.fdopen(1, "w", closefd=False, encoding="utf-8")
    sys.stderr = os.fdopen(2, "w", closefd=False, encoding="utf-8")
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["flask", *arguments]
    code = 1
    try:
        main()  # type: ignore[operator]
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else ended.code is not None
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        # Alembic has kept the stream that there was when it was imported.
        for stream in filter(None, (sys.__stdout__, sys.stdout, sys.stderr)):
            stream.flush()
        connection.sendall(bytes([code]))
        os._exit(0)


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _ask(path: str, arguments: list[str]) -> int:
    folder = os.getcwd()  # noqa: PTH109 (pathlib takes longer to import)
    request = json.dumps([arguments, folder, dict(os.environ)]).encode()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        socket.send_fds(connection, [request], [0, 1, 2])
        answer = connection.recv(1)
    return answer[0] if answer else 1


if __name__ == "__main__":
    sys.exit(_ask(sys.argv[1], sys.argv[2:]))
