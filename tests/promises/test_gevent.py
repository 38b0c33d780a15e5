"""Promise 19 under gevent, whose timeouts end a request in the middle of what it waits for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .. import databases

ROOT = Path(__file__).parents[2]

# In a process of its own: patching cannot be undone.
SCRIPT = """
from gevent import monkey

monkey.patch_all()

import sys

import gevent

from tests.host import bearer, disposing, make_host
from tests.promises.test_cut_short import locked_table, slow_touch

POOL = {"pool_size": 4, "max_overflow": 0, "pool_timeout": 0.5}


def send(host, token, seconds=None):
    with gevent.Timeout(seconds):
        return host.client().get("/api/whoami", headers=bearer(token)).status_code


def cut_short(host, token):
    try:
        send(host, token, 0.1)
    except gevent.Timeout:
        return True
    return False


with disposing(make_host(sys.argv[1], config={"SQLALCHEMY_ENGINE_OPTIONS": POOL})) as host:
    keys = [host.issue()[0] for _ in range(3)]
    with slow_touch(host):
        print("touch", [cut_short(host, token) for token in keys[:2]])
    with locked_table(host) as unlock:
        cut = [gevent.spawn(cut_short, host, keys[2]) for _ in range(4)]
        gevent.joinall(cut)
        unlock()
    print("look-up", [each.value for each in cut])
    with host.app.app_context():
        print("checked out", host.db.engine.pool.checkedout())
    print("after", {send(host, token) for token in keys * 2})
    with host.app.app_context():
        host.db.drop_all()
"""


@pytest.mark.parametrize("any_database_url", [databases.PSYCOPG, databases.PYMYSQL], indirect=True)
def test_timeouts(any_database_url: str) -> None:
    """No place in the pool is lost, and no connection is handed on in the middle of a query."""
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, any_database_url],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert ran.stdout.splitlines() == [
        "touch [True, True]",
        "look-up [True, True, True, True]",
        "checked out 0",
        "after {200}",
    ], ran.stderr
