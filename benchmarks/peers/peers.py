"""Other packages for the same job, each in a virtual environment and a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from .. import apps
from ..databases import Database, empty
from ..subjects import NO_HEADER, Label, Subject
from . import drf, keyshield

_ROOT = Path(__file__).parents[2]
_ENVIRONMENTS = _ROOT / ".venv-peers"
INSTALL_SECONDS = 600
ANSWER_SECONDS = 300


@dataclass(frozen=True)
class Peer:
    """A package to compare with.

    :param module: what runs in its environment.
    :param requirements: what its environment needs.
    :param weights: its apps, the bare one first, and the part of a block that is enough.
    """

    name: str
    module: str
    requirements: tuple[str, ...]
    weights: dict[str, float]


PEERS = (
    Peer(
        "djangorestframework-api-key",
        drf.__name__,
        ("django", "djangorestframework", "djangorestframework-api-key", "psycopg[binary]"),
        dict.fromkeys(drf.NAMES, 0.5),
    ),
    Peer(
        "keyshield",
        keyshield.__name__,
        ("fastapi", "keyshield[core]", "sqlalchemy[asyncio]", "aiosqlite", "psycopg[binary]"),
        {keyshield.BARE: 0.5, keyshield.CACHED: 0.05, keyshield.DEFAULTS: 0.005},
    ),
)
APPS = tuple(app for peer in PEERS for app in list(peer.weights)[1:])


@dataclass
class Joined:
    """The peers that take part, and why others do not.

    :param versions: of each package that takes part.
    :param absent: a peer's name and the reason.
    """

    subjects: list[Subject] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)


@contextmanager
def joined(
    database: Database, directory: Path, progress: Callable[[str], None]
) -> Iterator[Joined]:
    """Install and start every peer, on a database of its own like ``database``; stop them."""
    peers = Joined()
    running: list[subprocess.Popen[str]] = []
    with empty(database.kind, directory) as keyshield_url, empty(database.kind, directory) as url:
        urls = dict(zip((peer.name for peer in PEERS), (url, keyshield_url), strict=True))
        try:
            for peer in PEERS:
                progress(f"{peer.name}: install, make {database.keys.size:,} keys")
                _join(peer, peers, urls[peer.name], database.keys.size, running)
            yield peers
        finally:
            for process in running:
                process.kill()
                process.communicate()


def _join(
    peer: Peer, peers: Joined, url: str, size: int, running: list[subprocess.Popen[str]]
) -> None:
    try:
        python = _install(peer)
        process = subprocess.Popen(
            [python, "-m", peer.module, url, str(size)],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        peers.versions.update(_read(process)["versions"])
    except (OSError, subprocess.SubprocessError, RuntimeError) as error:
        peers.absent[peer.name] = _reason(error)
        return
    bare_app = next(iter(peer.weights))
    for app, weight in peer.weights.items():
        label = Label(app, apps.GUARDED, size=size, bare_app=bare_app)
        if app == bare_app:
            label = Label(app, apps.GUARDED, NO_HEADER, bare_app=bare_app)
        peers.subjects.append(Subject(label, partial(_prepare, process, app), weight))


def _install(peer: Peer) -> Path:
    """Return the Python of a peer's environment, made on first use."""
    environment = _ENVIRONMENTS / peer.name
    python = environment / "bin" / "python"
    stamp = environment / "requirements.txt"
    wanted = "\n".join(peer.requirements)
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    for command in (
        [sys.executable, "-m", "venv", environment],
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"],
    ):
        further = peer.requirements if "pip" in command else ()
        subprocess.run(
            [*command, *further],
            check=True,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
        )
    stamp.write_text(wanted)
    return python


def _prepare(process: subprocess.Popen[str], app: str, count: int) -> Callable[[], float]:
    def run() -> float:
        assert process.stdin is not None
        process.stdin.write(json.dumps([app, count]) + "\n")
        process.stdin.flush()
        return float(_read(process))

    return run


def _read(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    watchdog = threading.Timer(ANSWER_SECONDS, process.kill)
    watchdog.start()
    line = process.stdout.readline()
    watchdog.cancel()
    if not line:
        raise RuntimeError(f"it ended with status {process.wait(timeout=10)}")
    return json.loads(line)


def _reason(error: Exception) -> str:
    said = getattr(error, "stderr", None) or str(error)
    return said.strip().splitlines()[-1][:200]
