"""The direction of imports, those for types included: from the outside in, without a circle."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import flask_orgkeys

PACKAGE = Path(flask_orgkeys.__file__).parent

# From the bottom up. A room or file knows those below it, and none beside or above it.
LAYERS = (
    {"tokens", "signals", "headers"},
    {"errors", "leaks"},
    {"config"},
    {"keys"},
    {"authentication", "host"},
    {"state"},
    {"guards"},
    {"management"},
    {"pages", "commands", "openapi", "revocation", "holder", "testing"},
    {"extension"},
    {"__init__"},
)
HEIGHTS = {room: height for height, layer in enumerate(LAYERS) for room in layer}

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def room_of(module: str) -> str:
    return module.partition(".")[0]


def tree_of(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def imported(module: str) -> Iterator[str]:
    """Give the dotted names that a module imports anywhere, those of the package from its root."""
    parents = module.split(".")[:-1]
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = parents[: len(parents) - node.level + 1] if node.level else []
            start = ["flask_orgkeys", *above] if node.level else []
            start += node.module.split(".") if node.module else []
            yield from (".".join([*start, alias.name]) for alias in node.names)


def siblings(module: str) -> set[str]:
    """Return the modules of the package that a module imports."""
    found = set()
    for name in imported(module):
        parts = name.split(".")
        if parts.pop(0) != "flask_orgkeys":
            continue
        candidates = [parts, parts[:-1], [*parts[:-1], "__init__"]]
        known = [".".join(some) for some in candidates if ".".join(some) in MODULES]
        found.add(known[0])
    return found


def test_every_room_has_its_height() -> None:
    assert {room_of(module) for module in MODULES} == set(HEIGHTS)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_from_its_room_and_below(module: str) -> None:
    own = room_of(module)
    rooms = {room_of(name) for name in siblings(module)} - {own}

    assert {room for room in rooms if HEIGHTS[room] >= HEIGHTS[own]} == set()


def test_there_is_no_circle_of_files() -> None:
    TopologicalSorter({module: siblings(module) for module in MODULES}).prepare()


@pytest.mark.parametrize("module", ["tokens", "config.scopes"])
def test_key_text_and_scopes_need_the_standard_library_alone(module: str) -> None:
    roots = {name.partition(".")[0] for name in imported(module)}

    assert roots <= sys.stdlib_module_names


@pytest.mark.parametrize(
    "module",
    [module for module in MODULES if room_of(module) in ("config", "keys", "authentication")],
)
def test_keys_and_authentication_know_no_request(module: str) -> None:
    from_flask = {name for name in imported(module) if name.partition(".")[0] == "flask"}

    assert from_flask <= {"flask.Flask"}


@pytest.mark.parametrize(
    "module",
    [
        module
        for module in MODULES
        if room_of(module) in ("guards", "pages", "management", "revocation", "holder")
        or (room_of(module) == "commands" and module != "commands.doctor")
    ],
)
def test_views_and_commands_hold_no_sql(module: str) -> None:
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
        "ANY",
        "AuthenticatedKey",
        "IssuedKey",
        "OrgKeys",
        "UNCHANGED",
        "current_key",
        "current_organization",
        "errors",
        "require_key",
        "require_scope",
        "signals",
    ]
