"""The list's filters, what it says of a key's life, and the names of those who changed it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from bs4 import BeautifulSoup
from markupsafe import Markup

from ..conftest import MakeHost
from ..host import SCOPES, Host, listed_names
from .test_pages import FORM, LIST

NOW = datetime.now(UTC)


def put(host: Host, name: str, **columns: Any) -> str:
    """Create a key, with values that no call gives it."""
    _, key_id = host.issue(name=name)
    with host.app.app_context():
        key = host.orgkeys.ApiKey
        host.db.session.execute(sa.update(key).where(key.id == key_id).values(columns))
        host.db.session.commit()
    return key_id


def days(number: float) -> datetime:
    return NOW + timedelta(days=number)


@pytest.fixture
def stocked(any_host: Host) -> Host:
    """A host with a key for each filter. All but one belong to ada."""
    ada = {"created_by": "ada", "scopes": ["project:deploy"], "expires_at": days(300)}
    put(any_host, "fresh", **{**ada, "created_by": "Ada"})
    put(any_host, "used", **ada, created_at=days(-200), last_used_at=days(-1))
    put(any_host, "stale", **ada, created_at=days(-200), last_used_at=days(-91))
    put(any_host, "idle", **ada, created_at=days(-31))
    put(any_host, "soon", **{**ada, "expires_at": days(13)}, last_used_at=days(-1))
    put(any_host, "later", **{**ada, "expires_at": days(15)}, last_used_at=days(-1))
    put(any_host, "endless", **{**ada, "expires_at": None}, last_used_at=days(-1))
    put(any_host, "expired", **{**ada, "expires_at": days(-1)}, last_used_at=days(-2))
    put(any_host, "revoked", **{**ada, "expires_at": days(13)}, revoked_at=days(-1))
    put(any_host, "reader", **{**ada, "scopes": ["project:read-rc"]}, last_used_at=days(-1))
    return any_host


FILTERS = {
    "use=never": {"fresh", "idle"},
    "use=unused": {"stale", "idle"},
    "expires=soon": {"soon"},
    "expires=never": {"endless"},
    "status=expired": {"expired"},
    "status=revoked": {"revoked"},
    "scope=project:read-rc": {"reader"},
    "scope=Project:read-rc": set(),
    "by=Ada": {"fresh"},
    "by=ada&use=never": {"idle"},
    "by=ADA": set(),
    "by=ada ": set(),
    "expires=soon&status=all": {"soon"},
}


@pytest.mark.parametrize("query", FILTERS)
def test_a_filter(stocked: Host, query: str) -> None:
    page = stocked.client("ada").get(f"{LIST}?{query}").text

    assert set(listed_names(page)) == FILTERS[query]


@pytest.mark.parametrize("name", ["by", "scope"])
@pytest.mark.parametrize("value", ["\0", "a\nb", "ada\u2028", "x" * 300, "…", '"', "a b"])
def test_a_text_that_no_key_can_have(any_host: Host, name: str, value: str) -> None:
    asked: list[list[str]] = []
    any_host.orgkeys.actor_namer(lambda actors: asked.append(actors) or {})
    any_host.issue(created_by="ada")
    query = {name: value, "page": "2"}
    page = any_host.client("ada").get(LIST, query_string=query).text

    assert listed_names(page) == []
    assert "No keys here." in page
    assert "Clear all" in page
    assert all(actors == [value] for actors in asked)


@pytest.mark.parametrize("name", ["by", "scope"])
def test_a_key_for_a_text(host: Host, name: str) -> None:
    """It comes back nowhere on the page, and finds no key."""
    token, _ = host.issue(created_by="ada")
    secret = token.rpartition("_")[2]
    for text in (token, f"x{token}", secret, token[:-30]):
        answer = host.client("ada").get(LIST, query_string={name: text}, follow_redirects=True)
        assert listed_names(answer.text) == []
        assert "No keys here." in answer.text
        assert secret[:8] not in answer.text


def test_the_same_filters_in_code(stocked: Host) -> None:
    organization_id = stocked.organization_ids["acme"]
    with stocked.app.test_request_context():
        for query, names in FILTERS.items():
            arguments = dict(pair.split("=") for pair in query.split("&"))
            if "by" in arguments:
                arguments["created_by"] = arguments.pop("by")
            keys = stocked.orgkeys.list_keys(organization_id, **arguments)  # type: ignore[arg-type]
            assert {key.name for key in keys} == names, query
            count = stocked.orgkeys.count_keys(organization_id, **arguments)  # type: ignore[arg-type]
            assert count == len(names), query


@pytest.mark.parametrize("name", ["use", "expires"])
def test_another_filter_is_refused_in_code(host: Host, name: str) -> None:
    with host.app.test_request_context(), pytest.raises(ValueError, match=f"{name} is one of"):
        host.orgkeys.list_keys(host.organization_ids["acme"], **{name: "other"})  # type: ignore[arg-type]


def test_links_with_counts(stocked: Host) -> None:
    soup = BeautifulSoup(stocked.client("ada").get(f"{LIST}?use=unused").text, "html.parser")

    links = {
        " ".join(link.get_text(" ", strip=True).split()): link
        for link in soup.select(".orgkeys-filters a")
    }

    assert list(links) == [
        "Current 9",
        "Expiring soon 1",
        "Unused 90 days 2",
        "Never used 2",
        "No expiration 1",
        "Expired 1",
        "Revoked 1",
        "All 10",
    ]
    assert [name for name, link in links.items() if link.get("aria-current")] == [
        "Unused 90 days 2"
    ]


def test_counts_end_at_a_thousand(host: Host) -> None:
    with host.app.app_context():
        table = host.orgkeys.ApiKey.__table__  # type: ignore[attr-defined]
        rows = [
            {
                "id": f"{number:012d}",
                "organization_id": host.organization_ids["acme"],
                "name": "CI",
                "folded_name": "ci",
                "scopes": [],
                "digest": "",
                "created_at": NOW,
            }
            for number in range(1001)
        ]
        host.db.session.execute(sa.insert(table), rows)
        host.db.session.commit()

    page = BeautifulSoup(host.client("ada").get(LIST).text, "html.parser")

    assert "1000+" in page.select(".orgkeys-filters a")[0].get_text()


@pytest.mark.parametrize("query", ["use=x", "expires=x"])
def test_an_unknown_value_is_left_out(host: Host, query: str) -> None:
    host.issue(name="storefront")

    assert listed_names(host.client("ada").get(f"{LIST}?{query}").text) == ["storefront"]


class TestSearch:
    def test_a_match_outside_of_the_filter(self, host: Host) -> None:
        _, key_id = host.issue(name="storefront")
        host.revoke(key_id)
        client = host.client("ada")

        page = BeautifulSoup(client.get(f"{LIST}?q=store").text, "html.parser")

        assert "Outside of this filter, 1 key does." in " ".join(page.get_text().split())
        link = page.find("a", string="Show them under All")
        assert link is not None
        assert listed_names(client.get(str(link["href"])).text) == ["storefront"]

    def test_no_match_at_all(self, host: Host) -> None:
        host.issue(name="storefront")

        page = host.client("ada").get(f"{LIST}?q=nothing").text

        assert "No key matches" in page
        assert "Outside of this filter" not in page

    @pytest.mark.parametrize("query", ["", "&status=active", "&use=never", "&scope=app:publish"])
    @pytest.mark.parametrize("shape", ["{token}", "{id}", "orgk_{id}", "orgk_{id}…"])
    def test_a_whole_key_ignores_the_filter(self, host: Host, query: str, shape: str) -> None:
        token, key_id = host.issue(name="storefront")
        host.revoke(key_id)
        text = shape.format(token=token, id=key_id)

        answer = host.client("ada").get(f"{LIST}?q={text}{query}", follow_redirects=True)

        assert listed_names(answer.text) == ["storefront"]
        assert token not in answer.text


class TestRows:
    @staticmethod
    def cells(host: Host, query: str = "") -> list[str]:
        (row,) = BeautifulSoup(host.client("ada").get(LIST + query).text, "html.parser").select(
            "tbody tr"
        )
        return [" ".join(cell.get_text(" ", strip=True).split()) for cell in row.select("th, td")]

    def test_when_and_by_whom_it_was_created(self, host: Host) -> None:
        put(host, "CI", created_at=datetime(2026, 3, 5, 12, tzinfo=UTC), created_by="ada@acme")

        assert self.cells(host)[0] == "CI 5 Mar 2026 by ada@acme"

    def test_an_expiry_is_a_date(self, host: Host) -> None:
        put(host, "CI", expires_at=datetime(2099, 2, 12, 12, tzinfo=UTC))

        assert self.cells(host)[4] == "12 Feb 2099"

    @pytest.mark.parametrize(
        ("left", "words"), [(8.99, "in 8 days"), (1.01, "in 1 day"), (0.99, "in 23 hours")]
    )
    def test_the_time_left_is_rounded_down(self, host: Host, left: float, words: str) -> None:
        put(host, "CI", expires_at=datetime.now(UTC) + timedelta(days=left))

        assert self.cells(host)[4].endswith(words)

    @pytest.mark.parametrize("query", ["?status=revoked", "?status=all"])
    def test_the_end_of_a_revoked_key(self, host: Host, query: str) -> None:
        revoked_at = datetime(2026, 3, 5, 12, tzinfo=UTC)
        put(host, "CI", revoked_at=revoked_at, revoked_by="ada")
        page = BeautifulSoup(host.client("ada").get(LIST + query).text, "html.parser")

        assert [head.get_text(strip=True) for head in page.select("thead th")][4] == "Ended"
        assert self.cells(host, query)[4] == "Revoked 5 Mar 2026 by ada"

    def test_uses_that_are_not_recorded(self, new_host: MakeHost) -> None:
        host = new_host(config={"ORGKEYS_LAST_USED_SECONDS": None})
        _, key_id = host.issue()
        client = host.client("ada")

        assert self.cells(host)[3] == "Not recorded"
        assert "Not recorded" in client.get(f"{LIST}/{key_id}/revoke").text
        assert "Never used" not in client.get(LIST).text

    def test_three_scopes_then_the_key_s_page(self, new_host: MakeHost) -> None:
        scopes = {**{f"s{number}": "-" for number in range(40)}, **SCOPES}
        host = new_host(config={"ORGKEYS_SCOPES": scopes})
        _, key_id = host.issue(scopes=[f"s{number}" for number in range(40)])

        page = BeautifulSoup(host.client("ada").get(LIST).text, "html.parser")

        badges = page.select("tbody [role=listitem]")
        assert [badge.get_text(strip=True) for badge in badges] == ["s0", "s1", "s2", "+37"]
        assert badges[-1].a["href"] == f"{LIST}/{key_id}"  # type: ignore[index]


class TestExpiring:
    @staticmethod
    def banner(host: Host, query: str = "") -> str | None:
        page = BeautifulSoup(host.client("ada").get(LIST + query).text, "html.parser")
        section = page.select_one(".orgkeys-expiring")
        return section and " ".join(section.get_text(" ", strip=True).split())

    def test_the_three_soonest_of_those_in_use(self, host: Host) -> None:
        for number in (5, 2, 9, 7):
            put(host, f"in {number}", expires_at=days(number), last_used_at=days(-1))
        put(host, "idle", expires_at=days(1), last_used_at=days(-91))
        put(host, "unused", expires_at=days(1))

        text = self.banner(host, "?page=2")

        assert text is not None
        assert text.startswith("4 keys in use expire soon Show all 6 in 2 ")
        assert [name for name in ("in 2", "in 5", "in 7", "in 9") if f" {name} " in text] == [
            "in 2",
            "in 5",
            "in 7",
        ]
        assert "idle" not in text

    def test_none(self, host: Host) -> None:
        put(host, "later", expires_at=days(15), last_used_at=days(-1))

        assert self.banner(host) is None

    def test_another_number_of_days(self, new_host: MakeHost) -> None:
        host = new_host(config={"ORGKEYS_EXPIRES_SOON_DAYS": 30})
        put(host, "later", expires_at=days(15), last_used_at=days(-1))

        assert self.banner(host) is not None


class TestNamer:
    def test_is_asked_once_for_all(self, host: Host) -> None:
        asked: list[list[str]] = []

        @host.orgkeys.actor_namer
        def name(actors: list[str]) -> dict[str, str]:
            asked.append(sorted(actors))
            return {"7": "Ada <b>Lovelace</b>"}

        put(host, "a", created_by="7")
        put(host, "b", created_by="7", revoked_at=NOW, revoked_by="8")
        put(host, "c", created_by=None)

        page = host.client("ada").get(f"{LIST}?status=all").text

        assert asked == [["7", "8"]]
        assert "by <bdi>Ada &lt;b&gt;Lovelace&lt;/b&gt;</bdi>" in page
        assert "by <bdi>8</bdi>" in page

    @pytest.mark.parametrize(
        "answer",
        [None, "text", ["7"], {"7": 7}, {"7": None}, KeyError("7"), Mapping],
        ids=repr,
    )
    def test_one_that_fails(self, host: Host, answer: Any) -> None:
        @host.orgkeys.actor_namer
        def name(actors: list[str]) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

        put(host, "a", created_by="7")

        answered = host.client("ada").get(LIST)

        assert answered.status_code == 200
        assert "by <bdi>7</bdi>" in answered.text

    def test_is_asked_once_by_the_key_s_page(self, host: Host) -> None:
        asked: list[list[str]] = []

        @host.orgkeys.actor_namer
        def name(actors: list[str]) -> dict[str, str]:
            asked.append(sorted(actors))
            return {"7": "Ada Lovelace"}

        key_id = put(host, "a", created_by="7", revoked_at=NOW, revoked_by="8")

        page = host.client("ada").get(f"{LIST}/{key_id}").text

        assert asked == [["7", "8"]]
        assert "Ada Lovelace" in page

    def test_markup_is_escaped(self, host: Host) -> None:
        host.orgkeys.actor_namer(lambda actors: {"7": Markup("<b>Ada</b>")})
        put(host, "a", created_by="7")

        assert "by <bdi>&lt;b&gt;Ada&lt;/b&gt;</bdi>" in host.client("ada").get(LIST).text

    def test_the_database_failing_in_it_costs_no_new_key(self, host: Host) -> None:
        host.orgkeys.actor_namer(lambda actors: host.db.session.execute(sa.text("nonsense")))

        assert host.client("ada").post(LIST, data=FORM).status_code == 200
        assert len(host.keys()) == 1


class TestNotices:
    def test_a_link_from_elsewhere_does_not_advise_to_revoke(self, host: Host) -> None:
        _, key_id = host.issue(name="storefront")
        client = host.client("ada")

        for query in (f"existing={key_id}", f"existing={key_id}&signed=x"):
            assert "already exists" not in client.get(f"{LIST}?{query}").text

    def test_that_of_somebody_else(self, host: Host) -> None:
        client = host.client("ada")
        form = {**FORM, "nonce": "n"}
        client.post(LIST, data=form)
        location = client.post(LIST, data=form).location

        host.orgkeys.permission_checker(lambda *_: True)
        assert "already exists" in client.get(location).text
        assert "already exists" not in host.client("sam").get(location).text
