"""The README's first app is pasted into an empty folder and used as the README says."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .reader import reading

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PAGES_URL = f"{PROJECT['urls']['Source']}/blob/main/"
PICTURES_URL = PAGES_URL.replace("github.com", "raw.githubusercontent.com").replace("/blob/", "/")
BIN = Path(sys.executable).parent


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def pasted_app(tmp_path: Path) -> Iterator[tuple[dict[str, str], int]]:
    """Run the README's commands in a folder with its app; give the keys and the port."""
    (tmp_path / "app.py").write_text(code_blocks("python")[0])
    *prepare, serve = code_blocks("bash")[0].splitlines()
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    script = "\n".join(["set -euo pipefail", *prepare, "echo; echo $DEPLOY_KEY $PUBLISH_KEY"])
    prepared = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert prepared.returncode == 0, prepared.stderr
    deploy_key, publish_key = prepared.stdout.splitlines()[-1].split()
    port = free_port()
    command = serve.removesuffix(" &").replace("5000", str(port))
    with serving(command.split(), tmp_path, environment):
        yield {"DEPLOY_KEY": deploy_key, "PUBLISH_KEY": publish_key}, port


@contextmanager
def serving(command: list[str], folder: Path, environment: dict[str, str]) -> Iterator[None]:
    server = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=folder,
        env={**environment, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert server.stdout is not None
        assert any("Running on" in line for line in server.stdout), "the server did not start"
        yield
    finally:
        server.terminate()
        server.communicate(timeout=10)


def exchanges() -> list[tuple[str, str, list[str], str]]:
    """What the README's transcript says: ``(command, status line, headers, body)``."""
    transcript = code_blocks("console")[0]
    found = []
    for exchange in transcript.strip().split("\n\n"):
        command, status, *headers, body = exchange.splitlines()
        found.append((command.removeprefix("$ "), status, headers, body))
    return found


def test_first_app_has_at_most_25_lines() -> None:
    assert len(code_blocks("python")[0].splitlines()) <= 25


def test_transcript_is_what_the_first_app_answers(
    pasted_app: tuple[dict[str, str], int],
) -> None:
    keys, port = pasted_app
    statuses = []
    for command, status, headers, body in exchanges():
        url = re.search(r"localhost:5000(\S+)", command)
        key = re.search(r"Bearer \$(\w+)", command)
        assert url is not None
        assert "-X POST" in command
        request = urllib.request.Request(f"http://127.0.0.1:{port}{url[1]}", method="POST")
        if key is not None:
            request.add_header("Authorization", f"Bearer {keys[key[1]]}")
        try:
            answer = urllib.request.urlopen(request, timeout=10)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            assert f"HTTP/1.1 {answer.status} {answer.reason}" == status
            for header in headers:
                name, _, value = header.partition(": ")
                assert answer.headers[name] == value
            assert answer.read().decode().strip() == body
        statuses.append(answer.status)
    assert statuses == [401, 403, 201]


def test_first_screen_has_a_picture_of_the_page() -> None:
    picture = re.search(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert picture is not None
    assert picture[1].startswith(PICTURES_URL)
    path = ROOT / picture[1].removeprefix(PICTURES_URL)
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("block", code_blocks("bash")[1:])
def test_further_commands_can_be_run(block: str, tmp_path: Path) -> None:
    with reading(tmp_path) as reader:
        status, printed = reader.shell.run(block)

    assert status == 0, printed


def test_links_lead_somewhere_from_any_site() -> None:
    """PyPI shows the README, too, and has none of the files beside it."""
    links = re.findall(r"(?<!!)\[[^\]]+\]\(([^)#]+)", README)
    pages = [link.removeprefix(PAGES_URL) for link in links if link.startswith(PAGES_URL)]

    assert pages
    assert [link for link in links if not link.startswith(PAGES_URL)] == []
    assert [page for page in pages if not (ROOT / page).exists()] == []


def test_links_of_the_project_lead_to_its_own_files() -> None:
    urls = PROJECT["urls"]

    assert [url for url in urls.values() if not url.startswith(urls["Source"])] == []
    assert (ROOT / urls["Changes"].removeprefix(PAGES_URL)).exists()


def test_every_page_of_the_documentation_is_named() -> None:
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    named = set(re.findall(r"/docs/([\w-]+)\.md\)", README))

    assert pages - named == {"index", "api", "changelog", "reporting"}


def test_every_dependency_is_named_under_what_it_needs() -> None:
    needs = README.partition("## What it needs")[2].partition("\n## ")[0].lower()
    names = [re.split(r"[><=\[]", text)[0] for text in PROJECT["dependencies"]]

    assert [name for name in names if not re.search(rf"(?<![\w-]){name}(?![\w-])", needs)] == []
