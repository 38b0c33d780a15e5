"""Chromium, as it is started for tests and for the pictures of the documentation."""

from __future__ import annotations

import os
import shutil

# The first has no window of its own to draw, which takes a third of the time.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def path() -> str | None:
    """Return where it is: what ``ORGKEYS_TEST_CHROMIUM`` names, or what there is on ``PATH``."""
    named = os.environ.get("ORGKEYS_TEST_CHROMIUM")
    return named or next(filter(None, map(shutil.which, NAMES)), None)


def arguments(name: str, address: str) -> list[str]:
    """Return how to start it.

    :param name: a host name that it is to find at ``address``, which may have a port.
    """
    return [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--host-resolver-rules=MAP {name} {address}",
    ]
