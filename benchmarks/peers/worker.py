"""What a peer's process says to the benchmark's: lines of JSON. Standard library only."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping


def serve(blocks: Mapping[str, Callable[[int], float]], versions: Mapping[str, str]) -> None:
    """Answer until the input ends: a name and a count with the seconds that it took.

    :param blocks: what can be asked for; each takes a count of requests, returns seconds.
    """
    _say({"names": list(blocks), "versions": dict(versions)})
    for line in sys.stdin:
        name, count = json.loads(line)
        _say(blocks[name](count))


def _say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()
