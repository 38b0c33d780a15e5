"""The mapped classes."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from flask_login import UserMixin
from sqlalchemy import JSON, DateTime, ForeignKey, String, UniqueConstraint, select
from sqlalchemy.orm import Mapped, mapped_column, relationship

from .extensions import Model, db

_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?", re.ASCII)


class User(UserMixin, Model):  # type: ignore[misc]
    """Someone who signs in."""

    __tablename__ = "user"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    memberships: Mapped[list[Membership]] = relationship(back_populates="user")

    def get_id(self) -> str:
        """What a session, and the record of who created or revoked a key, name the user by."""
        return self.email

    def membership_of(self, organization: Organization) -> Membership | None:
        """Return this user's membership of ``organization``, or ``None``."""
        return db.session.get(Membership, (self.id, organization.id))


class Organization(Model):
    """A tenant. Its ``slug`` is its name in URLs."""

    __tablename__ = "organization"

    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str] = mapped_column(String(100))
    memberships: Mapped[list[Membership]] = relationship(back_populates="organization")
    projects: Mapped[list[Project]] = relationship(
        back_populates="organization", order_by="Project.name"
    )

    @classmethod
    def by_slug(cls, slug: str) -> Organization | None:
        """Return the organisation of that very slug, or ``None``."""
        if not is_slug(slug):
            return None
        return db.session.scalar(select(cls).where(cls.slug == slug))


class Membership(Model):
    """A user's place in an organisation."""

    __tablename__ = "membership"

    user_id: Mapped[int] = mapped_column(
        ForeignKey("user.id", ondelete="CASCADE"), primary_key=True
    )
    organization_id: Mapped[int] = mapped_column(
        ForeignKey("organization.id", ondelete="CASCADE"), primary_key=True
    )
    is_admin: Mapped[bool] = mapped_column(default=False)
    user: Mapped[User] = relationship(back_populates="memberships", lazy="joined")
    organization: Mapped[Organization] = relationship(back_populates="memberships", lazy="joined")


class Project(Model):
    """Something that is deployed."""

    __tablename__ = "project"
    __table_args__ = (UniqueConstraint("organization_id", "slug"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    organization_id: Mapped[int] = mapped_column(ForeignKey("organization.id", ondelete="CASCADE"))
    slug: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(100))
    runtime_config: Mapped[dict[str, Any]] = mapped_column(JSON)
    organization: Mapped[Organization] = relationship(back_populates="projects")

    @property
    def latest_deployment(self) -> Deployment | None:
        """What was deployed last."""
        return db.session.scalar(
            select(Deployment)
            .where(Deployment.project_id == self.id)
            .order_by(Deployment.id.desc())
            .limit(1)
        )


class Deployment(Model):
    """One deployment of a project. The key's name is copied, for it outlives the key."""

    __tablename__ = "deployment"

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    ref: Mapped[str] = mapped_column(String(100))
    key_id: Mapped[str] = mapped_column(String(12))
    key_name: Mapped[str] = mapped_column(String(100))
    created_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), default=lambda: datetime.now(UTC)
    )
    project: Mapped[Project] = relationship(lazy="joined", innerjoin=True)


class AppVersion(Model):
    """One published version of an app. The key's name is copied, for it outlives the key."""

    __tablename__ = "app_version"

    id: Mapped[int] = mapped_column(primary_key=True)
    organization_id: Mapped[int] = mapped_column(ForeignKey("organization.id", ondelete="CASCADE"))
    app_name: Mapped[str] = mapped_column(String(64))
    version: Mapped[str] = mapped_column(String(100))
    key_id: Mapped[str] = mapped_column(String(12))
    key_name: Mapped[str] = mapped_column(String(100))
    created_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), default=lambda: datetime.now(UTC)
    )


def is_slug(text: str) -> bool:
    """Tell whether ``text`` is spelled like a slug.

    Asked before a query: databases differ over NUL, capitals and trailing spaces.
    """
    return _SLUG.fullmatch(text) is not None


def as_utc(moment: datetime) -> datetime:
    """Return a stored time as an aware one in UTC: SQLite and MariaDB hand it back naive."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
