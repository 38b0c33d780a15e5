"""The views of a rotation: the question, the new secret, and the end of the one before."""

from __future__ import annotations

from typing import Any

from flask import abort, make_response, redirect
from werkzeug.wrappers import Response

from ..errors import KeyEnded, KeyNotFound, RotationConflict
from ..keys.models import ACTIVE, ApiKey
from ..management import management
from ..state import state_of
from .access import Visit, actor
from .change import committed_change
from .example_request import example_for
from .forms import EndPreviousForm, RotateKeyForm
from .key_page import key_or_404, render_key
from .language import gettext


def confirm(visit: Visit, key_id: str) -> Any:
    key = key_or_404(visit, key_id)
    if key.status(visit.now) != ACTIVE:
        return _to_key(visit, key_id)
    return _ask(visit, key, _form(visit, key))


def rotate(visit: Visit, key_id: str) -> Any:
    key = key_or_404(visit, key_id)
    form = _form(visit, key)
    if key.status(visit.now) != ACTIVE or form.is_outdated(management.rotation_marker(key)):
        return _to_key(visit, key_id)
    if not form.validate_on_submit():
        return _ask(visit, key, form), 422
    try:
        return committed_change(visit, lambda: _rotate_and_show(visit, key_id, form), key_id=key_id)
    except (KeyEnded, RotationConflict):
        return _to_key(visit, key_id)
    except KeyNotFound:
        abort(404)


def end_previous(visit: Visit, key_id: str) -> Any:
    key = key_or_404(visit, key_id)
    form = EndPreviousForm()
    if not form.validate_on_submit():
        return render_key(visit, key, end_form=form), 422
    organization_id, after = visit.organization.id, form.after.data or None
    try:
        committed_change(
            visit,
            lambda: management.end_previous_secret(
                organization_id, key_id, ended_by=actor(), after=after
            ),
            key_id=key_id,
        )
    except KeyNotFound:
        abort(404)
    return _to_key(visit, key_id)


def _form(visit: Visit, key: ApiKey) -> RotateKeyForm:
    return RotateKeyForm(state_of().settings, visit.now, management.rotation_marker(key))


def _ask(visit: Visit, key: ApiKey, form: RotateKeyForm) -> str:
    title = gettext("Rotate %(name)s?", name=key.name)
    return render_key(visit, key, title=title, dialog="rotate", form=form)


def _rotate_and_show(visit: Visit, key_id: str, form: RotateKeyForm) -> Response:
    # The token stays inside of ``issued``, whose repr leaves it out: error trackers send the local
    # variables of every frame.
    issued = management.rotate_key(
        visit.organization.id,
        key_id,
        overlap=form.overlap,
        expires_at=form.expires_at,
        rotated_by=actor(),
        after=form.after.data or None,
    )
    # Rendered before the commit: a page that fails changes no secret.
    return make_response(
        render_key(
            visit,
            issued.key,
            title=gettext("New secret created"),
            dialog="created",
            issued=issued,
            example=example_for(visit, issued.key.scopes),
        )
    )


def _to_key(visit: Visit, key_id: str) -> Response:
    return redirect(visit.url("key", key_id=key_id), 303)
