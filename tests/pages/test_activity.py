"""The page of the audit record, and its CSV."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from typing import Any

import pytest
from bs4 import BeautifulSoup

from ..host import Host
from .test_pages import LIST

ACTIVITY = f"{LIST}/activity"


def rows(host: Host, **query: Any) -> list[list[str]]:
    page = host.client("ada").get(ACTIVITY, query_string=query)
    assert page.status_code == 200
    soup = BeautifulSoup(page.text, "html.parser")
    return [
        [cell.get_text(" ", strip=True) for cell in row.select("td")]
        for row in soup.select("tbody tr")
    ]


def cells(host: Host, **query: Any) -> list[list[str]]:
    answer = host.client("ada").get(f"{ACTIVITY}.csv", query_string=query)
    assert answer.status_code == 200
    assert answer.mimetype == "text/csv"
    return list(csv.reader(io.StringIO(answer.text)))


def test_events_of_the_organisation_newest_first(any_host: Host) -> None:
    """Each names its key, beside the id."""
    _, first = any_host.issue(name="storefront", created_by="ada")
    _, second = any_host.issue(name="checkout", created_by="ben")
    any_host.issue("beta", created_by="bea")
    any_host.revoke(first)
    assert [(row[1], row[2], row[3]) for row in rows(any_host)] == [
        ("Revoked", f"storefront {first}", "not recorded"),
        ("Created", f"checkout {second}", "ben"),
        ("Created", f"storefront {first}", "ada"),
    ]


def test_links_lead_to_keys_that_exist(any_host: Host) -> None:
    """The events of a pruned key stay; its page is gone."""
    _, living = any_host.issue()
    _, pruned = any_host.issue()
    any_host.revoke(pruned)
    with any_host.app.app_context():
        any_host.orgkeys.prune_keys(ended_before=datetime.now(UTC))
        any_host.db.session.commit()
    client = any_host.client("ada")
    soup = BeautifulSoup(client.get(ACTIVITY).text, "html.parser")
    links = [str(link["href"]) for link in soup.select("tbody a")]
    assert links == [f"{LIST}/{living}"]
    assert [client.get(link).status_code for link in links] == [200]
    assert [row[2] for row in rows(any_host)].count(pruned) == 3


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"action": "revoked"}, 1),
        ({"action": "created"}, 2),
        ({"action": "nonsense"}, 3),
        ({"subject": "ben"}, 1),
        ({"subject": "%"}, 0),
        ({"subject": "_"}, 0),
        ({"subject": "storefront"}, 2),
        ({"subject": "storefront", "action": "created"}, 1),
        ({"subject": "a\0b"}, 0),
        ({"page": "99"}, 3),
    ],
)
def test_filters(any_host: Host, query: dict[str, str], expected: int) -> None:
    _, first = any_host.issue(name="storefront", created_by="ada")
    any_host.issue(name="CI", created_by="ben")
    any_host.revoke(first)
    assert len(rows(any_host, **query)) == expected
    if "page" not in query:
        assert len(cells(any_host, **query)) == expected + 1


def test_pages_of_25(host: Host) -> None:
    for _ in range(27):
        host.issue()
    assert (len(rows(host)), len(rows(host, page="2"))) == (25, 2)
    assert len(cells(host)) == 28


def test_cells_that_a_spreadsheet_would_run_are_defused(host: Host) -> None:
    for start in ("=", "+", "-", "@"):
        host.issue(created_by=f"{start}1+1")
    heading, *lines = cells(host)
    actors = [line[heading.index("actor")] for line in lines]
    assert sorted(actors) == sorted(f"'{start}1+1" for start in ("=", "+", "-", "@"))


@pytest.mark.parametrize("path", ["activity", "activity.csv"])
def test_permission(host: Host, path: str) -> None:
    assert host.client("sam").get(f"{LIST}/{path}").status_code == 403
    assert host.client("bea").get(f"{LIST}/{path}").status_code == 404
