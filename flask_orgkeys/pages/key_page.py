"""The views of a key's page. No SQL here."""

from __future__ import annotations

from typing import Any

from flask import abort, redirect

from ..errors import KeyNotFound
from ..keys.cleaning import UnfitText
from ..keys.models import ApiKey
from ..management import management
from ..state import state_of
from .access import Visit, actor
from .change import committed_change
from .forms import EditKeyForm, PlainForm
from .insight import insight_of
from .language import gettext
from .rendering import Page, render_page
from .rows import KeyRow


def show(visit: Visit, key_id: str) -> Any:
    return render_key(visit, key_or_404(visit, key_id))


def edit(visit: Visit, key_id: str) -> Any:
    key = key_or_404(visit, key_id)
    return _ask(visit, key, EditKeyForm(key))


def update(visit: Visit, key_id: str) -> Any:
    key = key_or_404(visit, key_id)
    form = EditKeyForm(key)
    if not form.validate_on_submit():
        return _ask(visit, key, form), 422
    organization_id, name, note = visit.organization.id, form.name.data, form.note.data
    try:
        committed_change(
            visit,
            lambda: management.update_key(
                organization_id, key_id, name=name, note=note, updated_by=actor()
            ),
            key_id=key_id,
        )
    except UnfitText as error:
        form.form_errors.append(gettext(error.message, **error.values))
        return _ask(visit, key_or_404(visit, key_id), form), 422
    except KeyNotFound:
        abort(404)
    return redirect(visit.url("key", key_id=key_id), 303)


def key_or_404(visit: Visit, key_id: str) -> ApiKey:
    """Return a key of the organisation, or answer 404."""
    key = management.get_key(visit.organization.id, key_id)
    if key is None:
        abort(404)
    return key


def render_key(
    visit: Visit,
    key: ApiKey,
    *,
    title: str | None = None,
    end_form: PlainForm | None = None,
    **parts: Any,
) -> str:
    """Render a key's page.

    :param end_form: the form that ends the secret before, if it was refused.
    :param parts: of the dialog in front of it.
    """
    # Not before a new secret is committed: a namer that fails would take its transaction along.
    insight = insight_of(visit, key, asks_names="issued" not in parts)
    return render_page(
        Page(
            visit=visit,
            title=key.name if title is None else title,
            body="key",
            key=KeyRow.of(key, state_of().settings, visit.now, insight.names),
            insight=insight,
            end_form=PlainForm() if end_form is None else end_form,
            **parts,
        )
    )


def _ask(visit: Visit, key: ApiKey, form: EditKeyForm) -> str:
    title = gettext("Edit %(name)s", name=key.name)
    return render_key(visit, key, title=title, dialog="edit", form=form)
