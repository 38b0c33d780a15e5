"""A read-only Flask-Admin view over ``orgkeys.ApiKey`` shows nothing secret."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient
from flask_admin import Admin
from flask_admin.contrib.sqla import ModelView
from flask_babel import Babel

from ..host import Host

COLUMNS = (
    "id",
    "organization_id",
    "name",
    "scopes",
    "created_at",
    "created_by",
    "expires_at",
    "last_used_at",
    "revoked_at",
    "revoked_by",
)


class ApiKeyView(ModelView):
    can_create = can_edit = can_delete = False
    can_view_details = can_export = True
    column_list = column_details_list = column_export_list = COLUMNS
    column_searchable_list = ("id", "name")
    column_filters = ("organization_id", "expires_at", "revoked_at")


@pytest.fixture
def client(host: Host) -> FlaskClient:
    """A client of a host whose administrators see keys in Flask-Admin."""
    # Where Flask-Babel is installed, Flask-Admin needs it set up.
    Babel(host.app)
    Admin(host.app).add_view(ApiKeyView(host.orgkeys.ApiKey, host.db, endpoint="keys"))
    return host.client()


def pages_of(key_id: str) -> list[str]:
    sorted_pages = [f"/admin/keys/?sort={number}" for number in range(len(COLUMNS))]
    return [
        *sorted_pages,
        "/admin/keys/?search=CI",
        "/admin/keys/?flt0_0=1",
        f"/admin/keys/details/?id={key_id}",
        "/admin/keys/export/csv/",
    ]


def test_pages_show_the_key_and_nothing_secret(host: Host, client: FlaskClient) -> None:
    token, key_id = host.issue(name="CI of storefront", idempotency_key="of-the-form-it-came-by")
    key = host.key(key_id)

    for page in pages_of(key_id):
        answer = client.get(page)
        assert answer.status_code == 200
        assert "CI of storefront" in answer.text
        for secret in (token.rsplit("_", 1)[1], key.digest, key.idempotency_key):
            assert secret not in answer.text


def test_every_other_column_is_one_that_is_left_out_on_purpose(host: Host) -> None:
    columns = set(host.orgkeys.ApiKey.__table__.columns.keys())  # type: ignore[attr-defined]

    secret = {"digest", "previous_digest", "idempotency_key", "folded_name"}
    of_rotation = {"previous_until", "previous_used_at", "rotated_at", "confirmed_at"}
    further = {"note", "may_rotate_itself", "uses_recorded_since"}
    assert columns - set(COLUMNS) == secret | of_rotation | further


def test_keys_cannot_be_made_changed_or_removed(host: Host, client: FlaskClient) -> None:
    _, key_id = host.issue(name="CI")
    host.revoke(key_id)

    for path in ("new/", f"edit/?id={key_id}", "delete/", "action/", "ajax/update/"):
        client.post(
            f"/admin/keys/{path}",
            data={
                "id": key_id,
                "rowid": key_id,
                "name": "Other",
                "revoked_at": "",
                "action": "delete",
            },
        )

    (key,) = host.keys()
    assert (key.name, key.revoked_at is None) == ("CI", False)
