"""The pages in other languages, by the real Flask-Babel."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from babel.messages.catalog import Catalog, Message
from babel.messages.frontend import CommandLineInterface
from babel.messages.mofile import read_mo, write_mo
from babel.messages.pofile import read_po
from bs4 import BeautifulSoup, Tag
from flask import render_template_string
from flask_babel import Babel, lazy_gettext
from sqlalchemy import select

from flask_orgkeys import errors
from flask_orgkeys.pages.language import CATALOGS

from ..conftest import MakeHost
from ..host import SCOPES, Host, form_fields

ROOT = Path(__file__).parent.parent.parent
LIST = "/o/acme/api-keys"
NOW = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
MANY_SCOPES = {f"{group}:{verb}": "Beschreibung" for group in "abc" for verb in ("x", "y", "z")}

NewBabelHost = Callable[..., Host]


@pytest.fixture
def babel_host(new_host: MakeHost) -> NewBabelHost:
    """Make a host with Flask-Babel: ``babel_host(locale, **what make_host takes)``."""

    def make(locale: str, **arguments: Any) -> Host:
        def set_babel_up(app: Any, _db: Any) -> None:
            Babel(app, locale_selector=lambda: locale)

        return new_host(before_init=set_babel_up, **arguments)

    return make


@pytest.fixture(autouse=True)
def now() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


def text_of(page: str) -> str:
    return BeautifulSoup(page, "html.parser").get_text(" ", strip=True)


def read_catalog(path: Path) -> Catalog:
    with path.open("rb") as file:
        return read_po(file)


def messages_of(catalog: Catalog) -> dict[Any, Message]:
    return {
        message.id if isinstance(message.id, str) else tuple(message.id): message
        for message in catalog
        if message.id
    }


@pytest.fixture(scope="session")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """What ``make translations`` finds in the code and the templates."""
    makefile = (ROOT / "Makefile").read_text()
    (options,) = re.findall(r"pybabel --quiet extract (.*?) \\\n\t  --output", makefile, re.DOTALL)
    path = tmp_path_factory.mktemp("catalog") / "found.pot"
    command = ["pybabel", "--quiet", "extract", *options.replace("\\\n", " ").split()]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        CommandLineInterface().run([*command, "--output", str(path), str(CATALOGS.parents[1])])
    return read_catalog(path)


class TestCatalogs:
    LANGUAGES = sorted(path.parent.name for path in CATALOGS.glob("*/LC_MESSAGES"))

    def test_there_is_a_german_one(self) -> None:
        assert self.LANGUAGES == ["de"]

    def test_the_template_has_every_word(self, extracted: Catalog) -> None:
        template = read_catalog(CATALOGS / "orgkeys.pot")
        assert messages_of(template).keys() == messages_of(extracted).keys()
        assert len(template) > 60

    @pytest.mark.parametrize("language", LANGUAGES)
    def test_each_is_complete(self, language: str, extracted: Catalog) -> None:
        messages = messages_of(read_catalog(CATALOGS / language / "LC_MESSAGES" / "orgkeys.po"))
        assert messages.keys() == messages_of(extracted).keys()
        assert [message for message in messages.values() if message.fuzzy] == []
        for wanted, texts in texts_of(messages).items():
            last = wanted if isinstance(wanted, str) else wanted[-1]
            assert len(texts) == (1 if isinstance(wanted, str) else 2)
            assert {tuple(placeholders(text)) for text in texts} == {tuple(placeholders(last))}
            assert all(texts)

    @pytest.mark.parametrize("language", LANGUAGES)
    def test_no_two_texts_become_one(self, language: str) -> None:
        """A state reads otherwise than the action that leads to it."""
        messages = messages_of(read_catalog(CATALOGS / language / "LC_MESSAGES" / "orgkeys.po"))
        alike: dict[tuple[str, ...], set[str]] = {}
        for wanted, texts in texts_of(messages).items():
            english = wanted if isinstance(wanted, str) else wanted[0]
            alike.setdefault(tuple(texts), set()).add(english.lower().removesuffix("s"))
        assert [texts for texts in alike.values() if len(texts) > 1] == []

    @pytest.mark.parametrize("language", LANGUAGES)
    def test_each_is_compiled(self, language: str) -> None:
        path = CATALOGS / language / "LC_MESSAGES" / "orgkeys.po"
        with path.with_suffix(".mo").open("rb") as file:
            compiled = messages_of(read_mo(file))
        written = messages_of(read_catalog(path))
        assert texts_of(compiled) == texts_of(written)


def texts_of(messages: dict[Any, Message]) -> dict[Any, list[str]]:
    return {
        key: [message.string] if isinstance(message.string, str) else [*message.string]
        for key, message in messages.items()
    }


def placeholders(text: str) -> list[str]:
    return sorted(re.findall(r"%\(\w+\)\w|%", text))


STATES: dict[str, Callable[[Host], str]] = {}


def state(bring: Callable[[Host], str]) -> Callable[[Host], str]:
    STATES[bring.__name__] = bring
    return bring


@state
def empty(host: Host) -> str:
    return host.client("ada").get(LIST).text


@state
def only_revoked(host: Host) -> str:
    _, key_id = host.issue()
    host.revoke(key_id)
    return host.client("ada").get(LIST).text


@state
def full(host: Host) -> str:
    for days in (None, -1, 3, 5, 300):
        host.issue(name="Schlüssel", expires_at=days and NOW + timedelta(days=days))
    token, _ = host.issue(name="Schlüssel")
    assert host.client().get("/open", headers={"Authorization": f"Bearer {token}"}).json
    with host.app.app_context():
        acme = host.organization_ids["acme"]
        host.orgkeys.revoke_key(acme, host.issue(name="Schlüssel")[1], revoked_by="ada")
        host.db.session.commit()
    return host.client("ada").get(f"{LIST}?status=all").text + existing(host)


@state
def existing(host: Host) -> str:
    client = host.client("ada")
    sent = {
        **form_fields(client.get(f"{LIST}/new").text),
        "name": "Schlüssel",
        "scopes": "project:deploy",
        "expires_in": "30",
    }
    client.post(LIST, data=sent)
    return client.post(LIST, data=sent, follow_redirects=True).text


@state
def one_expires_soon(host: Host) -> str:
    host.issue(name="Schlüssel", expires_at=NOW + timedelta(days=3))
    return host.client("ada").get(LIST).text


@state
def second_page(host: Host) -> str:
    for _ in range(27):
        host.issue(name="Schlüssel")
    client = host.client("ada")
    return client.get(LIST).text + client.get(f"{LIST}?page=2").text


@state
def nothing_found(host: Host) -> str:
    host.issue()
    client = host.client("ada")
    return client.get(f"{LIST}?q=nichts").text + client.get(f"{LIST}?status=expired").text


@state
def revoked(host: Host) -> str:
    _, key_id = host.issue(name="Schlüssel")
    host.revoke(key_id)
    return host.client("ada").get(f"{LIST}?revoked={key_id}").text


@state
def form(host: Host) -> str:
    return host.client("ada").get(f"{LIST}/new").text


@state
def refused_form(host: Host) -> str:
    client = host.client("ada")
    pages = [
        client.post(LIST, data={"name": name, "expires_in": "30"}).text
        for name in ("", "n" * 101, "a\nb")
    ]
    return "".join(pages)


@state
def created(host: Host) -> str:
    client = host.client("ada")
    data = {"name": "Schlüssel", "scopes": "project:deploy"}
    return "".join(
        client.post(LIST, data={**data, "expires_in": expires_in}).text
        for expires_in in ("30", "never")
    )


@state
def revocation(host: Host) -> str:
    client = host.client("ada")
    token, key_id = host.issue(name="Schlüssel")
    unused = client.get(f"{LIST}/{key_id}/revoke").text
    assert host.client().get("/open", headers={"Authorization": f"Bearer {token}"}).json
    return unused + client.get(f"{LIST}/{key_id}/revoke").text


@state
def key_pages(host: Host) -> str:
    client, bare = host.client("ada"), host.client()
    token, key_id = host.issue(name="Schlüssel", note="nichts")
    unused = client.get(f"{LIST}/{key_id}").text
    for path in ("/api/whoami", "/o/beta/api-keys"):
        bare.get(path, headers={"Authorization": f"Bearer {token}"})
    bare.post("/api/publish-and-deploy", headers={"Authorization": f"Bearer {token}"})
    used = client.get(f"{LIST}/{key_id}").text
    editing = client.get(f"{LIST}/{key_id}/edit").text
    host.revoke(key_id)
    bare.get("/api/whoami", headers={"Authorization": f"Bearer {token}"})
    return unused + used + editing + client.get(f"{LIST}/{key_id}").text


@state
def rotation(host: Host) -> str:
    client = host.client("ada")
    _, key_id = host.issue(name="Schlüssel")
    step = f"{LIST}/{key_id}/rotate"
    asked = client.get(step).text
    data = {"overlap_hours": "24", "expires_in": "30"}
    rotated = client.post(step, data={**form_fields(asked), **data})
    assert rotated.status_code == 200
    pages = [client.get(path).text for path in (f"{LIST}/{key_id}", LIST, step)]
    return "".join([asked, rotated.text, *pages])


@state
def activity(host: Host) -> str:
    host.revoke(host.issue(name="Schlüssel")[1])
    client = host.client("ada")
    path = f"{LIST}/activity"
    return client.get(path).text + client.get(f"{path}?subject=nichts").text


@state
def check(host: Host) -> str:
    client = host.client("ada")
    token, _ = host.issue(name="Schlüssel")
    texts = [token, token[:-1] + ("a" if token[-1] != "a" else "b"), "nichts"]
    pages = [client.post(f"{LIST}/check", data={"text": text}).text for text in texts]
    return "".join([client.get(f"{LIST}/check").text, *pages])


@state
def out_of_date(host: Host) -> str:
    _, key_id = host.issue(name="Schlüssel")
    host.app.config["WTF_CSRF_ENABLED"] = True
    client = host.client("ada")
    data = {"name": "Schlüssel", "scopes": "project:deploy", "expires_in": "30"}
    pages = [client.post(path, data=data) for path in (LIST, f"{LIST}/{key_id}/revoke")]
    assert [page.status_code for page in pages] == [422, 422]
    return "".join(page.text for page in pages)


@state
def tab(host: Host) -> str:
    @host.app.get("/o/<org_slug>/settings")
    def settings(org_slug: str) -> str:
        wanted = select(host.Organization).where(host.Organization.slug == org_slug)
        return render_template_string(
            '{% from "orgkeys/_tab.html" import api_keys_tab with context %}'
            "{{ api_keys_tab(organization) }}",
            organization=host.db.session.scalar(wanted),
        )

    users = ("ada", "sam")
    return "".join(host.client(user).get("/o/acme/settings").text for user in users)


LEFT, RIGHT = "⟦", "⟧"


def marked(text: str) -> str:
    return f"{LEFT}{text}{RIGHT}"


@pytest.fixture(scope="session")
def marking_catalogs(tmp_path_factory: pytest.TempPathFactory, extracted: Catalog) -> Path:
    """A host's catalogs for Esperanto, in which every text is English, between marks."""
    catalog = Catalog(locale="eo", domain="orgkeys", fuzzy=False)
    for message in messages_of(extracted).values():
        strings = message.id if isinstance(message.id, tuple) else [message.id]
        texts = [marked(text) for text in strings]
        catalog.add(message.id, texts if isinstance(message.id, tuple) else texts[0])
    directory = tmp_path_factory.mktemp("translations")
    path = directory / "eo" / "LC_MESSAGES" / "orgkeys.mo"
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        write_mo(file, catalog)
    return directory


# What is read aloud or shown, beside the text itself.
ATTRIBUTES = (
    "aria-label",
    "placeholder",
    "title",
    "alt",
    "data-label",
    "data-copied",
    "data-selected",
)
# Times, which Babel words, and code.
LEFT_OUT = "time, code, pre"
# What is in no language, or the host's.
TOOLS = {"Werkzeug", "curl", "GitHub Actions", "GitLab CI", "Python", "ORG_API_KEY"}
DATA = {"Acme", "Schlüssel", "ada", "CI", "nichts", *TOOLS, *SCOPES, *SCOPES.values()}


def unmarked_words(page: str) -> list[str]:
    """Give the words of a page that have not been translated."""
    soup = BeautifulSoup(page, "html.parser")
    for tag in soup.select(LEFT_OUT):
        tag.decompose()
    texts = [text for text in soup.stripped_strings if text != "html"]
    for tag in soup.find_all(True):
        assert isinstance(tag, Tag)
        texts += [str(tag[name]) for name in ATTRIBUTES if name in tag.attrs]
    # Marks may stand apart: around a name, for example, that is a tag of its own.
    text = " ".join(texts)
    while (rest := re.sub(f"{LEFT}[^{LEFT}{RIGHT}]*{RIGHT}", "", text)) != text:
        text = rest
    for data in sorted(DATA, key=len, reverse=True):
        text = text.replace(data, "")
    return re.findall(r"[A-Za-z]{2,}", re.sub(r"orgk_\w+|[\w.]+\d[\w.]*", "", text))


class TestEveryWord:
    @pytest.mark.parametrize("name", STATES)
    def test_is_translated(
        self, babel_host: NewBabelHost, marking_catalogs: Path, name: str
    ) -> None:
        config = {"BABEL_TRANSLATION_DIRECTORIES": str(marking_catalogs)}
        page = STATES[name](babel_host("eo", config=config))
        assert LEFT in page
        assert unmarked_words(page) == []

    def test_of_many_scopes(self, babel_host: NewBabelHost, marking_catalogs: Path) -> None:
        config = {
            "BABEL_TRANSLATION_DIRECTORIES": str(marking_catalogs),
            "ORGKEYS_SCOPES": {**SCOPES, **MANY_SCOPES},
        }
        page = form(babel_host("eo", config=config))
        words = BeautifulSoup(page, "html.parser").select("[data-orgkeys-all] > span")
        groups = ["app", "project", "a", "b", "c"]
        assert [each.text for each in words] == [
            marked(f"{does} {group}") for group in groups for does in ("Select all of", "Clear")
        ]

    @pytest.mark.parametrize("limit", [1, 2])
    def test_at_the_limit(
        self, babel_host: NewBabelHost, marking_catalogs: Path, limit: int
    ) -> None:
        config = {
            "BABEL_TRANSLATION_DIRECTORIES": str(marking_catalogs),
            "ORGKEYS_MAX_KEYS": limit,
        }
        host = babel_host("eo", config=config)
        for _ in range(limit):
            host.issue()
        page = created(host)
        assert "the most it may have" in page
        assert unmarked_words(page) == []

    def test_there_is_none_where_nothing_is_marked(self) -> None:
        """As long as this fails to find them, the other tests find nothing either."""
        assert unmarked_words(f"<p>Two words {marked('here')}</p>") == ["Two", "words"]
        assert unmarked_words('<a aria-label="Close"></a>') == ["Close"]


class TestGerman:
    def test_the_list(self, babel_host: NewBabelHost) -> None:
        page = full(babel_host("de"))
        text = text_of(page)
        assert '<html lang="de">' in page
        assert "in 3 Tagen" in text
        assert "Abgelaufen 01.11.2026" in text
        assert "von ada" in text

    def test_the_form(self, babel_host: NewBabelHost) -> None:
        text = text_of(form(babel_host("de")))
        assert "30 Tage (bis 02.12.2026)" in text
        assert "Kein Ablauf" in text

    def test_errors(self, babel_host: NewBabelHost) -> None:
        text = text_of(refused_form(babel_host("de")))
        assert "Verwenden Sie höchstens 100 Zeichen; das sind 101." in text
        assert "Wählen Sie mindestens einen Scope." in text

    def test_errors_of_wtforms(self, babel_host: NewBabelHost) -> None:
        data = {"name": "CI", "scopes": "project:deploy", "expires_in": "7"}
        page = babel_host("de").client("ada").post(LIST, data=data)
        assert page.status_code == 422
        assert "Keine gültige Auswahl" in text_of(page.text)

    def test_numbers_of_one_thing(self, babel_host: NewBabelHost) -> None:
        host = babel_host("de", config={"ORGKEYS_MAX_KEYS": 1, "ORGKEYS_EXPIRY_DAYS": (1, 30, 90)})
        assert "1 Tag (bis 03.11.2026)" in text_of(form(host))
        assert "hat 1 gültigen Schlüssel" in text_of(created(host))

    def test_large_numbers(self, babel_host: NewBabelHost) -> None:
        host = babel_host("de", config={"ORGKEYS_EXPIRY_DAYS": (3_650, 90)})
        assert "3.650 Tage (bis 30.10.2036)" in text_of(form(host))

    @pytest.mark.parametrize(
        ("left", "words"),
        [
            (timedelta(minutes=20), "innerhalb einer Stunde"),
            (timedelta(hours=1), "in 1 Stunde"),
            (timedelta(days=1), "in 1 Tag"),
            (timedelta(days=2), "in 2 Tagen"),
            (timedelta(days=10), "in 10 Tagen"),
            (timedelta(days=13), "in 13 Tagen"),
            (timedelta(days=90), "31.01.2027"),
        ],
    )
    def test_how_many_days_are_left(
        self, babel_host: NewBabelHost, left: timedelta, words: str
    ) -> None:
        host = babel_host("de")
        host.issue(expires_at=NOW + left)
        assert words in text_of(host.client("ada").get(LIST).text)

    def test_other_words_of_the_host(self, babel_host: NewBabelHost, tmp_path: Path) -> None:
        """They go before ours, which stay for everything else."""
        catalog = Catalog(locale="de", domain="orgkeys", fuzzy=False)
        catalog.add("Scopes", "Befugnisse")
        path = tmp_path / "de" / "LC_MESSAGES" / "orgkeys.mo"
        path.parent.mkdir(parents=True)
        with path.open("wb") as file:
            write_mo(file, catalog)
        host = babel_host("de", config={"BABEL_TRANSLATION_DIRECTORIES": str(tmp_path)})
        page = BeautifulSoup(form(host), "html.parser")
        assert [legend.get_text() for legend in page.find_all("legend")] == ["Befugnisse"]
        assert "Kein Ablauf" in page.get_text()

    def test_the_time_zone_of_the_host(self, babel_host: NewBabelHost) -> None:
        host = babel_host("de", config={"BABEL_DEFAULT_TIMEZONE": "Europe/Berlin"})
        host.issue(expires_at=NOW + timedelta(days=30))
        page = BeautifulSoup(host.client("ada").get(LIST).text, "html.parser")
        (time,) = page.select("td time")
        assert re.search(r"2\. Dezember 2026(,| um) 10:30:00 MEZ", str(time["title"]))

    def test_the_tab(self, babel_host: NewBabelHost) -> None:
        host = babel_host("de")
        answer = host.client("sam").get(LIST)
        assert answer.status_code == 403
        assert "Sie haben keine Berechtigung" in answer.text

    def test_what_automation_is_answered_stays_english(self, babel_host: NewBabelHost) -> None:
        answer = babel_host("de").client().get("/api/whoami")
        assert answer.get_json()["detail"] == errors.MissingKey.description


class TestWithoutIt:
    def test_a_language_without_a_catalog_is_english(self, babel_host: NewBabelHost) -> None:
        """Its dates and numbers, too."""
        host = babel_host("fi")
        text = text_of(form(host))
        assert "Create API key" in text
        assert "30 days (until 2 Dec 2026)" in text
        token, _ = host.issue(name="CI", expires_at=NOW + timedelta(days=9))
        host.client().get("/api/whoami", headers={"Authorization": f"Bearer {token}"})
        page = BeautifulSoup(host.client("ada").get(LIST).text, "html.parser")
        assert page.select_one("html[lang=en]") is not None
        text = page.get_text(" ", strip=True)
        assert "11 Nov 2026" in text
        assert "sekunti" not in text

    def test_english_of_another_country(self, babel_host: NewBabelHost) -> None:
        assert "30 days (until Dec 2, 2026)" in text_of(form(babel_host("en_US")))

    def test_another_extension_of_that_name(
        self, babel_host: NewBabelHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        host = babel_host("de")
        host.app.config["WTF_I18N_ENABLED"] = False
        client = host.client("ada")
        monkeypatch.setitem(sys.modules, "flask_babel", None)
        assert "30 days (until 2 Dec 2026)" in text_of(client.get(f"{LIST}/new").text)


class TestScopes:
    def test_descriptions_of_the_moment(self, babel_host: NewBabelHost) -> None:
        """Lazy ones, which are in the reader's language when they are shown."""
        spoken: list[str] = ["Deploy"]

        class Lazy:
            def __str__(self) -> str:
                return spoken[0]

            def __html__(self) -> str:
                return spoken[0]

        config = {"ORGKEYS_SCOPES": {**SCOPES, "project:deploy": Lazy()}}
        host = babel_host("de", config=config)
        assert "Deploy" in text_of(form(host))
        spoken[0] = "Bereitstellen"
        assert "Bereitstellen" in text_of(form(host))
        host.issue()
        assert 'title="Bereitstellen"' in host.client("ada").get(LIST).text

    def test_of_flask_babel(self, babel_host: NewBabelHost) -> None:
        host = babel_host(
            "de", config={"ORGKEYS_SCOPES": {**SCOPES, "project:deploy": lazy_gettext("Ja")}}
        )
        assert "Ja" in text_of(form(host))
