"""Promise 5: expiry is half-open in UTC, whatever the clocks around it say."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine
from sqlalchemy import event

from .. import databases
from ..conftest import MakeHost
from ..host import Host, bearer
from .outside import connection_of_another_process, last_used_at

# On the days on which Berlin and New York change their clocks, within the hour that is there twice
# or not at all.
EXPIRIES = (
    datetime(2031, 3, 30, 1, 30, 0, 123456, tzinfo=UTC),
    datetime(2031, 10, 26, 0, 30, tzinfo=UTC),
    datetime(2031, 11, 2, 5, 59, 59, 999999, tzinfo=UTC),
)
MICROSECOND = timedelta(microseconds=1)

# As POSIX spells them, which needs no time zone database; and how far from UTC they are at the
# first expiry.
PROCESS_ZONES = {
    "UTC0": 0,
    "CET-1CEST,M3.5.0,M10.5.0/3": 2,
    "EST5EDT,M3.2.0,M11.1.0": -4,
    "<+14>-14": 14,
}

DATABASE_ZONES = {
    "postgresql": [
        {"options": "-c timezone=America/New_York"},
        {"options": "-c timezone=Pacific/Kiritimati"},
    ],
    "mysql": [
        {"init_command": "SET time_zone = '-05:00'"},
        {"init_command": "SET time_zone = '+13:00'"},
    ],
}


@contextmanager
def process_zone(name: str) -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = name
    time.tzset()
    try:
        yield
    finally:
        os.environ.pop("TZ")
        if before is not None:
            os.environ["TZ"] = before
        time.tzset()


def frozen_at(moment: datetime) -> Any:
    # Where the moment is given in UTC, the process's time zone is set to that as well.
    return time_machine.travel(moment.astimezone(timezone(timedelta(hours=1))), tick=False)


def answer_at(host: Host, token: str, moment: datetime) -> str:
    with frozen_at(moment):
        answer = host.client().get("/api/whoami", headers=bearer(token))
    assert answer.json is not None
    return str(answer.json.get("code", answer.status_code))


def assert_dead_from_the_very_instant(host: Host) -> None:
    for expiry in EXPIRIES:
        with frozen_at(expiry - timedelta(days=30)):
            token, key_id = host.issue(expires_at=expiry)
        assert [
            answer_at(host, token, expiry - timedelta(hours=1)),
            answer_at(host, token, expiry - MICROSECOND),
            answer_at(host, token, expiry),
            answer_at(host, token, expiry + MICROSECOND),
            answer_at(host, token, expiry + timedelta(hours=1)),
        ] == ["200", "200", "expired_key", "expired_key", "expired_key"]
        assert host.key(key_id).expires_at == expiry
        assert last_used_at(host, key_id) == expiry - MICROSECOND


@pytest.mark.parametrize("zone", PROCESS_ZONES)
def test_key_is_dead_from_the_very_instant_in_every_process_zone(any_host: Host, zone: str) -> None:
    with process_zone(zone):
        with frozen_at(EXPIRIES[0]):
            offset = datetime.now().astimezone().utcoffset()
        assert offset == timedelta(hours=PROCESS_ZONES[zone])
        assert_dead_from_the_very_instant(any_host)


@pytest.mark.parametrize("any_database_url", databases.SERVERS, indirect=True)
@pytest.mark.parametrize("number", [0, 1])
def test_key_is_dead_from_the_very_instant_in_every_zone_of_the_database(
    new_host: MakeHost, any_database_url: str, number: int
) -> None:
    backend = sa.make_url(any_database_url).get_backend_name()
    options = {"connect_args": DATABASE_ZONES[backend][number]}
    host = new_host(any_database_url, config={"SQLALCHEMY_ENGINE_OPTIONS": options})
    assert_dead_from_the_very_instant(host)


@pytest.mark.parametrize("any_database_url", databases.SERVERS, indirect=True)
def test_apps_in_different_zones_agree(new_host: MakeHost, any_database_url: str) -> None:
    """One writes the expiry and the last use, the other, half a day away, reads them."""
    backend = sa.make_url(any_database_url).get_backend_name()
    west, east = ({"connect_args": zone} for zone in DATABASE_ZONES[backend])
    host = new_host(any_database_url, config={"SQLALCHEMY_ENGINE_OPTIONS": west})
    expiry = EXPIRIES[0]
    with (
        host.sibling(SQLALCHEMY_ENGINE_OPTIONS=east) as sibling,
        frozen_at(expiry - timedelta(days=1)),
    ):
        token, key_id = host.issue(expires_at=expiry)
        assert answer_at(sibling, token, expiry - MICROSECOND) == "200"
        assert answer_at(sibling, token, expiry) == "expired_key"
        for reader in (host, sibling):
            key = reader.key(key_id)
            assert (key.expires_at, key.last_used_at) == (expiry, expiry - MICROSECOND)


def test_expiry_given_in_another_zone_is_the_same_instant(any_host: Host) -> None:
    expiry = EXPIRIES[0]
    with frozen_at(expiry - timedelta(days=30)):
        token, key_id = any_host.issue(
            expires_at=expiry.astimezone(timezone(timedelta(hours=5, minutes=45)))
        )
    assert any_host.key(key_id).expires_at == expiry
    assert answer_at(any_host, token, expiry - MICROSECOND) == "200"
    assert answer_at(any_host, token, expiry) == "expired_key"


def test_clock_that_steps_back_revives_no_revoked_key(any_host: Host) -> None:
    revocation = EXPIRIES[0]
    token, key_id = any_host.issue()
    with frozen_at(revocation):
        any_host.revoke(key_id)
    for moment in (revocation + timedelta(hours=1), revocation - timedelta(days=365)):
        assert answer_at(any_host, token, moment) == "revoked_key"


def test_key_that_expires_while_the_pool_has_no_room_is_dead(new_host: MakeHost) -> None:
    """The time that counts is that of the answer of the database."""
    expiry = EXPIRIES[0]
    host = new_host()
    with frozen_at(expiry - MICROSECOND) as clock:
        token, _ = host.issue(expires_at=expiry)
        with host.app.app_context():
            event.listen(host.db.engine, "checkout", lambda *_: clock.shift(MICROSECOND))
        answer = host.client().get("/api/whoami", headers=bearer(token))
    assert answer.json is not None
    assert answer.json["code"] == "expired_key"


def test_naive_clock_of_the_database_is_not_asked(any_host: Host) -> None:
    """The very moments are stored, to the microsecond, and in UTC."""
    expiry = EXPIRIES[2]
    with process_zone("EST5EDT,M3.2.0,M11.1.0"), frozen_at(EXPIRIES[1]):
        token, key_id = any_host.issue(expires_at=expiry)
        assert answer_at(any_host, token, expiry - MICROSECOND) == "200"
    key: Any = sa.inspect(any_host.orgkeys.ApiKey).local_table
    with connection_of_another_process(any_host) as connection:
        moments = connection.execute(
            sa.select(key.c.created_at, key.c.expires_at, key.c.last_used_at).where(
                key.c.id == key_id
            )
        ).one()
    in_utc = [moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment for moment in moments]
    assert in_utc == [EXPIRIES[1], expiry, expiry - MICROSECOND]


@pytest.mark.parametrize("any_database_url", [databases.PSYCOPG, databases.PSYCOPG2], indirect=True)
@pytest.mark.parametrize(
    ("expires_at", "code"),
    [
        ("infinity", None),
        ("9999-12-31 23:59:59.999999+00", None),
        ("294276-12-31 00:00+00", None),
        ("0001-01-01 00:00+00", "expired_key"),
        ("4713-01-01 00:00+00 BC", "expired_key"),
        ("-infinity", "expired_key"),
    ],
)
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Etc/GMT+12"])
def test_expiry_that_no_driver_can_read(
    new_host: MakeHost, any_database_url: str, expires_at: str, code: str | None, zone: str
) -> None:
    """Written by the host itself."""
    url = sa.make_url(any_database_url).update_query_dict({"options": f"-c timezone={zone}"})
    host = new_host(url.render_as_string(hide_password=False))
    token, key_id = host.issue()
    with host.app.app_context(), host.db.engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE orgkeys_key SET expires_at = :expires_at WHERE id = :id"),
            {"expires_at": expires_at, "id": key_id},
        )
    answer = host.client().get("/api/whoami", headers=bearer(token))
    assert (answer.status_code, answer.json.get("code")) == (401 if code else 200, code)
    assert host.client().get("/open", headers=bearer(token)).status_code == 200
