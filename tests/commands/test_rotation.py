"""``flask orgkeys rotate`` and ``end-previous``."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine

from ..conftest import MakeHost
from ..host import Host
from ..keys import test_rotation as by_code
from ..keys.test_rotation import answer
from .test_commands import KEY, NOON, create, run

OLDEST_ENDS = "The oldest secret ends at once."


def rotate(host: Host, key_id: str, *arguments: str, organization: str = "acme") -> Any:
    return run(host, "rotate", organization, key_id, *arguments)


def test_streams(any_host: Host) -> None:
    """The key alone on standard output, and the rest for people beside it."""
    old, key_id = any_host.issue()
    result = rotate(any_host, key_id)
    assert result.exit_code == 0, result.output
    assert KEY.fullmatch(result.stdout)
    assert [answer(any_host, token) for token in (old, result.stdout.strip())] == [200, 200]
    assert key_id in result.stderr
    assert OLDEST_ENDS not in result.stderr
    assert result.stdout.strip().rpartition("_")[2] not in result.stderr


@pytest.mark.parametrize(
    ("config", "arguments", "overlap", "lifetime"),
    [
        ({}, (), timedelta(days=7), 90),
        ({"ORGKEYS_DEFAULT_ROTATION_OVERLAP_HOURS": 24}, (), timedelta(days=1), 90),
        ({"ORGKEYS_DEFAULT_EXPIRY_DAYS": 30}, (), timedelta(days=7), 30),
        ({}, ("--overlap", "30d", "--expires-in", "365"), timedelta(days=30), 365),
        ({}, ("--overlap", "12h", "--expires-in", "never"), timedelta(hours=12), None),
        ({}, ("--overlap", "0"), timedelta(0), 90),
        ({}, ("--overlap", "7d", "--expires-in", "2"), timedelta(days=2), 2),
    ],
)
def test_terms(
    new_host: MakeHost,
    config: dict[str, Any],
    arguments: tuple[str, ...],
    overlap: timedelta,
    lifetime: int | None,
) -> None:
    host = new_host(config=config)
    _, key_id = host.issue()
    with time_machine.travel(NOON, tick=False):
        assert rotate(host, f"orgk_{key_id}…", *arguments).exit_code == 0
    key = host.key(key_id)
    assert key.previous_until == NOON + overlap
    assert key.expires_at == (None if lifetime is None else NOON + timedelta(lifetime))


@pytest.mark.parametrize("overlap", ["", "7", "7w", "-1d", "1.5h", "d", "00", "31d", "721h", "٧d"])
def test_wrong_overlap_names_the_option(host: Host, overlap: str) -> None:
    _, key_id = host.issue()
    result = rotate(host, key_id, f"--overlap={overlap}")
    assert result.exit_code == 2
    assert "--overlap" in result.stderr
    assert (result.stdout, host.key(key_id).rotated_at) == ("", None)


@pytest.mark.parametrize("expires_in", ["", "0", "soon", "-1", "1.5"])
def test_wrong_expiry_names_the_option(host: Host, expires_in: str) -> None:
    _, key_id = host.issue()
    result = rotate(host, key_id, f"--expires-in={expires_in}")
    assert result.exit_code == 2
    assert "--expires-in" in result.stderr
    assert (result.stdout, host.key(key_id).rotated_at) == ("", None)


def test_says_first_that_the_oldest_secret_ends(host: Host) -> None:
    _, key_id = host.issue()
    first = rotate(host, key_id).stdout.strip()
    again = rotate(host, key_id)
    assert OLDEST_ENDS not in again.stderr
    assert answer(host, first) == "invalid_key"
    assert answer(host, again.stdout.strip()) == 200
    assert rotate(host, key_id).stderr.startswith(f"{OLDEST_ENDS}\n")


def test_does_not_say_so_of_a_secret_that_has_ended(host: Host) -> None:
    _, key_id = host.issue()
    assert answer(host, rotate(host, key_id).stdout.strip()) == 200
    by_code.end_previous(host, key_id)
    assert OLDEST_ENDS not in rotate(host, key_id).stderr


def test_json(host: Host) -> None:
    _, key_id = host.issue()
    document = json.loads(rotate(host, key_id, "--json", "--by", "ada").stdout)
    assert document["id"] == key_id
    assert answer(host, document["token"]) == 200
    until = host.key(key_id).previous_until
    assert datetime.fromisoformat(document["previous_until"]) == until
    assert host.events()[-1]["actor"] == "ada"


@pytest.mark.parametrize("state", ["revoked", "expired", "absent", "foreign"])
def test_no_key_to_rotate(host: Host, state: str) -> None:
    expires_at = datetime.now(UTC) if state == "expired" else None
    _, key_id = host.issue("beta" if state == "foreign" else "acme", expires_at=expires_at)
    if state == "revoked":
        host.revoke(key_id)
    result = rotate(host, "0" * 12 if state == "absent" else key_id)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert host.key(key_id).rotated_at is None


def test_key_is_written_to_a_new_file(host: Host, tmp_path: Path) -> None:
    _, key_id = host.issue()
    file = tmp_path / "key"
    assert rotate(host, key_id, "--output", str(file)).stdout == ""
    assert answer(host, file.read_text().strip()) == 200


def test_key_that_cannot_be_written_is_not_rotated(host: Host, tmp_path: Path) -> None:
    old, key_id = host.issue()
    result = rotate(host, key_id, "--output", str(tmp_path))
    assert result.exit_code == 1
    assert host.key(key_id).rotated_at is None
    assert answer(host, old) == 200


def test_one_key_is_printed_though_the_commit_conflicts(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Conflict(Exception):
        sqlstate = "40001"

    def fail(*_: Any) -> None:
        raise sa.exc.OperationalError("COMMIT", {}, Conflict())

    _, key_id = host.issue()
    with monkeypatch.context() as patch:
        patch.setattr(host.db.session, "commit", fail, raising=False)
        result = rotate(host, key_id)
    assert result.exit_code != 0
    assert len(re.findall(KEY, result.stdout)) == 1
    assert "void" in result.stderr
    assert host.key(key_id).rotated_at is None


def test_end_previous(any_host: Host) -> None:
    old, key_id = any_host.issue()
    none = run(any_host, "end-previous", "acme", key_id)
    assert (none.exit_code, none.stdout) == (0, "")
    assert "No secret before is alive" in none.stderr
    rotate(any_host, key_id)
    result = run(any_host, "end-previous", "acme", f"orgk_{key_id}", "--by", "ada", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["ended"] is True
    assert answer(any_host, old) == "rotated_key"
    assert any_host.events()[-1]["actor"] == "ada"
    assert run(any_host, "end-previous", "acme", key_id).exit_code == 0
    assert run(any_host, "end-previous", "beta", key_id).exit_code == 1


def test_created_key_may_rotate_itself(host: Host) -> None:
    assert create(host).exit_code == 0
    assert create(host, "--may-rotate-itself").exit_code == 0
    keys = host.keys()
    assert sorted(bool(key.may_rotate_itself) for key in keys) == [False, True]


def test_shown_key_tells_its_rotation(host: Host) -> None:
    _, key_id = host.issue()
    assert re.search(r"^previous_until +-$", run(host, "show", "acme", key_id).stdout, re.M)
    rotate(host, key_id)
    until = host.key(key_id).previous_until
    shown = run(host, "show", "acme", key_id).stdout
    assert re.search(rf"^previous_until +{until:%Y-%m-%d %H:%M}Z$", shown, re.M)
    assert re.search(r"^confirmed_at +never$", shown, re.M)


def test_secret_before_is_verified(host: Host) -> None:
    old, key_id = host.issue()
    rotate(host, key_id)
    assert run(host, "verify", input=old).exit_code == 0
    by_code.end_previous(host, key_id)
    result = run(host, "verify", "--json", input=old)
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert (document["code"], document["key"]["id"]) == ("rotated_key", key_id)
