"""The extensions, made once and met by each app in :func:`~example_app.app.create_app`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask_login import LoginManager
from flask_sqlalchemy import SQLAlchemy
from flask_wtf import CSRFProtect
from sqlalchemy.orm import DeclarativeBase

from flask_orgkeys import OrgKeys


class Base(DeclarativeBase):
    """What the mapped classes have in common."""


db = SQLAlchemy(model_class=Base)
orgkeys = OrgKeys(db, organization="organization.id")
csrf = CSRFProtect()

login_manager = LoginManager()
login_manager.login_view = "pages.login"
login_manager.login_message = "Sign in to continue."

# Type checkers cannot follow db.Model, which is Base with Flask-SQLAlchemy's additions.
if TYPE_CHECKING:
    Model = Base
else:
    Model = db.Model
