"""The one variable that our templates read, and how a page is rendered with it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import current_app, render_template
from jinja2 import meta, nodes

from ..state import state_of
from .list_query import place_of_request

if TYPE_CHECKING:
    from jinja2 import Environment

    from ..keys.store import IssuedKey
    from .access import Visit
    from .activity import Activity
    from .example_request import Example
    from .forms import PageForm, PlainForm
    from .insight import KeyInsight, VerdictRow
    from .listing import Listing
    from .notices import Notice
    from .rows import KeyRow

STATIC_FOLDER = Path(__file__).parent / "static"
BODY_TEMPLATE = "orgkeys/_page.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """``orgkeys_page``: everything that the templates know of a page.

    A layout of the host's has names of its own: with a single one of ours, they cannot collide.

    :param title: of the document, in front of the organisation's name.
    :param body: the template ``orgkeys/_<body>.html``.
    :param dialog: the template ``orgkeys/_<dialog>.html`` of a dialog in front of the body.
    :param notice: the change that led to the page.
    :param key: the key that the page or its dialog is about.
    :param end_form: the form that ends the secret before the last rotation.
    :param insight: the uses and events of the key.
    :param verdict: the effect of the key's revocation.
    :param finding: the answer about a pasted text, of :mod:`flask_orgkeys.keys.checking`.
    """

    visit: Visit
    title: str
    body: str
    dialog: str | None = None
    listing: Listing | None = None
    notice: Notice | None = None
    key: KeyRow | None = None
    form: PageForm | None = None
    end_form: PlainForm | None = None
    issued: IssuedKey | None = None
    example: Example | None = None
    trial: Example | None = None
    insight: KeyInsight | None = None
    verdict: VerdictRow | None = None
    activity: Activity | None = None
    finding: str | None = None

    @property
    def organization(self) -> Any:
        return self.visit.organization

    @property
    def organization_name(self) -> str:
        return str(getattr(self.organization, "name", None) or self.visit.slug)

    @property
    def base_template(self) -> str:
        return state_of().settings.base_template

    @property
    def is_in_layout(self) -> bool:
        """Whether the host's layout includes the body by itself."""
        return _includes_body(current_app.jinja_env, self.base_template)

    @property
    def list_url(self) -> str:
        return self.url("index")

    @property
    def place(self) -> Mapping[str, str]:
        """The query parameters of the list that differ from their defaults."""
        return place_of_request()

    def url(self, endpoint: str, **values: Any) -> str:
        return self.visit.url(endpoint, **values)

    def asset(self, filename: str) -> str:
        return self.visit.url("asset", filename=filename, v=asset_version(filename))


def render_page(page: Page) -> str:
    """Render a page in the host's layout."""
    return render_template("orgkeys/page.html", orgkeys_page=page, organization=page.organization)


@lru_cache
def asset_version(filename: str) -> str:
    """Return a text that changes with the content of an asset."""
    return hashlib.sha256((STATIC_FOLDER / filename).read_bytes()).hexdigest()[:8]


def _includes_body(environment: Environment, name: str) -> bool:
    """Tell whether a layout, or one that it extends, includes the body of our pages."""
    if environment.loader is None:
        return False
    source, _, _ = environment.loader.get_source(environment, name)
    tree = environment.parse(source)
    if BODY_TEMPLATE in meta.find_referenced_templates(tree):
        return True
    parents = [each.template for each in tree.find_all(nodes.Extends)]
    return any(
        _includes_body(environment, parent.value)
        for parent in parents
        if isinstance(parent, nodes.Const)
    )
