"""What automation is answered: every row of the contract's table, to the letter."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine
from flask import Blueprint, Flask, Response, session
from werkzeug.exceptions import (
    BadRequest,
    Forbidden,
    HTTPException,
    NotFound,
    ServiceUnavailable,
    Unauthorized,
)
from werkzeug.test import TestResponse

from flask_orgkeys import errors, require_key, signals, tokens

from ..conftest import MakeHost
from ..host import Host, bearer, mistyped, with_wrong_secret

JSON_WEB_TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJvcmdrXyJ9.c2lnbmF0dXJl"
BASIC = "Basic " + base64.b64encode(b"staging:secret").decode()

TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    503: "Service Unavailable",
}

Situation = Callable[[Host], TestResponse]
"""Brings a host into a situation and returns what it answers."""


def whoami(host: Host, token: str) -> TestResponse:
    return host.client().get("/api/whoami", headers=bearer(token))


def no_key(host: Host) -> TestResponse:
    return host.client().get("/api/whoami")


def basic(host: Host) -> TestResponse:
    return host.client().get("/api/whoami", headers={"Authorization": BASIC})


def foreign_bearer(host: Host) -> TestResponse:
    return whoami(host, JSON_WEB_TOKEN)


def bare_bearer(host: Host) -> TestResponse:
    return host.client().get("/api/whoami", headers={"Authorization": "Bearer"})


def malformed(host: Host) -> TestResponse:
    return whoami(host, "orgk_notakey")


def bad_checksum(host: Host) -> TestResponse:
    token, _ = host.issue()
    return whoami(host, mistyped(token))


def unknown(host: Host) -> TestResponse:
    return whoami(host, str(tokens.generate("orgk")))


def wrong_secret(host: Host) -> TestResponse:
    token, _ = host.issue()
    return whoami(host, with_wrong_secret(token))


def wrong_secret_of_a_revoked_key(host: Host) -> TestResponse:
    token, key_id = host.issue()
    host.revoke(key_id)
    return whoami(host, with_wrong_secret(token))


def wrong_secret_of_an_expired_key(host: Host) -> TestResponse:
    token, _ = host.issue(expires_at=datetime.now(UTC))
    return whoami(host, with_wrong_secret(token))


def revoked(host: Host) -> TestResponse:
    token, key_id = host.issue()
    host.revoke(key_id)
    return whoami(host, token)


def expired(host: Host) -> TestResponse:
    token, _ = host.issue(expires_at=datetime.now(UTC))
    return whoami(host, token)


def scope_missing(host: Host) -> TestResponse:
    token, _ = host.issue(scopes=["project:read-rc"])
    return host.client().post("/api/publish-and-deploy", headers=bearer(token))


def organization_unknown(host: Host) -> TestResponse:
    token, _ = host.issue()
    return host.client().post("/api/o/nobody/deployments", headers=bearer(token))


def organization_foreign(host: Host) -> TestResponse:
    token, _ = host.issue()
    return host.client().post("/api/o/beta/deployments", headers=bearer(token))


def several_credentials(host: Host) -> TestResponse:
    token, _ = host.issue()
    return host.client().get(
        "/api/whoami", headers=[("Authorization", f"Bearer {token}"), ("Authorization", BASIC)]
    )


def database_without_the_table(host: Host) -> TestResponse:
    token, _ = host.issue()
    with host.app.app_context():
        host.drop_key_table(host.db.engine)
    return whoami(host, token)


INVALID: list[Situation] = [
    malformed,
    bad_checksum,
    unknown,
    wrong_secret,
    wrong_secret_of_a_revoked_key,
    wrong_secret_of_an_expired_key,
    foreign_bearer,
    bare_bearer,
]

INVALID_TOKEN = 'Bearer realm="host", error="invalid_token"'

ROWS: list[tuple[Situation, int, str | None, str]] = [
    (no_key, 401, 'Bearer realm="host"', "missing_key"),
    (basic, 401, 'Bearer realm="host"', "missing_key"),
    *((situation, 401, INVALID_TOKEN, "invalid_key") for situation in INVALID),
    (revoked, 401, INVALID_TOKEN, "revoked_key"),
    (expired, 401, INVALID_TOKEN, "expired_key"),
    (
        scope_missing,
        403,
        'Bearer realm="host", error="insufficient_scope", scope="app:publish project:deploy"',
        "insufficient_scope",
    ),
    (organization_unknown, 404, None, "organization_not_found"),
    (organization_foreign, 404, None, "organization_not_found"),
    (several_credentials, 400, 'Bearer realm="host", error="invalid_request"', "invalid_request"),
    (database_without_the_table, 503, None, "unavailable"),
]


def presented_secrets(answer: TestResponse) -> list[str]:
    """The parts of the sent ``Authorization`` value that must not come back."""
    value = answer.request.headers.get("Authorization", "")
    return [part for part in value.replace(",", " ").split() if len(part) > 12]


@pytest.mark.parametrize(
    ("situation", "status", "challenge", "code"),
    [pytest.param(*row, id=row[0].__name__) for row in ROWS],
)
def test_row_of_the_contract(
    any_host: Host, situation: Situation, status: int, challenge: str | None, code: str
) -> None:
    answer = situation(any_host)

    assert answer.status_code == status
    assert answer.headers.getlist("WWW-Authenticate") == ([challenge] if challenge else [])
    assert answer.headers.getlist("Retry-After") == (["5"] if status == 503 else [])
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Authorization" in answer.vary
    assert "Set-Cookie" not in answer.headers
    problem = json.loads(answer.get_data())
    assert isinstance(problem.pop("detail"), str)
    assert problem == {
        "type": "about:blank",
        "title": TITLES[status],
        "status": status,
        "code": code,
    }
    everything = answer.text + str(answer.headers)
    assert [secret for secret in presented_secrets(answer) if secret in everything] == []


@pytest.mark.parametrize(
    "alike", [INVALID, [organization_unknown, organization_foreign]], ids=["invalid", "not found"]
)
def test_rows_that_are_told_apart_by_nothing(any_host: Host, alike: list[Situation]) -> None:
    answers = [situation(any_host) for situation in alike]

    assert len({(answer.status, answer.text, str(answer.headers)) for answer in answers}) == 1


class TestPrecedence:
    """400 before 401 before 404 before 403."""

    @pytest.mark.parametrize(
        ("organization", "scopes", "is_revoked", "further", "status"),
        [
            ("beta", ["project:read-rc"], True, f", {BASIC}", 400),
            ("beta", ["project:read-rc"], True, "", 401),
            ("beta", ["project:read-rc"], False, "", 404),
            ("nobody", ["project:read-rc"], False, "", 404),
            ("acme", ["project:read-rc"], False, "", 403),
            ("acme", ["project:deploy"], True, "", 401),
            ("acme", ["project:deploy"], False, "", 201),
        ],
    )
    def test_the_gravest_reason_is_given(
        self,
        host: Host,
        organization: str,
        scopes: list[str],
        is_revoked: bool,
        further: str,
        status: int,
    ) -> None:
        token, key_id = host.issue(scopes=scopes)
        if is_revoked:
            host.revoke(key_id)

        answer = host.client().post(
            f"/api/o/{organization}/deployments",
            headers={"Authorization": f"Bearer {token}{further}"},
        )
        assert answer.status_code == status


class TestExpiry:
    EXPIRES_AT = datetime(2031, 3, 30, 1, 0, 0, 123456, UTC)

    @pytest.mark.parametrize(
        ("offset", "status"),
        [
            (timedelta(microseconds=-1), 200),
            (timedelta(0), 401),
            (timedelta(microseconds=1), 401),
            (timedelta(days=400), 401),
        ],
    )
    def test_from_the_very_instant(self, any_host: Host, offset: timedelta, status: int) -> None:
        token, _ = any_host.issue(expires_at=self.EXPIRES_AT)

        with time_machine.travel(self.EXPIRES_AT + offset, tick=False):
            answer = whoami(any_host, token)
        assert answer.status_code == status
        assert status == 200 or answer.get_json()["code"] == "expired_key"

    def test_a_key_without_expiry_never_does(self, any_host: Host) -> None:
        token, _ = any_host.issue()

        with time_machine.travel(datetime(2999, 1, 1, tzinfo=UTC), tick=False):
            assert whoami(any_host, token).status_code == 200

    def test_a_revoked_key_stays_revoked_when_it_expires(self, host: Host) -> None:
        token, key_id = host.issue(expires_at=self.EXPIRES_AT)
        host.revoke(key_id)

        with time_machine.travel(self.EXPIRES_AT, tick=False):
            assert whoami(host, token).get_json()["code"] == "revoked_key"


class TestOutage:
    @pytest.fixture
    def closed_port(self) -> Iterator[int]:
        """A port that nobody else can take and nobody listens on."""
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            yield bound.getsockname()[1]

    @pytest.fixture(params=["postgresql+psycopg", "postgresql+psycopg2", "mysql+pymysql"])
    def unreachable(
        self, request: pytest.FixtureRequest, host: Host, closed_port: int
    ) -> Iterator[Host]:
        url = f"{request.param}://nobody@127.0.0.1:{closed_port}/nothing"
        with host.sibling(SQLALCHEMY_DATABASE_URI=url, SQLALCHEMY_ENGINE_OPTIONS={}) as sibling:
            yield sibling

    def test_a_key_of_ours_is_answered_503(self, unreachable: Host) -> None:
        answer = whoami(unreachable, str(tokens.generate("orgk")))

        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "5"
        assert answer.headers["Cache-Control"] == "no-store"
        assert "WWW-Authenticate" not in answer.headers
        assert answer.get_json()["code"] == "unavailable"

    @pytest.mark.parametrize(
        ("headers", "code"),
        [
            ({}, "missing_key"),
            ({"Authorization": BASIC}, "missing_key"),
            (bearer(JSON_WEB_TOKEN), "invalid_key"),
            (bearer("orgk_notakey"), "invalid_key"),
        ],
    )
    def test_without_a_key_of_ours_it_is_not_noticed(
        self, unreachable: Host, headers: dict[str, str], code: str
    ) -> None:
        answer = unreachable.client().get("/api/whoami", headers=headers)

        assert answer.status_code == 401
        assert answer.get_json()["code"] == code

    def test_an_unguarded_route_is_served(self, unreachable: Host) -> None:
        answer = unreachable.client().get("/open", headers=bearer(str(tokens.generate("orgk"))))

        assert answer.status_code == 200
        assert answer.get_json() == {"key": None}

    def test_it_is_over_when_the_table_is_back(self, any_host: Host) -> None:
        token, _ = any_host.issue()
        table = any_host.db.metadata.tables["orgkeys_key"]
        with any_host.app.app_context():
            rows = any_host.db.session.execute(sa.select(table)).mappings().all()
            any_host.db.session.remove()
            any_host.drop_key_table(any_host.db.engine)
        assert whoami(any_host, token).status_code == 503

        with any_host.app.app_context():
            table.create(any_host.db.engine)
            any_host.db.session.execute(sa.insert(table), [dict(row) for row in rows])
            any_host.db.session.commit()
        assert whoami(any_host, token).status_code == 200


class CustomResponse(Response):
    """A host's own response class."""

    default_mimetype = "text/x-custom"


def write_session() -> None:
    session["visits"] = session.get("visits", 0) + 1


def keep_session() -> None:
    session.permanent = True


def log_in_remembered() -> None:
    session["_remember"] = "set"
    session["_user_id"] = "ada"


def set_cookie(response: Response) -> Response:
    response.set_cookie("tracker", "1")
    return response


class TestCookies:
    @pytest.mark.parametrize("hook", [write_session, keep_session, log_in_remembered])
    @pytest.mark.parametrize("response_class", [Response, CustomResponse])
    @pytest.mark.parametrize("situation", [no_key, unknown, scope_missing, organization_unknown])
    def test_no_refusal_sets_that_of_the_session(
        self,
        new_host: MakeHost,
        hook: Callable[[], None],
        response_class: type[Response],
        situation: Situation,
    ) -> None:
        def before_init(app: Flask, _db: Any) -> None:
            app.response_class = response_class
            app.before_request(hook)

        host = new_host(before_init=before_init)

        assert "Set-Cookie" in host.client().get("/open").headers
        answer = situation(host)
        assert answer.status_code in (401, 403, 404)
        assert "Set-Cookie" not in answer.headers
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert "Authorization" in answer.vary

    @pytest.mark.parametrize("is_registered_before", [True, False])
    def test_no_refusal_carries_one_of_the_host(
        self, new_host: MakeHost, is_registered_before: bool
    ) -> None:
        def before_init(app: Flask, _db: Any) -> None:
            if is_registered_before:
                app.after_request(set_cookie)

        host = new_host(before_init=before_init)
        if not is_registered_before:
            host.app.after_request(set_cookie)

        assert "Set-Cookie" in host.client().get("/open").headers
        assert "Set-Cookie" not in no_key(host).headers

    def test_the_session_of_a_signed_in_user_stays(self, host: Host) -> None:
        client = host.client("ada")

        assert client.get("/api/whoami").status_code == 401
        assert client.get("/o/acme/api-keys").status_code == 200


def hosts_answer(error: Any) -> tuple[dict[str, str], int]:
    return {"host": "says so"}, getattr(error, "code", 500)


HANDLED = [
    (no_key, 401, (401, Unauthorized, errors.MissingKey)),
    (unknown, 401, (401, Unauthorized, errors.InvalidKey)),
    (revoked, 401, (401, Unauthorized, errors.RevokedKey)),
    (expired, 401, (401, Unauthorized, errors.ExpiredKey)),
    (scope_missing, 403, (403, Forbidden, errors.InsufficientScope)),
    (organization_foreign, 404, (404, NotFound, errors.OrganizationNotFound)),
    (several_credentials, 400, (400, BadRequest, errors.InvalidRequest)),
    (database_without_the_table, 503, (503, ServiceUnavailable, errors.Unavailable)),
]


class TestErrorHandlers:
    @pytest.mark.parametrize(
        ("situation", "status", "handled"),
        [
            (situation, status, handled)
            for situation, status, own in HANDLED
            for handled in (*own, errors.RequestRefused, HTTPException, Exception)
        ],
    )
    def test_the_body_is_the_hosts_and_the_headers_stay(
        self, new_host: MakeHost, situation: Situation, status: int, handled: Any
    ) -> None:
        plain = situation(new_host("sqlite://"))
        host = new_host("sqlite://")
        host.app.register_error_handler(handled, hosts_answer)

        answer = situation(host)
        assert answer.get_json() == {"host": "says so"}
        assert answer.status_code == status
        for name in ("WWW-Authenticate", "Retry-After", "Cache-Control", "Vary"):
            assert answer.headers.getlist(name) == plain.headers.getlist(name)

    def test_a_handler_of_the_blueprint_answers_too(self, host: Host) -> None:
        blueprint = Blueprint("api", __name__, url_prefix="/v1")
        blueprint.add_url_rule("/", "view", require_key(lambda: ""))
        blueprint.register_error_handler(401, hosts_answer)
        host.app.register_blueprint(blueprint)

        answer = host.client().get("/v1/")
        assert answer.get_json() == {"host": "says so"}
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="host"'
        assert no_key(host).get_json()["code"] == "missing_key"

    def test_a_handler_may_rewrite_the_plugins_own_response(self, host: Host) -> None:
        @host.app.errorhandler(HTTPException)
        def rewrite(error: HTTPException) -> Any:
            response = error.get_response()
            response.data = b"rewritten"  # type: ignore[attr-defined]
            response.content_type = "text/plain"  # type: ignore[attr-defined]
            return response

        answer = no_key(host)
        assert answer.text == "rewritten"
        assert answer.headers.getlist("WWW-Authenticate") == ['Bearer realm="host"']

    def test_a_handler_may_hide_a_refusal_behind_another_status(self, host: Host) -> None:
        host.app.register_error_handler(errors.InsufficientScope, lambda error: ("gone", 404))

        answer = scope_missing(host)
        assert answer.status_code == 404
        assert "WWW-Authenticate" not in answer.headers

    def test_a_refusal_that_the_view_of_another_caught_leaves_no_trace(self, host: Host) -> None:
        guarded = require_key(lambda: "by key")

        @host.app.get("/either")
        def either() -> str:
            try:
                return guarded()
            except Unauthorized:
                return "without"

        answer = host.client().get("/either")
        assert answer.text == "without"
        assert "WWW-Authenticate" not in answer.headers
        assert "Cache-Control" not in answer.headers

    def test_a_handler_of_one_app_answers_for_that_alone(self, host: Host) -> None:
        assert no_key(host).get_json()["code"] == "missing_key"
        with host.sibling() as sibling:
            sibling.app.register_error_handler(401, hosts_answer)
            assert no_key(sibling).get_json() == {"host": "says so"}
        assert no_key(host).get_json()["code"] == "missing_key"

    def test_a_trapped_refusal_is_raised(self, new_host: MakeHost) -> None:
        host = new_host(config={"TRAP_HTTP_EXCEPTIONS": True})
        with pytest.raises(errors.MissingKey):
            no_key(host)

    def test_the_hosts_own_errors_are_not_ours(self, host: Host) -> None:
        answer = host.client().get("/nowhere")

        assert answer.status_code == 404
        assert answer.mimetype == "text/html"
        assert "Authorization" not in answer.vary
        assert "Cache-Control" not in answer.headers


class TestAnswersMadeBefore:
    """Where nothing of the host's is to see a refusal, its answer is of parts that are kept."""

    @pytest.mark.parametrize("situation", [situation for situation, *_ in HANDLED])
    def test_they_are_what_a_raised_one_would_answer(
        self, new_host: MakeHost, situation: Situation
    ) -> None:
        told: list[errors.RequestRefused] = []

        def note(_sender: Any, error: errors.RequestRefused, **_: Any) -> None:
            told.append(error)

        before = [situation(new_host("sqlite://")) for _ in range(2)]
        with signals.request_refused.connected_to(note):
            fresh = situation(new_host("sqlite://"))
        assert len(told) == 1
        for answer in before:
            assert answer.status == fresh.status
            assert answer.data == fresh.data
            assert list(answer.headers) == list(fresh.headers)

    def test_what_a_host_makes_of_one_is_not_in_the_next(self, host: Host) -> None:
        marks: list[str] = []

        @host.app.after_request
        def mark(response: Response) -> Response:
            if marks:
                response.headers["X-Host"] = marks[0]
                response.headers.remove("Cache-Control")
                response.set_data(marks[0])
            return response

        untouched = no_key(host)
        marks.append("marked")
        assert no_key(host).text == no_key(host).headers["X-Host"] == "marked"
        marks.clear()
        answer = no_key(host)
        assert answer.data == untouched.data
        assert list(answer.headers) == list(untouched.headers)


@pytest.mark.parametrize("situation", [situation for situation, *_ in HANDLED])
@pytest.mark.parametrize("is_handled", [True, False], ids=["of the host", "ours"])
def test_no_refusal_is_kept_by_a_cache(
    new_host: MakeHost, situation: Situation, is_handled: bool
) -> None:
    """Whatever the host makes of every answer's headers afterwards."""
    host = new_host("sqlite://")
    if is_handled:
        host.app.register_error_handler(errors.RequestRefused, hosts_answer)

    @host.app.after_request
    def cache(response: Response) -> Response:
        response.headers.remove("Cache-Control")
        response.headers["Cache-Control"] = "public, max-age=60"
        response.headers.add("Cache-Control", "public")
        response.cache_control.max_age = 60
        return response

    assert situation(host).headers.getlist("Cache-Control") == ["no-store"]
    assert host.client().get("/open").headers["Cache-Control"] != "no-store"


class TestRealm:
    @pytest.mark.parametrize(
        ("realm", "written"),
        [("Cockpit", '"Cockpit"'), ('Say "hi"', r'"Say \"hi\""'), ("a\\b", r'"a\\b"')],
    )
    def test_it_is_quoted(self, new_host: MakeHost, realm: str, written: str) -> None:
        host = new_host(config={"ORGKEYS_REALM": realm})

        assert no_key(host).headers["WWW-Authenticate"] == f"Bearer realm={written}"


class TestMethods:
    def test_a_refused_head_request_has_the_headers_alone(self, host: Host) -> None:
        answer = host.client().head("/api/whoami")

        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="host"'
        assert answer.data == b""

    def test_the_options_of_a_guarded_route_are_no_secret(self, host: Host) -> None:
        answer = host.client().options("/api/whoami")

        assert answer.status_code == 200
        assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
