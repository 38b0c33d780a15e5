"""The forms."""

from __future__ import annotations

from flask_wtf import FlaskForm
from wtforms import EmailField, Field, Form, PasswordField, StringField
from wtforms.validators import InputRequired, Length, ValidationError


def stripped(value: object) -> object:
    """Filter: text without the white space around it."""
    return value.strip() if isinstance(value, str) else value


def printable(_form: Form, field: Field) -> None:
    """Validator: no control characters, which databases treat differently."""
    if not str(field.data).isprintable():
        raise ValidationError("Write it without control characters.")


class LoginForm(FlaskForm):  # type: ignore[misc]
    """Sign-in. What is wrong with an address is told in no more detail than a wrong password."""

    email = EmailField(
        "Email",
        filters=[stripped],
        validators=[InputRequired(), Length(max=254), printable],
        render_kw={"autocomplete": "username", "maxlength": 254},
    )
    password = PasswordField(
        "Password",
        validators=[InputRequired(), Length(max=200)],
        render_kw={"autocomplete": "current-password", "maxlength": 200},
    )


class OrganizationForm(FlaskForm):  # type: ignore[misc]
    """The General tab."""

    name = StringField(
        "Name",
        filters=[stripped],
        validators=[
            InputRequired("Write a name."),
            Length(min=1, max=100, message="Write 1 to 100 characters."),
            printable,
        ],
        render_kw={"autocomplete": "organization", "maxlength": 100},
    )
