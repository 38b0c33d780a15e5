"""The views of a key's page. No SQL here."""

from __future__ import annotations

from typing import Any

from flask import abort, redirect

from ..errors import KeyNotFound
from ..keys.models import ApiKey
from ..management import management
from ..state import state_of
from .access import Visit, actor
from .change import committed_change
from .forms import EditKeyForm
from .language import gettext
from .rendering import Page, render_page
from .rows import KeyRow


def show(visit: Visit, key_id: str) -> Any:
    return _render(visit, key_or_404(visit, key_id))


def edit(visit: Visit, key_id: str) -> Any:
    key = key_or_404(visit, key_id)
    return _render(visit, key, form=EditKeyForm(key))


def update(visit: Visit, key_id: str) -> Any:
    key = key_or_404(visit, key_id)
    form = EditKeyForm(key)
    if not form.validate_on_submit():
        return _render(visit, key, form=form), 422
    organization_id, name, note = visit.organization.id, form.name.data, form.note.data
    try:
        committed_change(
            lambda: management.update_key(
                organization_id, key_id, name=name, note=note, updated_by=actor()
            )
        )
    except KeyNotFound:
        abort(404)
    return redirect(visit.url("key", key_id=key_id), 303)


def key_or_404(visit: Visit, key_id: str) -> ApiKey:
    """Return a key of the organisation, or answer 404."""
    key = management.get_key(visit.organization.id, key_id)
    if key is None:
        abort(404)
    return key


def _render(visit: Visit, key: ApiKey, *, form: EditKeyForm | None = None) -> str:
    row = KeyRow.of(key, state_of().settings, visit.now)
    title = key.name if form is None else gettext("Edit %(name)s", name=key.name)
    dialog = None if form is None else "edit"
    return render_page(
        Page(visit=visit, title=title, body="key", dialog=dialog, key=row, form=form)
    )
