"""Statements compiled once for an engine, to run on the driver's cursor.

That is several times cheaper than Core, and it sets off none of the host's engine events, such as
one that begins every transaction as IMMEDIATE.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine
    from sqlalchemy.sql.compiler import SQLCompiler

    from .drivers import Call


class Statement:
    """A statement compiled for one engine: for its dialect and its ``schema_translate_map``."""

    def __init__(self, statement: sa.sql.Executable, engine: Engine) -> None:
        dialect = engine.dialect
        schemas = engine.get_execution_options().get("schema_translate_map")
        options = {"schema_translate_map": schemas, "render_schema_translate": True}
        compiled: SQLCompiler = statement.compile(  # type: ignore[attr-defined]
            dialect=dialect, **(options if schemas else {})
        )
        self._sql = str(compiled)
        self._order = tuple(compiled.positiontup or ()) if compiled.positional else None
        self._bind_processors = {
            name: processor
            for name, bind in compiled.binds.items()
            if (processor := bind.type.dialect_impl(dialect).bind_processor(dialect)) is not None
        }

    def call(self, parameters: Mapping[str, Any]) -> Call:
        """Return the arguments for a cursor."""
        values = {**parameters}
        for name, process in self._bind_processors.items():
            values[name] = process(values[name])
        if self._order is None:
            return self._sql, values
        return self._sql, tuple([values[name] for name in self._order])
