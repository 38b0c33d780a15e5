"""The directive ``orgkeys-options``: every option with its type, default and meaning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sphinx.util.docutils import SphinxDirective

from flask_orgkeys.config.options import OPTIONS

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx

ENTRY = """\
````{{confval}} ORGKEYS_{name}
:type: {option.type}
:default: `{option.default!r}`

{option.meaning}
````
"""


class Options(SphinxDirective):
    """Writes what :data:`flask_orgkeys.config.options.OPTIONS` says, in its order."""

    def run(self) -> list[nodes.Node]:
        entries = [ENTRY.format(name=name, option=option) for name, option in OPTIONS.items()]
        return self.parse_text_to_nodes("\n".join(entries))


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_directive("orgkeys-options", Options)
    return {"parallel_read_safe": True}
