"""Round trips to PostgreSQL that one request takes, counted on the wire."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from . import apps, wire
from .databases import Database
from .subjects import HOT, IN_ORGANIZATION, NO_HEADER, Label
from .work import work_of

# Drivers prepare a statement only after some uses, each preparation a round trip of its own.
WARM_UP = 20
REQUESTS = 50

LABELS = (
    *(Label(app, apps.GUARDED, keys=HOT) for app in (apps.RAW, apps.ORGKEYS, apps.NAIVE)),
    Label(apps.BARE, IN_ORGANIZATION, NO_HEADER),
    Label(apps.ORGKEYS, IN_ORGANIZATION, keys=HOT),
)


def count(database: Database, labels: Sequence[Label] = LABELS) -> dict[Label, float]:
    """Return the round trips of one request, for each label."""
    counted = {}
    for label in labels:
        with wire.proxy_to(database.url) as proxy:
            behind_proxy = replace(database, url=wire.through(proxy, database.url))
            prepare = work_of(label, behind_proxy)
            prepare(WARM_UP)()
            before = proxy.round_trips
            prepare(REQUESTS)()
            counted[label] = (proxy.round_trips - before) / REQUESTS
    return counted
