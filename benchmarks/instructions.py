"""Instructions per request, counted by callgrind: the same figure on a busy machine as on a
quiet one.

A script serves N requests, then 2N, under ``valgrind --tool=callgrind``; the difference by N is
free of the cost of counting. A call of ``getpriority``, which nothing else calls, marks the end of
a count. Start-up and the first requests are not counted, and so run ten times as fast.
"""

from __future__ import annotations

import gc
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

from .databases import Database
from .keys import KeySet
from .subjects import Label
from .work import work_of

VALGRIND = "valgrind"
CONTROL = "callgrind_control"
REQUESTS = 40
WARM_UP = 60
SECONDS_AT_MOST = 300

_ROOT = Path(__file__).parent.parent
_TOTAL = re.compile(r"^totals: (\d+)$", re.MULTILINE)


def is_available() -> bool:
    return shutil.which(VALGRIND) is not None


def count(
    labels: Sequence[Label], database: Database, keep: Path | None = None
) -> dict[Label, int]:
    """Return the instructions one request takes, for each label.

    :param keep: where to leave callgrind's files, for ``callgrind_annotate``; three of each
        label, of which the second and third are the counted ones.
    :raises RuntimeError: where valgrind did not count.
    """
    with tempfile.TemporaryDirectory() as temporary:
        directory = keep or Path(temporary)
        _run(labels, database, directory)
        totals = _read_totals(directory)
    # What came before a label's first mark, N requests, 2N requests.
    if len(totals) != 3 * len(labels):
        raise RuntimeError(f"callgrind wrote {len(totals)} counts for {len(labels)} labels")
    return {
        label: round((totals[3 * index + 2] - totals[3 * index + 1]) / REQUESTS)
        for index, label in enumerate(labels)
    }


def _run(labels: Sequence[Label], database: Database, directory: Path) -> None:
    command = [
        VALGRIND,
        "--tool=callgrind",
        "--instr-atstart=no",
        "--dump-before=getpriority",
        f"--callgrind-out-file={directory / 'count'}",
        sys.executable,
        "-m",
        __name__,
        database.kind,
        database.url,
        str(database.keys.size),
        json.dumps([astuple(label) for label in labels]),
    ]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    finished = subprocess.run(
        command,
        cwd=_ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=SECONDS_AT_MOST,
        check=False,
    )
    if finished.returncode:
        raise RuntimeError(f"valgrind failed: {finished.stderr[-2000:]}")


def _read_totals(directory: Path) -> list[int]:
    dumps = sorted(directory.glob("count.*"), key=lambda path: int(path.suffix[1:]))
    found = [_TOTAL.search(dump.read_text(errors="replace")) for dump in dumps]
    return [int(match[1]) for match in found if match is not None]


def main(arguments: Sequence[str]) -> None:
    """Serve the requests: what runs under valgrind."""
    kind, url, size, labels = arguments
    database = Database(kind, url, KeySet(int(size)))
    prepared = [work_of(Label(*values), database) for values in json.loads(labels)]
    for prepare in prepared:
        prepare(WARM_UP)()
    counted = [(prepare(REQUESTS), prepare(2 * REQUESTS)) for prepare in prepared]
    gc.collect()
    gc.disable()
    _start_counting()
    for once, twice in counted:
        _mark()
        once()
        _mark()
        twice()
        _mark()


def _start_counting() -> None:
    command = [CONTROL, "--instr=on", str(os.getpid())]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as control:
        # Valgrind listens to it only while the program runs.
        while control.poll() is None:
            pass
    if control.returncode:
        raise RuntimeError(f"{CONTROL} failed")


def _mark() -> None:
    os.getpriority(os.PRIO_PROCESS, 0)


if __name__ == "__main__":
    main(sys.argv[1:])
