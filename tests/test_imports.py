"""The direction of imports: a module knows those below it, and none beside or above it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import flask_orgkeys

PACKAGE = Path(flask_orgkeys.__file__).parent

# From the bottom up.
LAYERS = (
    {
        "database",
        "drivers",
        "headers",
        "host",
        "language",
        "loan",
        "options",
        "output",
        "scopes",
        "signals",
        "times",
        "tokens",
    },
    {"errors", "leaks", "page_headers", "redaction", "statement"},
    {"access_rule", "header", "models", "settings"},
    {"cleaning", "document", "key_table", "rows", "writes"},
    {"events", "forms", "lookup", "organization_ids", "outcome", "selection"},
    {"authenticator", "store"},
    {"ending", "state"},
    {"current", "dry_run", "group", "list_query", "management", "wall"},
    {"access", "guard", "keycommands", "listing", "revocation", "testing"},
    {"endpoints", "tab"},
    {"csrf", "doctor", "example_request", "openapi"},
    {"cli", "startup", "views"},
    {"mount"},
    {"extension"},
    {"__init__"},
)
HEIGHTS = {module: height for height, layer in enumerate(LAYERS) for module in layer}

MODULES = sorted(path.stem for path in PACKAGE.glob("*.py"))


def tree_of(module: str) -> ast.Module:
    return ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))


def is_for_types(node: ast.If) -> bool:
    return ast.unparse(node.test) == "TYPE_CHECKING"


def imported(module: str) -> Iterator[str]:
    """Give the dotted names that a module imports when it runs, anywhere in it."""
    waiting: list[ast.AST] = [tree_of(module)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = "." * node.level + (node.module or "")
            separator = "" if start.endswith(".") else "."
            yield from (f"{start}{separator}{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and is_for_types(node):
            waiting.extend(node.orelse)
        else:
            waiting.extend(ast.iter_child_nodes(node))


def siblings(module: str) -> set[str]:
    names = {name.removeprefix("flask_orgkeys") for name in imported(module)}
    return {name.split(".")[1] for name in names if name.startswith(".")}


def test_every_module_has_its_place() -> None:
    assert set(MODULES) == set(HEIGHTS)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_from_below_alone(module: str) -> None:
    wrong = {name for name in siblings(module) if HEIGHTS[name] >= HEIGHTS[module]}

    assert wrong == set()


@pytest.mark.parametrize("module", ["tokens", "scopes"])
def test_key_text_and_scopes_need_the_standard_library_alone(module: str) -> None:
    roots = {name.partition(".")[0] for name in imported(module)}

    assert roots <= sys.stdlib_module_names


@pytest.mark.parametrize(
    "module",
    ["models", "store", "ending", "selection", "lookup", "key_table", "drivers", "cleaning"],
)
def test_what_works_without_a_request_imports_none(module: str) -> None:
    from_flask = {name for name in imported(module) if name.partition(".")[0] == "flask"}

    assert from_flask & {"flask", "flask.request", "flask.g", "flask.session"} == set()


@pytest.mark.parametrize(
    "module",
    [
        *("views", "access", "listing", "list_query", "tab", "forms", "rows", "guard", "wall"),
        *("current", "management", "group", "keycommands", "cli", "endpoints"),
    ],
)
def test_what_answers_requests_holds_no_sql(module: str) -> None:
    used = {
        node.attr
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "sa"
    }

    assert used <= {"exc"}
    assert {name for name in imported(module) if name.startswith("sqlalchemy.")} == set()


def test_the_package_re_exports_and_nothing_else() -> None:
    names = sorted(flask_orgkeys.__all__)
    defined = {
        node.name
        for node in ast.walk(tree_of("__init__"))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }

    assert defined == {"__getattr__"}
    assert all(getattr(flask_orgkeys, name) is not None for name in names)
    assert names == [
        "AuthenticatedKey",
        "IssuedKey",
        "OrgKeys",
        "current_key",
        "errors",
        "require_key",
        "require_scope",
        "signals",
    ]
