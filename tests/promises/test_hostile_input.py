"""The same input gets the same answer on every database (promise 14)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from unittest import mock

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flask_orgkeys import tokens
from flask_orgkeys.keys.selection import SORTS, STATUSES
from flask_orgkeys.keys.texts import fold

from .. import databases
from ..host import Host, disposing, make_host

SLOW = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    derandomize=True,
)

# What databases disagree about: case, accents, trailing space, width, LIKE's own characters, NUL,
# characters beyond the basic plane, lone surrogates, combining marks, case folding that lengthens.
AWKWARD = st.sampled_from(
    [*"aAäÄßẞΐİı%_/\\'\" \0\n\u200b\u2028😀𝔘ﬁ１…-é", "a\u0308", "\ud800", "orgk_"]
)
NAMES = st.lists(st.one_of(AWKWARD, st.characters(codec="utf-8")), max_size=12).map("".join)
SEARCHES = st.one_of(NAMES, st.text(max_size=3), st.just("x" * 60_000), st.just("%" * 400))


NUMBERS = random.Random()


@pytest.fixture(scope="module", autouse=True)
def same_ids() -> Iterator[None]:
    """Draw ids from NUMBERS: a search may find a key by the start of its own."""

    def draw(length: int) -> str:
        return "".join(NUMBERS.choices(tokens.ALPHABET, k=length))

    with mock.patch.object(tokens, "_random_text", draw):
        yield


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Host]]:
    with ExitStack() as stack:
        made = []
        for kind in databases.ALL:
            directory = tmp_path_factory.mktemp("hostile")
            url = stack.enter_context(databases.temporary_database(kind, directory))
            made.append(stack.enter_context(disposing(make_host(url))))
        yield made


def the_one(answers: list[Any]) -> Any:
    """The answer all databases agree on."""
    first = answers[0]
    for kind, answer in zip(databases.ALL, answers, strict=True):
        assert answer == first, f"{kind} differs from {databases.ALL[0]}"
    return first


@SLOW
@given(names=st.lists(NAMES, min_size=1, max_size=5), search=SEARCHES, sort=st.sampled_from(SORTS))
def test_names_and_searches(hosts: list[Host], names: list[str], search: str, sort: str) -> None:
    def kept_and_found(host: Host) -> Any:
        NUMBERS.seed(1)
        with host.app.app_context():
            refused = []
            organization_id = host.organization_ids["acme"]
            for name in names:
                try:
                    host.orgkeys.create_key(organization_id, name=name, scopes=["app:publish"])
                except ValueError as error:
                    refused.append(str(error))
            found = host.orgkeys.list_keys(organization_id, search=search, sort=sort)
            ordered = [key.name for key in found]
            host.db.session.rollback()
            # Equal names stand in the order of their random ids; so do keys by any other column.
            by_name = [fold(name) for name in ordered] if sort.endswith("name") else None
            return refused, sorted(ordered), by_name

    the_one([kept_and_found(host) for host in hosts])


@SLOW
@given(key_id=st.one_of(NAMES, st.text(max_size=14), st.just("A" * 100_000)))
def test_ids(hosts: list[Host], key_id: str) -> None:
    def absent(host: Host) -> Any:
        with host.app.app_context():
            assert host.orgkeys.get_key(host.organization_ids["acme"], key_id) is None
            with pytest.raises(LookupError) as error:
                host.orgkeys.revoke_key(host.organization_ids["acme"], key_id)
            host.db.session.rollback()
            return str(error.value)

    the_one([absent(host) for host in hosts])


@pytest.fixture(scope="module")
def administrators(hosts: list[Host]) -> list[FlaskClient]:
    for host in hosts:
        NUMBERS.seed(2)
        for name in ("CI", "Größe 100%", "under_score"):
            host.issue(name=name)
    return [host.client("ada") for host in hosts]


@SLOW
@given(
    query=st.fixed_dictionaries(
        {},
        optional={
            "q": SEARCHES.map(lambda text: text.encode(errors="replace").decode()[:2000]),
            "status": st.one_of(st.sampled_from(STATUSES), NAMES.map(repr)),
            "sort": st.one_of(st.sampled_from(SORTS), NAMES.map(repr)),
            "page": st.one_of(
                st.integers().map(str), st.just("9" * 5000), st.just("²"), NAMES.map(repr)
            ),
            "revoked": NAMES.map(repr),
            "existing": st.just("\0"),
        },
    )
)
def test_list_queries(administrators: list[FlaskClient], query: dict[str, str]) -> None:
    def names(client: FlaskClient) -> Any:
        answer = client.get("/o/acme/api-keys", query_string=query)
        shown = [name for name in ("CI", "Größe 100%", "under_score") if f">{name}<" in answer.text]
        return answer.status_code, shown

    status, _ = the_one([names(client) for client in administrators])
    assert status in (200, 303)


@SLOW
@given(
    form=st.fixed_dictionaries(
        {},
        optional={
            "name": NAMES.map(lambda text: text.encode(errors="replace").decode()),
            "scopes": st.lists(st.sampled_from(["app:publish", "", "\0", "nope", "😀"])),
            "expires_in": st.sampled_from(["never", "30", "31", "", "\0", "-1", "9" * 400, "３０"]),
        },
    )
)
def test_create_forms(administrators: list[FlaskClient], form: dict[str, Any]) -> None:
    answers = [client.post("/o/acme/api-keys", data=form) for client in administrators]
    assert the_one([answer.status_code for answer in answers]) in (200, 422)


@pytest.mark.parametrize("slug", ["%00", "acme%00", "acme%0A", "%F0%9F%98%80", "a" * 5000])
def test_organisation_slugs(hosts: list[Host], slug: str) -> None:
    def statuses(host: Host) -> Any:
        page = host.client("ada").get(f"/o/{slug}/api-keys").status_code
        token, _ = host.issue()
        deployment = host.client().post(
            f"/api/o/{slug}/deployments", headers={"Authorization": f"Bearer {token}"}
        )
        return page, deployment.status_code

    assert the_one([statuses(host) for host in hosts]) == (404, 404)
