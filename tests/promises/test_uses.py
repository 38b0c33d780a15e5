"""Promise 21: what is recorded of uses is true, and costs no request."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any

import flask_restful
import pytest
import sqlalchemy as sa
import time_machine
from flask import abort, current_app
from flask.views import MethodView, View
from werkzeug.exceptions import Forbidden

from flask_orgkeys import current_key, require_key, require_scope
from flask_orgkeys.authentication.drivers import SQLite

from .. import databases
from ..conftest import MakeHost
from ..host import Host, bearer, with_wrong_secret
from .hooks import write
from .outside import connection_of_another_process, url_of
from .test_last_used import SOON_SECONDS, locked

NOW = datetime(2031, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)

of_files_and_servers = pytest.mark.parametrize(
    "any_database_url", [databases.SQLITE_FILE, *databases.SERVERS], indirect=True
)


def uses_of(host: Host, key_id: str) -> list[dict[str, Any]]:
    """The rows of a key as another process sees them, by endpoint and outcome."""
    table = host.db.metadata.tables["orgkeys_use"]
    statement = sa.select(table).where(table.c.key_id == key_id)
    with connection_of_another_process(host) as connection:
        rows = connection.execute(statement.order_by(table.c.endpoint, table.c.outcome))
        return [dict(row._mapping) for row in rows]


def noted(host: Host, key_id: str) -> dict[tuple[str, str], int]:
    return {(row["endpoint"], row["outcome"]): row["uses"] for row in uses_of(host, key_id)}


def test_every_outcome(any_host: Host) -> None:
    client = any_host.client()
    token, key_id = any_host.issue(expires_at=NOW + timedelta(days=1))
    with time_machine.travel(NOW, tick=False):
        for path in ("/api/deploy", "/api/publish-and-deploy", "/api/o/beta/deployments", "/open"):
            client.post(path, headers=bearer(token))
        client.post("/api/o/nobody/deployments", headers=bearer(token))
        client.post("/nowhere", headers=bearer(token))
    with time_machine.travel(NOW + timedelta(days=1), tick=False):
        client.post("/api/deploy", headers=bearer(token))
        any_host.revoke(key_id)
        client.post("/api/deploy", headers=bearer(token))
        client.post("/open", headers=bearer(token))
    assert [
        (row["endpoint"], row["outcome"], row["scopes"], row["uses"])
        for row in uses_of(any_host, key_id)
    ] == [
        ("deploy", "organization_not_found", ["project:deploy"], 1),
        ("deploy_anywhere", "accepted", ["project:deploy"], 1),
        ("deploy_anywhere", "expired_key", ["project:deploy"], 1),
        ("deploy_anywhere", "revoked_key", ["project:deploy"], 1),
        ("publish_and_deploy", "insufficient_scope", ["app:publish", "project:deploy"], 1),
    ]


def test_strangers_write_nothing(any_host: Host) -> None:
    token, key_id = any_host.issue()
    client = any_host.client()
    any_host.revoke(key_id)
    unknown = token.replace(key_id, key_id[::-1].swapcase())
    for header in (
        with_wrong_secret(token),
        token[:-1],
        with_wrong_secret(unknown),
        f"{token},Bearer {token}",
    ):
        assert client.get("/api/whoami", headers=bearer(header)).status_code in (400, 401)
    client.get("/api/whoami")
    table = any_host.db.metadata.tables["orgkeys_use"]
    with connection_of_another_process(any_host) as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(table)) == 0


def test_row(any_host: Host) -> None:
    token, key_id = any_host.issue()
    client = any_host.client()
    with time_machine.travel(NOW, tick=False):
        client.get(
            "/api/deploy",
            headers={**bearer(token), "User-Agent": "curl/8.5"},
            environ_base={"REMOTE_ADDR": "203.0.113.7"},
        )
    with any_host.app.app_context():
        (use,) = any_host.orgkeys.list_uses(any_host.organization_ids["acme"], key_id)
        assert isinstance(use, any_host.orgkeys.KeyUse)
        assert (use.key_id, use.endpoint, use.outcome) == (key_id, "deploy_anywhere", "accepted")
        assert (use.scopes, use.uses) == (["project:deploy"], 1)
        assert use.first_at == use.last_at == NOW
        assert (use.address, use.agent) == ("203.0.113.7", "curl/8.5")


def test_step(any_host: Host) -> None:
    """Within a step the uses are counted and not written; a new address is written at once."""
    token, key_id = any_host.issue()
    client = any_host.client()

    def use(seconds: float, address: str = "203.0.113.7") -> tuple[int, datetime, str]:
        with time_machine.travel(NOW + timedelta(seconds=seconds), tick=False):
            client.get("/api/whoami", headers=bearer(token), environ_base={"REMOTE_ADDR": address})
        (row,) = uses_of(any_host, key_id)
        return row["uses"], row["last_at"].replace(tzinfo=UTC), row["address"]

    assert use(0) == (1, NOW, "203.0.113.7")
    assert use(1) == use(2) == (1, NOW, "203.0.113.7")
    assert use(3, "::1") == (4, NOW + timedelta(seconds=3), "::1")
    assert use(4, "203.0.113.7") == (4, NOW + timedelta(seconds=3), "::1")
    assert use(60) == (6, NOW + timedelta(seconds=60), "203.0.113.7")
    # A clock that is set back takes no row with it.
    assert use(-3600) == (7, NOW + timedelta(seconds=60), "203.0.113.7")


def test_many_addresses_do_not_write_at_each_request(host: Host) -> None:
    token, key_id = host.issue()
    client = host.client()
    with time_machine.travel(NOW, tick=False):
        for number in range(100):
            address = {"REMOTE_ADDR": f"203.0.113.{number}"}
            client.get("/api/whoami", headers=bearer(token), environ_base=address)
    (row,) = uses_of(host, key_id)
    assert row["uses"] == 8


@pytest.fixture
def guarded(host: Host) -> Host:
    """A host whose views have several guards."""
    app = host.app

    @app.get("/stacked")
    @require_scope("project:deploy")
    @require_scope("app:publish")
    def stacked() -> str:
        return ""

    @require_scope("project:deploy")
    class Classy(MethodView):
        def get(self) -> str:
            return ""

        @require_scope("app:publish")
        def post(self) -> str:
            return ""

    app.add_url_rule("/classy", view_func=Classy.as_view("classy"))

    @app.get("/fails")
    @require_key
    def fails() -> str:
        abort(500)

    @app.get("/asynchronous")
    @require_key
    async def asynchronous() -> str:
        return ""

    app.before_request(lambda: None)
    return host


@pytest.mark.parametrize(
    ("method", "path", "row"),
    [
        ("GET", "/stacked", ("stacked", "accepted", ["app:publish", "project:deploy"])),
        ("GET", "/classy", ("classy", "accepted", ["project:deploy"])),
        ("POST", "/classy", ("classy", "accepted", ["app:publish", "project:deploy"])),
        ("GET", "/fails", ("fails", "accepted", [])),
        ("GET", "/asynchronous", ("asynchronous", "accepted", [])),
    ],
)
def test_a_request_counts_once(guarded: Host, method: str, path: str, row: Any) -> None:
    token, key_id = guarded.issue(scopes=["app:publish", "project:deploy"])
    guarded.client().open(path, method=method, headers=bearer(token))
    (use,) = uses_of(guarded, key_id)
    assert (use["endpoint"], use["outcome"], use["scopes"]) == row
    assert use["uses"] == 1


@pytest.mark.parametrize(
    ("method", "path", "scopes"),
    [("GET", "/stacked", ["app:publish"]), ("POST", "/classy", ["app:publish"])],
)
def test_the_guard_that_refuses_counts(
    guarded: Host, method: str, path: str, scopes: list[str]
) -> None:
    token, key_id = guarded.issue(scopes=["project:deploy"])
    guarded.client().open(path, method=method, headers=bearer(token))
    (use,) = uses_of(guarded, key_id)
    assert (use["outcome"], use["scopes"], use["uses"]) == ("insufficient_scope", scopes, 1)


def test_guard_in_a_hook_and_guard_on_the_view(new_host: MakeHost) -> None:
    hook = require_scope("app:publish")(lambda: None)
    host = new_host()
    host.app.before_request(hook)
    host.app.add_url_rule("/bare", "bare", lambda: "")
    token, key_id = host.issue(scopes=["app:publish", "project:deploy"])
    client = host.client()
    for path in ("/api/deploy", "/bare"):
        assert client.get(path, headers=bearer(token)).status_code < 300
    assert [(use["endpoint"], use["scopes"], use["uses"]) for use in uses_of(host, key_id)] == [
        ("bare", ["app:publish"], 1),
        ("deploy_anywhere", ["app:publish", "project:deploy"], 1),
    ]


def hiding(view: Any) -> Any:
    """A decorator without ``functools.wraps``."""

    def hidden(*args: Any, **kwargs: Any) -> Any:
        return view(*args, **kwargs)

    return hidden


@pytest.mark.parametrize(
    ("held", "outcome"),
    [(["app:publish", "project:deploy"], "accepted"), (["app:publish"], "insufficient_scope")],
)
@pytest.mark.parametrize(
    "around",
    [
        lambda view: require_scope("app:publish")(hiding(view)),
        lambda view: require_key(require_scope("app:publish")(hiding(hiding(view)))),
        lambda view: require_key(hiding(require_scope("app:publish")(hiding(view)))),
        lambda view: hiding(require_scope("app:publish")(hiding(view))),
    ],
)
def test_guard_below_a_decorator_that_hides_it(
    host: Host, around: Any, held: list[str], outcome: str
) -> None:
    view = around(require_scope("project:deploy")(lambda: ""))
    host.app.add_url_rule("/hidden", "hidden", view)
    token, key_id = host.issue(scopes=held)
    for _ in range(2):
        host.client().get("/hidden", headers=bearer(token))
    (use,) = uses_of(host, key_id)
    assert (use["outcome"], use["uses"]) == (outcome, 1)
    demanded = ["app:publish", "project:deploy"] if outcome == "accepted" else ["project:deploy"]
    assert use["scopes"] == demanded


@pytest.mark.parametrize("calls", [True, False])
def test_view_that_may_call_another_guarded_one(host: Host, calls: bool) -> None:
    """The use counts, and the refusal, if the other guard refuses, alone."""
    other = require_scope("project:deploy")(lambda: "")
    host.app.add_url_rule("/other", "other", other)
    host.app.add_url_rule("/calls", "calls", require_key(lambda: other() if calls else ""))
    token, key_id = host.issue(scopes=["app:publish"])
    host.client().get("/calls", headers=bearer(token))
    outcome = "insufficient_scope" if calls else "accepted"
    assert noted(host, key_id) == {("calls", outcome): 1}


def test_view_that_may_ask_for_the_user(host: Host) -> None:
    """To look for another guard in its closure loads none."""
    from flask_login import current_user

    loaded: list[str] = []
    host.app.login_manager.user_loader(loaded.append)  # type: ignore[attr-defined]
    view = require_key(lambda: str(current_user) if not current_key else "")
    host.app.add_url_rule("/view", "view", view)
    token, key_id = host.issue()
    client = host.client("ada")
    assert client.get("/view", headers=bearer(token)).status_code == 200
    assert not loaded
    assert noted(host, key_id) == {("view", "accepted"): 1}


@require_scope("project:deploy")
def deploying() -> str:
    return ""


def calling() -> Any:
    return deploying()


def calling_in_a_lambda() -> Any:
    return (lambda: deploying())()


def catching() -> Any:
    try:
        return deploying()
    except Forbidden:
        return ""


def dispatching() -> Any:
    return current_app.view_functions["deploy_anywhere"]()


class Dispatching(View):
    @require_scope("project:deploy")
    def run(self) -> str:
        return ""

    def dispatch_request(self) -> Any:
        return self.run()


BOTH = ["app:publish", "project:deploy"]
DECISIONS = [
    (BOTH, "accepted", BOTH),
    (["app:publish"], "insufficient_scope", ["project:deploy"]),
]


@pytest.mark.parametrize(("held", "outcome", "demanded"), DECISIONS)
@pytest.mark.parametrize("view", [calling, calling_in_a_lambda, catching])
def test_view_that_calls_a_guarded_function(
    host: Host, view: Any, held: list[str], outcome: str, demanded: list[str]
) -> None:
    host.app.add_url_rule("/calling", "calling", require_scope("app:publish")(view))
    token, key_id = host.issue(scopes=held)
    for _ in range(2):
        host.client().get("/calling", headers=bearer(token))
    (use,) = uses_of(host, key_id)
    assert (use["outcome"], use["uses"], use["scopes"]) == (outcome, 1, demanded)


@pytest.mark.parametrize(("held", "outcome", "demanded"), DECISIONS)
@pytest.mark.parametrize("view", [dispatching, hiding(calling), Dispatching.as_view("dispatching")])
def test_call_of_a_guard_that_no_code_shows_counts_once_from_the_second_on(
    host: Host, view: Any, held: list[str], outcome: str, demanded: list[str]
) -> None:
    host.app.add_url_rule("/dispatching", "dispatching", require_scope("app:publish")(view))
    first, _ = host.issue(scopes=held)
    token, key_id = host.issue(scopes=held)
    for presented in (first, token):
        host.client().get("/dispatching", headers=bearer(presented))
    (use,) = uses_of(host, key_id)
    assert (use["outcome"], use["uses"], use["scopes"]) == (outcome, 1, demanded)


@pytest.mark.parametrize("granted", [True, False])
@pytest.mark.parametrize("around", ["class", "hook", None])
def test_guards_of_a_class_framework(host: Host, around: str | None, granted: bool) -> None:
    """They are made anew at each request, and count once all the same."""

    class Resource(flask_restful.Resource):  # type: ignore[misc]
        decorators = [require_key] if around == "class" else []
        method_decorators = [require_scope("app:publish"), require_key]

        def get(self) -> str:
            return ""

    if around == "hook":
        host.app.before_request(require_key(lambda: None))
    flask_restful.Api(host.app).add_resource(Resource, "/resource")
    token, key_id = host.issue(scopes=["app:publish" if granted else "project:deploy"])
    host.client().get("/resource", headers=bearer(token))
    (use,) = uses_of(host, key_id)
    outcome = "accepted" if granted else "insufficient_scope"
    assert (use["outcome"], use["scopes"], use["uses"]) == (outcome, ["app:publish"], 1)


@of_files_and_servers
def test_scopes_unite_over_processes(new_host: MakeHost, any_database_url: str) -> None:
    host = new_host(any_database_url)
    scopes = iter(["app:publish", "project:deploy", "app:publish"])

    def add(app: Any) -> None:
        view = require_scope(next(scopes))(lambda: "")
        app.add_url_rule("/changing", endpoint="changing", view_func=view)

    token, key_id = host.issue(scopes=["app:publish", "project:deploy"])
    for _ in range(3):
        with host.sibling() as process:
            add(process.app)
            assert process.client().get("/changing", headers=bearer(token)).status_code == 200
    with host.app.app_context():
        (use,) = host.orgkeys.list_uses(host.organization_ids["acme"], key_id)
        assert (use.scopes, use.uses) == (["app:publish", "project:deploy"], 3)


@pytest.mark.parametrize(
    ("agent", "kept"),
    [
        ("curl/8.5", "curl/8.5"),
        ("", None),
        ("a" * 500, "a" * 200),
        ("tab\there\x7f\x85", "tabhere"),
        ("orgk_{id}_{secret}", None),
        ("x orgk_{id}_{secret} y", "x  y"),
        ("other_{id}_{secret}z{secret}", None),
        ("=orgk_{id}_{secret}", "="),
        ("orgk_{id}\x01_{secret}", None),
        ("é" * 300, None),
    ],
)
def test_agent(host: Host, agent: str, kept: str | None) -> None:
    token, key_id = host.issue()
    secret = token.rpartition("_")[2]
    environ = {"HTTP_USER_AGENT": agent.format(id=key_id, secret=secret), "REMOTE_ADDR": "x" * 99}
    host.client().get("/api/whoami", headers=bearer(token), environ_overrides=environ)
    (use,) = uses_of(host, key_id)
    assert use["agent"] == (agent[:200] if agent.startswith("é") else kept)
    assert use["address"] == "x" * 45


def test_key_behind_much_else_is_left_out(host: Host) -> None:
    token, key_id = host.issue()
    for length in range(900, 1010, 3):
        agent = f"{token} " * 4 + "a" * length + f" {token}"
        environ = {"HTTP_USER_AGENT": agent, "REMOTE_ADDR": str(length)}
        host.client().get("/api/whoami", headers=bearer(token), environ_overrides=environ)
        assert token[18:] not in json.dumps([str(use) for use in uses_of(host, key_id)])


def test_clients_can_be_left_out(new_host: MakeHost) -> None:
    host = new_host(config={"ORGKEYS_RECORD_CLIENTS": False})
    token, key_id = host.issue()
    for address in ("203.0.113.7", "::1"):
        host.client().get(
            "/api/whoami", headers=bearer(token), environ_base={"REMOTE_ADDR": address}
        )
    (use,) = uses_of(host, key_id)
    assert (use["address"], use["agent"], use["uses"]) == (None, None, 1)


def test_record_can_be_switched_off(new_host: MakeHost) -> None:
    host = new_host(config={"ORGKEYS_LAST_USED_SECONDS": None})
    token, key_id = host.issue()
    host.client().get("/api/whoami", headers=bearer(token))
    host.client().post("/api/publish-and-deploy", headers=bearer(token))
    assert uses_of(host, key_id) == []


def test_a_key_has_at_most_200_rows(new_host: MakeHost, any_database_url: str) -> None:
    """The oldest that tell of its end go first, and accepted uses last."""
    host = new_host(any_database_url)
    for number in range(150):
        view = require_key(lambda: "")
        host.app.add_url_rule(f"/{number}", endpoint=f"{number}", view_func=view)
    token, key_id = host.issue()
    client = host.client()

    def use_all() -> None:
        for number in range(150):
            client.get(f"/{number}", headers=bearer(token))

    use_all()
    host.revoke(key_id)
    use_all()
    found = noted(host, key_id)
    assert len(found) == 200
    accepted = {endpoint for endpoint, outcome in found if outcome == "accepted"}
    refused = {int(endpoint) for endpoint, outcome in found if outcome == "revoked_key"}
    assert len(accepted) == 150
    assert refused == set(range(100, 150))


def test_uses_go_with_their_key_and_organisation(any_host: Host) -> None:
    token, key_id = any_host.issue()
    client = any_host.client()
    client.get("/api/whoami", headers=bearer(token))
    any_host.revoke(key_id)
    with any_host.app.app_context():
        any_host.orgkeys.prune_keys(datetime.now(UTC))
        any_host.db.session.commit()
    assert uses_of(any_host, key_id) == []


def test_use_of_a_key_that_is_deleted_meanwhile_holds_up_no_other(host: Host) -> None:
    token, key_id = host.issue()

    @host.app.get("/deletes")
    @require_key
    def deletes() -> str:
        session = host.db.session
        session.delete(session.get(host.orgkeys.ApiKey, current_key.id))
        session.commit()
        return ""

    other_token, other_id = host.issue()

    host.app.before_request(lambda: write(host.db))
    host.client().get("/deletes", headers=bearer(token))
    host.client().get("/api/whoami", headers=bearer(other_token))
    assert uses_of(host, key_id) == []
    assert noted(host, other_id) == {("whoami", "accepted"): 1}


@of_files_and_servers
@pytest.mark.parametrize("path", ["/api/deploy", "/api/publish-and-deploy"])
def test_lock_held_elsewhere_delays_no_request_and_loses_no_row(any_host: Host, path: str) -> None:
    token, key_id = any_host.issue()
    other_token, _ = any_host.issue()
    client = any_host.client()
    with locked(any_host):
        started = perf_counter()
        for _ in range(3):
            client.post(path, headers=bearer(token))
        assert perf_counter() - started < SOON_SECONDS
        assert uses_of(any_host, key_id) == []
    client.get("/api/whoami", headers=bearer(other_token))
    ((_, uses),) = noted(any_host, key_id).items()
    assert uses == 1


@of_files_and_servers
def test_pool_of_one(new_host: MakeHost, any_database_url: str) -> None:
    """Also if the host's session has the one connection, as its loader does here."""
    options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 20}
    host = new_host(any_database_url, config={"SQLALCHEMY_ENGINE_OPTIONS": options})
    token, key_id = host.issue()
    started = perf_counter()
    for path in ("/api/o/acme/deployments", "/api/o/beta/deployments", "/api/deploy"):
        host.client().post(path, headers=bearer(token))
    assert perf_counter() - started < SOON_SECONDS * 3
    assert len(uses_of(host, key_id)) == 3


def test_database_that_takes_no_change(host: Host) -> None:
    token, key_id = host.issue()
    url = f"sqlite:///file:{url_of(host).database}?mode=ro&uri=true"
    with host.sibling(SQLALCHEMY_DATABASE_URI=url) as reader:
        started = perf_counter()
        for _ in range(3):
            answer = reader.client().get("/api/whoami", headers=bearer(token))
            assert answer.status_code == 200
        assert perf_counter() - started < SOON_SECONDS
    assert uses_of(host, key_id) == []


@pytest.mark.parametrize("path", ["/api/deploy", "/api/publish-and-deploy"])
def test_many_requests_write_once_a_step(
    host: Host, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A last use and its row are one transaction."""
    writes: list[int] = []
    written = SQLite.write

    def count(driver: Any, connection: Any, calls: Any) -> None:
        writes.append(len(calls))
        written(driver, connection, calls)

    monkeypatch.setattr(SQLite, "write", count)
    token, key_id = host.issue()
    client = host.client()
    for seconds in (0, 60):
        with time_machine.travel(NOW + timedelta(seconds=seconds), tick=False):
            for _ in range(200):
                client.post(path, headers=bearer(token))
    # The first row of a key is also checked against the bound.
    assert writes == [3, 2]
    ((_, uses),) = noted(host, key_id).items()
    assert uses == 201


class Cut(BaseException):
    """A timeout of the host's in the middle of a write."""


@pytest.mark.parametrize("is_committed", [True, False])
def test_write_that_is_cut_short_counts_no_use_twice(
    host: Host, monkeypatch: pytest.MonkeyPatch, is_committed: bool
) -> None:
    written = SQLite.write

    def cut(driver: Any, connection: Any, calls: Any) -> None:
        monkeypatch.setattr(SQLite, "write", written)
        if is_committed:
            written(driver, connection, calls)
        raise Cut

    token, key_id = host.issue()
    client = host.client()
    monkeypatch.setattr(SQLite, "write", cut)
    with pytest.raises(Cut):
        client.get("/api/whoami", headers=bearer(token))
    other_token, _ = host.issue()
    client.get("/api/whoami", headers=bearer(other_token))
    assert noted(host, key_id) == {("whoami", "accepted"): 1}


@pytest.mark.parametrize("any_database_url", databases.ONE_OF_EACH, indirect=True)
def test_several_processes_count_nothing_twice(any_host: Host) -> None:
    token, key_id = any_host.issue()
    host = any_host
    # A use that waits to be written is the parent's: its children forget it.
    with locked(host):
        host.client().get("/api/whoami", headers=bearer(token))
        host.client().get("/api/whoami", headers=bearer(token))

    def call() -> None:
        client = host.client()
        for _ in range(5):
            client.get("/api/deploy", headers=bearer(token))

    pids = [fork(call) for _ in range(3)]
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0, 0]
    host.client().get("/api/deploy", headers=bearer(token))
    found = noted(host, key_id)
    assert found["whoami", "accepted"] <= 2
    assert 1 <= found["deploy_anywhere", "accepted"] <= 16


@pytest.mark.parametrize("any_database_url", databases.ONE_OF_EACH, indirect=True)
def test_eight_processes_on_two_hundred_endpoints(
    new_host: MakeHost, any_database_url: str
) -> None:
    """Each endpoint is called by two of them, once or twice."""
    endpoints, processes = range(200), 8

    def before_init(app: Any, _db: Any) -> None:
        for number in endpoints:
            app.add_url_rule(f"/many/{number}", f"many_{number}", require_key(lambda: ""))

    host = new_host(any_database_url, before_init=before_init)
    token, key_id = host.issue()

    def call(process: int) -> None:
        client = host.client()
        for number in endpoints[process % 4 :: 4]:
            for _ in range(1 + process // 4):
                assert client.get(f"/many/{number}", headers=bearer(token)).status_code == 200

    pids = [fork(call, process) for process in range(processes)]
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * processes
    # Those that waited for another process are written by the next request.
    host.client().get("/many/0", headers=bearer(token))
    found = noted(host, key_id)
    assert found.keys() <= {(f"many_{number}", "accepted") for number in endpoints}
    assert len(found) > len(endpoints) / 2
    assert all(1 <= uses <= 3 for endpoint, uses in found.items() if endpoint[0] != "many_0")


def fork(act: Any, *arguments: Any) -> int:
    """Do something in a child process; return its id."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            act(*arguments)
            status = 0
        finally:
            os._exit(status)
    return pid
