"""Hosts' layouts with the scripts of others: Turbo, htmx, Vue and Alpine, as npm has them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import sqlalchemy as sa
from flask import render_template, request

from tests.databases import skip_or_fail
from tests.host import Host, disposing, make_host

HERE = Path(__file__).parent
COOKIE = "library"

LAYOUT = """
{% from "orgkeys/_tab.html" import api_keys_tab with context %}
<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <link rel="icon" href="data:,">
  <title>{% block title %}Members{% endblock %}</title>
  <script src="{{ url_for('static', filename=library.script) }}" {{ library.loading }}></script>
  {% block head %}{% endblock %}
</head>
<body {{ library.attributes | safe }}>
  <nav aria-label="Settings">
    <a href="/o/acme/members">Members</a>
    <a href="/o/acme/api-keys">Keys</a>
    {{ api_keys_tab(organization) }}
  </nav>
  <main id="app" x-data>{% block content %}<h1>Members</h1>{% endblock %}</main>
  <script>{{ library.start | safe }}</script>
</body>
</html>
"""

# Vue and Alpine compile templates; Turbo and htmx add style sheets.
POLICY = (
    "default-src 'self'; img-src data:; style-src 'self' 'unsafe-inline'; "
    "script-src 'self' 'unsafe-eval' 'unsafe-inline'"
)


@dataclass(frozen=True, slots=True)
class Library:
    """A script of others in a layout.

    :param script: its file in the folder of packages.
    :param ready: an expression that is true once it runs.
    :param attributes: of the layout's body.
    :param loading: an attribute of the element that loads the script.
    :param start: a script at the end of the body.
    """

    script: str
    ready: str
    attributes: str = ""
    loading: str = "defer"
    start: str = ""


_BOOSTED = 'hx-boost="true"'
_VUE = "vue/dist/vue.global.prod.js"
_MOUNTED = "'__vue_app__' in (document.querySelector('#app') ?? {})"
_MOUNT = "Vue.createApp({}).mount('#app')"
# With delimiters that hosts choose because Jinja has taken Vue's, after the page has loaded.
_MOUNT_LATE = """
addEventListener('load', () => {
  const app = Vue.createApp({});
  app.config.compilerOptions.delimiters = ['[[', ']]'];
  app.mount('#app');
});
"""
LIBRARIES = {
    "turbo": Library("@hotwired/turbo/dist/turbo.es2017-umd.js", "Turbo.session.started"),
    "htmx-1": Library("htmx-1/dist/htmx.min.js", "htmx.version.startsWith('1.9.')", _BOOSTED),
    "htmx-2": Library("htmx-2/dist/htmx.min.js", "htmx.version.startsWith('2.')", _BOOSTED),
    "htmx-4": Library(
        "htmx-4/dist/htmx.min.js", "htmx.version.startsWith('4.')", 'hx-boost:inherited="true"'
    ),
    "vue": Library(_VUE, _MOUNTED, loading="", start=_MOUNT),
    "vue-late": Library(_VUE, _MOUNTED, start=_MOUNT_LATE),
    "alpine": Library(
        "alpinejs/dist/cdn.min.js", "'_x_marker' in (document.querySelector('#app') ?? {})"
    ),
}


def install(folder: Path) -> Path:
    """Install the packages into a folder. Returns the folder that has one for each."""
    npm = shutil.which("npm")
    if npm is None:
        skip_or_fail("no npm: install it (Debian's package npm)")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, folder)
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    command = [str(npm), "ci", *options, "--fetch-retry-mintimeout=1000", "--fetch-retry-factor=4"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100)
    except subprocess.TimeoutExpired:
        skip_or_fail("npm's registry does not answer")
    if done.returncode != 0:
        skip_or_fail(f"npm cannot install the scripts of others: {done.stderr[-500:]}")
    return folder / "node_modules"


@contextmanager
def host_with_libraries(folder: Path, packages: Path) -> Iterator[Host]:
    """Make a host in whose layout is the library that a cookie names, with a page of its own."""
    config = {
        "WTF_CSRF_ENABLED": True,
        "ORGKEYS_BASE_TEMPLATE": "layout.html",
        "ORGKEYS_CONTENT_SECURITY_POLICY": POLICY,
    }
    with disposing(make_host(f"sqlite:///{folder / 'host.sqlite'}", config=config)) as host:
        host.app.static_folder = str(packages)
        host.app.jinja_loader = jinja2.DictLoader({"layout.html": LAYOUT})

        @host.app.context_processor
        def add_library() -> dict[str, Any]:
            return {"library": LIBRARIES[request.cookies[COOKIE]]}

        @host.app.get("/o/<org_slug>/members")
        def members(org_slug: str) -> Any:
            chosen = sa.select(host.Organization).where(host.Organization.slug == org_slug)
            return render_template("layout.html", organization=host.db.session.scalar(chosen))

        yield host
