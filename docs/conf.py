"""How Sphinx builds the documentation: ``make docs``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pallets_sphinx_themes import get_version

if TYPE_CHECKING:
    from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))

project = "flask-orgkeys"
author = "The flask-orgkeys maintainers"
release, version = get_version("flask-orgkeys", placeholder=None)

extensions = ["myst_parser", "options", "pallets_sphinx_themes", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_preserve_defaults = True
nitpick_ignore_regex = [
    # Names of other packages stay without a link: a build asks no network.
    ("py:.*", r"(?!flask_orgkeys\b).*"),
    (
        "py:class",
        r"flask_orgkeys\.(extension\.(Checker|Loader|Namer)|guards\.guard\.(Guard|[PRV]))",
    ),
    ("py:class", r"flask_orgkeys\.keys\.updating\.Unchanged"),
]

toc_object_entries_show_parents = "hide"

html_theme = "flask"
html_title = f"flask-orgkeys {release}"
templates_path = ["_templates"]
html_static_path = ["_static"]
html_css_files = ["docs.css"]
html_show_copyright = False
html_show_sourcelink = False
html_sidebars = {"**": ["version.html", "searchbox.html", "all_pages.html"]}
version_banner = False


def link_to_pages(_app: Sphinx, _name: str, source: list[str]) -> None:
    """Where a page links to a file above this folder, have it link to the page that includes it."""
    for file, page in (("SECURITY", "reporting"), ("CHANGELOG", "changelog")):
        source[0] = source[0].replace(f"(../{file}.md)", f"({page}.md)")


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", link_to_pages)
