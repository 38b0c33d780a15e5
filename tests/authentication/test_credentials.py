"""Which requests carry a key: the ``Authorization`` header as clients spell and misspell it."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask, request
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import event
from werkzeug.test import TestResponse

from flask_orgkeys import current_key, tokens

from ..conftest import MakeHost
from ..host import Host, bearer, disposing, make_host, with_wrong_secret

BASIC = "Basic " + base64.b64encode(b"staging:secret").decode()
JSON_WEB_TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJvcmdrXyJ9.c2lnbmF0dXJl"


def send(host: Host, header: str, path: str = "/api/whoami", method: str = "GET") -> TestResponse:
    """Send an ``Authorization`` value as it is: a test client would refuse some of them."""
    return host.app.test_client().open(
        path, method=method, environ_overrides={"HTTP_AUTHORIZATION": header}
    )


@pytest.fixture(scope="module")
def shared_host() -> Iterator[Host]:
    """A host for the tests that only read."""
    with disposing(make_host("sqlite://", pages=False)) as host:
        yield host


@pytest.fixture(scope="module")
def key(shared_host: Host) -> str:
    return shared_host.issue()[0]


class TestSpellings:
    @pytest.mark.parametrize(
        "spell",
        [
            lambda key: f"Bearer {key}",
            lambda key: f"bearer {key}",
            lambda key: f"BEARER {key}",
            lambda key: f"bEaReR {key}",
            # RFC 9110, sections 5.5 and 11.4: white space around a value is no part of it, and one
            # or more spaces follow the scheme.
            lambda key: f"Bearer  {key}",
            lambda key: f"Bearer {key} ",
            lambda key: f"\tBearer {key}\t",
        ],
    )
    def test_the_scheme_in_any_case_is_accepted(
        self, shared_host: Host, key: str, spell: Callable[[str], str]
    ) -> None:
        assert send(shared_host, spell(key)).status_code == 200

    @pytest.mark.parametrize(
        ("spell", "code"),
        [
            (lambda key: "", "missing_key"),
            (lambda key: " ", "missing_key"),
            (lambda key: key, "missing_key"),
            (lambda key: BASIC, "missing_key"),
            (lambda key: f"Basic {key}", "missing_key"),
            (lambda key: f"Token {key}", "missing_key"),
            (lambda key: f"ApiKey {key}", "missing_key"),
            (lambda key: f"Bearer{key}", "missing_key"),
            (lambda key: f"Bearer_{key}", "missing_key"),
            (lambda key: f"Bearer:{key}", "missing_key"),
            (lambda key: f"Bearer={key}", "missing_key"),
            (lambda key: f"Bearer\xa0{key}", "missing_key"),
            (lambda key: f"\xa0Bearer {key}", "missing_key"),
            (lambda key: f'"Bearer" {key}', "missing_key"),
            (lambda key: f"Bear\x00er {key}", "missing_key"),
            (lambda key: f"XBearer {key}", "missing_key"),
            (lambda key: f'Digest username="ada, Bearer {key}", uri="/"', "missing_key"),
            (lambda key: f'Digest username="a\\", Bearer {key}", uri="/"', "missing_key"),
            (lambda key: 'Digest username="ada", realm="a, Basic b", nc = 1', "missing_key"),
            (lambda key: 'Digest username="never closed, Bearer x', "missing_key"),
            (lambda key: "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host", "missing_key"),
            (lambda key: "Bearer", "invalid_key"),
            (lambda key: "Bearer ", "invalid_key"),
            (lambda key: "Bearer \t ", "invalid_key"),
            (lambda key: f"Bearer\t{key}", "invalid_key"),
            (lambda key: f"Bearer \t{key}", "invalid_key"),
            (lambda key: f"Bearer {key}\xa0", "invalid_key"),
            (lambda key: f"Bearer {key}\x00", "invalid_key"),
            (lambda key: f"Bearer {key}\n", "invalid_key"),
            (lambda key: f"Bearer \x00{key}", "invalid_key"),
            (lambda key: f"Bearer {key} x", "invalid_key"),
            (lambda key: f"Bearer {key};", "invalid_key"),
            (lambda key: f"Bearer {key},", "invalid_key"),
            (lambda key: f"Bearer Bearer {key}", "invalid_key"),
            (lambda key: f"Bearer token={key}", "invalid_key"),
            (lambda key: f'Bearer token="{key}"', "invalid_key"),
            (lambda key: f'Bearer "{key}"', "invalid_key"),
            (lambda key: f"Bearer '{key}'", "invalid_key"),
            (lambda key: f"Bearer <{key}>", "invalid_key"),
            (lambda key: f"Bearer {key}=", "invalid_key"),
            (lambda key: f"Bearer {key.replace('_', '%5F')}", "invalid_key"),
            (lambda key: f"Bearer %6F{key[1:]}", "invalid_key"),
            (lambda key: f"Bearer {base64.b64encode(key.encode()).decode()}", "invalid_key"),
            (lambda key: f"Bearer {key.upper()}", "invalid_key"),
            (lambda key: f"Bearer {key.swapcase()}", "invalid_key"),
            (lambda key: f"Bearer {key[:-1]}", "invalid_key"),
            (lambda key: f"Bearer {key}{key[-1]}", "invalid_key"),
            (lambda key: f"Bearer {with_wrong_secret(key)}", "invalid_key"),
            (lambda key: f"Bearer {JSON_WEB_TOKEN}", "invalid_key"),
            (lambda key: "Bearer orgk_", "invalid_key"),
            (lambda key: "Bearer \xff\xfe\xfd", "invalid_key"),
            (lambda key: f"Bearer {key[:20]}é{key[21:]}", "invalid_key"),
            (lambda key: "Bearer " + "orgk_" * 13_000, "invalid_key"),
            (lambda key: f"Bearer {key}" + "x" * 65_536, "invalid_key"),
            (lambda key: f"Bearer {key},Bearer {key}", "invalid_request"),
            (lambda key: f"Bearer {key}, Bearer {key}", "invalid_request"),
            (lambda key: f"Bearer {key}, {BASIC}", "invalid_request"),
            (lambda key: f"{BASIC}, Bearer {key}", "invalid_request"),
            (lambda key: f"{BASIC},bearer {key}", "invalid_request"),
            (lambda key: f"Bearer {key},,Bearer {key}", "invalid_request"),
            (lambda key: f"Bearer {key} \t,\t Token {key}", "invalid_request"),
            (lambda key: f"Bearer {key},Bearer", "invalid_request"),
            (lambda key: f'Digest username="ada", Bearer {key}', "invalid_request"),
            (lambda key: f'Bearer {key}, Digest username="ada"', "invalid_request"),
        ],
    )
    def test_any_other_is_refused(
        self, shared_host: Host, key: str, spell: Callable[[str], str], code: str
    ) -> None:
        answer = send(shared_host, spell(key))

        assert answer.status_code == (400 if code == "invalid_request" else 401)
        assert answer.get_json()["code"] == code
        assert key.rpartition("_")[2] not in answer.text + str(answer.headers)

    def test_two_headers_are_several_credentials(self, shared_host: Host, key: str) -> None:
        header = ("Authorization", f"Bearer {key}")

        answer = shared_host.client().get("/api/whoami", headers=[header, header])
        assert answer.status_code == 400
        assert answer.get_json()["code"] == "invalid_request"


PLACES: list[Callable[[str], dict[str, Any]]] = [
    lambda key: {"query_string": {"access_token": key}},
    lambda key: {"query_string": {"api_key": key, "token": key, "Authorization": f"Bearer {key}"}},
    lambda key: {"data": {"access_token": key, "api_key": key, "Authorization": f"Bearer {key}"}},
    lambda key: {"json": {"access_token": key, "api_key": key}},
    lambda key: {"headers": {"Cookie": f"access_token={key}; Authorization=Bearer {key}"}},
    lambda key: {"headers": {"Cookie": f"session={key}"}},
    lambda key: {"headers": {"X-Api-Key": key}},
    lambda key: {"headers": {"X-Api-Key": f"Bearer {key}", "Api-Key": key}},
    lambda key: {"headers": {"X-Authorization": f"Bearer {key}"}},
    lambda key: {"headers": {"Proxy-Authorization": f"Bearer {key}"}},
    lambda key: {"headers": {"X-Forwarded-Authorization": f"Bearer {key}"}},
    lambda key: {"headers": {"Sec-WebSocket-Protocol": f"bearer, {key}"}},
    lambda key: {"environ_overrides": {"REMOTE_USER": key}},
]


@pytest.mark.parametrize("place", PLACES)
def test_a_key_in_another_place_is_no_key(
    shared_host: Host, key: str, place: Callable[[str], dict[str, Any]]
) -> None:
    answer = shared_host.client().post("/api/deploy", **place(key))

    assert answer.status_code == 401
    assert answer.get_json()["code"] == "missing_key"
    assert shared_host.client().post("/open-form", **place(key)).get_json() == {"key": None}


@pytest.fixture(scope="module", autouse=True)
def open_form(shared_host: Host) -> None:
    @shared_host.app.post("/open-form")
    def open_form() -> dict[str, Any]:
        return {"key": current_key.id if current_key else None}


@pytest.fixture
def counted(host: Host) -> list[str]:
    """A list that grows with each connection taken from the pool and each statement."""
    seen: list[str] = []
    with host.app.app_context():
        event.listen(host.db.engine, "checkout", lambda *_: seen.append("checkout"))
        event.listen(
            host.db.engine,
            "before_cursor_execute",
            lambda _c, _cur, statement, *_: seen.append(statement),
        )
    return seen


class TestUnguardedRoutes:
    FREE = [
        BASIC,
        "",
        "Bearer",
        f"Bearer {JSON_WEB_TOKEN}",
        "Bearer orgk_",
        "Bearer orgk_" + "0" * 51,
        "Bearer other_000000000000_" + "0" * 32 + "1XpOVZ",
        f'Digest username="orgk_", Bearer {JSON_WEB_TOKEN}',
        f"Bearer {JSON_WEB_TOKEN}, {BASIC}",
        "\xff\x00",
    ]

    @pytest.mark.parametrize("header", FREE)
    def test_what_is_no_key_of_ours_costs_no_database(
        self, host: Host, counted: list[str], header: str
    ) -> None:
        assert send(host, header, "/open").get_json() == {"key": None}
        assert send(host, header, "/api/whoami").status_code in (400, 401)
        assert counted == []

    def test_a_mistyped_key_costs_no_database(self, host: Host, counted: list[str]) -> None:
        token, _ = host.issue()
        counted.clear()

        assert (
            send(host, f"Bearer {token[:-1]}{'0' if token[-1] != '0' else '1'}").status_code == 401
        )
        assert counted == []

    def test_a_key_costs_one_connection(self, host: Host, counted: list[str]) -> None:
        token, key_id = host.issue()
        counted.clear()

        assert send(host, f"Bearer {token}", "/open").get_json() == {"key": key_id}
        assert counted == ["checkout"]

    def test_no_request_without_a_header_costs_any(self, host: Host, counted: list[str]) -> None:
        assert host.client().get("/open").get_json() == {"key": None}
        assert host.client().get("/api/whoami").status_code == 401
        assert counted == []

    @pytest.mark.parametrize("bad", ["unknown", "wrong secret", "revoked", "several"])
    def test_a_bad_key_is_ignored(self, host: Host, bad: str) -> None:
        token, key_id = host.issue()
        if bad == "unknown":
            token = str(tokens.generate("orgk"))
        if bad == "wrong secret":
            token = with_wrong_secret(token)
        if bad == "revoked":
            host.revoke(key_id)
        further = f", {BASIC}" if bad == "several" else ""

        answer = send(host, f"Bearer {token}{further}", "/open")
        assert answer.status_code == 200
        assert answer.get_json() == {"key": None}
        assert "WWW-Authenticate" not in answer.headers

    def test_the_host_reads_foreign_credentials_as_before(self, new_host: MakeHost) -> None:
        def before_init(app: Flask, _db: Any) -> None:
            @app.get("/mine")
            def mine() -> dict[str, Any]:
                return {"type": request.authorization.type, "token": request.authorization.token}

        host = new_host(before_init=before_init)

        answer = host.client().get("/mine", headers=bearer(JSON_WEB_TOKEN))
        assert answer.get_json() == {"type": "bearer", "token": JSON_WEB_TOKEN}

    def test_the_configured_prefix_is_ours(self, new_host: MakeHost) -> None:
        host = new_host(config={"ORGKEYS_PREFIX": "acme_live"})
        token, key_id = host.issue()

        assert token.startswith("acme_live_")
        assert send(host, f"Bearer {token}", "/open").get_json() == {"key": key_id}


class TestTimeTaken:
    """A header as long as a server lets it be is read in time linear in its length."""

    @pytest.mark.parametrize(
        "header",
        [
            "Bearer x" + " " * 65_000 + "y",
            "Bearer " + "\t" * 65_000 + "y",
            " " * 65_000 + "Bearer x",
            "," + '"' + '\\"' * 32_000,
            "," + '"' * 65_000,
            '", "' * 16_000,
            "," * 65_000,
            ", a" * 22_000,
            ", a " * 16_000,
            ", " + "a" * 65_000,
            ", a" + " " * 65_000 + "=",
            "Bearer x" + ", bearer=" * 7_000,
            "bearer" * 11_000,
            "Bearer " + "orgk_" * 13_000,
        ],
        ids=lambda header: header[:12],
    )
    @pytest.mark.parametrize("path", ["/open", "/api/whoami"])
    def test_a_hostile_header(self, shared_host: Host, header: str, path: str) -> None:
        started = time.process_time()
        answer = send(shared_host, f"{header} orgk_", path)

        assert time.process_time() - started < 1
        assert answer.status_code in (200, 400, 401)


FRAGMENTS = [
    "Bearer",
    "bearer",
    "Basic",
    " ",
    "  ",
    "\t",
    ",",
    ", ",
    '"',
    "\\",
    "=",
    "token=",
    "\0",
]


class TestAnyHeader:
    KEY = "(the key)"

    @given(
        st.one_of(
            st.text(st.characters(max_codepoint=255), max_size=100),
            st.lists(
                st.one_of(
                    st.sampled_from([*FRAGMENTS, KEY]),
                    st.text(st.characters(max_codepoint=255), max_size=3),
                ),
                max_size=8,
            ).map("".join),
        )
    )
    @example("Bearer (the key)")
    @example("\tbearer   (the key) \t")
    @example('Bearer "(the key)')
    @example("(the key)" * 1000)
    def test_no_header_gets_a_wrong_200_or_a_5xx(
        self, shared_host: Host, key: str, template: str
    ) -> None:
        header = template.replace(self.KEY, key)
        is_right = re.fullmatch(rf"[ \t]*[Bb][Ee][Aa][Rr][Ee][Rr] +{key}[ \t]*", header)

        guarded = send(shared_host, header)
        assert guarded.status_code in ((200,) if is_right else (400, 401))
        unguarded = send(shared_host, header, "/open")
        assert unguarded.status_code == 200
        assert (unguarded.get_json()["key"] is not None) == bool(is_right)

    @given(st.text(st.characters(max_codepoint=255), max_size=60))
    def test_no_other_key_is_accepted(self, shared_host: Host, text: str) -> None:
        assert send(shared_host, f"Bearer {text}").status_code in (400, 401)
        assert send(shared_host, f"Bearer orgk_{text}").status_code in (400, 401)
