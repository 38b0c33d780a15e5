from __future__ import annotations

import json

import pytest

from flask_orgkeys import tokens

from .. import databases
from ..host import Host, bearer
from .test_commands import run

PEPPER = "pepper-of-the-tests-" * 2


def status(host: Host, token: str) -> int:
    return host.client().get("/api/whoami", headers=bearer(token)).status_code


@pytest.mark.parametrize("any_database_url", databases.ONE_OF_EACH, indirect=True)
def test_rehash_wraps_plain_digests_without_any_use(any_host: Host) -> None:
    keys = [any_host.issue(slug) for slug in ("acme", "beta", "acme")]
    with any_host.sibling(ORGKEYS_PEPPERS=[PEPPER]) as peppered:
        assert status(peppered, keys[0][0]) == 401
        counted = run(peppered, "rehash", "--dry-run")
        assert counted.stdout == "Would rehash 3 keys.\n"
        assert any_host.key(keys[0][1]).digest.startswith("sha256$")
        wrapped = run(peppered, "rehash", "--batch", "2", "--json")
        assert json.loads(wrapped.stdout) == {"plain": 3, "wrapped": 3}
        for token, key_id in keys:
            expected = tokens.digest(token.rpartition("_")[2], [PEPPER.encode()])
            assert any_host.key(key_id).digest == expected
            assert any_host.key(key_id).last_used_at is None
            assert status(peppered, token) == 200
        assert run(peppered, "rehash").stdout == "Rehashed 0 keys.\n"


@pytest.mark.parametrize("option", ["--dry-run", "--json"])
def test_rehash_needs_a_pepper(host: Host, option: str) -> None:
    refused = run(host, "rehash", option)
    assert refused.exit_code == 1
    assert "ORGKEYS_PEPPERS is empty" in refused.stderr


@pytest.mark.parametrize("planted", ["sha256$zz", "SHA256$" + "ab" * 32])
def test_rehash_leaves_what_only_looks_like_a_digest(host: Host, planted: str) -> None:
    """It neither ends in an error nor goes on for ever, and wraps those that come after."""
    keys = sorted(host.issue()[1] for _ in range(2))
    with host.app.app_context():
        host.db.session.get_one(host.orgkeys.ApiKey, keys[0]).digest = planted
        host.db.session.commit()
    with host.sibling(ORGKEYS_PEPPERS=[PEPPER]) as peppered:
        assert json.loads(run(peppered, "rehash", "--batch", "1", "--json").stdout)["wrapped"] == 1
    assert host.key(keys[0]).digest == planted
    assert host.key(keys[1]).digest.startswith("hmac-sha256-of-sha256:")
