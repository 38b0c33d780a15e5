"""The pytest plugin for a host's own tests. pytest finds it by itself.

::

    def test_pipeline_deploys(orgkeys_client, acme):
        pipeline = orgkeys_client(scopes=["project:deploy"], organization=acme)
        assert pipeline.post("/api/o/acme/deployments").status_code == 201

Imports nothing but pytest until a fixture is used, for pytest imports it in every run.

.. versionadded:: 0.1.0
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from datetime import datetime

    from flask import Flask
    from flask.testing import FlaskClient

    from .keys.store import IssuedKey
    from .state import AppState

NO_APP = (
    "the fixtures of flask-orgkeys need the host's Flask app. Write a fixture named 'app' that "
    "returns it, or where yours has another name:\n\n"
    "    @pytest.fixture\n"
    "    def orgkeys_app(your_fixture):\n"
    "        return your_fixture"
)


class IssueKey(Protocol):
    """The value of the fixture :func:`issue_key`."""

    def __call__(
        self,
        *,
        scopes: Iterable[str],
        organization: Any,
        name: str = ...,
        expires_at: datetime | None = ...,
        created_by: str | None = ...,
        note: str | None = ...,
        may_rotate_itself: bool = ...,
    ) -> IssuedKey:
        """Create a key, and commit it.

        :param scopes: the scopes of the key.
        :param organization: its organisation: the host's object, its name in URLs, or its id.
        :param name: up to 100 characters.
        :param expires_at: an aware time, or ``None``.
        :param created_by: as the host names its users.
        :param note: up to 500 characters.
        :param may_rotate_itself: whether the key may replace its own secret.
        """


class OrgKeysClient(Protocol):
    """The value of the fixture :func:`orgkeys_client`."""

    def __call__(self, *, scopes: Iterable[str], organization: Any) -> FlaskClient:
        """Return a new test client, of the app's own class, that sends a fresh key.

        :param scopes: the scopes of the key.
        :param organization: as for :class:`IssueKey`.
        """


@pytest.fixture
def orgkeys_app(request: pytest.FixtureRequest) -> Flask:
    """The app the other fixtures work on: the fixture ``app``. Override it for another one.

    .. versionadded:: 0.1.0
    """
    try:
        app: Flask = request.getfixturevalue("app")
    except pytest.FixtureLookupError as error:
        if error.argname != "app":
            raise
        pytest.fail(NO_APP, pytrace=False)
    return app


@pytest.fixture
def issue_key(orgkeys_app: Flask) -> IssueKey:
    """Create keys: an :class:`IssueKey`.

    .. versionadded:: 0.1.0
    """
    return _issuer(orgkeys_app)


@pytest.fixture
def orgkeys_client(orgkeys_app: Flask) -> OrgKeysClient:
    """Make test clients that send a key: an :class:`OrgKeysClient`.

    .. versionadded:: 0.1.0
    """
    # Not through the fixture of that name, which a host may have for keys of another kind.
    issue = _issuer(orgkeys_app)

    def make_client(*, scopes: Iterable[str], organization: Any) -> FlaskClient:
        issued = issue(scopes=scopes, organization=organization)
        client = orgkeys_app.test_client()
        client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {issued.token}"
        return client

    return make_client


def _issuer(app: Flask) -> IssueKey:
    def issue(
        *, scopes: Iterable[str], organization: Any, name: str = "test", **arguments: Any
    ) -> IssuedKey:
        from .management import management
        from .state import state_of

        state = state_of(app)
        # In a context that the test has pushed, the session is the test's, with its transaction
        # and the rows it has yet to commit.
        is_pushed = _is_current(app)
        with nullcontext() if is_pushed else app.app_context():
            session = state.host.session
            session.flush()
            issued = management.create_key(
                _organization_id(state, organization), name=name, scopes=scopes, **arguments
            )
            session.commit()
            if not is_pushed:
                session.refresh(issued.key)
        return issued

    return issue


def _is_current(app: Flask) -> bool:
    from flask import current_app

    return bool(current_app) and current_app._get_current_object() is app  # type: ignore[attr-defined]


def _organization_id(state: AppState, organization: Any) -> Any:
    if isinstance(organization, str):
        found = state.host.load_organization(organization)
        if found is None and state.keys.models.ApiKey.organization_id.type.python_type is not str:
            raise LookupError(f"the organisation loader finds no {organization!r}")
        organization = found or organization
    return getattr(organization, "id", organization)
