"""Throughput and waiting times of the apps under gunicorn, by wrk."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from . import apps, keys
from .databases import Database

WRK = "wrk"
WORKERS = 2
CONNECTIONS = 8
WARM_UP_SECONDS = 3

_ROOT = Path(__file__).parent.parent
_SCRIPT = """
local tokens = {}
for line in io.lines("%s") do tokens[#tokens + 1] = "Bearer " .. line end

request = function()
  return wrk.format("GET", nil, {["Authorization"] = tokens[math.random(#tokens)]})
end

done = function(summary, latency)
  local errors = summary.errors
  local failed = errors.status + errors.timeout + errors.connect
  io.write(string.format("\\n[%%d, %%d, %%d, %%d, %%d]\\n", summary.requests, summary.duration,
    failed, latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True)
class Load:
    """What one app did under load.

    :param p50: microseconds.
    :param p99: microseconds.
    """

    per_second: float
    p50: float
    p99: float


def is_available() -> bool:
    return shutil.which(WRK) is not None


def measure(
    database: Database,
    kinds: Sequence[str],
    directory: Path,
    *,
    rounds: int,
    seconds: int,
    progress: Callable[[str], None],
) -> dict[str, Load]:
    """Put each app under load twice a round, in order and then in reverse.

    :param seconds: of load at a time.
    :return: the median of each figure.
    """
    script = _write_script(database, directory)
    loads: dict[str, list[Load]] = {kind: [] for kind in kinds}
    with ExitStack() as stack:
        ports = {kind: stack.enter_context(_serving(kind, database)) for kind in kinds}
        for kind in kinds:
            _load(ports[kind], script, WARM_UP_SECONDS)
        for number in range(1, rounds + 1):
            for kind in (*kinds, *reversed(kinds)):
                loads[kind].append(_load(ports[kind], script, seconds))
            progress(f"load, round {number} of {rounds}")
    return {kind: _median(each) for kind, each in loads.items()}


def _write_script(database: Database, directory: Path) -> Path:
    tokens = directory / "tokens.txt"
    tokens.write_text("".join(f"{keys.token_of(number)}\n" for number in database.keys.active))
    script = directory / "load.lua"
    script.write_text(_SCRIPT % tokens)
    return script


@contextmanager
def _serving(kind: str, database: Database) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        command = [
            *(sys.executable, "-m", "gunicorn", "--workers", str(WORKERS)),
            *("--bind", f"fd://{listener.fileno()}", "--log-level", "warning"),
            f"benchmarks.apps:make_app({kind!r}, {database.url!r})",
        ]
        server = subprocess.Popen(command, cwd=_ROOT, pass_fds=[listener.fileno()])
        try:
            port = int(listener.getsockname()[1])
            _await_answer(port)
            yield port
        finally:
            server.terminate()
            try:
                server.wait(timeout=20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _await_answer(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with closing(connection):
        connection.request("GET", apps.OPEN)
        connection.getresponse().read()


def _load(port: int, script: Path, seconds: int) -> Load:
    command = [
        *(WRK, "--threads", "1", "--connections", str(CONNECTIONS), "--timeout", "10s"),
        *("--duration", f"{seconds}s", "--script", str(script)),
        f"http://127.0.0.1:{port}{apps.GUARDED}",
    ]
    finished = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds + 60, check=True
    )
    requests, microseconds, failed, p50, p99 = json.loads(finished.stdout.splitlines()[-1])
    if failed or not requests:
        raise RuntimeError(f"of {requests} requests, {failed} failed under load")
    return Load(requests / microseconds * 1e6, p50, p99)


def _median(loads: Sequence[Load]) -> Load:
    return Load(
        median(load.per_second for load in loads),
        median(load.p50 for load in loads),
        median(load.p99 for load in loads),
    )
