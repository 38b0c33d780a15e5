"""Promise 11: forks, threads and nested contexts each keep to their own key."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask.views import MethodView

from flask_orgkeys import current_key, require_key, require_scope

from .. import databases
from ..host import Host, bearer, with_wrong_secret
from .outside import last_used_at

ROOT = Path(__file__).parents[2]
WORKERS = 4

of_one_of_each = pytest.mark.parametrize("any_database_url", databases.ONE_OF_EACH, indirect=True)


@contextmanager
def gunicorn(url: str) -> Iterator[int]:
    """Serve :mod:`served` by workers forked from a loaded app. Yields the port."""
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", str(WORKERS)]
    command += ["--bind", "127.0.0.1:0", "--no-control-socket", "tests.promises.served:app"]
    environment = {**os.environ, "ORGKEYS_TEST_SERVED_DATABASE": url}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            yield port_of(server)
        finally:
            server.terminate()
            # Emptied, so that it can write what it has to say in the end.
            server.communicate(timeout=20)


def port_of(server: subprocess.Popen[str]) -> int:
    """Read on until every worker has been started."""
    assert server.stderr is not None
    port, started, lines = 0, 0, []
    while started < WORKERS:
        line = server.stderr.readline()
        assert line, "".join(lines)
        lines.append(line)
        if match := re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", line):
            port = int(match[1])
        started += "Booting worker" in line
    return port


def ask(port: int, path: str, token: str | None = None, method: str = "GET") -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, headers=bearer(token) if token else {})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


@pytest.mark.parametrize("any_database_url", [databases.PSYCOPG, databases.PSYCOPG2], indirect=True)
def test_preloaded_workers_cross_no_organisation_and_revoke_at_once(any_host: Host) -> None:
    with any_host.app.app_context():
        url = any_host.db.engine.url.render_as_string(hide_password=False)
    keys = {any_host.organization_ids[slug]: any_host.issue(slug) for slug in ("acme", "beta")}
    with gunicorn(url) as port:
        alternate(port, keys)
        revoke_by_turns(any_host, port)
    for _, key_id in keys.values():
        assert last_used_at(any_host, key_id) is not None


def alternate(port: int, keys: dict[Any, tuple[str, str]]) -> None:
    """Two organisations at once, and somebody whose key is wrong."""
    whose = [*keys, None] * 150
    wrong = with_wrong_secret(next(iter(keys.values()))[0])

    def ask_for(organization_id: Any) -> tuple[int, Any]:
        token = wrong if organization_id is None else keys[organization_id][0]
        return ask(port, "/api/key-and-worker", token)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask_for, whose))
    workers = set()
    for organization_id, (status, body) in zip(whose, answers, strict=True):
        if organization_id is None:
            assert (status, body["code"]) == (401, "invalid_key")
        else:
            assert status == 200, body
            assert body["organization"] == organization_id
            assert body["key"] == keys[organization_id][1]
            workers.add(body["worker"])
    assert len(workers) == WORKERS


def revoke_by_turns(host: Host, port: int) -> None:
    """Each round, one worker revokes a key, and whichever is asked next refuses it."""
    organization_id = host.organization_ids["acme"]
    with host.app.app_context():
        issued = [
            host.orgkeys.create_key(organization_id, name="CI", scopes=["project:deploy"])
            for _ in range(100)
        ]
        keys = [(one.token, one.key.id) for one in issued]
        host.db.session.commit()
    revokers = set()
    with ThreadPoolExecutor(WORKERS) as pool:
        for token, key_id in keys:
            assert ask(port, "/api/key-and-worker", token)[0] == 200
            status, body = ask(port, f"/revocations/{organization_id}/{key_id}", method="POST")
            assert status == 200
            revokers.add(body["worker"])
            asked = [pool.submit(ask, port, "/api/key-and-worker", token) for _ in range(WORKERS)]
            assert {one.result()[1]["code"] for one in asked} == {"revoked_key"}
    assert len(revokers) == WORKERS


@pytest.mark.parametrize("any_database_url", databases.ALL, indirect=True)
def test_thirty_two_threads_each_keep_to_their_own_key(any_host: Host) -> None:
    keys = [any_host.issue(slug, name=slug) for slug in ("acme", "beta")] * 15
    revoked, revoked_id = any_host.issue()
    any_host.revoke(revoked_id)
    barrier = threading.Barrier(32)

    def authenticate(credential: tuple[str, str]) -> set[tuple[int, str]]:
        client = any_host.client()
        barrier.wait(20)
        answers = [client.get("/api/whoami", headers=bearer(credential[0])) for _ in range(10)]
        return {(a.status_code, a.json.get("name") or a.json["code"]) for a in answers}

    wrong = with_wrong_secret(keys[0][0])
    with ThreadPoolExecutor(32) as pool:
        seen = list(pool.map(authenticate, [*keys, (revoked, ""), (wrong, "")]))
    expected = [{(200, "acme")}, {(200, "beta")}] * 15
    assert seen == [*expected, {(401, "revoked_key")}, {(401, "invalid_key")}]
    for _, key_id in keys[:2]:
        assert last_used_at(any_host, key_id) is not None


@of_one_of_each
def test_async_and_class_based_views_at_once_each_see_their_own_key(any_host: Host) -> None:
    both = threading.Barrier(2)

    @any_host.app.get("/asynchronous")
    @require_scope("project:deploy")
    async def asynchronous() -> list[str]:
        before = current_key.id
        await asyncio.to_thread(both.wait, 20)
        return [before, current_key.id]

    class ByClass(MethodView):
        decorators = [require_scope("project:deploy")]

        def get(self) -> list[str]:
            before = current_key.id
            both.wait(20)
            return [before, current_key.id]

    any_host.app.add_url_rule("/by-class", view_func=ByClass.as_view("by_class"))
    keys = {path: any_host.issue() for path in ("/asynchronous", "/by-class")}

    def authenticate(path: str) -> Any:
        return any_host.client().get(path, headers=bearer(keys[path][0])).json

    with ThreadPoolExecutor(2) as pool:
        for _ in range(5):
            seen = dict(zip(keys, pool.map(authenticate, keys), strict=True))
            assert seen == {path: [key_id] * 2 for path, (_, key_id) in keys.items()}


def test_request_within_a_request_has_a_key_of_its_own(any_host: Host) -> None:
    outer, outer_id = any_host.issue()
    inner, inner_id = any_host.issue("beta")

    @any_host.app.get("/asks-itself")
    @require_key
    def asks_itself() -> list[Any]:
        client = any_host.client()
        return [
            current_key.id,
            client.get("/open").json["key"],
            client.get("/open", headers=bearer(inner)).json["key"],
            client.get("/api/whoami").status_code,
            current_key.id,
        ]

    seen = any_host.client().get("/asks-itself", headers=bearer(outer)).json
    assert seen == [outer_id, None, inner_id, 401, outer_id]


def test_key_does_not_outlive_its_request_in_a_pushed_app_context(any_host: Host) -> None:
    token, key_id = any_host.issue()
    client = any_host.client()
    with any_host.app.app_context():
        any_host.db.session.execute(sa.select(any_host.Organization)).all()
        for _ in range(2):
            assert client.get("/open", headers=bearer(token)).json == {"key": key_id}
            assert not current_key
            assert client.get("/open").json == {"key": None}
            assert client.get("/api/whoami").status_code == 401


@of_one_of_each
def test_two_apps_with_one_instance_keep_their_keys_apart(any_host: Host, tmp_path: Path) -> None:
    token, key_id = any_host.issue()
    elsewhere = f"sqlite:///{tmp_path / 'elsewhere.sqlite'}"
    with any_host.sibling(SQLALCHEMY_DATABASE_URI=elsewhere, ORGKEYS_PREFIX="other") as sibling:
        with sibling.app.app_context():
            sibling.db.create_all()
            sibling.db.session.add(sibling.Organization(id=1, slug="acme", name="Acme"))
            sibling.db.session.commit()
        other_token, other_id = sibling.issue()
        assert other_token.startswith("other_")
        # Also from within the context of the other.
        with sibling.app.app_context():
            assert any_host.client().get("/open", headers=bearer(token)).json == {"key": key_id}
        with any_host.app.app_context():
            answer = sibling.client().get("/open", headers=bearer(other_token))
            assert answer.json == {"key": other_id}
        assert any_host.client().get("/open", headers=bearer(other_token)).json == {"key": None}
        assert sibling.client().get("/open", headers=bearer(token)).json == {"key": None}
        assert last_used_at(any_host, key_id) is not None
        assert last_used_at(sibling, other_id) is not None
