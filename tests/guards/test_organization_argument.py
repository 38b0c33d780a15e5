"""The wall at a variable that the guard names, and at values that no URL shows."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from flask import Blueprint
from flask.views import MethodView

from flask_orgkeys import current_organization, errors, require_key, require_scope

from ..conftest import MakeHost
from ..host import Host, bearer
from ..promises.outside import saved_notes

GUARDS = [
    require_key(organization="team"),
    require_scope("project:deploy", organization="team"),
]


def supplying(**values: Any) -> Callable[[Any], Any]:
    """A decorator of the host's that calls the view with more than the URL has."""

    def decorate(view: Any) -> Any:
        @wraps(view)
        def decorated(**arguments: Any) -> Any:
            return view(**arguments, **values)

        return decorated

    return decorate


def status(host: Host, url: str, token: str) -> int:
    return host.client().get(url, headers=bearer(token)).status_code


def assert_walled(host: Host, own: str, foreign: str) -> None:
    token, _ = host.issue("acme")
    assert (status(host, own, token), status(host, foreign, token)) == (200, 404)


class TestNamedVariable:
    @pytest.mark.parametrize("guard", GUARDS)
    def test_in_the_url(self, host: Host, guard: Any) -> None:
        host.app.add_url_rule("/t/<team>", "t", guard(lambda team: team))
        assert_walled(host, "/t/acme", "/t/beta")

    @pytest.mark.parametrize("guard", GUARDS)
    def test_taken_out_by_a_preprocessor(self, host: Host, guard: Any) -> None:
        teams = Blueprint("teams", __name__, url_prefix="/t/<team>")
        teams.url_value_preprocessor(lambda _endpoint, values: values.pop("team"))
        teams.add_url_rule("/", "view", guard(lambda: "in"))
        host.app.register_blueprint(teams)
        assert_walled(host, "/t/acme/", "/t/beta/")

    @pytest.mark.parametrize("guard", GUARDS)
    def test_supplied_by_a_default(self, host: Host, guard: Any) -> None:
        for slug in ("acme", "beta"):
            view = guard(lambda team: team)
            host.app.add_url_rule(f"/d/{slug}", slug, view, defaults={"team": slug})
        assert_walled(host, "/d/acme", "/d/beta")

    @pytest.mark.parametrize("guard", GUARDS)
    def test_a_request_without_it_never_reaches_the_view(self, host: Host, guard: Any) -> None:
        reached: list[str] = []
        host.app.add_url_rule("/none", "none", guard(lambda: reached.append("view") or ""))
        token, _ = host.issue()
        with pytest.raises(errors.ConfigurationError, match="organization='team'"):
            status(host, "/none", token)
        assert reached == []

    @pytest.mark.parametrize("wrong", ["", "no name", 7])
    def test_a_name_that_no_variable_has_is_refused(self, wrong: Any) -> None:
        for make in (
            lambda: require_key(organization=wrong),
            lambda: require_scope("project:deploy", organization=wrong),
        ):
            with pytest.raises(TypeError, match="organization is"):
                make()


class TestSuppliedValue:
    """No URL has it: a decorator or a preprocessor calls the view with it."""

    @pytest.mark.parametrize(("guard", "name"), [(require_key, "org_slug"), (GUARDS[0], "team")])
    def test_by_a_decorator(self, host: Host, guard: Any, name: str) -> None:
        for slug in ("acme", "beta"):
            view = supplying(**{name: slug})(guard(lambda **arguments: "in"))
            host.app.add_url_rule(f"/by/{slug}", f"by_{slug}", view)
        assert_walled(host, "/by/acme", "/by/beta")

    def test_by_position(self, host: Host) -> None:
        @require_key
        def view(org_slug: str) -> str:
            return org_slug

        for slug in ("acme", "beta"):
            host.app.add_url_rule(f"/at/{slug}", f"at_{slug}", lambda slug=slug: view(slug))
        assert_walled(host, "/at/acme", "/at/beta")

    def test_by_position_to_a_method(self, host: Host) -> None:
        class Called(MethodView):
            def get(self, slug: str) -> str:
                return self.show(slug)

            @require_key
            def show(self, org_slug: str) -> str:
                return org_slug

        host.app.add_url_rule("/m/<slug>", view_func=Called.as_view("called"))
        assert_walled(host, "/m/acme", "/m/beta")

    def test_by_a_preprocessor(self, host: Host) -> None:
        @host.app.url_value_preprocessor
        def supply(endpoint: str | None, values: dict[str, Any] | None) -> None:
            if endpoint in ("of_acme", "of_beta") and values is not None:
                values["org_slug"] = endpoint.removeprefix("of_")

        for slug in ("acme", "beta"):
            view = require_key(lambda org_slug: org_slug)
            host.app.add_url_rule(f"/of/{slug}", f"of_{slug}", view)
        assert_walled(host, "/of/acme", "/of/beta")

    def test_one_that_differs_from_the_url_opens_nothing(self, host: Host) -> None:
        def instead(view: Any) -> Any:
            return wraps(view)(lambda org_slug: view(org_slug="beta"))

        view = instead(require_key(lambda org_slug: org_slug))
        host.app.add_url_rule("/instead/<org_slug>", "instead", view)
        for owner in ("acme", "beta"):
            token, _ = host.issue(owner)
            assert status(host, "/instead/acme", token) == 404

    def test_another_spelling_of_the_same_organisation_passes(self, host: Host) -> None:
        load = host.app.extensions["orgkeys"].host.organization_loader
        host.orgkeys.organization_loader(lambda slug: load(slug.lower()))

        def lower(view: Any) -> Any:
            return wraps(view)(lambda org_slug: view(org_slug=org_slug.lower()))

        view = lower(require_key(lambda org_slug: org_slug))
        host.app.add_url_rule("/lower/<org_slug>", "lower", view)
        assert_walled(host, "/lower/ACME", "/lower/BETA")

    def test_the_organisation_itself_is_no_second_value(self, host: Host) -> None:
        def loaded(view: Any) -> Any:
            return wraps(view)(lambda org_slug: view(org_slug=host.Organization(slug=org_slug)))

        view = loaded(require_key(lambda org_slug: org_slug.slug))
        host.app.add_url_rule("/object/<org_slug>", "object", view)
        assert_walled(host, "/object/acme", "/object/beta")


LOADERS: dict[str, Callable[[Host, int], Any]] = {
    "get": lambda host, number: host.db.session.get(host.Organization, number),
    "select": lambda host, number: host.db.session.scalar(
        sa.select(host.Organization).where(host.Organization.id == number)
    ),
    "query": lambda host, number: host.Organization.query.filter_by(id=number).first(),
    "in": lambda host, number: host.db.session.scalar(
        sa.select(host.Organization).where(host.Organization.id.in_([number, 0]))
    ),
    "404": lambda host, number: host.db.get_or_404(host.Organization, number),
}
"""The ways of a host to find an organisation by its number."""


class TestLoader:
    def test_it_is_asked_once_a_request(self, host: Host) -> None:
        asked: list[Any] = []
        load = host.app.extensions["orgkeys"].host.organization_loader
        host.orgkeys.organization_loader(lambda slug: asked.append(slug) or load(slug))

        @host.app.get("/once/<org_slug>")
        @require_key
        @require_scope("project:deploy")
        def once(org_slug: str) -> str:
            return str(current_organization.slug)

        token, _ = host.issue()
        assert status(host, "/once/acme", token) == 200
        assert asked == ["acme"]

    def test_an_async_one(self, host: Host) -> None:
        load = host.app.extensions["orgkeys"].host.organization_loader

        @host.orgkeys.organization_loader
        async def load_later(slug: str) -> Any:
            return load(slug)

        token, _ = host.issue()
        for slug, expected in (("acme", 201), ("beta", 404)):
            url = f"/api/o/{slug}/deployments"
            assert host.client().post(url, headers=bearer(token)).status_code == expected

    def test_an_async_checker(self, host: Host) -> None:
        class Checker:
            async def __call__(self, user: Any, organization: Any, permission: str) -> bool:
                return bool(user.organization == organization.slug)

        host.orgkeys.permission_checker(Checker())
        client = host.client("ada")
        assert client.get("/o/acme/api-keys/").status_code == 200
        assert client.get("/o/beta/api-keys/").status_code == 403

    @pytest.mark.parametrize("number", [0, -1, 2**31, 2**63 - 1, 2**63, 10**30])
    def test_a_number_beyond_the_column_is_not_found(self, any_host: Host, number: int) -> None:
        any_host.orgkeys.organization_loader(
            lambda number: any_host.db.session.get(any_host.Organization, number)
        )
        any_host.orgkeys.permission_checker(lambda *_: True)
        rule = "/n/<int(signed=True):org_slug>"
        any_host.app.add_url_rule(rule, "n", require_key(lambda org_slug: ""))
        any_host.app.register_blueprint(
            any_host.orgkeys.blueprint, url_prefix=f"{rule}/keys", name="numbered"
        )
        token, _ = any_host.issue()
        assert status(any_host, f"/n/{number}", token) == 404
        assert any_host.client("ada").get(f"/n/{number}/keys").status_code == 404

    @pytest.mark.parametrize("number", [-(2**31) - 1, 2**31, 2**63 - 1, 2**63])
    @pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS)
    def test_a_number_beyond_the_column_costs_the_host_no_transaction(
        self, any_host: Host, number: int, load: Any
    ) -> None:
        """PostgreSQL's transactions fail with a statement of theirs."""
        any_host.orgkeys.organization_loader(lambda number: load(any_host, number))
        any_host.orgkeys.permission_checker(lambda *_: True)
        any_host.app.register_blueprint(
            any_host.orgkeys.blueprint, url_prefix="/n/<int(signed=True):org_slug>", name="numbered"
        )
        rule = "/guarded/<int(signed=True):org_slug>"
        any_host.app.add_url_rule(rule, "n", require_key(lambda org_slug: ""))

        @any_host.app.before_request
        def begin() -> None:
            any_host.db.session.add(any_host.Note(text="of the hook"))
            any_host.db.session.flush()

        @any_host.app.after_request
        def commit(response: Any) -> Any:
            any_host.db.session.commit()
            return response

        token, _ = any_host.issue()
        assert status(any_host, f"/guarded/{number}", token) == 404
        assert saved_notes(any_host) == ["of the hook"]
        client = any_host.client("ada")
        assert client.get(f"/n/{number}").status_code == 404
        assert client.post(f"/n/{number}/{'A' * 12}/revoke").status_code == 404
        assert saved_notes(any_host) == ["of the hook"] * 4
        acme = any_host.organization_ids["acme"]
        assert status(any_host, f"/guarded/{acme}", token) == 200

    def test_a_number_beyond_the_id_may_be_another(
        self, new_host: MakeHost, postgresql_url: str
    ) -> None:
        """The loader looks for what it wants, in a column of its own."""
        host = new_host(postgresql_url)

        def load(number: int) -> Any:
            wide = sa.cast(host.Organization.id, sa.BigInteger) + 2**40
            found = sa.select(host.Organization).where(wide == sa.literal(number, sa.BigInteger))
            return host.db.session.scalar(found)

        host.orgkeys.organization_loader(load)
        rule = "/n/<int:org_slug>"
        host.app.add_url_rule(rule, "n", require_key(lambda org_slug: ""))
        token, _ = host.issue()
        acme = host.organization_ids["acme"]
        assert status(host, f"/n/{acme + 2**40}", token) == 200
        assert status(host, f"/n/{acme}", token) == 404

    def test_a_text_for_a_uuid_is_not_found(self, new_host: MakeHost) -> None:
        ids = {"acme": UUID(int=1), "beta": UUID(int=2)}
        host = new_host(organization_id_type=sa.Uuid, organization_ids=ids)
        host.orgkeys.organization_loader(lambda text: host.db.session.get(host.Organization, text))
        token, _ = host.issue()
        answer = host.client().post("/api/o/no-uuid/deployments", headers=bearer(token))
        assert answer.status_code == 404

    def test_a_page_whose_loader_fails_is_an_outage(
        self, host: Host, caplog: pytest.LogCaptureFixture
    ) -> None:
        host.orgkeys.organization_loader(lambda slug: {}[slug])
        answer = host.client("ada").get("/o/acme/api-keys")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert "the organization loader failed: KeyError" in caplog.text

    def test_a_command_whose_loader_fails_says_so_in_a_line(self, host: Host) -> None:
        host.orgkeys.organization_loader(lambda slug: {}[slug])
        result = host.app.test_cli_runner().invoke(args=["orgkeys", "list", "acme"])
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith("Error: the organization loader failed: KeyError at ")
        assert result.stderr.count("\n") == 1


class TestCurrentOrganization:
    @pytest.fixture
    def seen(self, host: Host) -> list[Any]:
        values: list[Any] = []

        @host.app.teardown_request
        def see(_error: BaseException | None) -> None:
            values.append(current_organization._get_current_object())

        return values

    def deploy(self, host: Host, slug: str, **issued: Any) -> int:
        token, _ = host.issue(**issued)
        url = f"/api/o/{slug}/deployments"
        return host.client().post(url, headers=bearer(token)).status_code

    def test_the_view_has_what_the_loader_returned(self, host: Host) -> None:
        load = host.app.extensions["orgkeys"].host.organization_loader
        loaded: list[Any] = []

        @host.orgkeys.organization_loader
        def load_and_keep(slug: str) -> Any:
            loaded.append(load(slug))
            return loaded[-1]

        @host.app.get("/org/<org_slug>")
        @require_key
        def show(org_slug: str) -> dict[str, Any]:
            host.db.session.rollback()
            return {"same": current_organization._get_current_object() is loaded[0]}

        token, _ = host.issue()
        assert host.client().get("/org/acme", headers=bearer(token)).get_json() == {"same": True}

    @pytest.mark.parametrize("slug", ["beta", "nobody"])
    def test_a_foreign_one_is_never_seen(self, host: Host, seen: list[Any], slug: str) -> None:
        assert self.deploy(host, slug) == 404
        assert seen == [None]

    def test_without_one_it_is_falsy_and_says_why(self, host: Host) -> None:
        token, _ = host.issue()
        assert not current_organization
        with host.app.test_request_context("/api/whoami", headers=bearer(token)):
            assert not current_organization
            with pytest.raises(AttributeError, match="no guard of this request has loaded"):
                _ = current_organization.slug
