"""What is installed: nothing missing, nothing of the checkout, nothing imported but declared."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import pytest

import flask_orgkeys

from . import test_imports

ROOT = Path(__file__).parent.parent
PACKAGE = Path(flask_orgkeys.__file__).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

# Imported where the host has it, and nothing is lost where it has not.
OPTIONAL = {"apispec", "flask_babel", "pytest"}


@pytest.fixture
def installed() -> list[str]:
    """The files of the installed wheel, and no test's ``__pycache__``."""
    if "ORGKEYS_TEST_INSTALLED" not in os.environ:
        pytest.skip("not run against a wheel: make test does")
    files = metadata.files("flask-orgkeys") or []
    return [str(file) for file in files if "__pycache__" not in file.parts]


def declared() -> set[str]:
    """The names of the dependencies."""
    return {each.partition(">=")[0] for each in PROJECT["project"]["dependencies"]}


class TestWheel:
    def test_is_what_is_tested(self, installed: list[str]) -> None:
        where = subprocess.run(
            [sys.executable, "-c", "import flask_orgkeys; print(flask_orgkeys.__file__)"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert where.stdout.strip() == flask_orgkeys.__file__
        assert "site-packages" in PACKAGE.parts

    def test_files(self, installed: list[str]) -> None:
        kinds = {
            "modules": r"flask_orgkeys/(\w+/)?\w+\.py",
            "templates": r"flask_orgkeys/pages/templates/orgkeys/(snippets/)?\w+\.html",
            "translations": (
                r"flask_orgkeys/pages/translations/(\w+/LC_MESSAGES/)?orgkeys\.(pot|po|mo)"
            ),
            "static files": r"flask_orgkeys/pages/static/orgkeys(-early)?\.(css|js)",
            "types": r"flask_orgkeys/py\.typed",
            "metadata": r"flask_orgkeys-[\w.]+\.dist-info/.+",
        }
        assert [file for file in installed if not matching(kinds, file)] == []
        assert {kind for file in installed for kind in matching(kinds, file)} == set(kinds)

    def test_licence(self, installed: list[str]) -> None:
        licence = next(file for file in installed if file.endswith("/licenses/LICENSE"))
        text = metadata.distribution("flask-orgkeys").read_text(licence.partition("/")[2])
        assert text == (ROOT / "LICENSE").read_text(encoding="utf-8")

    def test_pytest_finds_the_plugin(self) -> None:
        (found,) = metadata.entry_points(group="pytest11", name="orgkeys")
        assert found.value == "flask_orgkeys.testing"


class TestDependencies:
    def test_are_those_imported(self) -> None:
        roots = {
            name.partition(".")[0]
            for module in test_imports.MODULES
            for name in test_imports.imported(module)
            if not name.startswith(".")
        }
        others = roots - sys.stdlib_module_names - {"flask_orgkeys"} - OPTIONAL
        owners = metadata.packages_distributions()
        assert {project_name(owners[root][0]) for root in others} == declared()

    def test_have_a_lowest_version_and_no_highest(self) -> None:
        requirements = PROJECT["project"]["dependencies"]
        assert [each for each in requirements if not re.fullmatch(r"[\w-]+>=[\d.]+", each)] == []


def test_classifiers_claim_the_pythons_that_are_run() -> None:
    language = "Programming Language :: Python :: "
    claimed = {
        name.removeprefix(language)
        for name in PROJECT["project"]["classifiers"]
        if re.fullmatch(rf"{language}\d\.\d+", name)
    }
    lowest = PROJECT["project"]["requires-python"].removeprefix(">=")
    further = re.findall(r"\bpy(\d)(\d+)\b", " ".join(PROJECT["tool"]["tox"]["env_list"]))
    assert claimed == {lowest, *(".".join(each) for each in further)}


def project_name(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def matching(kinds: Mapping[str, str], file: str) -> list[str]:
    return [kind for kind, pattern in kinds.items() if re.fullmatch(pattern, file)]
