"""The documentation: what each page shows is run, and what it lists is all there is."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import blinker
import pytest
import sentry_sdk
from flask_sqlalchemy import SQLAlchemy
from markdown_it import MarkdownIt
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sentry_sdk.transport import Transport
from sqlalchemy import String

import flask_orgkeys
from flask_orgkeys import errors, signals
from flask_orgkeys.config import checks
from flask_orgkeys.config.options import OPTIONS
from flask_orgkeys.config.scopes import MAX_LENGTH

from .host import bearer, form_fields
from .preforked_flask import preforked
from .reader import LANGUAGES, ROOT, Reader, find_blocks, is_as_shown, reading
from .receivers import Received, receiving

DOCS = ROOT / "docs"
README = ROOT / "README.md"
QUICKSTART = DOCS / "quickstart.md"
PAGES = sorted(DOCS.glob("*.md"))

EXPIRY = DOCS / "expiry.md"
FOLLOWED = {QUICKSTART, EXPIRY}
"""Pages that are followed by a test or a fixture of their own."""

SHOWN_AS_IT_IS = {"text"}
"""Languages of blocks in which there is nothing to run."""


@dataclass
class Followed:
    """What a reader has at the end of the quickstart, where the other pages begin.

    :param folder: with ``app.py``, its templates and its database.
    :param variables: the keys made, by their names in the shell.
    """

    folder: Path
    variables: dict[str, str]


@pytest.fixture(scope="session")
def preforked_flask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = str(tmp_path_factory.mktemp("flask") / "socket")
    with preforked(path):
        yield path


@pytest.fixture(scope="session")
def quickstart(preforked_flask: str, tmp_path_factory: pytest.TempPathFactory) -> Followed:
    folder = tmp_path_factory.mktemp("quickstart")
    with reading(folder, {"PREFORKED_FLASK": preforked_flask}) as reader:
        reader.follow(QUICKSTART)
        names = ("DEPLOY_KEY", "PUBLISH_KEY")
        variables = {name: reader.shell.type(f"echo ${name}")[1].strip() for name in names}
    return Followed(folder, variables)


@pytest.fixture
def received() -> Iterator[Received]:
    with receiving() as received:
        yield received


@pytest.fixture
def reader(
    quickstart: Followed, received: Received, preforked_flask: str, tmp_path: Path
) -> Iterator[Reader]:
    """A reader who has followed the quickstart, with servers for mail and for web hooks."""
    shutil.copytree(quickstart.folder, tmp_path, dirs_exist_ok=True)
    web = f"http://127.0.0.1:{received.http_port}"
    variables = {
        "PREFORKED_FLASK": preforked_flask,
        "FLASK_SMTP_HOST": "127.0.0.1",
        "FLASK_SMTP_PORT": str(received.smtp_port),
        "FLASK_WEBHOOK_URL": f"{web}/webhook",
        "FLASK_CHAT_URL": f"{web}/chat",
    }
    with reading(tmp_path, {**quickstart.variables, **variables}) as reader:
        yield reader


def by_name(page: Path) -> str:
    return page.stem


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", [page for page in PAGES if page not in FOLLOWED], ids=by_name)
def test_a_page_does_what_it_says(page: Path, reader: Reader) -> None:
    reader.follow(page)


def test_the_quickstart_ends_with_pages_that_an_administrator_can_open(reader: Reader) -> None:
    client = import_module("app").app.test_client()
    page = "/o/acme/api-keys"
    assert client.get(page).location == f"/sign-in?next={page.replace('/', '%2F')}"

    (script,) = re.findall(r"flask shell <<'END'\n(.*?)\nEND", QUICKSTART.read_text(), re.DOTALL)
    email, password = re.findall(r'email="(.+?)"|generate_password_hash\("(.+?)"\)', script)
    sent = {"email": email[0], "password": password[1]}
    assert client.post("/sign-in", data=sent).location == page
    form = form_fields(client.get(f"{page}/new").text)
    new = {**form, "name": "CI", "scopes": "app:publish", "expires_in": "30"}
    assert "orgk_" in client.post(page, data=new).text


def test_recipes_of_the_page_on_expiry_send_a_notice(reader: Reader, received: Received) -> None:
    reader.follow(EXPIRY)

    (mail,) = received.mails
    assert (mail["To"], mail["Subject"]) == ("admin@acme.example", "API keys of Acme")
    text = mail.get_payload()
    assert "Nightly build expires on" in text
    assert "https://console.example/o/acme/api-keys/" in text
    posts = {path: (headers, body) for path, headers, body in received.posts}
    assert len(received.posts) == len(posts) == 2
    webhook, chat = posts["/webhook"], posts["/chat"]
    assert webhook[0]["X-Signature"].startswith("sha256=")
    (notice,) = webhook[1]["notices"]
    assert (webhook[1]["organization_id"], notice["kind"], notice["days"]) == (1, "expiring", 7)
    assert chat[1]["text"].startswith("Nightly build expires on")
    task = reader.namespace["celery"].tasks["page.tell_of_ending_keys"]
    assert task.apply().successful()
    assert reader.namespace["celery"].conf.beat_schedule["keys"]["task"] == task.name


def test_templates_of_the_page_on_theming_are_those_that_the_app_shows(reader: Reader) -> None:
    reader.follow(DOCS / "theming.md")
    client = import_module("app").app.test_client()
    page = "/o/acme/api-keys"
    client.post("/sign-in", data={"email": "admin@acme.example", "password": "correct horse"})

    answer = client.get(page)
    assert "How we name our keys" in answer.text
    assert answer.text.count("History</a>") == answer.text.count('aria-label="Revoke ') == 2
    assert "style-src 'self' https://cdn" in answer.headers["Content-Security-Policy"]
    form = form_fields(client.get(f"{page}/new").text)
    new = {**form, "name": "CI", "scopes": "app:publish", "expires_in": "30"}
    created = client.post(page, data=new).text
    assert "Put it into the vault, as <code>acme/" in created
    assert "GitHub Actions" not in created.partition("<dialog")[2]


@pytest.mark.parametrize("page", [*PAGES, README], ids=by_name)
def test_every_block_is_of_a_language_that_is_run(page: Path) -> None:
    """As Markdown's own parser finds the blocks, so that none can hide from the reader."""
    shown = [token for token in MarkdownIt().parse(page.read_text()) if token.type == "fence"]
    run = [example.parsed for example in find_blocks(page).examples()]
    languages = {token.info for token in shown if not token.info.startswith("{")}

    assert languages - {*LANGUAGES} - SHOWN_AS_IT_IS == set()
    assert run == [token.content for token in shown if token.info in LANGUAGES]


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_code_is_no_part_of_what_only_sphinx_reads(page: Path) -> None:
    """In a directive, a block would be shown and not run."""
    for token in MarkdownIt().parse(page.read_text()):
        if token.type == "fence" and token.info.startswith("{"):
            assert not re.search(r"^\s*(`{3,}|~{3,}|\.\. code)", token.content, re.MULTILINE)
        assert token.type != "code_block"


def rows_of(page: str) -> list[list[str]]:
    lines = (DOCS / page).read_text().splitlines()
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if "|" in line
    ]


def test_the_limits_in_the_meanings_of_options_are_those_that_are_checked() -> None:
    limits = {
        "SCOPES": MAX_LENGTH,
        "EXPIRY_DAYS": checks.MAX_EXPIRY_DAYS,
        "PEPPERS": checks.MIN_PEPPER_BYTES,
    }

    assert [name for name in limits if f"{limits[name]:,}" not in OPTIONS[name].meaning] == []


def test_every_refusal_is_in_the_table_of_errors() -> None:
    shown = {
        (int(row[1]), row[2], re.sub(r".*\.(\w+)`", r"\1", row[3]))
        for row in rows_of("errors.md")
        if len(row) == 4 and row[1].isdecimal()
    }

    assert shown == {
        (error.code, f"`{error.problem_code}`", error.__name__)
        for error in errors.RequestRefused.__subclasses__()
    }


def test_every_signal_is_in_the_table_of_signals() -> None:
    shown = {
        found for row in rows_of("signals.md") for found in re.findall(r"signals\.(\w+)`", row[0])
    }

    assert shown == {
        name for name, value in vars(signals).items() if isinstance(value, blinker.Signal)
    }


@pytest.mark.parametrize("name", flask_orgkeys.__all__)
def test_every_public_name_is_in_the_reference(name: str) -> None:
    assert re.search(rf":: (flask_orgkeys\.)?{name}$", (DOCS / "api.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    ("model", "table", "private"),
    [
        ("ApiKey", "orgkeys_key", {"digest", "previous_digest", "folded_name", "idempotency_key"}),
        ("KeyEvent", "orgkeys_event", set()),
        ("KeyUse", "orgkeys_use", set()),
    ],
)
def test_every_column_is_in_the_reference(model: str, table: str, private: set[str]) -> None:
    db = SQLAlchemy()
    flask_orgkeys.OrgKeys(db, organization=String(64))
    reference = (DOCS / "api.md").read_text().partition(f"models.{model}\n")[2]
    entry = re.split(r"^(?:\.\. |\w)", reference, maxsplit=1, flags=re.MULTILINE)[0]

    named = set(re.findall(r"py:attribute:: (\w+)", entry))
    assert named == {*db.metadata.tables[table].columns.keys()} - private


def test_every_page_is_in_the_table_of_contents() -> None:
    index = (DOCS / "index.md").read_text()
    listed = re.findall(
        r"^```\{toctree\}\n(?::[^\n]+\n)+\n(.+?)```", index, re.MULTILINE | re.DOTALL
    )
    names = [name for entries in listed for name in entries.split()]

    assert sorted([*names, "index"]) == [page.stem for page in PAGES]


class CapturingTransport(Transport):
    """Keeps what would be sent to Sentry."""

    events: list[Any] = []

    def capture_envelope(self, envelope: Any) -> None:
        self.events += filter(None, (item.get_event() for item in envelope.items))


@pytest.fixture
def sent_to_sentry() -> Iterator[list[Any]]:
    CapturingTransport.events = []
    sentry_sdk.init(dsn="http://public@127.0.0.1:9/1", transport=CapturingTransport)
    yield CapturingTransport.events
    sentry_sdk.get_client().close(timeout=0)
    sentry_sdk.get_global_scope().set_client(None)


def test_signals_name_the_key_in_sentry_and_on_spans(
    reader: Reader, quickstart: Followed, sent_to_sentry: list[Any]
) -> None:
    reader.follow(DOCS / "signals.md")
    app = reader.namespace["app"]
    app.route("/broken")(lambda: 1 / 0)
    client = app.test_client()
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    keys = [quickstart.variables[name] for name in ("DEPLOY_KEY", "PUBLISH_KEY")]

    assert client.get("/broken", headers=bearer(keys[0])).status_code == 500
    with provider.get_tracer("test").start_as_current_span("request"):
        assert client.post("/api/o/acme/deployments", headers=bearer(keys[1])).status_code == 403

    ids = [key.split("_")[1] for key in keys]
    (event,) = sent_to_sentry
    assert event["tags"] == {"orgkeys.key": ids[0], "orgkeys.organization": "1"}
    (span,) = spans.get_finished_spans()
    assert span.attributes == {
        "orgkeys.key.id": ids[1],
        "orgkeys.organization.id": "1",
        "orgkeys.refusal": "insufficient_scope",
    }


WRONG_BLOCKS = {
    "python": "assert 1 == 2",
    "bash": "false\ntrue",
    "console": "$ echo one\ntwo",
    "toml": "= 1",
    "yaml": "- a: b: c",
    "json": "{'a': 1}",
    "css": ".a { color }",
    "jinja": "{% if %}",
    "html": "{{ 1 ",
}


def test_there_is_a_wrong_block_of_each_language() -> None:
    assert WRONG_BLOCKS.keys() == set(LANGUAGES)


@pytest.mark.parametrize("language", WRONG_BLOCKS)
def test_a_wrong_block_is_found(language: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# A page\n\n```{language}\n{WRONG_BLOCKS[language]}\n```\n")

    with reading(tmp_path) as reader, pytest.raises(AssertionError) as raised:
        reader.follow(page)

    if language == "python":
        failed = raised.traceback[-1]
        assert (failed.path, failed.lineno + 1) == (page, 4)
    else:
        assert f"{page}, line 3" in str(raised.value)


SHOWN = "HTTP/1.1 200 OK\nB: …\n{}"
PRINTED = "HTTP/1.1 200 OK\nA: 1\nB: 2\n\n{}"


@pytest.mark.parametrize(
    ("shown", "printed", "is_shown"),
    [
        ("one", "one\n", True),
        ("one", "two", False),
        ("one", "one\ntwo", False),
        ("", "one", False),
        ("o…e", "once", True),
        ("o…e", "o\ne", False),
        ("one\n…", "one", False),
        ("…\nlast", "one\ntwo\nlast", True),
        ("a.c", "abc", False),
        (SHOWN, PRINTED, True),
        (SHOWN, PRINTED.replace("B: 2\n", ""), False),
        (SHOWN, PRINTED.replace("{}", "{}\nmore"), False),
        (SHOWN, PRINTED.replace("200", "201"), False),
    ],
)
def test_what_is_printed_is_compared_with_what_is_shown(
    shown: str, printed: str, is_shown: bool
) -> None:
    assert is_as_shown(shown, printed) is is_shown
