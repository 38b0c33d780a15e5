"""The page that tells whether a pasted key is one of the organisation's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import abort, current_app

from ..keys.checking import find_key
from ..state import state_of
from .forms import CheckForm
from .language import gettext
from .rendering import Page, render_page
from .rows import KeyRow

if TYPE_CHECKING:
    from .access import Visit


def ask(visit: Visit) -> Any:
    return _render(visit, CheckForm())


def find(visit: Visit) -> Any:
    form = CheckForm()
    if not form.validate_on_submit():
        return _render(visit, form), 422
    if _is_too_long(form):
        abort(413)
    # The text is in no local variable, for error trackers send those of every frame.
    finding = find_key(state_of().keys, visit.organization.id, form.text.data or "")
    key = finding.key
    row = None if key is None else KeyRow.of(key, state_of().settings, visit.now)
    return _render(visit, CheckForm(), finding.kind, row)


def _is_too_long(form: CheckForm) -> bool:
    # Werkzeug holds multipart forms to it, others only in some versions.
    limit = current_app.config.get("MAX_FORM_MEMORY_SIZE")
    return limit is not None and len((form.text.data or "").encode(errors="replace")) > limit


def _render(
    visit: Visit, form: CheckForm, finding: str | None = None, key: KeyRow | None = None
) -> str:
    title = gettext("Check a key")
    return render_page(
        Page(visit=visit, title=title, body="check", form=form, finding=finding, key=key)
    )
