"""The forms of the pages."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from flask import request
from wtforms import HiddenField, SelectField, SelectMultipleField, StringField
from wtforms.fields import SelectChoice
from wtforms.validators import ValidationError

from .texts import clean_name

if TYPE_CHECKING:
    from .settings import Settings

    class FlaskForm:
        """What is used of Flask-WTF's, which is not typed."""

        meta: Any
        form_errors: list[str]

        def __init__(self, formdata: Any = None) -> None: ...
        def __getitem__(self, name: str) -> Any: ...
        def is_submitted(self) -> bool: ...
        def validate(self, extra_validators: Any = None) -> bool: ...
        def validate_on_submit(self) -> bool: ...
        @property
        def errors(self) -> dict[str | None, Any]: ...
else:
    from flask_wtf import FlaskForm

NEVER = "never"


OUT_OF_DATE = (
    "This form is out of date: it was open for too long, or you have signed in again since. "
    "Nothing has changed. Check it, then send it again."
)


class PageForm(FlaskForm):
    """A form of the pages, filled by nothing but a sent form: no JSON, no files."""

    def __init__(self) -> None:
        super().__init__(request.form if request.method == "POST" else None)

    @property
    def csrf_field(self) -> Any:
        """The field of the CSRF token, whatever the host calls it; ``None`` where CSRF is off."""
        return self[self.meta.csrf_field_name] if self.meta.csrf else None

    def validate(self, extra_validators: Any = None) -> bool:
        is_valid = super().validate(extra_validators)
        if self.csrf_field is not None and self.csrf_field.errors:
            # In words for people, and with a new token beside them.
            self.csrf_field.errors = []
            self.form_errors.append(OUT_OF_DATE)
        return is_valid


class CreateKeyForm(PageForm):
    """Name, scopes and expiry of a new key.

    ``nonce`` tells one form that was shown from every other.
    """

    name: Any = StringField("Name")
    scopes: Any = SelectMultipleField("Scopes")
    expires_in: Any = SelectField("Expiration")
    nonce: Any = HiddenField()

    def __init__(self, settings: Settings, now: datetime) -> None:
        super().__init__()
        self.now = now
        self._default_days = settings.default_expiry_days
        self.scopes.choices = [
            SelectChoice(scope, description) for scope, description in settings.scopes.items()
        ]
        self.expires_in.choices = [SelectChoice(*choice) for choice in _lifetimes(settings, now)]
        if not self.is_submitted():
            self._preselect_lifetime()
        if not self.nonce.data:
            self.nonce.data = secrets.token_urlsafe(16)

    def validate(self, extra_validators: Any = None) -> bool:
        is_valid = super().validate(extra_validators)
        if self.expires_in.errors:
            # Or else a browser would choose the first, which may be "No expiration".
            self._preselect_lifetime()
        return is_valid

    def validate_name(self, field: StringField) -> None:
        try:
            clean_name(field.data or "")
        except ValueError as error:
            raise ValidationError(str(error)) from error

    def validate_scopes(self, field: SelectMultipleField) -> None:
        if not field.data:
            raise ValidationError("Choose at least one scope.")

    @property
    def expires_at(self) -> datetime | None:
        """The chosen time of expiry, aware and in UTC, or ``None``."""
        if self.expires_in.data == NEVER:
            return None
        return self.now + timedelta(days=int(self.expires_in.data))

    @property
    def idempotency_key(self) -> str | None:
        """What names the form as it was sent: the same form sent again has the same name, and no
        other has. ``None`` where it came with neither a nonce nor a CSRF token, for then two forms
        cannot be told apart.
        """
        sent = request.form
        if not sent.get("nonce") and not sent.get(self.meta.csrf_field_name):
            return None
        fields = sorted(sent.items(multi=True))
        return hashlib.sha256(repr(fields).encode(errors="replace")).hexdigest()

    def _preselect_lifetime(self) -> None:
        days = self._default_days
        self.expires_in.data = NEVER if days is None else str(days)


class RevokeKeyForm(PageForm):
    """Nothing but the CSRF token."""


def _lifetimes(settings: Settings, now: datetime) -> Iterable[tuple[str, str]]:
    if settings.allow_no_expiry:
        yield NEVER, "No expiration"
    for days in settings.expiry_days:
        date = (now + timedelta(days=days)).astimezone(UTC)
        unit = "day" if days == 1 else "days"
        yield str(days), f"{days} {unit} (until {date.day} {date:%b %Y})"
