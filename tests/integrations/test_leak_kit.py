"""The leak kit: scanners find every key and nothing else, and who holds a key can end it."""

from __future__ import annotations

import base64
import json
import math
import random
import tomllib
import urllib.parse
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import re2
import sqlalchemy as sa
import yaml
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_wtf import CSRFProtect
from werkzeug.test import TestResponse

from flask_orgkeys import revocation, signals, tokens
from flask_orgkeys.keys.locks import Locks
from flask_orgkeys.leaks import FORMATS, key_pattern, scan_rule

from ..conftest import MakeHost
from ..host import Host, bearer, with_wrong_secret
from ..keys.test_rotation import answer, rotate

PREFIXES = ["orgk", "A", "my_app", "12_", "_", "true", "a" * 20]

Find = Callable[[str], list[str]]


def entropy(text: str) -> float:
    """Shannon's, in bits a character, as gitleaks and TruffleHog measure it."""
    shares = [count / len(text) for count in Counter(text).values()]
    return -sum(share * math.log2(share) for share in shares)


def finder(pattern: str, keywords: list[str], min_entropy: float) -> Find:
    """Find as gitleaks and TruffleHog do: text that holds a keyword, in whatever case, is searched
    with an RE2 expression, and what is too regular is left out.
    """
    expression = re2.compile(pattern)

    def find(text: str) -> list[str]:
        if not any(keyword in text.lower() for keyword in keywords):
            return []
        return [match for match in expression.findall(text) if entropy(match) >= min_entropy]

    return find


def gitleaks(rule: str) -> Find:
    (table,) = tomllib.loads(rule)["rules"]
    assert table.keys() == {"id", "description", "regex", "entropy", "keywords"}
    return finder(table["regex"], table["keywords"], table["entropy"])


def trufflehog(rule: str) -> Find:
    (detector,) = yaml.safe_load(rule)["detectors"]
    assert detector.keys() == {"name", "description", "keywords", "regex", "entropy"}
    return finder(detector["regex"]["key"], detector["keywords"], detector["entropy"])


def github(rule: str) -> Find:
    fields = dict(line.split(": ", 1) for line in rule.splitlines())
    assert list(fields) == ["Pattern name", "Secret format", "Before secret", "After secret"]
    return re2.compile(
        f"(?:{fields['Before secret']})({fields['Secret format']})(?:{fields['After secret']})"
    ).findall


def regex(rule: str) -> Find:
    return re2.compile(rule.removesuffix("\n")).findall


READERS = {"gitleaks": gitleaks, "trufflehog": trufflehog, "github": github, "regex": regex}


def reader_of(format_name: str, prefix: str = "orgk") -> Find:
    return READERS[format_name](scan_rule(format_name, prefix))


def test_every_format_is_read_here() -> None:
    assert FORMATS.keys() == READERS.keys()


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("format_name", FORMATS)
def test_each_of_1000_keys_is_found(format_name: str, prefix: str) -> None:
    find = reader_of(format_name, prefix)
    keys = [str(tokens.generate(prefix)) for _ in range(1000)]

    assert [find(f'DEPLOY_KEY="{key}"\n') for key in keys] == [[key] for key in keys]


@pytest.mark.parametrize("format_name", FORMATS)
def test_nothing_else_is_found(format_name: str) -> None:
    """With the keyword in front of each, so that the expression has to decide."""
    find = reader_of(format_name)
    chance = random.Random(20)
    letters = "abcdefghijklmnopqrstuvwxyz"
    texts = [
        "".join(chance.choices(letters, k=chance.randint(1, 60)))
        + " "
        + base64.b64encode(chance.randbytes(60)).decode()
        + " "
        + base64.urlsafe_b64encode(chance.randbytes(60)).decode()
        + f" {chance.randbytes(40).hex()} {uuid.UUID(int=chance.getrandbits(128))}"
        for _ in range(1000)
    ]

    assert [found for text in texts for found in find(f"orgk_{text} orgk_\n")] == []


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize(
    "write",
    [
        "{}".format,
        "Authorization: Bearer {}\r\n".format,
        "https://ci.example/?token={}&build=7".format,
        lambda key: json.dumps({"script": f"export KEY\n{key}\n"}),
        lambda key: urllib.parse.quote(f"Bearer {key} "),
        lambda key: f"KEY={key};KEY={key}"[: -len(key) - 5],
    ],
)
def test_a_key_is_found_in_whatever_stands_around_it(
    format_name: str, write: Callable[[str], str]
) -> None:
    key = str(tokens.generate("orgk"))

    assert reader_of(format_name)(write(key)) == [key]


@pytest.mark.parametrize("format_name", FORMATS)
def test_two_keys_in_a_line_are_two(format_name: str) -> None:
    keys = [str(tokens.generate("orgk")) for _ in range(2)]

    assert reader_of(format_name)(f"{keys[0]},\t{keys[1]}\n") == keys


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("alter", [lambda key: key[:-1], lambda key: key + "0", str.upper])
def test_what_has_another_shape_is_not_found(format_name: str, alter: Callable[[str], str]) -> None:
    key = str(tokens.generate("orgk"))

    assert reader_of(format_name)(f" {alter(key)} ") == []


@pytest.mark.parametrize("format_name", ["gitleaks", "trufflehog"])
def test_a_placeholder_is_not_found(format_name: str) -> None:
    placeholder = "orgk_" + "x" * 12 + "_" + "x" * 38

    assert reader_of("regex")(placeholder) == [placeholder]
    assert reader_of(format_name)(placeholder) == []


@pytest.mark.parametrize("prefix", ["", "a-b", "a b", "x" * 21, "'''", "é"])
def test_a_rule_is_made_of_a_prefix_alone(prefix: str) -> None:
    with pytest.raises(ValueError, match="is no prefix"):
        key_pattern(prefix)


@pytest.mark.parametrize("format_name", FORMATS)
def test_the_command_prints_the_rule_for_the_configured_prefix(
    new_host: MakeHost, format_name: str
) -> None:
    host = new_host(config={"ORGKEYS_PREFIX": "cockpit"})
    arguments = ["orgkeys", "scan-rule", "--format", format_name]
    result = host.app.test_cli_runner().invoke(args=arguments)
    assert result.exit_code == 0
    assert result.output == scan_rule(format_name, "cockpit")


def test_an_unknown_format_is_answered_with_the_known() -> None:
    with pytest.raises(ValueError, match="gitleaks, trufflehog, github, regex, not 'toml'"):
        scan_rule("toml", "orgk")


@pytest.fixture
def open_host(host: Host) -> Host:
    """A host that mounts revocation by possession."""
    host.app.register_blueprint(revocation.blueprint, url_prefix="/keys")
    return host


def present(host: Host, token: str, **arguments: Any) -> TestResponse:
    return host.client().post("/keys/revoke", data={"token": token}, **arguments)


def test_the_holder_revokes_the_key_and_no_other(open_host: Host) -> None:
    token, key_id = open_host.issue()
    other, _ = open_host.issue()

    assert present(open_host, token).status_code == 200

    assert open_host.key(key_id).revoked_at is not None
    answers = [open_host.client().get("/api/whoami", headers=bearer(key)) for key in (token, other)]
    assert [answer.status_code for answer in answers] == [401, 200]
    assert answers[0].json is not None
    assert answers[0].json["code"] == "revoked_key"


def test_the_record_says_who_revoked_and_from_where(open_host: Host) -> None:
    token, key_id = open_host.issue()

    present(open_host, token, environ_base={"REMOTE_ADDR": "192.0.2.7"})
    present(open_host, token)

    _created, revoked = open_host.events()
    assert (revoked["action"], revoked["key_id"]) == ("revoked", key_id)
    assert (revoked["actor"], revoked["address"]) == (revocation.HOLDER, "192.0.2.7")
    assert open_host.key(key_id).revoked_by == revocation.HOLDER


def test_the_line_break_of_a_file_is_no_part_of_the_key(open_host: Host) -> None:
    token, key_id = open_host.issue()

    present(open_host, f"{token}\n")

    assert open_host.key(key_id).revoked_at is not None


def test_the_host_hears_of_it_by_the_signal(open_host: Host) -> None:
    token, key_id = open_host.issue()
    heard: list[str] = []

    def hear(_app: Any, key: Any) -> None:
        heard.append(key.id)

    with signals.key_revoked.connected_to(hear, open_host.app):
        present(open_host, token)

    assert heard == [key_id]


def test_an_expired_key_can_be_revoked(open_host: Host) -> None:
    token, key_id = open_host.issue(expires_at=datetime.now(UTC) - timedelta(days=1))

    present(open_host, token)

    assert open_host.key(key_id).revoked_at is not None


def test_the_secret_before_ends_alone(open_host: Host) -> None:
    old, key_id = open_host.issue()
    new = rotate(open_host, key_id)

    assert present(open_host, old).status_code == 200

    assert [answer(open_host, token) for token in (old, new)] == ["rotated_key", 200]
    key, event = open_host.key(key_id), open_host.events()[-1]
    assert key.revoked_at is None
    assert (event["action"], event["actor"]) == ("previous_ended", revocation.HOLDER)

    assert present(open_host, old).status_code == 200

    assert open_host.key(key_id).previous_until == key.previous_until
    assert len(open_host.events()) == 3


def test_a_secret_that_was_never_used_is_unknown(open_host: Host) -> None:
    _, key_id = open_host.issue()
    lost = rotate(open_host, key_id)
    rotate(open_host, key_id)

    assert present(open_host, lost).status_code == 200

    assert len(open_host.events()) == 3


def test_a_secret_that_moves_up_meanwhile_ends_alone(
    open_host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, key_id = open_host.issue()
    lock = Locks.hold_sqlite
    new = []

    def rotate_first(locks: Locks) -> None:
        monkeypatch.undo()
        with ThreadPoolExecutor(1) as executor:
            new.append(executor.submit(rotate, open_host, key_id).result(timeout=20))
        lock(locks)

    monkeypatch.setattr(Locks, "hold_sqlite", rotate_first)
    assert present(open_host, old).status_code == 200

    assert [answer(open_host, token) for token in (old, *new)] == ["rotated_key", 200]


def test_nobody_learns_whether_a_key_exists(open_host: Host) -> None:
    live, live_id = open_host.issue()
    revoked, _ = open_host.issue()
    present(open_host, revoked)
    unknown = str(tokens.generate("orgk"))
    guesses = [live, revoked, unknown, with_wrong_secret(live), f"{unknown}0", "\0é", "", "x" * 99]
    before = len(open_host.events())

    answers = [present(open_host, guess) for guess in guesses[1:]]
    assert open_host.key(live_id).revoked_at is None
    assert len(open_host.events()) == before
    answers.append(present(open_host, live))

    seen = {
        (answer.status, answer.data, tuple(sorted(answer.headers.items()))) for answer in answers
    }
    assert len(seen) == 1
    assert answers[0].status_code == 200
    assert answers[0].headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in answers[0].headers


def test_only_the_form_counts(open_host: Host) -> None:
    token, key_id = open_host.issue()
    client = open_host.client("ada")

    answers = [
        client.post(f"/keys/revoke?token={token}"),
        client.post("/keys/revoke", headers=bearer(token)),
        client.post("/keys/revoke", json={"token": token}),
        client.post("/keys/revoke", data=token, content_type="text/plain"),
        client.post("/keys/revoke", data={"token": [token, token]}),
    ]

    assert [answer.status_code for answer in answers] == [400] * 5
    assert [answer.json for answer in answers] == [{"error": "invalid_request"}] * 5
    assert client.get(f"/keys/revoke?token={token}").status_code == 405
    assert open_host.key(key_id).revoked_at is None


def test_an_outage_is_no_revocation(open_host: Host) -> None:
    token, _ = open_host.issue()
    with open_host.app.app_context():
        open_host.db.session.execute(sa.text("ALTER TABLE orgkeys_key RENAME TO elsewhere"))
        open_host.db.session.commit()

    answer = present(open_host, token)

    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert answer.json == {"error": "temporarily_unavailable"}


@pytest.mark.parametrize("is_protected_first", [True, False])
def test_csrf_protection_lets_it_pass_and_nothing_beside_it(
    new_host: MakeHost, is_protected_first: bool
) -> None:
    host = new_host(config={"WTF_CSRF_ENABLED": True})
    set_up = [CSRFProtect().init_app, lambda app: app.register_blueprint(revocation.blueprint)]
    for step in set_up if is_protected_first else reversed(set_up):
        step(host.app)

    @host.app.post("/theirs")
    def theirs() -> str:
        return ""

    token, key_id = host.issue()
    assert host.client().post("/revoke", data={"token": token}).status_code == 200
    assert host.key(key_id).revoked_at is not None
    assert host.client().post("/theirs", data={"token": token}).status_code == 400


def test_it_can_be_limited_by_address(host: Host) -> None:
    limiter = Limiter(get_remote_address, app=host.app, storage_uri="memory://")
    limiter.limit("2 per hour")(revocation.blueprint)
    host.app.register_blueprint(revocation.blueprint, url_prefix="/keys")

    assert [present(host, "guess").status_code for _ in range(3)] == [200, 200, 429]


def test_the_secret_reaches_no_log_and_no_frame(
    open_host: Host, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever fails behind it: an error tracker sends each frame's local variables."""
    token, _ = open_host.issue()
    open_host.app.config["PROPAGATE_EXCEPTIONS"] = True

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the revocation failed")

    monkeypatch.setattr("flask_orgkeys.keys.rotation.revoke", fail)
    with caplog.at_level("DEBUG"), pytest.raises(RuntimeError) as raised:
        present(open_host, token)

    ours = [entry for entry in raised.traceback if "flask_orgkeys" in str(entry.path)]
    assert {entry.name for entry in ours} >= {"revoke", "_end_if_genuine"}
    secret = token.rsplit("_", 1)[1]
    for entry in ours:
        assert secret not in repr(entry.frame.f_locals)
    assert secret not in caplog.text
