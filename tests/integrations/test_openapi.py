"""OpenAPI documents say what each endpoint requires, in every library that makes them."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from typing import Any

import apiflask
import flask_smorest
import pytest
from apispec import APISpec
from apispec_webframeworks.flask import FlaskPlugin
from flask import Flask
from flask.views import MethodView
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Integer
from sqlalchemy.orm import DeclarativeBase

from flask_orgkeys import OrgKeys, errors, openapi, require_key, require_scope

SCOPES = {"project:deploy": "Trigger deployments", "app:publish": "Publish versions"}

EXPECTED_SECURITY = {
    ("/o/{org_slug}/deployments", "post"): [{"ApiKey": ["project:deploy"]}],
    ("/releases/{number}", "get"): [{"ApiKey": []}],
    ("/releases/{number}", "delete"): [{"ApiKey": ["app:publish", "project:deploy"]}],
    ("/open", "get"): None,
}

MakeDocument = Callable[[str], dict[str, Any]]


def set_up(app: Flask) -> None:
    db = SQLAlchemy(model_class=type("Base", (DeclarativeBase,), {}))
    app.config.update(SQLALCHEMY_DATABASE_URI="sqlite://", ORGKEYS_SCOPES=SCOPES)
    db.init_app(app)
    OrgKeys(db, organization=Integer).init_app(app)


@require_scope("project:deploy")
def deploy(org_slug: str) -> dict[str, Any]:
    """Deploy.
    ---
    post: {description: Deploys.}
    """
    return {}


class Release(MethodView):
    @require_key
    def get(self, number: int) -> dict[str, Any]:
        """Show a release.
        ---
        description: Shows a release.
        """
        return {}

    @require_scope("app:publish", "project:deploy")
    def delete(self, number: int) -> dict[str, Any]:
        """Withdraw a release.
        ---
        description: Withdraws a release.
        """
        return {}


def look() -> dict[str, Any]:
    """Look.
    ---
    get: {description: Looks.}
    """
    return {}


def apispec_app(version: str, *plugins: Any) -> tuple[Flask, APISpec]:
    app = Flask("host")
    set_up(app)
    views = [deploy, Release.as_view("release"), look]
    app.add_url_rule("/o/<org_slug>/deployments", view_func=views[0], methods=["POST"])
    app.add_url_rule("/releases/<int:number>", view_func=views[1])
    app.add_url_rule("/open", view_func=views[2])
    made = [FlaskPlugin(), *(plugin(app) for plugin in plugins)]
    spec = APISpec("host", "1", version, plugins=made)
    with app.test_request_context():
        for view in views:
            spec.path(view=view)
    return app, spec


def by_apispec_plugin(version: str) -> dict[str, Any]:
    _, spec = apispec_app(version, openapi.SpecPlugin)
    return spec.to_dict()


def by_apispec_document(version: str) -> dict[str, Any]:
    app, spec = apispec_app(version)
    return openapi.add_security(spec.to_dict(), app)


def by_flask_smorest(version: str) -> dict[str, Any]:
    app = Flask("host")
    set_up(app)
    app.config.update(
        API_TITLE="host", API_VERSION="1", OPENAPI_VERSION=version, OPENAPI_URL_PREFIX="/"
    )
    plugins = [openapi.SpecPlugin(app)]
    api = flask_smorest.Api(app, spec_kwargs={"extra_plugins": plugins})
    blueprint = flask_smorest.Blueprint("host", __name__)
    blueprint.route("/o/<org_slug>/deployments", methods=["POST"])(blueprint.response(200)(deploy))
    blueprint.route("/releases/<int:number>")(type("Release", (Release,), {}))
    blueprint.route("/open")(look)
    api.register_blueprint(blueprint)
    document: dict[str, Any] = app.test_client().get("/openapi.json").get_json()
    return document


def by_apiflask(version: str) -> dict[str, Any]:
    app = apiflask.APIFlask("host", title="host")
    app.config["OPENAPI_VERSION"] = version
    set_up(app)
    app.post("/o/<org_slug>/deployments")(app.output({})(deploy))
    app.add_url_rule("/releases/<int:number>", view_func=Release.as_view("release"))
    app.get("/open")(look)

    @app.spec_processor
    def secure(document: dict[str, Any]) -> dict[str, Any]:
        return openapi.add_security(document, app)

    document: dict[str, Any] = app.test_client().get("/openapi.json").get_json()
    return document


MAKERS = [by_apispec_plugin, by_apispec_document, by_flask_smorest, by_apiflask]


def securities(document: dict[str, Any], member: str = "security") -> dict[tuple[str, str], Any]:
    return {
        (path, method): document["paths"][path][method].get(member)
        for path, method in EXPECTED_SECURITY
    }


@pytest.mark.parametrize("make_document", MAKERS)
def test_each_operation_names_the_scopes_it_requires(make_document: MakeDocument) -> None:
    document = make_document("3.1.0")

    assert securities(document) == EXPECTED_SECURITY
    assert set(securities(document, "x-required-scopes").values()) == {None}


@pytest.mark.parametrize("make_document", MAKERS)
def test_openapi_3_0_keeps_the_scopes_beside_the_requirement(make_document: MakeDocument) -> None:
    """There, a requirement of a Bearer scheme has to be empty."""
    document = make_document("3.0.3")

    assert securities(document) == {
        operation: security and [{"ApiKey": []}]
        for operation, security in EXPECTED_SECURITY.items()
    }
    assert securities(document, "x-required-scopes") == {
        operation: security and security[0]["ApiKey"]
        for operation, security in EXPECTED_SECURITY.items()
    }


@pytest.mark.parametrize("make_document", MAKERS)
def test_the_security_scheme_is_declared(make_document: MakeDocument) -> None:
    scheme = make_document("3.1.0")["components"]["securitySchemes"]["ApiKey"]

    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    assert scheme["bearerFormat"] == "orgk_<id>_<secret>"
    for scope, meaning in SCOPES.items():
        assert f"- `{scope}`: {meaning}" in scheme["description"]


def test_what_else_the_document_says_stays() -> None:
    app, spec = apispec_app("3.1.0")
    cookie = {"type": "apiKey", "in": "cookie", "name": "session"}
    spec.components.security_scheme("Session", cookie)
    document = spec.to_dict()
    document["paths"]["/open"]["get"]["security"] = [{"Session": []}]

    openapi.add_security(document, app)

    assert document["components"]["securitySchemes"]["Session"] == cookie
    assert document["paths"]["/open"]["get"]["security"] == [{"Session": []}]
    assert document["paths"]["/o/{org_slug}/deployments"]["post"]["description"] == "Deploys."


def test_a_view_tells_its_requirement_to_those_who_write_it_by_hand() -> None:
    release = Release.as_view("release")

    assert openapi.security_of(deploy) == [{"ApiKey": ["project:deploy"]}]
    assert openapi.security_of(release, "get") == [{"ApiKey": []}]
    assert openapi.security_of(release, "DELETE") == [{"ApiKey": ["app:publish", "project:deploy"]}]
    assert openapi.security_of(look) == []


def test_an_app_that_is_not_set_up_has_no_scheme() -> None:
    with pytest.raises(errors.ConfigurationError, match="not set up for the app 'bare'"):
        openapi.security_scheme(Flask("bare"))


def test_no_library_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("apispec", "apiflask", "flask_smorest"):
        monkeypatch.setitem(sys.modules, library, None)
    source = importlib.util.spec_from_file_location("flask_orgkeys.bare", openapi.__file__)
    assert source is not None
    assert source.loader is not None
    bare = importlib.util.module_from_spec(source)
    source.loader.exec_module(bare)
    app = Flask("host")
    set_up(app)
    app.add_url_rule("/o/<org_slug>/deployments", view_func=deploy, methods=["POST"])
    paths: dict[str, Any] = {"/o/{org_slug}/deployments": {"post": {}}}

    bare.add_security({"openapi": "3.1.0", "paths": paths}, app)

    assert paths["/o/{org_slug}/deployments"]["post"]["security"] == [
        {"ApiKey": ["project:deploy"]}
    ]
