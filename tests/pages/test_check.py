""" "Is this key ours?" """

from __future__ import annotations

import logging
import secrets
from datetime import timedelta
from typing import Any

import pytest
from bs4 import BeautifulSoup

from flask_orgkeys import tokens

from ..host import Host, mistyped, with_wrong_secret
from .test_pages import LIST

CHECK = f"{LIST}/check"


def answer_to(host: Host, text: str | bytes) -> str:
    page = host.client("ada").post(CHECK, data={"text": text})
    assert page.status_code == 200
    soup = BeautifulSoup(page.text, "html.parser")
    (status,) = soup.select("[role=status]")
    secret = text if isinstance(text, str) else text.decode(errors="replace")
    assert secret[-30:] not in page.text
    return " ".join(status.get_text(" ").split())


@pytest.mark.parametrize(
    "around", ["{}", "  {}\n", 'x="Bearer {}";', "%20{}\n", "2026 GET /a?k={} 200"]
)
def test_right_secret(any_host: Host, around: str) -> None:
    token, key_id = any_host.issue(name="storefront")
    answer = answer_to(any_host, around.format(token))
    assert "storefront" in answer
    assert "secret is right" in answer
    assert any_host.key(key_id).last_used_at is None


@pytest.mark.parametrize(
    ("hours", "expected"), [(0, "It no longer works."), (24, "It still works, until")]
)
def test_replaced_secret(host: Host, hours: int, expected: str) -> None:
    """The answer tells whether the overlap lets it in."""
    token, key_id = host.issue()
    with host.app.app_context():
        host.orgkeys.rotate_key(
            host.organization_ids["acme"], key_id, overlap=timedelta(hours=hours), expires_at=None
        )
        host.db.session.commit()
    answer = answer_to(host, token)
    assert "a rotation has replaced it" in answer
    assert expected in answer


def test_wrong_secret(host: Host) -> None:
    token, _ = host.issue(name="storefront")
    answer = answer_to(host, with_wrong_secret(token))
    assert "storefront" in answer
    assert "wrong secret" in answer


def test_wrong_checksum(host: Host) -> None:
    assert "wrong checksum" in answer_to(host, mistyped(host.issue()[0]))


@pytest.mark.parametrize("how", ["foreign", "absent", "another prefix", "nothing", "empty"])
def test_no_key_of_the_organisation(host: Host, how: str) -> None:
    texts = {
        "foreign": host.issue("beta")[0],
        "absent": str(tokens.generate("orgk")),
        "another prefix": str(tokens.generate("other")),
        "nothing": "no key in here, not even a part",
        "empty": "there is nothing here to be found",
    }
    assert "No key of this organisation" in answer_to(host, texts[how])


def test_revoked_key_offers_no_revocation(host: Host) -> None:
    token, key_id = host.issue()
    host.revoke(key_id)
    answer = answer_to(host, token)
    assert "Revoked" in answer
    assert "Revoke CI" not in answer


def test_key_in_much_text_that_is_no_utf8(host: Host) -> None:
    token, _ = host.issue(name="storefront")
    noise = bytes(byte | 0x80 for byte in secrets.token_bytes(60_000))
    answer = answer_to(host, noise + b" " + token.encode() + b" " + noise)
    assert "storefront" in answer


def test_too_much_text(host: Host) -> None:
    page = host.client("ada").post(CHECK, data={"text": "x" * 2_000_000})
    assert page.status_code == 413


def test_the_text_is_in_no_log(host: Host, caplog: Any) -> None:
    token, _ = host.issue()
    with caplog.at_level(logging.DEBUG):
        answer_to(host, token)
    assert token[-30:] not in caplog.text


def test_permission(host: Host) -> None:
    assert host.client("sam").post(CHECK, data={"text": "x"}).status_code == 403
    assert host.client("sam").get(CHECK).status_code == 403
