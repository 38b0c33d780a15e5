"""A reader of the documentation, who does what a page says: its code blocks are run in order.

What becomes of a block goes by its language:

- ``python`` is executed, one namespace a page. What it names ``app`` is what requests go to.
- ``console`` is typed into one shell a page, line by line behind ``$``, and what is printed has to
  be what the page shows. There, ``…`` stands for any text, and on a line of its own for any lines;
  response headers may be left out.
- ``bash`` is typed into the same shell, and must not fail.
- ``toml``, ``yaml``, ``json``, ``css``, ``jinja`` and ``html`` are parsed.

A block whose first line is a comment with nothing but a path, like ``# app.py``, is a file: it is
written rather than executed, or added to the end of the one that is there.

The reader has installed everything: ``pip install`` does nothing, and ``flask run`` nothing but say
so, for the app is served all the time. ``make`` only finds out whether it could. If the shell knows
``PREFORKED_FLASK``, the socket of :mod:`tests.preforked_flask`, ``flask`` is run by that.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import jinja2
import tinycss2
import yaml
from flask_sqlalchemy import SQLAlchemy
from sybil import Document, Example
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.myst import CodeBlockParser
from sybil.typing import Evaluator
from werkzeug.serving import WSGIRequestHandler, make_server

from flask_orgkeys.guards import startup

ROOT = Path(__file__).parent.parent

_FILE_NAME = re.compile(r"(?:#|/\*|\{#|<!--) ([\w./-]+\.[a-z]+)(?: (?:\*/|#\}|-->))?")


def _python(script: str) -> str:
    return shlex.join([sys.executable, "-SE", str(ROOT / "tests" / script)])


_SHELL_FUNCTIONS = f"""\
exec 2>&1
pip() {{ [ "$1" = install ]; }}
make() {{ command make --dry-run --directory {shlex.quote(str(ROOT))} "$@" >/dev/null; }}
curl() {{ {_python("curl.py")} "$@"; }}
flask() {{
  if [ "$1" = run ]; then echo Running
  elif [ "$PREFORKED_FLASK" ]; then {_python("preforked_flask.py")} "$PREFORKED_FLASK" "$@"
  else command flask "$@"
  fi
}}
"""
_DONE = "what was typed is done:"


def parse_template(text: str) -> None:
    jinja2.Environment(extensions=["jinja2.ext.i18n"], autoescape=True).parse(text)


def parse_css(text: str) -> None:
    rules = tinycss2.parse_stylesheet(text, skip_comments=True, skip_whitespace=True)
    wrong = [node.message for rule in rules for node in _nodes(rule) if node.type == "error"]
    if wrong:
        raise ValueError("; ".join(wrong))


def _nodes(rule: Any) -> Iterator[Any]:
    """A rule and all that is in it."""
    yield rule
    if rule.type in ("at-rule", "qualified-rule") and rule.content is not None:
        for node in tinycss2.parse_blocks_contents(rule.content, True, True):
            yield from _nodes(node)


PARSERS: Mapping[str, Callable[[str], Any]] = {
    "toml": tomllib.loads,
    "yaml": yaml.safe_load,
    "json": json.loads,
    "css": parse_css,
    "jinja": parse_template,
    "html": parse_template,
}
LANGUAGES = ("python", "bash", "console", *PARSERS)


class Shell:
    """One bash in which everything is typed that a page's reader types."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        environment = {name: value for name, value in os.environ.items() if "FLASK" not in name}
        ours = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "LC_ALL": "C.UTF-8",
        }
        self._process = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            cwd=folder,
            env={**environment, **ours, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.type(_SHELL_FUNCTIONS)

    def type(self, command: str) -> tuple[int, str]:
        """Type a command, which may end the shell. Returns its exit status and what it printed."""
        reads, writes = self._process.stdout, self._process.stdin
        assert reads is not None
        assert writes is not None
        writes.write(f"eval {shlex.quote(command)} </dev/null\necho $'\\n{_DONE}' $?\n")
        writes.flush()
        printed = []
        for line in reads:
            if line.startswith(_DONE):
                return int(line.removeprefix(_DONE)), "".join(printed).removesuffix("\n")
            printed.append(line)
        return self._process.wait(), "".join(printed)

    def run(self, script: str) -> tuple[int, str]:
        """Type commands until one of them fails, which ends the shell."""
        return self.type(f"set -e\n{script}\nset +e")

    def exported(self) -> dict[str, str]:
        """What programs that are run from here find in their environment."""
        _, printed = self.type("env -0")
        return dict(pair.split("=", 1) for pair in printed.split("\0") if pair.strip())

    def close(self) -> None:
        self._process.communicate("exit\n", timeout=10)


class Reader:
    """Somebody who follows a page in a folder. To be made by :func:`reading`."""

    def __init__(self, folder: Path, shell: Shell) -> None:
        self.folder = folder
        self.shell = shell
        self.namespace: dict[str, Any] = {"__name__": "page"}
        self.runners = {
            "python": self.run_python,
            "bash": self.run_bash,
            "console": self.run_console,
        }

    def follow(self, page: Path) -> None:
        """Run the blocks of a page in their order.

        :raises AssertionError: naming the page and line of a block that does not do what it says.
        """
        document = find_blocks(page, self)
        document.namespace = self.namespace
        for example in document.examples():
            example.evaluate()

    def run_python(self, example: Example) -> str | None:
        if self._write_file(example.parsed):
            return None
        self._restart_app()
        os.environ.update(self.shell.exported())
        PythonEvaluator()(example)
        return None

    def run_bash(self, example: Example) -> str | None:
        if self._write_file(example.parsed):
            return None
        status, printed = self.shell.run(example.parsed)
        return f"exit status {status}:\n{printed}" if status else None

    def run_console(self, example: Example) -> str | None:
        for command, expected in exchanges(example.parsed):
            _, printed = self.shell.type(command)
            if not is_as_shown(expected, printed):
                return f"$ {command}\nprinted:\n{printed}\nThe page shows:\n{expected}"
        return None

    def read(self, example: Example) -> str | None:
        self._write_file(example.parsed)
        try:
            PARSERS[example.region.lexemes["arguments"]](example.parsed)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return None

    def app(self, environ: Any, start_response: Any) -> Any:
        """What answers requests: the page's ``app``, or else that of ``app.py``."""
        app = self.namespace.get("app") or importlib.import_module("app").app
        return app(environ, start_response)

    def _write_file(self, text: str) -> bool:
        first, _, rest = text.partition("\n")
        named = _FILE_NAME.fullmatch(first)
        if named is None:
            return False
        path = self.folder / named[1]
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.read_text() + "\n\n" if path.exists() else ""
        path.write_text(before + rest)
        return True

    def _restart_app(self) -> None:
        """Let views be added after the page's first requests: a reader would start it anew."""
        app = self.namespace.get("app") or getattr(sys.modules.get("app"), "app", None)
        if app is not None and "orgkeys" in app.extensions:
            app._got_first_request = False
            app.extensions["orgkeys"].refusals.clear()
            startup.check_before_first_request(app)

    def close_connections(self) -> None:
        modules = [module for module in sys.modules.values() if _is_in(module, self.folder)]
        values = [value for module in modules for value in vars(module).values()]
        for value in [*values, *self.namespace.values()]:
            if isinstance(value, SQLAlchemy):
                for engines in value._app_engines.values():
                    for engine in engines.values():
                        engine.dispose()
        for module in modules:
            del sys.modules[module.__name__]


def find_blocks(page: Path, reader: Reader | None = None) -> Document:
    """Find the blocks of a page that are run, by a reader who wants to."""
    evaluators: dict[str, Evaluator | None] = dict.fromkeys(LANGUAGES)
    if reader is not None:
        evaluators = {**dict.fromkeys(PARSERS, reader.read), **reader.runners}
    parsers = [
        CodeBlockParser(*language_and_evaluator) for language_and_evaluator in evaluators.items()
    ]
    return Document.parse(str(page), *parsers)


@contextmanager
def reading(folder: Path, variables: Mapping[str, str] | None = None) -> Iterator[Reader]:
    """Make a reader who sits in a folder.

    :param variables: what the shell knows.
    """
    directory, environment = Path.cwd(), dict(os.environ)
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    server = make_server("127.0.0.1", 0, _answer, request_handler=_Quiet)
    shell = Shell(folder, {**(variables or {}), "DOCS_PORT": str(server.server_port)})
    reader = Reader(folder, shell)
    server.app = reader.app
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield reader
    finally:
        shell.close()
        server.shutdown()
        thread.join()
        server.server_close()
        reader.close_connections()
        sys.path.remove(str(folder))
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(directory)


def exchanges(transcript: str) -> list[tuple[str, str]]:
    """What a transcript says: pairs of what is typed and what is printed."""
    typed = re.split(r"^\$ ", transcript, flags=re.MULTILINE)
    assert not typed[0].strip(), "a console block starts with $"
    found = []
    for exchange in typed[1:]:
        command = re.match(r"(?:.*\\\n)*.*", exchange)
        assert command is not None
        found.append((command[0], exchange[command.end() :]))
    return found


def is_as_shown(shown: str, printed: str) -> bool:
    """Tell whether what was printed is what a page shows."""
    expected = [line.rstrip() for line in shown.strip().splitlines() if line.strip()]
    lines = [line.rstrip() for line in printed.strip().splitlines()]
    if lines and lines[0].startswith("HTTP/") and "" in lines:
        head, body = lines[: lines.index("")], lines[lines.index("") :]
        known = [head[0], *(line for line in head[1:] if _matches_any(line, expected))]
        lines = [*known, *body]
    return _pattern("\n".join(expected)).fullmatch("\n".join(filter(None, lines))) is not None


def _matches_any(line: str, expected: list[str]) -> bool:
    return any(_pattern(other).fullmatch(line) for other in expected if other != "…")


def _pattern(shown: str) -> re.Pattern[str]:
    lines = [
        r"(?s:.*)" if line == "…" else re.escape(line).replace("…", ".*")
        for line in shown.split("\n")
    ]
    return re.compile("\n".join(lines))


def _is_in(module: Any, folder: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).is_relative_to(folder)


def _answer(environ: Any, start_response: Any) -> Any:
    raise NotImplementedError


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any, **__: Any) -> None:
        pass
