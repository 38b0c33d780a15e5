"""Memory after many requests with many keys, against after few: in a fresh process."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from . import apps
from .databases import Database
from .keys import KeySet
from .subjects import EVERY, Label
from .work import work_of

SECONDS_AT_MOST = 600
BLOCK = 1_000

_ROOT = Path(__file__).parent.parent
_STATM = Path("/proc/self/statm")


def is_available() -> bool:
    return _STATM.exists()


def growth(database: Database, requests: int) -> float:
    """Return the MB a process has grown between a tenth of ``requests`` and all of them.

    Every request presents a random key of the database.
    """
    command = [sys.executable, "-m", __name__, database.kind, database.url]
    finished = subprocess.run(
        [*command, str(database.keys.size), str(requests)],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        text=True,
        timeout=SECONDS_AT_MOST,
        check=True,
    )
    early, late = map(int, finished.stdout.split())
    return (late - early) / 1e6


def main(arguments: Sequence[str]) -> None:
    """Serve the requests, and print the resident bytes after a tenth and at the end."""
    kind, url, size, requests = arguments
    database = Database(kind, url, KeySet(int(size)))
    prepare = work_of(Label(apps.ORGKEYS, apps.GUARDED, keys=EVERY), database)
    early = int(requests) // 10
    for count in (early, int(requests) - early):
        for _ in range(count // BLOCK):
            prepare(BLOCK)()
        gc.collect()
        sys.stdout.write(f"{_resident()}\n")


def _resident() -> int:
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


if __name__ == "__main__":
    main(sys.argv[1:])
