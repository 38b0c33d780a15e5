"""The forms of the pages."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from flask import request
from werkzeug.datastructures import MultiDict
from wtforms import BooleanField, HiddenField, SelectField, SelectMultipleField, StringField
from wtforms.validators import ValidationError

from ..config.settings import NEVER
from ..keys.cleaning import UnfitText, clean_name, clean_note
from .language import day, gettext, ngettext

if TYPE_CHECKING:
    from ..config.settings import Settings
    from ..keys.models import ApiKey

    class FlaskForm:
        """The part of Flask-WTF's form in use, which is not typed."""

        meta: Any
        form_errors: list[str]

        def __init__(self, formdata: Any = None) -> None: ...
        def __contains__(self, name: str) -> bool: ...
        def __getitem__(self, name: str) -> Any: ...
        def is_submitted(self) -> bool: ...
        def validate(self, extra_validators: Any = None) -> bool: ...
        def validate_on_submit(self) -> bool: ...
        @property
        def errors(self) -> dict[str | None, Any]: ...
else:
    from flask_wtf import FlaskForm

MANY_SCOPES = 8
"""How many scopes make it a chore to find and tick each."""
FOLDED_SCOPES = 20
"""How many scopes are too many to show at once: their groups are folded."""
A_MOMENT = timedelta(minutes=1)
"""The time that may pass between the reckoning of an expiry and the creation of its key."""


class PageForm(FlaskForm):
    """A form of the pages, filled by nothing but a sent form: no JSON, no files."""

    is_out_of_date: bool = False
    """Whether it came without the CSRF token that it would be shown with now."""

    def __init__(self) -> None:
        super().__init__(request.form if request.method == "POST" else None)

    @property
    def csrf_field(self) -> Any:
        """The field of the CSRF token, by the host's name for it; ``None`` if CSRF is off."""
        return self[self.meta.csrf_field_name] if self.meta.csrf else None

    def validate(self, extra_validators: Any = None) -> bool:
        is_valid = super().validate(extra_validators)
        if self.csrf_field is not None and self.csrf_field.errors:
            self.is_out_of_date = True
            # In words for people, and with a new token beside them.
            self.csrf_field.errors = []
            self.form_errors.append(
                gettext(
                    "This form is out of date: it was open for too long, or you have signed in "
                    "again since. Nothing has changed. Check it, then send it again."
                )
            )
        return is_valid


class NamedKeyForm(PageForm):
    """The name of a key, and a note for the people who manage it."""

    name: Any = StringField("Name")
    note: Any = StringField("Note")

    def validate_name(self, field: StringField) -> None:
        _refuse_unfit(clean_name, field)

    def validate_note(self, field: StringField) -> None:
        _refuse_unfit(clean_note, field)

    @property
    def first_error(self) -> str | None:
        """The name of the first field with an error, in the order of the page."""
        names = ("name", "scopes", "expires_in", "note")
        return next((name for name in names if name in self and self[name].errors), None)


class LifetimeForm(PageForm):
    """The lifetime of a key or of its new secret."""

    expires_in: Any = SelectField("Expiration")

    def __init__(self, settings: Settings, now: datetime) -> None:
        super().__init__()
        self.now = now
        self.allows_no_expiry: bool = settings.allow_no_expiry
        self._default_days = settings.default_expiry_days
        self.expires_in.choices = [*_lifetimes(settings, now)]
        if not self.is_submitted():
            self._preselect_lifetime()

    def validate(self, extra_validators: Any = None) -> bool:
        is_valid = super().validate(extra_validators)
        if self.expires_in.errors:
            # Or else a browser would choose the first, which may be "No expiration".
            self._preselect_lifetime()
        return is_valid

    @property
    def expires_at(self) -> datetime | None:
        """The chosen time of expiry, aware and in UTC, or ``None``."""
        if self.expires_in.data == NEVER:
            return None
        return self.now + timedelta(days=int(self.expires_in.data))

    def _preselect_lifetime(self) -> None:
        days = self._default_days
        self.expires_in.data = NEVER if days is None else str(days)


class CreateKeyForm(NamedKeyForm, LifetimeForm):
    """Name, scopes and expiry of a new key.

    ``nonce`` tells one form that was shown from every other.
    """

    scopes: Any = SelectMultipleField("Scopes")
    may_rotate_itself: Any = BooleanField("May replace its own secret")
    nonce: Any = HiddenField()

    def __init__(self, settings: Settings, now: datetime, like: ApiKey | None = None) -> None:
        """Make the form that was sent, or one filled in by the URL.

        :param like: a key whose scopes, note and lifetime the form begins with.
        """
        super().__init__(settings, now)
        self.name_is_taken: bool = False
        self.scopes.choices = [
            (scope, str(description)) for scope, description in settings.scopes.items()
        ]
        if not self.is_submitted():
            if like is not None:
                self._fill_in_like(like, settings)
            self._fill_in(request.args)
        if not self.nonce.data:
            self.nonce.data = secrets.token_urlsafe(16)

    def validate_scopes(self, field: SelectMultipleField) -> None:
        if not field.data:
            raise ValidationError(gettext("Choose at least one scope."))

    @property
    def has_many_scopes(self) -> bool:
        return len(self.scopes.choices) >= MANY_SCOPES

    @property
    def folds_scopes(self) -> bool:
        return len(self.scopes.choices) >= FOLDED_SCOPES

    def is_open(self, boxes: Iterable[Any], is_first: bool) -> bool:
        """Tell whether a group of scopes is unfolded: the first, or one with a choice or error."""
        return is_first or bool(self.scopes.errors) or any(box.checked for box in boxes)

    @property
    def scope_groups(self) -> Sequence[tuple[str, Sequence[Any]]]:
        """The checkboxes of the scopes with the name of their group: many are grouped by the text
        before the colon, few are one group without a name.
        """
        groups: dict[str, list[Any]] = {}
        for box in self.scopes:
            group, colon, _ = box.data.partition(":")
            groups.setdefault(group if colon and self.has_many_scopes else "", []).append(box)
        return [*groups.items()] if len(groups) > 1 else [("", [*self.scopes])]

    @property
    def idempotency_key(self) -> str | None:
        """The name of the form as it was sent: the same form sent again has the same name, and no
        other has. ``None`` if it came with neither a nonce nor a CSRF token, for then two forms
        cannot be told apart.
        """
        sent, token = request.form, self.meta.csrf_field_name
        if not sent.get("nonce") and not sent.get(token):
            return None
        # The token is another where a form is shown again because it was out of date.
        left_out = {token} if sent.get("nonce") else set()
        fields = sorted(item for item in sent.items(multi=True) if item[0] not in left_out)
        return hashlib.sha256(repr(fields).encode(errors="replace")).hexdigest()

    def _fill_in_like(self, key: ApiKey, settings: Settings) -> None:
        self.scopes.data = [scope for scope in key.scopes if scope in settings.scopes]
        self.note.data = key.note
        if key.expires_at is None:
            self._offer(NEVER)
        else:
            lifetime = key.expires_at - (key.rotated_at or key.created_at)
            self._offer(str((lifetime + A_MOMENT).days))

    def _fill_in(self, values: MultiDict[str, str]) -> None:
        """Fill in the values of a URL, without those that the form would refuse."""
        for field, clean in ((self.name, clean_name), (self.note, clean_note)):
            with suppress(ValueError):
                field.data = clean(values[field.name]) if field.name in values else field.data
        declared = {value for value, *_ in self.scopes.choices}
        wanted = [scope for scope in values.getlist("scopes") if scope in declared]
        if wanted:
            self.scopes.data = wanted
        self._offer(values.get("expires_in", ""))

    def _offer(self, lifetime: str) -> None:
        if lifetime in {value for value, *_ in self.expires_in.choices}:
            self.expires_in.data = lifetime


class EditKeyForm(NamedKeyForm):
    """The name and note of a key, as they are until the form is sent."""

    def __init__(self, key: ApiKey) -> None:
        super().__init__()
        if not self.is_submitted():
            self.name.data = key.name
            self.note.data = key.note


class RotateKeyForm(LifetimeForm):
    """The overlap of the two secrets, and the lifetime of the new one.

    ``after`` names the rotation that the form was shown after, so that one form is one rotation.
    """

    overlap_hours: Any = SelectField("Old secret works for")
    after: Any = HiddenField()

    def __init__(self, settings: Settings, now: datetime, marker: str) -> None:
        super().__init__(settings, now)
        self._default_hours = str(settings.default_rotation_overlap_hours)
        hours = settings.rotation_overlap_hours
        self.overlap_hours.choices = [(str(each), _overlap(each)) for each in hours]
        if not self.is_submitted():
            self.overlap_hours.data = self._default_hours
            self.after.data = marker

    def validate(self, extra_validators: Any = None) -> bool:
        is_valid = super().validate(extra_validators)
        if self.overlap_hours.errors:
            self.overlap_hours.data = self._default_hours
        return is_valid

    def is_outdated(self, marker: str) -> bool:
        """Tell whether the sent form was shown before the key's last rotation.

        :param marker: names that rotation.
        """
        return self.is_submitted() and (self.after.data or marker) != marker

    @property
    def overlap(self) -> timedelta:
        """The chosen time for which the old secret works on."""
        return timedelta(hours=int(self.overlap_hours.data))

    @property
    def first_error(self) -> str | None:
        """The name of the first field with an error, in the order of the page."""
        names = ("overlap_hours", "expires_in")
        return next((name for name in names if self[name].errors), None)


class CheckForm(PageForm):
    """A text in which a key may be."""

    text: Any = StringField("Text")


class PlainForm(PageForm):
    """Nothing but the CSRF token."""


class EndPreviousForm(PlainForm):
    """The rotation that the page was shown after: its old secret is to end."""

    after: Any = HiddenField()


def _refuse_unfit(clean: Callable[[str], object], field: StringField) -> None:
    try:
        clean(field.data or "")
    except UnfitText as error:
        raise ValidationError(gettext(error.message, **error.values)) from error


def _overlap(hours: int) -> str:
    if not hours:
        return gettext("Not at all")
    if hours % 24:
        return ngettext("%(num)s hour", "%(num)s hours", hours)
    return ngettext("%(num)s day", "%(num)s days", hours // 24)


def _lifetimes(settings: Settings, now: datetime) -> Iterable[tuple[str, str]]:
    if settings.allow_no_expiry:
        yield NEVER, gettext("No expiration")
    for days in settings.expiry_days:
        until = day(now + timedelta(days=days))
        label = ngettext(
            "%(num)s day (until %(date)s)", "%(num)s days (until %(date)s)", days, date=until
        )
        yield str(days), label
