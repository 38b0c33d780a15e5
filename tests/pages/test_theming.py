"""What a host may replace of the pages: templates, their blocks, and custom properties."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import jinja2
import pytest
import sqlalchemy as sa
import tinycss2
from bs4 import BeautifulSoup
from flask import render_template_string

import flask_orgkeys

from ..browser.layouts import LAYOUTS, host_in_layout
from ..conftest import MakeHost
from ..host import Host
from ..reader import ROOT
from .test_pages import FORM, LIST

PAGES = Path(flask_orgkeys.__file__).parent / "pages"
TEMPLATES = {
    path.relative_to(PAGES / "templates").as_posix(): path.read_text()
    for path in sorted((PAGES / "templates").rglob("*.html"))
}
STYLE_SHEET = PAGES / "static" / "orgkeys.css"
MAX_STYLE_SHEET_BYTES = 16 * 1024
MAX_SCRIPT_BYTES = 6 * 1024
PAGE = (ROOT / "docs" / "theming.md").read_text()
SETTINGS_PAGE = """
{% from "orgkeys/_tab.html" import api_keys_tab with context %}{{ api_keys_tab(organization) }}
"""


def see_everything(host: Host) -> dict[str, str]:
    """Open every page as an administrator. Returns what each looks like, by its name."""
    _, key_id = host.issue(name="storefront")
    client = host.client("ada")
    with host.app.test_request_context(LIST):
        organization = host.db.session.scalars(sa.select(host.Organization)).first()
        tab = render_template_string(SETTINGS_PAGE, organization=organization)
    return {
        "list": client.get(LIST).text,
        "empty": host.client("bea").get(LIST.replace("acme", "beta")).text,
        "create": client.get(f"{LIST}/new").text,
        "created": client.post(LIST, data=FORM).text,
        "key": client.get(f"{LIST}/{key_id}").text,
        "edit": client.get(f"{LIST}/{key_id}/edit").text,
        "rotate": client.get(f"{LIST}/{key_id}/rotate").text,
        "activity": client.get(f"{LIST}/activity").text,
        "check": client.get(f"{LIST}/check").text,
        "rotated": rotated(host, key_id),
        "revoke": client.get(f"{LIST}/{key_id}/revoke").text,
        "tab": tab,
    }


def rotated(host: Host, key_id: str) -> str:
    """Rotate a key. Returns its page while both secrets live."""
    with host.app.app_context():
        host.orgkeys.rotate_key(
            host.organization_ids["acme"], key_id, overlap=timedelta(days=1), expires_at=None
        )
        host.db.session.commit()
    return host.client("ada").get(f"{LIST}/{key_id}").text


def with_templates(host: Host, templates: dict[str, str]) -> Host:
    """Give a host templates of its own."""
    host.app.jinja_loader = jinja2.DictLoader(templates)
    return host


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_of_the_host_is_used_in_place_of_ours(host: Host, name: str) -> None:
    used: list[str] = []
    host.app.add_template_global(lambda: used.append("the host's") or "", "note")
    see_everything(with_templates(host, {name: "{{ note() }}" + TEMPLATES[name]}))
    assert set(used) == {"the host's"}


@pytest.mark.parametrize("name", TEMPLATES)
def test_ours_stays_within_reach(host: Host, name: str) -> None:
    """By a second name, which a file of the host's does not hide."""
    loader = with_templates(host, {name: "the host's"}).app.jinja_env.loader
    assert loader is not None
    source, *_ = loader.get_source(host.app.jinja_env, f"!{name}")
    assert source == TEMPLATES[name]


BLOCKS = {
    # block: (template, the pages that show it)
    "orgkeys_heading": ("_list", {"list", "empty", "create", "created", "revoke"}),
    "orgkeys_lead": ("_list", {"list", "empty", "create", "created", "revoke"}),
    "orgkeys_empty": ("_list", {"empty"}),
    "orgkeys_columns": ("_table", {"list", "create", "created", "revoke"}),
    "orgkeys_cells": ("_table", {"list", "create", "created", "revoke"}),
    "orgkeys_actions": ("_table", {"list", "create", "created", "revoke"}),
    "orgkeys_create": ("_create", {"create"}),
    "orgkeys_edit": ("_edit", {"edit"}),
    "orgkeys_rotate": ("_rotate", {"rotate"}),
    "orgkeys_snippets": ("_created", {"created"}),
    "orgkeys_revoke": ("_revoke", {"revoke"}),
}


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_is_filled_by_the_host(host: Host, block: str) -> None:
    """A host's file of the same name extends ours, and may show what the block had."""
    template, shown_on = BLOCKS[block]
    pages = see_everything(host)
    ours = f'{{% extends "!orgkeys/{template}.html" %}}'
    block_of_the_host = f"{{% block {block} %}}[OURS{{{{ super() }}}}]{{% endblock %}}"
    with_templates(host, {f"orgkeys/{template}.html": ours + block_of_the_host})
    host.app.jinja_env.cache.clear()
    changed = see_everything(host)
    assert {name for name in pages if "[OURS" in changed[name]} == shown_on


def test_the_block_of_a_row_knows_the_row(host: Host) -> None:
    template = (
        '{% extends "!orgkeys/_table.html" %}'
        '{% block orgkeys_actions %}<a href="/audit/{{ row.id }}">{{ row.name }}</a>{% endblock %}'
    )
    with_templates(host, {"orgkeys/_table.html": template})
    _, key_id = host.issue(name="storefront")
    page = BeautifulSoup(host.client("ada").get(LIST).text, "html.parser")
    (link,) = page.select("td.orgkeys-action a")
    assert (link["href"], link.get_text()) == (f"/audit/{key_id}", "storefront")


def test_every_block_is_documented() -> None:
    written = {
        block for text in TEMPLATES.values() for block in re.findall(r"block (orgkeys_\w+)", text)
    }
    documented = dict(re.findall(r"^\| `(orgkeys_\w+)` \| `(\w+)\.html` \|", PAGE, re.M))
    assert written == set(BLOCKS)
    assert documented == {block: template for block, (template, _) in BLOCKS.items()}


class TestStyleSheet:
    """What the style sheet takes from a host, and what it leaves alone."""

    def test_custom_properties(self) -> None:
        """Each is in the documentation, with those of Bootstrap and Pico that it falls back to."""
        read = re.findall(r"var\((--orgkeys-[\w-]+)(.*);", STYLE_SHEET.read_text())
        used = {name: set(re.findall(r"--(?:bs|pico)-[\w-]+", rest)) for name, rest in read}
        rows = re.findall(r"^\| `(--orgkeys-[\w-]+)` \|(.*)$", PAGE, re.M)
        documented = {name: set(re.findall(r"--(?:bs|pico)-[\w-]+", rest)) for name, rest in rows}
        assert documented == used

    def test_size(self) -> None:
        assert STYLE_SHEET.stat().st_size <= MAX_STYLE_SHEET_BYTES

    def test_labels_for_older_browsers(self) -> None:
        """They drop a content that has another text for assistive technology."""
        contents = re.findall(
            r"(?<!-)content: ([^;]+);(?: content: ([^;]+);)?", STYLE_SHEET.read_text()
        )
        assert len(contents) >= 5
        assert [(first, second) for first, second in contents if second != f'{first} / ""'] == []

    def test_nothing_of_the_host(self) -> None:
        """Every selector names a class or an attribute of ours."""
        parsed = tinycss2.parse_stylesheet(STYLE_SHEET.read_text(), True, True)
        preludes = [tinycss2.serialize(rule.prelude) for each in parsed for rule in inner(each)]
        selectors = [selector for prelude in preludes for selector in split(prelude)]
        assert len(selectors) > 100
        assert [selector for selector in selectors if "orgkeys" not in selector] == []


def test_size_of_the_script() -> None:
    """It is served as it stands, comments and all."""
    assert (PAGES / "static" / "orgkeys.js").stat().st_size <= MAX_SCRIPT_BYTES


def inner(rule: tinycss2.ast.Node) -> list[tinycss2.ast.QualifiedRule]:
    """A rule, or those in it."""
    if rule.type == "qualified-rule":
        return [rule]
    rules = tinycss2.parse_rule_list(rule.content or [], True, True)
    return [each for each in rules if each.type == "qualified-rule"]


def split(selectors: str) -> list[str]:
    """Take a list of selectors apart, at the commas that are in no brackets."""
    return [part.strip() for part in re.split(r",(?![^(]*\))", selectors)]


def test_the_layout_has_the_last_word_on_the_head(new_host: MakeHost) -> None:
    """Our style sheet is where the layout puts its block, so that a host's can come after it."""
    host = new_host(config={"ORGKEYS_BASE_TEMPLATE": "layout.html"})
    layout = (
        "{% block head %}{% endblock %}<link href=/theirs.css>{% block content %}{% endblock %}"
    )
    page = with_templates(host, {"layout.html": layout}).client("ada").get(LIST).text
    assert page.index("orgkeys.css") < page.index("theirs.css")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_of_the_documentation(layout: str, tmp_path: Path) -> None:
    """It shows the pages, and the tab on them and on a page of the host's own."""
    with host_in_layout(layout, tmp_path, tmp_path) as host:
        client = host.client("ada")
        pages = [client.get(path).text for path in (LIST, f"{LIST}/new", "/o/acme/members")]
        assert all(f'href="{LIST}"' in page and "API keys</a>" in page for page in pages)
        assert "No API keys yet" in pages[0]
        assert "Create API key" in pages[1]
        assert "API keys</button>" in host.client("sam").get("/o/acme/members").text
