"""Statements compiled once for a dialect, to run on the driver's cursor.

That is several times cheaper than Core, and it sets off none of the host's engine events, such as
one that begins every transaction as IMMEDIATE.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import Dialect
    from sqlalchemy.sql.compiler import SQLCompiler

    from .drivers import Call


class Statement:
    """A statement compiled for one dialect."""

    def __init__(self, statement: sa.sql.Executable, dialect: Dialect) -> None:
        compiled: SQLCompiler = statement.compile(dialect=dialect)  # type: ignore[attr-defined]
        self._sql = str(compiled)
        self._order = tuple(compiled.positiontup or ()) if compiled.positional else None
        self._bind_processors = {
            name: processor
            for name, bind in compiled.binds.items()
            if (processor := bind.type.dialect_impl(dialect).bind_processor(dialect)) is not None
        }

    def call(self, parameters: Mapping[str, Any]) -> Call:
        """Return what a cursor executes."""
        values = {**parameters}
        for name, process in self._bind_processors.items():
            values[name] = process(values[name])
        if self._order is None:
            return self._sql, values
        return self._sql, tuple([values[name] for name in self._order])
