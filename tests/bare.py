"""The README's first app, where nothing is installed but the wheel and what it declares.

Run by itself, without pytest, in an environment of its own: ``make test-versions``.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from flask_login import LoginManager, UserMixin

import flask_orgkeys

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def main() -> None:
    assert find_spec("pytest") is None, "not a bare environment"
    assert "site-packages" in flask_orgkeys.__file__
    for module in pkgutil.iter_modules(flask_orgkeys.__path__, "flask_orgkeys."):
        # A plugin for pytest, which imports it.
        if module.name != "flask_orgkeys.testing":
            importlib.import_module(module.name)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        use(first_app())
    print("The first app works with what the wheel declares.")  # noqa: T201


def first_app() -> dict[str, Any]:
    """Run the README's app, with the pages too; make its organisation."""
    block = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert block is not None
    names: dict[str, Any] = {"__name__": "app"}
    exec(compile(block[1], "app.py", "exec"), names)
    LoginManager(names["app"]).request_loader(lambda _request: UserMixin())
    names["app"].register_blueprint(names["orgkeys"].blueprint, url_prefix="/o/<org_slug>/keys")
    names["orgkeys"].permission_checker(lambda *_: True)
    with names["app"].app_context():
        names["db"].create_all()
        names["db"].session.add(names["Organization"](slug="acme"))
        names["db"].session.commit()
    return names


def use(names: dict[str, Any]) -> None:
    app = names["app"]
    command = ["orgkeys", "create", "acme", "--name", "CI", "--scope", "project:deploy"]
    created = app.test_cli_runner().invoke(args=command)
    assert created.exit_code == 0, created.output
    bearer = {"Authorization": f"Bearer {created.stdout.strip()}"}
    deployments = "/api/o/acme/deployments"
    assert app.test_client().post(deployments).status_code == 401
    assert app.test_client().post(deployments, headers=bearer).status_code == 201
    page = app.test_client().get("/o/acme/keys")
    assert page.status_code == 200
    assert "project:deploy" in page.text
    assert app.test_client().get("/o/acme/keys/new").status_code == 200


if __name__ == "__main__":
    main()
