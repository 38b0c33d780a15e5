"""Ids of organisations, and the values that their column can hold."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from ..errors import ConfigurationError
from .texts import is_storable

LARGEST_INTEGER = 2**63 - 1

EVERY_ORGANIZATION: Any = object()
"""In the place of an organisation's id, where all are meant: no id that a host may have lost."""

_SUPPORTED = (sa.Integer, sa.String, sa.Uuid)
_BITS = (
    (mysql.TINYINT, 8),
    (sa.SmallInteger, 16),
    (mysql.MEDIUMINT, 24),
    (sa.BigInteger, 64),
    (sa.Integer, 32),
)


def check_type(kind: Any) -> None:
    """Check that the column of organisation ids holds integers, texts or UUIDs.

    :param kind: its type. A foreign key has none until the organisation's table is defined: that
        passes.
    :raises ConfigurationError: if it holds anything else.
    """
    if isinstance(kind, sa.types.TypeDecorator):
        # Its values are the host's own. Only the stored type is known.
        is_supported = isinstance(kind.impl_instance, (*_SUPPORTED, sa.LargeBinary))
    else:
        is_supported = isinstance(kind, (*_SUPPORTED, sa.types.NullType))
    if not is_supported:
        raise ConfigurationError(
            f"OrgKeys(organization=...): the ids of organisations are {kind!r}. Use a column of "
            "integers, texts or UUIDs, like Integer, String(64) or Uuid."
        )


def check_id(column: sa.Column[Any], organization_id: Any, dialect: sa.Dialect) -> None:
    """Check that a column can hold an id, alike on every database.

    They differ in their treatment of one that it cannot hold: to MariaDB the number 0 is equal to
    most texts, and "1" and "1abc" to the number 1; PostgreSQL fails, and the transaction with it.

    :raises ValueError: if it cannot.
    """
    if organization_id is None:
        raise ValueError("organization_id is None: flush the organisation before its key")
    if not _can_hold(column, organization_id, dialect):
        raise ValueError(
            f"organization_id {organization_id!r} does not fit its column: pass the organisation's "
            f"id, a value of {column.type!r}"
        )


def check_new_id(column: sa.Column[Any], organization_id: Any, dialect: sa.Dialect) -> None:
    """Check an id that is to be stored.

    :raises ValueError: if the column cannot hold it, or not on every database.
    """
    check_id(column, organization_id, dialect)
    if _is_ambiguous(column, organization_id):
        raise ValueError(
            f"organization_id {organization_id!r} does not fit its column: leave out the spaces at "
            "its end"
        )


def equals(column: Any, organization_id: Any) -> sa.ColumnElement[bool]:
    """Return the condition that a mapped column holds an id that was checked."""
    table_column = column.property.columns[0]
    if _is_ambiguous(table_column, organization_id):
        return sa.false()
    is_equal: sa.ColumnElement[bool] = column == sa.literal(organization_id, table_column.type)
    return is_equal


def _is_ambiguous(column: sa.Column[Any], organization_id: Any) -> bool:
    """Tell whether an id is equal to another: MariaDB takes "acme " for "acme". Ids of a host's own
    table are as that has them.
    """
    is_text = isinstance(organization_id, str)
    return is_text and not column.foreign_keys and organization_id.endswith(" ")


def _can_hold(column: sa.Column[Any], organization_id: Any, dialect: sa.Dialect) -> bool:
    kind = column.type
    if isinstance(kind, sa.types.TypeDecorator):
        return _takes(kind, organization_id, dialect)
    if isinstance(kind, sa.Integer):
        is_number = isinstance(organization_id, int) and not isinstance(organization_id, bool)
        return is_number and is_in_range(kind, organization_id, dialect)
    if isinstance(kind, sa.Uuid):
        return isinstance(organization_id, UUID) if kind.as_uuid else _is_uuid(organization_id)
    if isinstance(kind, sa.Enum):
        return organization_id in list(kind.enum_class or kind.enums)
    return isinstance(organization_id, str) and _can_hold_text(column, organization_id)


def is_in_range(kind: sa.Integer, number: int, dialect: sa.Dialect | None = None) -> bool:
    """Tell whether a type of integers has a number.

    :param dialect: ``None`` for the type as the model has it.
    """
    stored: Any = kind if dialect is None else kind.dialect_impl(dialect)
    bits = next(bits for stored_type, bits in _BITS if isinstance(stored, stored_type))
    if dialect is not None and dialect.name == "sqlite":
        # Each of its integers has as many bits as it needs.
        bits = 64
    if getattr(stored, "unsigned", False):
        return 0 <= number < 1 << bits
    return -(1 << bits - 1) <= number < 1 << bits - 1


def _takes(kind: sa.types.TypeDecorator[Any], value: Any, dialect: sa.Dialect) -> bool:
    """Tell whether a host's own type takes a value, as far as it says so."""
    if isinstance(value, bool | float | bytes):
        return False
    try:
        kind.process_bind_param(value, dialect)
    except NotImplementedError:
        return True
    except Exception:
        return False
    return True


def _is_uuid(text: Any) -> bool:
    try:
        return isinstance(text, str) and bool(UUID(text))
    except ValueError:
        return False


def _can_hold_text(column: sa.Column[Any], text: str) -> bool:
    length = getattr(column.type, "length", None) or len(text)
    return is_storable(text) and len(text) <= length
