from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Blueprint, Flask, url_for
from flask.views import MethodView
from flask_login import LoginManager
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event

from flask_orgkeys import OrgKeys, require_key, require_scope
from flask_orgkeys.config.settings import DEFAULTS, Settings
from flask_orgkeys.errors import ConfigurationError
from flask_orgkeys.headers import PAGES_POLICY

from ..conftest import MakeHost
from ..host import SCOPES, bearer

PEPPER = "p" * 32


def read(**options: Any) -> Settings:
    config = {"ORGKEYS_SCOPES": SCOPES}
    config.update({f"ORGKEYS_{name}": value for name, value in options.items()})
    return Settings.from_config(config, "the app")


class TestOptions:
    def test_the_defaults_are_those_of_the_contract(self) -> None:
        assert dict(DEFAULTS) == {
            "SCOPES": None,
            "PREFIX": "orgk",
            "PERMISSION": "apiKeyManagement",
            "EXPIRY_DAYS": (30, 60, 90, 365),
            "DEFAULT_EXPIRY_DAYS": 90,
            "ALLOW_NO_EXPIRY": True,
            "ROTATION_OVERLAP_HOURS": (0, 1, 24, 168, 720),
            "DEFAULT_ROTATION_OVERLAP_HOURS": 168,
            "LAST_USED_SECONDS": 60,
            "RECORD_CLIENTS": True,
            "MAX_KEYS": None,
            "PEPPERS": (),
            "NEXT_PEPPER": None,
            "REALM": None,
            "NOTICE_DAYS": (30, 7, 1),
            "EXPIRY_HEADER": True,
            "CONTENT_SECURITY_POLICY": PAGES_POLICY,
            "EXPIRES_SOON_DAYS": 14,
            "PROBLEM_DETAILS": "host",
            "BASE_TEMPLATE": "orgkeys/base.html",
            "ORG_ARG": "org_slug",
        }

    def test_the_defaults_make_settings(self) -> None:
        assert read() == Settings(
            scopes=SCOPES,
            prefix="orgk",
            permission="apiKeyManagement",
            expiry_days=(30, 60, 90, 365),
            default_expiry_days=90,
            allow_no_expiry=True,
            rotation_overlap_hours=(0, 1, 24, 168, 720),
            default_rotation_overlap_hours=168,
            last_used_step=timedelta(seconds=60),
            record_clients=True,
            max_keys=None,
            peppers=(),
            next_pepper=None,
            realm="the app",
            notice_days=(30, 7, 1),
            expiry_header=True,
            content_security_policy=PAGES_POLICY,
            expires_soon=timedelta(days=14),
            longest_notice=timedelta(days=30),
            problem_details="host",
            base_template="orgkeys/base.html",
            org_arg="org_slug",
        )

    @pytest.mark.parametrize(
        ("name", "value", "field", "read_as"),
        [
            ("PREFIX", "a", "prefix", "a"),
            ("PREFIX", "Acme_live_0123456789", "prefix", "Acme_live_0123456789"),
            ("PERMISSION", "keys.manage", "permission", "keys.manage"),
            ("EXPIRY_DAYS", [365, 90, 90, 7], "expiry_days", (7, 90, 365)),
            ("EXPIRY_DAYS", range(30, 91, 30), "expiry_days", (30, 60, 90)),
            ("EXPIRY_DAYS", (1, 90, 36_500), "expiry_days", (1, 90, 36_500)),
            ("DEFAULT_EXPIRY_DAYS", 365, "default_expiry_days", 365),
            ("DEFAULT_EXPIRY_DAYS", None, "default_expiry_days", None),
            ("ALLOW_NO_EXPIRY", False, "allow_no_expiry", False),
            ("ROTATION_OVERLAP_HOURS", [24, 0, 24, 168], "rotation_overlap_hours", (0, 24, 168)),
            ("ROTATION_OVERLAP_HOURS", (8_760, 168), "rotation_overlap_hours", (168, 8_760)),
            ("DEFAULT_ROTATION_OVERLAP_HOURS", 0, "default_rotation_overlap_hours", 0),
            ("LAST_USED_SECONDS", None, "last_used_step", None),
            ("LAST_USED_SECONDS", 1, "last_used_step", timedelta(seconds=1)),
            ("RECORD_CLIENTS", False, "record_clients", False),
            ("MAX_KEYS", 1, "max_keys", 1),
            ("MAX_KEYS", None, "max_keys", None),
            ("PEPPERS", [], "peppers", ()),
            ("PEPPERS", [PEPPER, b"q" * 40], "peppers", (b"p" * 32, b"q" * 40)),
            ("PEPPERS", ("é" * 16,), "peppers", ("é".encode() * 16,)),
            ("PEPPERS", [PEPPER, None], "peppers", (b"p" * 32, None)),
            ("REALM", 'Say "hi"', "realm", 'Say "hi"'),
            ("BASE_TEMPLATE", "layout.html", "base_template", "layout.html"),
            ("ORG_ARG", "tenant", "org_arg", "tenant"),
        ],
    )
    def test_a_good_value_is_read(
        self, name: str, value: object, field: str, read_as: object
    ) -> None:
        assert getattr(read(**{name: value}), field) == read_as

    @pytest.mark.parametrize(
        ("name", "value", "remedy"),
        [
            ("SCOPES", None, "must map each scope to a description"),
            ("SCOPES", {}, "it is empty"),
            ("SCOPES", ["a"], "must map each scope to a description"),
            ("SCOPES", "a", "must map each scope to a description"),
            ("SCOPES", {"": "x"}, "Write 1 to 100 printable ASCII"),
            ("SCOPES", {"a b": "x"}, "Write 1 to 100 printable ASCII"),
            ("SCOPES", {'a"b': "x"}, "Write 1 to 100 printable ASCII"),
            ("SCOPES", {"é": "x"}, "Write 1 to 100 printable ASCII"),
            ("SCOPES", {"a" * 101: "x"}, "Write 1 to 100 printable ASCII"),
            ("SCOPES", {1: "x"}, "Write 1 to 100 printable ASCII"),
            ("SCOPES", {"a": ""}, "needs a description"),
            ("SCOPES", {"a": " "}, "needs a description"),
            ("SCOPES", {"a": None}, "needs a description"),
            *(
                ("PREFIX", value, "Write 1 to 20 letters, digits or underscores")
                for value in ("", "a" * 21, "a-b", "a b", "é", "a\n", "a.b", None, 1, b"orgk")
            ),
            *(("PERMISSION", value, "Write a text") for value in ("", None, 1)),
            *(
                ("EXPIRY_DAYS", value, "lifetimes on offer")
                for value in ((), None, "30", 30, {30: 1})
            ),
            *(
                ("EXPIRY_DAYS", value, "whole numbers of days")
                for value in ((0,), (-1,), (36_501,), (1.5,), ("30",), (True,), (None,))
            ),
            *(
                ("DEFAULT_EXPIRY_DAYS", value, "Write one of ORGKEYS_EXPIRY_DAYS (30, 60, 90, 365)")
                for value in (31, 0, "90", 90.0, True)
            ),
            *(
                ("ROTATION_OVERLAP_HOURS", value, "overlaps on offer")
                for value in ((), None, "24", 24, {24: 1})
            ),
            *(
                ("ROTATION_OVERLAP_HOURS", value, "whole numbers of hours")
                for value in ((-1,), (8_761,), (1.5,), ("24",), (True,), (None,))
            ),
            *(
                ("DEFAULT_ROTATION_OVERLAP_HOURS", value, "Write one of ORGKEYS_ROTATION_OVERLAP")
                for value in (2, None, "168", 168.0, False)
            ),
            *(("ALLOW_NO_EXPIRY", value, "Write True or False") for value in (None, 0, 1, "no")),
            *(("RECORD_CLIENTS", value, "Write True or False") for value in (None, 0, 1, "no")),
            *(
                ("LAST_USED_SECONDS", value, "Write a whole number from 1")
                for value in (0, -1, 1.5, "60", True, 10**10, timedelta(seconds=60))
            ),
            *(
                ("MAX_KEYS", value, "Write a whole number from 1")
                for value in (0, -1, 1.5, "60", False, 10**10)
            ),
            *(
                ("PEPPERS", value, "must be a list of HMAC keys")
                for value in (None, PEPPER, PEPPER.encode(), {PEPPER}, 1)
            ),
            *(
                ("PEPPERS", value, "is not 32 bytes or longer")
                for value in ([""], ["p" * 31], [b"p" * 31], [None], [1], [bytearray(b"p" * 32)])
            ),
            *(
                ("PEPPERS", value, "None may only be the last item")
                for value in ([None, PEPPER], [PEPPER, None, PEPPER], [PEPPER, None, None])
            ),
            *(
                ("REALM", value, "write printable ASCII")
                for value in ("", "é", "a\r\nSet-Cookie: a=b", "a\tb", 1)
            ),
            *(("BASE_TEMPLATE", value, "Write a text") for value in ("", None, 1)),
            *(
                ("ORG_ARG", value, "Write the name of the URL variable")
                for value in ("", "a-b", "1a", "é", "<org>", "key_id", "filename", None, 1)
            ),
        ],
    )
    def test_a_malformed_value_is_named_with_its_remedy(
        self, name: str, value: object, remedy: str
    ) -> None:
        with pytest.raises(ConfigurationError) as caught:
            read(**{name: value})
        assert f"ORGKEYS_{name}" in str(caught.value)
        assert remedy in str(caught.value)

    def test_the_second_of_two_peppers_is_named_but_not_shown(self) -> None:
        with pytest.raises(ConfigurationError) as caught:
            read(PEPPERS=[PEPPER, "too-short-to-be-safe"])
        assert "number 2" in str(caught.value)
        assert "too-short" not in str(caught.value)
        assert PEPPER not in str(caught.value)

    @pytest.mark.parametrize("options", [{"PEPPERS": [PEPPER]}, {"NEXT_PEPPER": PEPPER}], ids=str)
    def test_peppers_are_not_in_the_repr(self, options: dict[str, Any]) -> None:
        assert PEPPER not in repr(read(**options))

    @pytest.mark.parametrize(
        ("configured", "peppers"),
        [
            ([], (None, b"n" * 32)),
            ([PEPPER], (b"p" * 32, b"n" * 32)),
            ([PEPPER, None], (b"p" * 32, None, b"n" * 32)),
        ],
        ids=str,
    )
    def test_the_next_pepper_makes_no_digest(self, configured: list[Any], peppers: Any) -> None:
        assert read(PEPPERS=configured, NEXT_PEPPER="n" * 32).peppers == peppers

    @pytest.mark.parametrize("value", ["", "n" * 31, 1, ["n" * 32], False], ids=repr)
    def test_a_next_pepper_that_is_none(self, value: Any) -> None:
        with pytest.raises(ConfigurationError, match="ORGKEYS_NEXT_PEPPER: it is not 32 bytes"):
            read(NEXT_PEPPER=value)

    def test_a_pepper_of_any_text_is_read(self) -> None:
        (pepper,) = read(PEPPERS=["\ud800\udcff" * 16]).peppers
        assert pepper is not None
        assert len(pepper) >= 32

    def test_no_expiry_cannot_be_preselected_where_it_is_not_on_offer(self) -> None:
        with pytest.raises(ConfigurationError, match="ORGKEYS_DEFAULT_EXPIRY_DAYS is None"):
            read(DEFAULT_EXPIRY_DAYS=None, ALLOW_NO_EXPIRY=False)

    def test_other_lifetimes_without_a_default_preselect_the_longest(self) -> None:
        assert read(EXPIRY_DAYS=(7, 14)).default_expiry_days == 14

    def test_other_overlaps_without_a_default_preselect_the_longest(self) -> None:
        assert read(ROTATION_OVERLAP_HOURS=(0, 24)).default_rotation_overlap_hours == 24

    def test_an_app_name_that_is_no_realm_asks_for_one(self) -> None:
        with pytest.raises(ConfigurationError, match="ORGKEYS_REALM is 'büro'"):
            Settings.from_config({"ORGKEYS_SCOPES": SCOPES}, "büro")

    def test_a_misspelt_option_is_an_error_that_lists_the_options(self) -> None:
        with pytest.raises(ConfigurationError, match="ORGKEYS_PEPPER: no such option") as caught:
            read(PEPPER=[PEPPER])
        assert "ORGKEYS_PEPPERS" in str(caught.value)

    def test_a_later_change_of_the_mapping_changes_nothing(self) -> None:
        declared = {"a": "x"}
        settings = read(SCOPES=declared)
        declared["b"] = "y"

        assert dict(settings.scopes) == {"a": "x"}

    @pytest.mark.parametrize("attribute", ["scopes", "prefix"])
    def test_settings_are_frozen(self, attribute: str) -> None:
        with pytest.raises(AttributeError):
            setattr(read(), attribute, {})


class TestInitApp:
    @pytest.fixture
    def db(self) -> SQLAlchemy:
        return SQLAlchemy()

    @pytest.fixture
    def orgkeys(self, db: SQLAlchemy) -> OrgKeys:
        return OrgKeys(db, organization=sa.String(64))

    @pytest.fixture
    def app(self, db: SQLAlchemy) -> Flask:
        app = Flask("host")
        app.config.update(
            TESTING=True,
            SECRET_KEY="host-secret-" + "key-of-the-tests-0123456789",
            SQLALCHEMY_DATABASE_URI="sqlite://",
            ORGKEYS_SCOPES=SCOPES,
        )
        db.init_app(app)
        return app

    def test_a_configured_app_carries_every_option(self, app: Flask, orgkeys: OrgKeys) -> None:
        orgkeys.init_app(app)

        assert {name for name in app.config if name.startswith("ORGKEYS_")} == {
            f"ORGKEYS_{name}" for name in DEFAULTS
        }
        assert app.config["ORGKEYS_PREFIX"] == "orgk"

    def test_no_connection_is_opened(self, app: Flask, db: SQLAlchemy, orgkeys: OrgKeys) -> None:
        opened = []
        with app.app_context():
            event.listen(db.engine, "connect", lambda *_: opened.append(1))

        orgkeys.init_app(app)
        LoginManager(app)
        app.register_blueprint(orgkeys.blueprint, url_prefix="/o/<org_slug>/api-keys")
        app.add_url_rule("/", view_func=lambda: "hello", endpoint="hello")
        assert app.test_client().get("/").status_code == 200
        assert opened == []

    def test_a_second_call_is_an_error(self, app: Flask, orgkeys: OrgKeys) -> None:
        orgkeys.init_app(app)

        with pytest.raises(ConfigurationError, match="'host' already: call init_app once"):
            orgkeys.init_app(app)

    def test_without_flask_sqlalchemy_it_says_what_to_call(self, orgkeys: OrgKeys) -> None:
        app = Flask("bare")
        app.config["ORGKEYS_SCOPES"] = SCOPES

        with pytest.raises(ConfigurationError, match=r"call db\.init_app\(app\)"):
            orgkeys.init_app(app)

    def test_another_db_says_which_one_to_use(self, app: Flask) -> None:
        stranger = OrgKeys(SQLAlchemy(), organization=sa.String(64))

        with pytest.raises(ConfigurationError, match=r"db that OrgKeys\(db\) was given"):
            stranger.init_app(app)

    def test_a_malformed_option_stops_it(self, app: Flask, orgkeys: OrgKeys) -> None:
        app.config["ORGKEYS_PREFIX"] = "no good"

        with pytest.raises(ConfigurationError, match="ORGKEYS_PREFIX"):
            orgkeys.init_app(app)

    def test_it_can_be_called_again_after_a_mended_mistake(
        self, app: Flask, orgkeys: OrgKeys
    ) -> None:
        app.register_blueprint(orgkeys.blueprint, url_prefix="/o/<org_slug>/api-keys")
        with pytest.raises(ConfigurationError, match="Flask-Login"):
            orgkeys.init_app(app)
        LoginManager(app)

        orgkeys.init_app(app)
        assert "orgkeys" in app.extensions

    def test_two_on_one_db_are_an_error(self, db: SQLAlchemy, orgkeys: OrgKeys) -> None:
        with pytest.raises(ConfigurationError, match="one OrgKeys for each SQLAlchemy"):
            OrgKeys(db, organization=sa.String(64))

    @pytest.mark.parametrize("organization", ["organization", "", 7, None, object(), sa.String])
    def test_an_organisation_that_is_no_column_or_type_is_an_error(self, organization: Any) -> None:
        with pytest.raises(ConfigurationError, match=r"OrgKeys\(organization="):
            OrgKeys(SQLAlchemy(), organization=organization)

    def test_a_guard_without_init_app_says_what_to_call(self) -> None:
        app = Flask("bare")
        app.testing = True
        app.add_url_rule("/", view_func=require_key(lambda: "x"), endpoint="x")

        with pytest.raises(ConfigurationError, match=r"'bare': call orgkeys\.init_app\(app\)"):
            app.test_client().get("/")

    def test_one_instance_serves_apps_of_different_settings(self, new_host: MakeHost) -> None:
        host = new_host()
        token, _ = host.issue()

        with host.sibling(ORGKEYS_PREFIX="other", ORGKEYS_REALM="Other") as other:
            foreign, _ = other.issue()
            cases = [(host, token, foreign, "host"), (other, foreign, token, "Other")]
            for one, own, strange, realm in cases + cases:
                accepted = one.client().get("/api/whoami", headers=bearer(own))
                refused = one.client().get("/api/whoami", headers=bearer(strange))
                assert accepted.status_code == 200
                assert refused.status_code == 401
                assert f'realm="{realm}"' in refused.headers["WWW-Authenticate"]


class TestMount:
    @pytest.fixture
    def orgkeys(self) -> OrgKeys:
        return OrgKeys(SQLAlchemy(), organization=sa.String(64))

    @pytest.fixture
    def app(self, orgkeys: OrgKeys) -> Flask:
        app = Flask("host")
        app.config.update(
            SECRET_KEY="host-secret-" + "key-of-the-tests-0123456789",
            SQLALCHEMY_DATABASE_URI="sqlite://",
            ORGKEYS_SCOPES=SCOPES,
        )
        orgkeys.db.init_app(app)
        return app

    def initialise_first(self, app: Flask, orgkeys: OrgKeys, mount: Callable[[], None]) -> None:
        orgkeys.init_app(app)
        mount()

    def mount_first(self, app: Flask, orgkeys: OrgKeys, mount: Callable[[], None]) -> None:
        mount()
        orgkeys.init_app(app)

    @pytest.fixture(params=["initialise_first", "mount_first"])
    def set_up(self, request: pytest.FixtureRequest, app: Flask, orgkeys: OrgKeys) -> Any:
        order = getattr(self, request.param)
        return lambda mount: order(app, orgkeys, mount)

    def test_without_flask_login_it_says_what_to_call(
        self, app: Flask, orgkeys: OrgKeys, set_up: Any
    ) -> None:
        with pytest.raises(ConfigurationError, match=r"login_manager\.init_app\(app\)"):
            set_up(
                lambda: app.register_blueprint(
                    orgkeys.blueprint, url_prefix="/o/<org_slug>/api-keys"
                )
            )

    @pytest.mark.parametrize("prefix", [None, "/keys", "/o/<slug>/keys", "/o/<my_org_slug>/keys"])
    def test_without_the_organisation_it_says_what_to_write(
        self, app: Flask, orgkeys: OrgKeys, set_up: Any, prefix: str | None
    ) -> None:
        LoginManager(app)

        with pytest.raises(ConfigurationError, match='url_prefix="/o/<org_slug>/api-keys"'):
            set_up(lambda: app.register_blueprint(orgkeys.blueprint, url_prefix=prefix))

    @pytest.mark.parametrize(
        "prefix", ["/<org_slug>", "/o/<string:org_slug>/x", "/o/<string(length=4):org_slug>/x"]
    )
    def test_any_prefix_with_the_organisation_will_do(
        self, app: Flask, orgkeys: OrgKeys, set_up: Any, prefix: str
    ) -> None:
        LoginManager(app).user_loader(lambda user_id: None)

        set_up(lambda: app.register_blueprint(orgkeys.blueprint, url_prefix=prefix))
        with app.test_request_context():
            url = url_for("orgkeys.index", org_slug="acme")
        assert app.test_client().get(url).status_code == 401

    def test_a_mount_inside_of_another_blueprint_will_do(
        self, app: Flask, orgkeys: OrgKeys, set_up: Any
    ) -> None:
        LoginManager(app).user_loader(lambda user_id: None)
        parent = Blueprint("parent", __name__, url_prefix="/o/<org_slug>")
        parent.register_blueprint(orgkeys.blueprint, url_prefix="/api-keys")

        set_up(lambda: app.register_blueprint(parent))
        assert app.test_client().get("/o/acme/api-keys").status_code == 401

    def test_no_mount_needs_no_flask_login(self, app: Flask, orgkeys: OrgKeys) -> None:
        orgkeys.init_app(app)

        assert not hasattr(app, "login_manager")
        assert app.test_client().get("/o/acme/api-keys").status_code == 404


class TestScopesOfGuards:
    @pytest.mark.parametrize("propagates", [True, False])
    def test_an_undeclared_scope_is_an_error_before_any_request_is_served(
        self, new_host: MakeHost, propagates: bool
    ) -> None:
        served: list[str] = []
        host = new_host(
            before_init=lambda app, db: app.before_request(lambda: served.append("hook"))
        )
        host.app.testing = propagates

        @host.app.get("/typo")
        @require_scope("project:deploy", "project:depoly")
        def typo() -> str:
            return ""

        @host.app.get("/fine")
        def fine() -> str:
            served.append("view")
            return ""

        for _ in range(2):
            if propagates:
                with pytest.raises(ConfigurationError) as caught:
                    host.client().get("/fine")
                assert "'typo'" in str(caught.value)
                assert "'project:depoly'" in str(caught.value)
                assert "'app:publish'" in str(caught.value)
            else:
                assert host.client().get("/fine").status_code == 500
        assert served == []

    @pytest.mark.parametrize("method", ["get", "delete", "head", "options"])
    def test_it_is_found_in_a_method_of_a_class(self, new_host: MakeHost, method: str) -> None:
        host = new_host()

        class Releases(MethodView):
            pass

        setattr(Releases, method, require_scope("nobody:declared")(lambda self: ""))
        Releases.methods = {method.upper()}

        host.app.add_url_rule("/releases", view_func=Releases.as_view("releases"))

        with pytest.raises(ConfigurationError, match="'releases' requires the scope 'nobody"):
            host.client().get("/open")

    def test_it_is_found_below_another_guard(self, new_host: MakeHost) -> None:
        host = new_host()

        @host.app.get("/stacked")
        @require_scope("project:deploy")
        @require_key
        @require_scope("nobody:declared")
        def stacked() -> str:
            return ""

        with pytest.raises(ConfigurationError, match="'stacked' requires the scope 'nobody"):
            host.client().get("/open")

    @pytest.mark.parametrize(
        "arguments", [(), (None,), (["project:deploy"],), ("a", 1), (lambda: "",)]
    )
    def test_a_guard_without_a_scope_says_what_to_write(self, arguments: tuple[Any, ...]) -> None:
        with pytest.raises(TypeError, match=r'@require_scope\("project:deploy"\)'):
            require_scope(*arguments)

    def test_a_class_that_is_no_view_cannot_be_guarded(self) -> None:
        with pytest.raises(TypeError, match=r"is no flask\.views\.View"):
            require_key(dict)
