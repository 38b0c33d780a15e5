"""Creating, listing, finding and revoking keys: in Python, and in the list of the pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from threading import Barrier
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa
import time_machine
from bs4 import BeautifulSoup
from werkzeug.middleware.proxy_fix import ProxyFix

from flask_orgkeys import IssuedKey, errors
from flask_orgkeys.keys.selection import SORTS, STATUSES

from .. import databases
from ..conftest import MakeHost
from ..host import Host, bearer, listed_names

LIST = "/o/acme/api-keys"
FORM = {"name": "CI", "scopes": ["project:deploy"], "expires_in": "90"}
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

T = TypeVar("T")


def create(host: Host, organization: str = "acme", **arguments: Any) -> IssuedKey:
    """Create a key within an app context, without a commit."""
    arguments = {"name": "CI", "scopes": ["project:deploy"], **arguments}
    return host.orgkeys.create_key(host.organization_ids[organization], **arguments)


# Those that several connections can share.
on_shared_databases = pytest.mark.parametrize(
    "any_database_url", [databases.SQLITE_FILE, *databases.SERVERS], indirect=True
)


def at_once(count: int, work: Callable[[int], T]) -> list[T]:
    """Run work in threads that start together. Gives what it returned."""
    barrier = Barrier(count)

    def run(number: int) -> T:
        barrier.wait(timeout=30)
        return work(number)

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(run, range(count)))


class TestCreation:
    def test_columns(self, any_host: Host) -> None:
        now = datetime(2026, 1, 1, 12, 34, 56, 789_012, tzinfo=UTC)
        expires_at = now + timedelta(days=30, microseconds=1)
        with time_machine.travel(now, tick=False), any_host.app.app_context():
            issued = create(
                any_host,
                name=" Émile’s 🔑 ",
                scopes=("project:deploy", "app:publish", "project:deploy"),
                expires_at=expires_at,
                created_by="ada",
            )
            any_host.db.session.commit()
            key = issued.key
            assert issued.token.startswith(f"orgk_{key.id}_")
            assert key.name == "Émile’s 🔑"
            assert key.scopes == ["app:publish", "project:deploy"]
            assert key.organization_id == any_host.organization_ids["acme"]
            assert key.created_by == "ada"
            assert (key.created_at, key.expires_at) == (now, expires_at)
            assert key.created_at.tzinfo is UTC
            assert (key.last_used_at, key.revoked_at, key.revoked_by) == (None, None, None)

    def test_times_to_the_microsecond(self, any_host: Host) -> None:
        moments = [NOON + timedelta(microseconds=number) for number in (0, 1, 999_999)]
        ids = [any_host.issue(expires_at=moment)[1] for moment in moments]
        assert [any_host.key(key_id).expires_at for key_id in ids] == moments
        assert all(any_host.key(key_id).expires_at.tzinfo is UTC for key_id in ids)

    @pytest.mark.parametrize("offset", [14, -12, 5.75])
    def test_expiry_in_another_time_zone(self, any_host: Host, offset: float) -> None:
        zone = timezone(timedelta(hours=offset))
        _, key_id = any_host.issue(expires_at=NOON.astimezone(zone))
        assert any_host.key(key_id).expires_at == NOON

    @pytest.mark.parametrize(
        "moment",
        [
            NOON.date(),
            "2030-01-01T00:00:00Z",
            timedelta(days=30),
            90,
            datetime.max.replace(tzinfo=timezone(-timedelta(hours=1))),
            datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
            # A session of the database in another time zone could not read them.
            datetime.max.replace(tzinfo=UTC),
            datetime.max.replace(tzinfo=UTC) - timedelta(hours=14),
            datetime.min.replace(tzinfo=UTC),
        ],
    )
    def test_expiry_that_is_no_moment(self, host: Host, moment: Any) -> None:
        with pytest.raises(ValueError, match="expires_at"):
            host.issue(expires_at=moment)
        assert host.keys() == []

    @pytest.mark.parametrize(
        "any_database_url", [databases.PSYCOPG, databases.PSYCOPG2], indirect=True
    )
    @pytest.mark.parametrize("zone", ["Asia/Kathmandu", "America/St_Johns"])
    def test_time_zone_of_the_session(
        self, any_database_url: str, zone: str, new_host: MakeHost
    ) -> None:
        options = {"connect_args": {"options": f"-c timezone={zone}"}}
        host = new_host(any_database_url, config={"SQLALCHEMY_ENGINE_OPTIONS": options})
        with host.app.app_context():
            shown = host.db.session.scalar(sa.text("SELECT current_setting('TimeZone')"))
        assert shown == zone
        _, key_id = host.issue(expires_at=NOON)
        key = host.key(key_id)
        assert key.expires_at == NOON
        assert key.expires_at.tzinfo is UTC
        assert abs(datetime.now(UTC) - key.created_at) < timedelta(minutes=1)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"expires_at": datetime(2030, 1, 1)}, "no time zone"),  # noqa: DTZ001
            ({"name": ""}, "Enter a name"),
            ({"name": "n" * 101}, "at most 100"),
            ({"scopes": []}, "at least one scope"),
            ({"scopes": ["admin"]}, "no such scope: 'admin'"),
            ({"scopes": "project:deploy"}, r"write \['project:deploy'\]"),
            ({"created_by": "x" * 256}, "at most 255 characters"),
            ({"created_by": "a\0b"}, "control characters"),
        ],
    )
    def test_refused_arguments(
        self, any_host: Host, arguments: dict[str, Any], message: str
    ) -> None:
        with any_host.app.app_context():
            with pytest.raises(ValueError, match=message):
                create(any_host, **arguments)
            any_host.db.session.commit()
        assert any_host.keys() == []
        assert any_host.events() == []

    def test_organisation_without_an_id(self, host: Host) -> None:
        with host.app.app_context(), pytest.raises(ValueError, match="flush the organisation"):
            host.orgkeys.create_key(None, name="CI", scopes=["project:deploy"])

    def test_token_absent_from_repr(self, host: Host) -> None:
        with host.app.app_context():
            issued = create(host)
            secret = issued.token.rpartition("_")[2]
            for thing in (issued, issued.key, [issued], vars(issued.key), host.orgkeys):
                assert secret not in repr(thing)
                assert secret not in str(thing)

    def test_rollback(self, any_host: Host) -> None:
        with any_host.app.app_context():
            token = create(any_host).token
            any_host.db.session.rollback()
        assert any_host.keys() == []
        assert any_host.events() == []
        assert any_host.client().get("/api/whoami", headers=bearer(token)).status_code == 401

    def test_no_commit(self, any_host: Host) -> None:
        """The host's own row is flushed beside the key, and goes with it."""
        with any_host.app.app_context():
            any_host.db.session.add(any_host.Note(text="pending"))
            issued = create(any_host)
            assert sa.inspect(issued.key).persistent
            any_host.orgkeys.revoke_key(any_host.organization_ids["acme"], issued.key.id)
            any_host.db.session.rollback()
            assert any_host.db.session.scalar(sa.select(sa.func.count(any_host.Note.id))) == 0

    def test_organisation_and_first_key_in_one_transaction(self, any_host: Host) -> None:
        with any_host.app.app_context():
            organization = any_host.Organization(slug="gamma", name="Gamma")
            any_host.db.session.add(organization)
            any_host.db.session.flush()
            issued = any_host.orgkeys.create_key(
                organization.id, name="first", scopes=["project:deploy"]
            )
            any_host.db.session.commit()
        answer = any_host.client().post("/api/o/gamma/deployments", headers=bearer(issued.token))
        assert answer.status_code == 201

    def test_unique_ids_and_secrets(self, host: Host) -> None:
        tokens = [host.issue()[0] for _ in range(50)]
        assert len({token.split("_")[1] for token in tokens}) == 50
        assert len({token.split("_")[2] for token in tokens}) == 50


class TestLookUp:
    def test_key(self, any_host: Host) -> None:
        _, key_id = any_host.issue(name="storefront")
        with any_host.app.app_context():
            acme, beta = any_host.organization_ids["acme"], any_host.organization_ids["beta"]
            key = any_host.orgkeys.get_key(acme, key_id)
            assert key is not None
            assert key.name == "storefront"
            assert any_host.orgkeys.get_key(beta, key_id) is None

    @pytest.mark.parametrize(
        "key_id", ["", "0" * 12, "x" * 100_000, "a\0b", "☃" * 12, "\ud800" * 12, None, 5, b"0" * 12]
    )
    def test_absent(self, any_host: Host, key_id: Any) -> None:
        acme = any_host.organization_ids["acme"]
        with any_host.app.app_context():
            assert any_host.orgkeys.get_key(acme, key_id) is None
            with pytest.raises(errors.KeyNotFound) as raised:
                any_host.orgkeys.revoke_key(acme, key_id)
        assert raised.value.key_id == key_id

    def test_id_in_another_case(self, any_host: Host) -> None:
        _, key_id = any_host.issue()
        with any_host.app.app_context():
            acme = any_host.organization_ids["acme"]
            assert any_host.orgkeys.get_key(acme, key_id.swapcase()) is None
            assert any_host.orgkeys.get_key(acme, f"{key_id} ") is None


class TestRevocation:
    def test_first_and_second(self, any_host: Host) -> None:
        _, key_id = any_host.issue()
        acme = any_host.organization_ids["acme"]
        with any_host.app.app_context():
            with time_machine.travel(NOON, tick=False):
                assert any_host.orgkeys.revoke_key(acme, key_id, revoked_by="ada") is True
                any_host.db.session.commit()
            assert any_host.orgkeys.revoke_key(acme, key_id, revoked_by="bea") is False
            any_host.db.session.commit()
        key = any_host.key(key_id)
        assert (key.revoked_at, key.revoked_by) == (NOON, "ada")
        assert [event["action"] for event in any_host.events()] == ["created", "revoked"]

    def test_foreign_key(self, any_host: Host) -> None:
        _, key_id = any_host.issue("acme")
        with any_host.app.app_context():
            with pytest.raises(errors.KeyNotFound) as foreign:
                any_host.orgkeys.revoke_key(any_host.organization_ids["beta"], key_id)
            with pytest.raises(errors.KeyNotFound) as absent:
                any_host.orgkeys.revoke_key(any_host.organization_ids["beta"], "0" * 12)
            any_host.db.session.commit()
        assert str(foreign.value) == str(absent.value)
        assert any_host.key(key_id).revoked_at is None

    def test_loaded_key(self, any_host: Host) -> None:
        """A key at hand shows its revocation at once."""
        _, key_id = any_host.issue()
        acme = any_host.organization_ids["acme"]
        with any_host.app.app_context():
            key = any_host.orgkeys.get_key(acme, key_id)
            assert key is not None
            any_host.orgkeys.revoke_key(acme, key_id, revoked_by="ada")
            assert key.revoked_by == "ada"
            assert key.revoked_at is not None
            assert key.revoked_at.tzinfo is UTC

    def test_rollback(self, any_host: Host) -> None:
        _, key_id = any_host.issue()
        with any_host.app.app_context():
            any_host.orgkeys.revoke_key(any_host.organization_ids["acme"], key_id)
            any_host.db.session.rollback()
        assert any_host.key(key_id).revoked_at is None
        assert len(any_host.events()) == 1

    def test_name_of_the_actor_that_does_not_fit(self, any_host: Host) -> None:
        _, key_id = any_host.issue()
        acme = any_host.organization_ids["acme"]
        with any_host.app.app_context():
            with pytest.raises(ValueError, match="at most 255 characters"):
                any_host.orgkeys.revoke_key(acme, key_id, revoked_by="x" * 256)
            any_host.db.session.commit()
        assert any_host.key(key_id).revoked_at is None

    @on_shared_databases
    def test_at_once(self, any_host: Host) -> None:
        """Of many, exactly one revokes; the others learn who did."""
        host = any_host
        _, key_id = host.issue()
        acme = host.organization_ids["acme"]

        def revoke(number: int) -> tuple[bool, str | None]:
            with host.app.app_context():
                # Begins the transaction, and with it what it sees, before any has revoked.
                (key,) = host.orgkeys.list_keys(acme)
                loaded.wait(timeout=30)
                revoked = host.orgkeys.revoke_key(acme, key_id, revoked_by=f"user-{number}")
                seen_as = key.revoked_by
                host.db.session.commit()
                return revoked, seen_as

        loaded = Barrier(4)
        answers = at_once(4, revoke)
        assert sorted(revoked for revoked, _ in answers) == [False, False, False, True]
        assert {seen_as for _, seen_as in answers} == {host.key(key_id).revoked_by}
        assert [event["action"] for event in host.events()] == ["created", "revoked"]


class TestAuditRecord:
    def test_of_the_pages(self, any_host: Host) -> None:
        address = {"REMOTE_ADDR": "2001:db8::7"}
        with time_machine.travel(NOON, tick=False):
            client = any_host.client("ada")
            client.post(LIST, data=FORM, environ_overrides=address)
            (key,) = any_host.keys()
            client.post(f"{LIST}/{key.id}/revoke", environ_overrides=address)
        created, revoked = any_host.events()
        for event, action in ((created, "created"), (revoked, "revoked")):
            assert event["key_id"] == key.id
            assert event["organization_id"] == any_host.organization_ids["acme"]
            assert event["action"] == action
            assert event["actor"] == "ada"
            assert event["address"] == "2001:db8::7"
            assert event["occurred_at"].replace(tzinfo=UTC) == NOON

    def test_outside_of_a_request(self, any_host: Host) -> None:
        _, key_id = any_host.issue(created_by="import")
        any_host.revoke(key_id)
        created, revoked = any_host.events()
        assert (created["actor"], created["address"]) == ("import", None)
        assert (revoked["actor"], revoked["address"]) == (None, None)

    @pytest.mark.parametrize(
        ("forwarded", "address"),
        [
            ("203.0.113.9", "203.0.113.9"),
            ("2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff", "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff"),
            ("x" * 5000, "x" * 45),
            ("1.2.3.4\x7f\x01", "1.2.3.4"),
            ("\xa0", None),
            ("", None),
        ],
    )
    def test_address_from_a_proxy(
        self, any_host: Host, forwarded: str, address: str | None
    ) -> None:
        app = any_host.app
        app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
        environ = {"HTTP_X_FORWARDED_FOR": forwarded, "REMOTE_ADDR": ""}
        response = any_host.client("ada").post(LIST, data=FORM, environ_overrides=environ)
        assert response.status_code == 200
        (event,) = any_host.events()
        assert event["address"] == address

    def test_outlives_nothing_but_its_organisation(self, any_host: Host) -> None:
        """The row of the key may be deleted, by a host that prunes; the record stays."""
        _, key_id = any_host.issue()
        with any_host.app.app_context():
            any_host.db.session.delete(any_host.db.session.get_one(any_host.orgkeys.ApiKey, key_id))
            any_host.db.session.commit()
        (event,) = any_host.events()
        assert event["key_id"] == key_id


SEARCHED_NAMES = (
    *("Deploy 100%", "deploy_prod", "DEPLOY", "a/b\\c", "Straße", "Café", "the 🔑", "it's"),
)
# With the names that are found.
SEARCHES = (
    ("deploy", ["Deploy 100%", "deploy_prod", "DEPLOY"]),
    ("DEPLOY", ["Deploy 100%", "deploy_prod", "DEPLOY"]),
    ("  deploy  ", ["Deploy 100%", "deploy_prod", "DEPLOY"]),
    ("%", ["Deploy 100%"]),
    ("_", ["deploy_prod"]),
    ("0%", ["Deploy 100%"]),
    ("y_p", ["deploy_prod"]),
    ("y%p", []),
    ("/", ["a/b\\c"]),
    ("\\", ["a/b\\c"]),
    ("b\\c", ["a/b\\c"]),
    ("straße", ["Straße"]),
    ("STRASSE", ["Straße"]),
    ("é", ["Café"]),
    ("e\u0301", ["Café"]),
    ("cafe", []),
    ("🔑", ["the 🔑"]),
    ("🔒", []),
    ("'", ["it's"]),
    ("it's", ["it's"]),
    ("no such", []),
    ("a\0b", []),
    ("x" * 1201, []),
    ("x" * 101, []),
)


class TestList:
    @staticmethod
    def names(host: Host, **query: Any) -> list[str]:
        response = host.client("ada").get(LIST, query_string=query)
        assert response.status_code == 200
        return listed_names(response.text)

    @pytest.fixture
    def stocked(self, any_host: Host) -> Host:
        """Keys in every status, each created a minute after the one before."""
        with time_machine.travel(NOON, tick=False) as clock:
            for name, days in (("plain", None), ("short", 1), ("long", 90), ("gone", None)):
                expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
                _, key_id = any_host.issue(name=name, expires_at=expires_at)
                clock.shift(60)
            any_host.revoke(key_id)
            any_host.issue("beta", name="foreign")
        return any_host

    @pytest.mark.parametrize(
        ("query", "names"),
        [
            ({}, ["long", "short", "plain"]),
            ({"status": "current"}, ["long", "short", "plain"]),
            ({"status": "active"}, ["long", "plain"]),
            ({"status": "expired"}, ["short"]),
            ({"status": "revoked"}, ["gone"]),
            ({"status": "all"}, ["gone", "long", "short", "plain"]),
            ({"sort": "name"}, ["long", "plain", "short"]),
            ({"sort": "-name"}, ["short", "plain", "long"]),
            ({"sort": "created"}, ["plain", "short", "long"]),
            ({"sort": "expires"}, ["short", "long", "plain"]),
            ({"sort": "-expires"}, ["plain", "long", "short"]),
            ({"q": "on", "status": "all", "sort": "name"}, ["gone", "long"]),
            ({"q": "orgk"}, ["long", "short", "plain"]),
            ({"q": "orgk_"}, ["long", "short", "plain"]),
            ({"q": "org"}, []),
        ],
    )
    def test_query(self, stocked: Host, query: dict[str, str], names: list[str]) -> None:
        with time_machine.travel(NOON + timedelta(days=2), tick=False):
            assert self.names(stocked, **query) == names

    def test_hostile_query(self, stocked: Host) -> None:
        """What is not offered is as good as not said."""
        with time_machine.travel(NOON, tick=False):
            usual = self.names(stocked)
            for value in ("", "ALL", "all ", "a\0", "☃", "x" * 3000, "1; DROP TABLE", "[]", "-"):
                for name in ("status", "sort", "page", "unknown"):
                    assert self.names(stocked, **{name: value}) == usual
                assert self.names(stocked, **{f"{value}[]": value}) == usual

    @pytest.mark.parametrize("status", STATUSES)
    def test_statuses_at_the_instant_of_expiry(self, stocked: Host, status: str) -> None:
        """The list and the badge agree, half-open: at its instant a key is expired."""
        (short,) = [key for key in stocked.keys() if key.name == "short"]  # noqa: SIM118
        for moment in (-1, 0, 1):
            with time_machine.travel(short.expires_at + timedelta(microseconds=moment), tick=False):
                is_listed = "short" in self.names(stocked, status=status)
            is_expired = moment >= 0
            expected = {"active": not is_expired, "expired": is_expired, "revoked": False}
            assert is_listed is expected.get(status, True)

    def test_use(self, any_host: Host) -> None:
        """Never used before ever used, the longest unused first."""
        with time_machine.travel(NOON, tick=False) as clock:
            tokens = {name: any_host.issue(name=name)[0] for name in ("b", "a", "never")}
            for name in ("a", "b"):
                clock.shift(3600)
                any_host.client().get("/api/whoami", headers=bearer(tokens[name]))
            assert self.names(any_host, sort="last_used") == ["never", "a", "b"]
            assert self.names(any_host, sort="-last_used") == ["b", "a", "never"]

    def test_order_of_names(self, any_host: Host) -> None:
        """By code point, without regard to case: alike on every database."""
        names = ["10", "9", "_x", "apple", "Apple 2", "Straße", "strasse 2", "Zebra", "äpfel", "Éa"]
        names += ["éb", "Ω", "中", "\U00010400", "🔑"]
        for name in reversed(names):
            any_host.issue(name=name)
        assert self.names(any_host, sort="name") == names
        assert self.names(any_host, sort="-name") == names[::-1]

    def test_search_by_name(self, any_host: Host) -> None:
        for name in SEARCHED_NAMES:
            any_host.issue(name=name)
        for search, found in SEARCHES:
            assert sorted(self.names(any_host, q=search)) == sorted(found)

    def test_search_by_id(self, any_host: Host) -> None:
        _, key_id = any_host.issue(name="wanted")
        any_host.issue(name="other")
        for length in (4, 8, 12):
            for text in (key_id[:length], f"orgk_{key_id[:length]}", f"orgk_{key_id[:length]}…"):
                assert self.names(any_host, q=text) == ["wanted"]
        assert self.names(any_host, q=f"orgk_{key_id}...") == ["wanted"]
        assert self.names(any_host, q=f"  {key_id}  ") == ["wanted"]
        assert self.names(any_host, q=key_id.swapcase()) == []
        assert self.names(any_host, q=key_id[1:]) == []
        assert self.names(any_host, q=f"other_{key_id}") == []
        assert self.names(any_host, q=f"{key_id}x") == []

    def test_search_in_python(self, any_host: Host) -> None:
        token, key_id = any_host.issue(name="wanted")
        any_host.issue(name="other")
        with any_host.app.app_context():
            acme = any_host.organization_ids["acme"]
            for text in ("WANT", key_id, f"orgk_{key_id}…", token):
                (key,) = any_host.orgkeys.list_keys(acme, search=text)
                assert key.id == key_id
                assert any_host.orgkeys.count_keys(acme, search=text) == 1

    @pytest.mark.parametrize("argument", ["status", "sort"])
    def test_unknown_selection_in_python(self, host: Host, argument: str) -> None:
        acme = host.organization_ids["acme"]
        with host.app.app_context(), pytest.raises(ValueError, match=f"{argument} is one of"):
            host.orgkeys.list_keys(acme, **{argument: "x"})

    @pytest.mark.parametrize("number", [2**31, 2**63, 10**30])
    def test_limits_beyond_all_keys(self, any_host: Host, number: int) -> None:
        self.stock(any_host, 2)
        acme = any_host.organization_ids["acme"]
        with any_host.app.app_context():
            assert len(any_host.orgkeys.list_keys(acme, limit=number)) == 2
            assert any_host.orgkeys.list_keys(acme, offset=number, limit=1) == []

    @pytest.mark.parametrize("argument", ["limit", "offset"])
    def test_limits_below_none(self, any_host: Host, argument: str) -> None:
        acme = any_host.organization_ids["acme"]
        with any_host.app.app_context(), pytest.raises(ValueError, match="not negative"):
            any_host.orgkeys.list_keys(acme, **{argument: -1})

    def test_pages(self, any_host: Host) -> None:
        self.stock(any_host, 60)
        pages = [self.names(any_host, sort="name", page=page) for page in (1, 2, 3)]
        assert [len(page) for page in pages] == [25, 25, 10]
        assert [name for page in pages for name in page] == [f"key {n:04}" for n in range(60)]
        for page in ("0", "-1", "1.0", "x", "", "١", "+2", "00"):
            assert self.names(any_host, sort="name", page=page) == pages[0]
        for page in ("4", "99", "9" * 9, "9" * 10, "9" * 5000, "03"):
            assert self.names(any_host, sort="name", page=page) == pages[2]

    @pytest.mark.parametrize(("count", "last"), [(0, 0), (25, 25), (26, 1), (50, 25)])
    def test_last_page(self, host: Host, count: int, last: int) -> None:
        self.stock(host, count)
        assert len(self.names(host, page=999)) == last

    def test_links_between_pages(self, host: Host) -> None:
        self.stock(host, 51)
        query = {"q": "key", "status": "active", "sort": "name", "page": 2}
        soup = BeautifulSoup(host.client("ada").get(LIST, query_string=query).text, "html.parser")
        for name, page in (("Previous", 1), ("Next", 3)):
            link = soup.find("a", string=name)
            assert link is not None
            href = f"{LIST}?q=key&status=active&sort=name&page={page}"
            assert link["href"] == f"{href}#orgkeys-found"
        assert "26–50 of 51" in soup.get_text()

    def test_thousands(self, any_host: Host) -> None:
        self.stock(any_host, 3000)
        assert self.names(any_host, sort="name", page=120)[-1] == "key 2999"
        assert self.names(any_host, q="KEY 17", sort="name", page=2)[0] == "key 1725"

    def test_every_sort(self, any_host: Host) -> None:
        """Each is an order: it repeats no key on the next page and loses none."""
        with time_machine.travel(NOON, tick=False):
            self.stock(any_host, 55)
            for sort in SORTS:
                seen = [
                    name
                    for page in (1, 2, 3)
                    for name in self.names(any_host, sort=sort, page=page)
                ]
                assert len(seen) == len(set(seen)) == 55

    @staticmethod
    def stock(host: Host, count: int) -> None:
        """Put keys in, with names in the order of their number, in one statement."""
        from flask_orgkeys.keys.texts import fold

        table = host.db.metadata.tables["orgkeys_key"]
        rows = [
            {
                "id": f"{number:012}",
                "organization_id": host.organization_ids["acme"],
                "name": f"key {number:04}",
                "folded_name": fold(f"key {number:04}"),
                "scopes": ["project:deploy"],
                "digest": "sha256$0",
                "created_at": NOON,
            }
            for number in range(count)
        ]
        with host.app.app_context():
            if rows:
                host.db.session.execute(sa.insert(table), rows)
            host.db.session.commit()


class TestLimit:
    """ORGKEYS_MAX_KEYS, of live keys in an organisation."""

    @pytest.fixture
    def limited(self, any_database_url: str, new_host: MakeHost) -> Host:
        return new_host(any_database_url, config={"ORGKEYS_MAX_KEYS": 2})

    def test_page(self, limited: Host) -> None:
        client = limited.client("ada")
        for status in (200, 200, 422):
            assert client.post(LIST, data=FORM).status_code == status
        response = client.post(LIST, data={**FORM, "name": "third", "expires_in": "30"})
        soup = BeautifulSoup(response.text, "html.parser")
        alert = soup.find(role="alert")
        assert alert is not None
        assert "2 live keys, the most it may have" in alert.get_text()
        assert soup.select_one("[name=name]")["value"] == "third"  # type: ignore[index]
        assert len(limited.keys()) == 2
        assert len(limited.events()) == 2

    def test_what_counts(self, limited: Host) -> None:
        """Neither revoked nor expired keys, nor those of others."""
        limited.issue("beta")
        limited.issue(expires_at=datetime.now(UTC) - timedelta(seconds=1))
        limited.revoke(limited.issue()[1])
        limited.issue()
        limited.issue()
        with pytest.raises(errors.KeyLimitReached) as raised:
            limited.issue()
        assert raised.value.limit == 2
        limited.issue("beta")

    @on_shared_databases
    @pytest.mark.parametrize("organization", ["organization.id", sa.Integer], ids=["fk", "no-fk"])
    @pytest.mark.parametrize("existing", [0, 3])
    def test_at_once(
        self, any_database_url: str, existing: int, organization: Any, new_host: MakeHost
    ) -> None:
        limit = existing + 1
        config = {"ORGKEYS_MAX_KEYS": limit}
        host = new_host(any_database_url, config=config, organization=organization)
        for _ in range(existing):
            host.issue()
        clients = [host.client("ada") for _ in range(4)]

        def post(number: int) -> int:
            form = {**FORM, "name": f"key {number}", "nonce": f"{number}"}
            return clients[number].post(LIST, data=form).status_code

        assert sorted(at_once(4, post)) == [200, 422, 422, 422]
        assert len(host.keys()) == limit
        assert len(host.events()) == limit


class TestAtomicity:
    """A change and its audit record are one transaction."""

    @staticmethod
    @contextmanager
    def failing_at(host: Host, number: int) -> Iterator[list[str]]:
        """Let the nth statement fail, or after the last of them the commit. Gives what ran."""
        ran: list[str] = []

        def step(text: str) -> None:
            ran.append(text)
            if len(ran) == number:
                raise RuntimeError(f"failed at {text}")

        def before_statement(_connection: Any, _cursor: Any, text: str, *_: Any) -> None:
            step(text)

        def before_commit(_connection: Any) -> None:
            step("COMMIT")

        with host.app.app_context():
            engine = host.db.engine
        sa.event.listen(engine, "before_cursor_execute", before_statement)
        sa.event.listen(engine, "commit", before_commit)
        try:
            yield ran
        finally:
            sa.event.remove(engine, "before_cursor_execute", before_statement)
            sa.event.remove(engine, "commit", before_commit)

    @pytest.fixture(params=[{}, {"ORGKEYS_MAX_KEYS": 9}], ids=["unlimited", "limited"])
    def fragile(
        self, request: pytest.FixtureRequest, any_database_url: str, new_host: MakeHost
    ) -> Host:
        config = {"TESTING": False, "PROPAGATE_EXCEPTIONS": False, **request.param}
        return new_host(any_database_url, config=config)

    def test_failed_creation(self, fragile: Host) -> None:
        """At each statement in turn: no key, no record, no secret on the page."""
        client = fragile.client("ada")
        number = 0
        while True:
            number += 1
            with self.failing_at(fragile, number) as ran:
                response = client.post(LIST, data={**FORM, "nonce": "n"})
            if response.status_code == 200:
                break
            # 503 if it was the statement of the host's loader.
            assert response.status_code in (500, 503)
            assert "orgk_" not in response.text
            assert fragile.keys() == []
            assert fragile.events() == []
        assert ran[-1] == "COMMIT"
        assert sum("INSERT INTO orgkeys_key" in text for text in ran) == 1
        assert sum("INSERT INTO orgkeys_event" in text for text in ran) == 1
        assert len(fragile.keys()) == len(fragile.events()) == 1

    def test_failed_revocation(self, fragile: Host) -> None:
        _, key_id = fragile.issue()
        client = fragile.client("ada")
        number = 0
        while True:
            number += 1
            with self.failing_at(fragile, number) as ran:
                response = client.post(f"{LIST}/{key_id}/revoke")
            if response.status_code == 303:
                break
            assert response.status_code in (500, 503)
            assert fragile.key(key_id).revoked_at is None
            assert len(fragile.events()) == 1
        assert ran[-1] == "COMMIT"
        assert len(fragile.events()) == 2

    @pytest.mark.parametrize("signal", ["key_created", "key_revoked"])
    def test_host_that_saves_after_a_failure(self, host: Host, signal: str) -> None:
        """A receiver fails, and the host's error handler commits a row of its own."""
        from flask_orgkeys import signals

        _, key_id = host.issue()

        def fail(_sender: Any, **_: Any) -> None:
            raise RuntimeError(signal)

        @host.app.errorhandler(RuntimeError)
        def record(error: Exception) -> tuple[str, int]:
            host.db.session.add(host.Note(text=str(error)))
            host.db.session.commit()
            return "", 500

        client = host.client("ada")
        with getattr(signals, signal).connected_to(fail):
            path = LIST if signal == "key_created" else f"{LIST}/{key_id}/revoke"
            assert client.post(path, data=FORM).status_code == 500
        (key,) = host.keys()
        assert key.revoked_at is None
        assert len(host.events()) == 1
