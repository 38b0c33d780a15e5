"""The layouts of the documentation, served: a host for each, as docs/theming.md has it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jinja2
import sqlalchemy as sa
from flask import render_template

from tests.host import Host, disposing, make_host
from tests.reader import ROOT

PAGE = ROOT / "docs" / "theming.md"
LAYOUTS = ("plain", "bootstrap", "pico")

_FILE = re.compile(
    r"^```\w+\n(?:\{#|/\*) (templates|static)/(\S+) (?:#\}|\*/)\n(.*?)^```$", re.M | re.S
)


def files(folder: str) -> dict[str, str]:
    """The files that the page has its readers write into a folder, by name."""
    return {name: text for where, name, text in _FILE.findall(PAGE.read_text()) if where == folder}


@contextmanager
def host_in_layout(layout: str, folder: Path, static: Path) -> Iterator[Host]:
    """Make a host of a layout, with a page ``/o/<org_slug>/members`` beside the keys.

    :param folder: for its database.
    :param static: with the style sheets of others; ours are written beside them.
    """
    for name, text in files("static").items():
        (static / name).write_text(text)
    template = f"{layout}.html"
    config = {"WTF_CSRF_ENABLED": True, "ORGKEYS_BASE_TEMPLATE": template}
    with disposing(make_host(f"sqlite:///{folder / layout}.sqlite", config=config)) as host:
        host.app.static_folder = str(static)
        host.app.jinja_loader = jinja2.DictLoader({template: files("templates")[template]})

        @host.app.get("/o/<org_slug>/members")
        def members(org_slug: str) -> Any:
            chosen = sa.select(host.Organization).where(host.Organization.slug == org_slug)
            organization = host.db.session.scalar(chosen)
            return render_template(template, organization=organization)

        yield host
