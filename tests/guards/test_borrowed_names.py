"""The names that other packages do not promise, one test each: CONTRIBUTING has them in a table."""

from __future__ import annotations

from typing import Any

import flask.globals
import pytest
from flask import Blueprint, Flask, abort, session
from flask_login import LoginManager, UserMixin, login_user
from flask_wtf import CSRFProtect
from werkzeug.datastructures import Headers
from werkzeug.exceptions import NotFound


def test_flask_find_error_handler() -> None:
    """The handler of the innermost blueprint goes before that of the app; without one, ``None``."""
    app, outer = Flask("app"), Blueprint("outer", "outer")
    app.register_error_handler(404, lambda _: "of the app")
    outer.register_error_handler(404, lambda _: "of the blueprint")
    app.register_blueprint(outer)

    def found(error: Exception, blueprints: list[str]) -> Any:
        handler: Any = app._find_error_handler(error, blueprints)
        return handler and handler(error)

    assert found(NotFound(), ["outer"]) == "of the blueprint"
    assert found(NotFound(), []) == "of the app"
    assert found(ValueError(), []) is None


@pytest.mark.skipif("request_ctx" not in vars(flask.globals), reason="no request context apart")
def test_flask_cv_tokens() -> None:
    """A request context tells whether it has pushed the app context, or found one there."""
    app = Flask("app")

    def has_pushed() -> bool:
        context: Any = flask.globals.request_ctx._get_current_object()  # type: ignore[attr-defined]
        return context._cv_tokens[0][1] is not None

    with app.test_request_context():
        assert has_pushed()
    with app.app_context(), app.test_request_context():
        assert not has_pushed()


def test_flask_before_request_funcs() -> None:
    app, blueprint = Flask("app"), Blueprint("inner", "inner")
    hook = blueprint.before_request(lambda: None)
    app.register_blueprint(blueprint)
    assert app.before_request_funcs["inner"] == [hook]


def test_flask_login_user_id() -> None:
    """Flask-Login keeps the id of the signed-in user in the session by this name."""
    app = Flask("app")
    app.secret_key = "secret-of" + "-the-test"
    LoginManager(app)
    user = UserMixin()
    user.id = "ada"  # type: ignore[attr-defined]
    with app.test_request_context():
        login_user(user)
        assert session["_user_id"] == user.get_id() == "ada"


def test_flask_login_request_callback() -> None:
    login_manager = LoginManager()
    assert login_manager._request_callback is None
    loader = login_manager.request_loader(lambda _: None)
    assert login_manager._request_callback is loader


def test_werkzeug_headers_list() -> None:
    headers = Headers()
    headers._list.extend([("Retry-After", "5")])
    assert headers.getlist("Retry-After") == ["5"]


def test_flask_wtf_asks_for_check_default_at_each_request() -> None:
    """Its value is only tried for truth, so that it may differ from request to request."""
    app = Flask("app")
    app.secret_key = "secret-of" + "-the-test"
    CSRFProtect(app)
    app.add_url_rule("/", "view", lambda: abort(418), methods=["POST"])
    asked: list[bool] = []

    class Alternating(int):
        def __bool__(self) -> bool:
            asked.append(len(asked) % 2 == 0)
            return asked[-1]

    app.config["WTF_CSRF_CHECK_DEFAULT"] = Alternating(1)
    client = app.test_client()
    assert [client.post("/").status_code for _ in range(4)] == [400, 418, 400, 418]
    assert asked == [True, False, True, False]
