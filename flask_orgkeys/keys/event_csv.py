"""The audit record as CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from typing import Any

from .document import event_document
from .models import KeyEvent

COLUMNS = (
    "occurred_at",
    "organization_id",
    "key_id",
    "action",
    "actor",
    "address",
    "details",
)

# A spreadsheet runs a cell that begins so (OWASP, CSV Injection).
_RUN_BY_SPREADSHEETS = ("=", "+", "-", "@", "\t", "\r")


def csv_lines(events: Iterable[KeyEvent]) -> Iterator[str]:
    """Give the lines of a CSV document: a heading, then one for each event."""
    writer = csv.writer(_Line(), lineterminator="\r\n")
    yield writer.writerow(COLUMNS)
    for event in events:
        document = event_document(event)
        yield writer.writerow([defused(_cell(document[name])) for name in COLUMNS])


def defused(cell: str) -> str:
    """Return the text of a cell as no spreadsheet runs it."""
    return f"'{cell}" if cell.startswith(_RUN_BY_SPREADSHEETS) else cell


def _cell(value: Any) -> str:
    if value is None or value == {}:
        return ""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)


class _Line:
    """A file for ``csv.writer`` that gives each line back."""

    def write(self, text: str) -> str:
        return text
