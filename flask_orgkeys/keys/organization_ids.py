"""Ids of organisations: what of them the tables can hold."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import sqlalchemy as sa

from .cleaning import is_storable

LARGEST_INTEGER = 2**63 - 1

EVERY_ORGANIZATION: Any = object()
"""In the place of an organisation's id, where all are meant: no id that a host may have lost."""


def can_hold(column: sa.Column[Any], organization_id: Any) -> bool:
    """Tell whether a column can hold an id, alike on every database.

    They differ in what they make of one that it cannot: to MariaDB the number 0 is equal to most
    texts, and "1" and "1abc" to the number 1; PostgreSQL fails, and the transaction with it.
    """
    kind = column.type
    if isinstance(kind, sa.Integer):
        is_number = isinstance(organization_id, int) and not isinstance(organization_id, bool)
        return is_number and abs(organization_id) <= LARGEST_INTEGER
    if isinstance(kind, sa.Uuid):
        return isinstance(organization_id, UUID) if kind.as_uuid else _is_uuid(organization_id)
    if isinstance(kind, sa.String) and not isinstance(kind, sa.Enum):
        return isinstance(organization_id, str) and _can_hold_text(column, organization_id)
    return True


def equals(column: Any, organization_id: Any) -> sa.ColumnElement[bool]:
    """Return the condition that a mapped column holds an id, which is false where it cannot."""
    table_column: sa.Column[Any] = column.property.columns[0]
    if not can_hold(table_column, organization_id):
        return sa.false()
    # A number that is too large for the column is then unequal, and no error.
    kind = sa.BigInteger() if isinstance(table_column.type, sa.Integer) else table_column.type
    is_equal: sa.ColumnElement[bool] = column == sa.literal(organization_id, kind)
    return is_equal


def _is_uuid(text: Any) -> bool:
    try:
        return isinstance(text, str) and bool(UUID(text))
    except ValueError:
        return False


def _can_hold_text(column: sa.Column[Any], text: str) -> bool:
    if not is_storable(text):
        return False
    if column.foreign_keys:
        return True
    # MariaDB takes "acme " for "acme".
    length = getattr(column.type, "length", None) or len(text)
    return len(text) <= length and not text.endswith(" ")
