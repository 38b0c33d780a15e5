from __future__ import annotations

import hmac
import re
import string
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from flask_orgkeys import tokens
from flask_orgkeys.tokens import Token

from .conftest import MakeHost
from .host import Host, bearer, with_wrong_secret

BASE_62 = string.digits + string.ascii_uppercase + string.ascii_lowercase

NEW_PEPPER = b"n" * 32
OLD_PEPPER = b"o" * 32

# The expression that docs and secret scanners use for the default prefix.
DOCUMENTED_EXPRESSION = r"\borgk_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}\b"

# Worked out apart from the library; the last has a checksum that is padded with zeros.
VECTORS = [
    ("orgk", "000000000000", "0" * 32, "1XpOVZ"),
    ("orgk", "abcDEF123456", "0123456789ABCDEFGHIJKLMNOPQRSTUV", "3uPkCM"),
    ("acme_live", "Zz9Yy8Xx7Ww6", "z" * 32, "2MJkWR"),
    ("orgk", "000000000000", "0" * 29 + "360", "00XfBy"),
]

prefixes = st.text(BASE_62 + "_", min_size=1, max_size=20)
# Of one size, for HMAC takes keys that differ in trailing zeros for the same.
peppers = st.binary(min_size=32, max_size=32)
secret_parts = st.text(BASE_62, min_size=38, max_size=38)


def crc_32_in_base_62(text: str) -> str:
    """The contract's checksum bit by bit, sharing nothing with the library."""
    crc = 0xFFFFFFFF
    for byte in text.encode("ascii"):
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0xEDB88320 if crc & 1 else 0)
    number = crc ^ 0xFFFFFFFF
    digits = ""
    while number:
        digits = BASE_62[number % 62] + digits
        number //= 62
    return digits.rjust(6, "0")


class TestShape:
    @given(prefixes)
    def test_a_generated_key_reads_back(self, prefix: str) -> None:
        token = tokens.generate(prefix)

        assert tokens.parse(str(token), prefix) == token

    @given(prefixes)
    def test_a_generated_key_is_prefix_id_and_secret(self, prefix: str) -> None:
        text = str(tokens.generate(prefix))

        assert re.fullmatch(rf"{prefix}_[0-9A-Za-z]{{12}}_[0-9A-Za-z]{{38}}", text)
        assert text[-6:] == crc_32_in_base_62(text[:-6])

    def test_no_two_keys_share_an_id_or_a_secret(self) -> None:
        made = [tokens.generate("orgk") for _ in range(500)]

        assert len({token.id for token in made}) == 500
        assert len({token.secret for token in made}) == 500

    def test_every_character_of_the_alphabet_is_used(self) -> None:
        made = [tokens.generate("orgk") for _ in range(200)]

        assert set("".join(token.id for token in made)) == set(BASE_62)
        assert set("".join(token.secret[:32] for token in made)) == set(BASE_62)

    def test_randomness_comes_from_the_operating_system(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tokens.secrets, "choice", lambda alphabet: alphabet[0])

        assert str(tokens.generate("orgk")) == "orgk_000000000000_" + "0" * 32 + "1XpOVZ"

    @pytest.mark.parametrize(("prefix", "key_id", "random_part", "checksum"), VECTORS)
    def test_a_fixed_key_reads(
        self, prefix: str, key_id: str, random_part: str, checksum: str
    ) -> None:
        text = f"{prefix}_{key_id}_{random_part}{checksum}"

        assert tokens.parse(text, prefix) == Token(prefix, key_id, random_part + checksum)

    @given(st.text(BASE_62 + "_", max_size=80))
    @example("")
    def test_the_checksum_is_crc_32_in_base_62(self, text: str) -> None:
        assert tokens.checksum(text) == crc_32_in_base_62(text)

    @pytest.mark.parametrize("prefix", ["a_b", "_", "__", "orgk_", "_orgk", "x" * 20])
    def test_a_prefix_may_hold_underscores(self, prefix: str) -> None:
        token = tokens.generate(prefix)

        assert tokens.parse(str(token), prefix) == token
        assert tokens.parse(str(token), prefix + "_") is None

    @given(prefixes, prefixes)
    def test_a_key_of_another_prefix_is_none(self, prefix: str, other: str) -> None:
        assume(prefix != other)

        assert tokens.parse(str(tokens.generate(other)), prefix) is None

    def test_a_prefix_in_another_case_is_another(self) -> None:
        assert tokens.parse(str(tokens.generate("ORGK")), "orgk") is None

    def test_the_documented_expression_finds_every_key(self) -> None:
        made = [str(tokens.generate("orgk")) for _ in range(200)]
        text = "".join(f"token: '{token}',\n KEY={token};" for token in made)

        assert re.findall(DOCUMENTED_EXPRESSION, text) == [
            token for token in made for _ in range(2)
        ]

    def test_a_double_click_selects_a_whole_key(self) -> None:
        assert re.fullmatch(r"\w+", str(tokens.generate("acme_live")), re.ASCII)


class TestOneSpelling:
    TEXT = str(tokens.generate("orgk"))

    def test_no_single_character_can_be_another(self) -> None:
        printable = BASE_62 + "_-$. \t\n\0é"
        changed = {
            self.TEXT[:place] + character + self.TEXT[place + 1 :]
            for place in range(len(self.TEXT))
            for character in printable
        } - {self.TEXT}

        assert [text for text in changed if tokens.parse(text, "orgk")] == []

    def test_no_character_can_be_missing_or_added(self) -> None:
        shorter = {self.TEXT[:place] + self.TEXT[place + 1 :] for place in range(len(self.TEXT))}
        longer = {
            self.TEXT[:place] + character + self.TEXT[place:]
            for place in range(len(self.TEXT) + 1)
            for character in "0Az_ \t\n\r\x0b\x00\xa0\u2009\ufeff"
        }

        assert [text for text in shorter | longer if tokens.parse(text, "orgk")] == []

    def test_no_two_neighbours_can_be_swapped(self) -> None:
        swapped = {
            self.TEXT[:place] + self.TEXT[place + 1] + self.TEXT[place] + self.TEXT[place + 2 :]
            for place in range(len(self.TEXT) - 1)
        } - {self.TEXT}

        assert [text for text in swapped if tokens.parse(text, "orgk")] == []

    @pytest.mark.parametrize(
        "respell",
        [
            str.upper,
            str.lower,
            str.swapcase,
            lambda text: text + text,
            lambda text: f'"{text}"',
            lambda text: text.replace("_", "-"),
            lambda text: text.replace("_", "%5F"),
            lambda text: text.replace("0", "\uff10").replace("1", "\u0661") + "\u0661",
            lambda text: "".join(chr(ord(character) + 0xFEE0) for character in text),
        ],
    )
    def test_no_other_spelling_reads(self, respell: Callable[[str], str]) -> None:
        assert tokens.parse(respell(self.TEXT), "orgk") is None

    def test_digits_of_other_scripts_are_no_digits(self) -> None:
        # The checksum would be right if they were read as the digits they stand for.
        token = Token("orgk", "000000000000", "0" * 32 + "1XpOVZ")

        assert tokens.parse(str(token), "orgk") is not None
        assert tokens.parse(str(token).replace("0", "\u0660"), "orgk") is None

    @given(st.text(max_size=200))
    def test_whatever_else_is_none(self, text: str) -> None:
        assert tokens.parse(text, "orgk") is None

    @given(st.from_regex(r"\Aorgk_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}\Z"))
    def test_a_right_shape_needs_the_right_checksum(self, text: str) -> None:
        parsed = tokens.parse(text, "orgk")

        assert (parsed is not None) == (text[-6:] == crc_32_in_base_62(text[:-6]))


class TestDigest:
    SECRET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZab"

    def test_the_tag_names_sha_256(self) -> None:
        assert tokens.digest(self.SECRET) == (
            "sha256$d43052b075227c8a2a963c01ea357c35101b713d848e0ecc1f977460d32ed287"
        )

    def test_the_tag_names_the_pepper_without_giving_it_away(self) -> None:
        made = tokens.digest(self.SECRET, [NEW_PEPPER, OLD_PEPPER])

        assert re.fullmatch(r"hmac-sha256-of-sha256:[0-9a-f]{8}\$[0-9a-f]{64}", made)
        assert NEW_PEPPER.hex() not in made
        assert made.partition("$")[0] != tokens.digest(self.SECRET, [OLD_PEPPER]).partition("$")[0]

    @given(secret_parts, secret_parts, st.lists(peppers, max_size=3))
    def test_a_digest_verifies_its_secret_and_no_other(
        self, secret: str, other: str, configured: list[bytes]
    ) -> None:
        assume(secret != other)
        stored = tokens.digest(secret, configured)

        assert tokens.verify(secret, stored, configured)
        assert not tokens.verify(other, stored, configured)

    @given(secret_parts, peppers, peppers)
    def test_an_older_pepper_still_verifies_and_is_outdated(
        self, secret: str, new: bytes, old: bytes
    ) -> None:
        assume(new != old)
        stored = tokens.digest(secret, [old])

        assert tokens.verify(secret, stored, [new, old])
        assert is_outdated(stored, [new, old])
        assert not is_outdated(stored, [old])

    def test_a_digest_without_pepper_verifies_only_behind_none_and_is_outdated(self) -> None:
        stored = tokens.digest(self.SECRET)

        assert tokens.verify(self.SECRET, stored, [NEW_PEPPER, None])
        assert not tokens.verify(self.SECRET, stored, [NEW_PEPPER])
        assert is_outdated(stored, [NEW_PEPPER, None])

    def test_a_plain_digest_is_wrapped_without_the_secret(self) -> None:
        wrapped = tokens.wrap(tokens.digest(self.SECRET), NEW_PEPPER)

        assert wrapped == tokens.digest(self.SECRET, [NEW_PEPPER, None])

    @pytest.mark.parametrize("configured", [[], [NEW_PEPPER]])
    def test_a_removed_pepper_verifies_nothing(self, configured: list[bytes]) -> None:
        stored = tokens.digest(self.SECRET, [OLD_PEPPER])

        assert not tokens.verify(self.SECRET, stored, configured)

    @pytest.mark.parametrize(
        "stored",
        ["", "$", "sha256", "sha256$", "md5$abc", "hmac-sha256:$", "sha256$é", "plain$" + SECRET],
    )
    def test_an_unknown_or_broken_digest_verifies_nothing(self, stored: str) -> None:
        assert not tokens.verify(self.SECRET, stored, [NEW_PEPPER])

    def test_a_repr_hides_the_secret(self) -> None:
        token = tokens.generate("orgk")

        assert token.id in repr(token)
        assert token.secret not in repr(token)


def is_outdated(stored: str, configured: Sequence[bytes | None]) -> bool:
    """Whether a digest is made anew at the next use."""
    return not stored.startswith(tokens.start_of_digest(configured))


class TestPepperRotation:
    @pytest.fixture
    def host(self, new_host: MakeHost) -> Host:
        return new_host(config={"ORGKEYS_PEPPERS": [OLD_PEPPER]})

    def test_a_used_key_outlives_its_pepper(self, host: Host) -> None:
        token, key_id = host.issue()
        before = host.key(key_id).digest
        with host.sibling(ORGKEYS_PEPPERS=[NEW_PEPPER, OLD_PEPPER]) as rotating:
            assert status(rotating, token) == 200
            assert status(rotating, token) == 200
        after = host.key(key_id).digest

        with host.sibling(ORGKEYS_PEPPERS=[NEW_PEPPER]) as rotated:
            assert status(rotated, token) == 200
        assert not is_outdated(after, [NEW_PEPPER])
        assert before != after

    def test_an_unused_key_ends_with_its_pepper(self, host: Host) -> None:
        token, key_id = host.issue()
        before = host.key(key_id).digest

        with host.sibling(ORGKEYS_PEPPERS=[NEW_PEPPER]) as rotated:
            answer = rotated.client().get("/api/whoami", headers=bearer(token))
        assert answer.status_code == 401
        assert answer.get_json()["code"] == "invalid_key"
        assert host.key(key_id).digest == before

    def test_a_first_pepper_is_taken_up_on_use(self, new_host: MakeHost) -> None:
        host = new_host()
        token, key_id = host.issue()
        with host.sibling(ORGKEYS_PEPPERS=[NEW_PEPPER.decode(), None]) as peppered:
            assert status(peppered, token) == 200

        assert host.key(key_id).digest.startswith("hmac-sha256-of-sha256:")

    def test_a_first_pepper_in_a_rolling_deployment(self, new_host: MakeHost) -> None:
        """No process refuses a key that another has made or used, and none gives a pepper up."""
        host = new_host()
        with (
            host.sibling(ORGKEYS_NEXT_PEPPER=NEW_PEPPER) as accepting,
            host.sibling(ORGKEYS_PEPPERS=[NEW_PEPPER, None]) as making,
        ):
            for maker, step in ((host, (host, accepting)), (accepting, (accepting, making))):
                token, key_id = maker.issue()
                assert host.key(key_id).digest.startswith("sha256$")
                for app in (*step, *step):
                    assert status(app, token) == 200
            assert not tokens.is_plain(host.key(key_id).digest)
            made, key_id = making.issue()
            before = host.key(key_id).digest
            assert [status(app, made) for app in (accepting, making)] == [200, 200]
            assert host.key(key_id).digest == before

    def test_a_later_pepper_in_a_rolling_deployment(self, new_host: MakeHost) -> None:
        host = new_host(config={"ORGKEYS_PEPPERS": [OLD_PEPPER]})
        with (
            host.sibling(ORGKEYS_NEXT_PEPPER=NEW_PEPPER) as accepting,
            host.sibling(ORGKEYS_PEPPERS=[NEW_PEPPER, OLD_PEPPER]) as making,
        ):
            made_before, made_after = accepting.issue()[0], making.issue()[0]
            assert status(host, made_before) == 200
            for token in (made_before, made_after):
                assert [status(app, token) for app in (making, accepting)] == [200, 200]
            for stored in host.keys():  # noqa: SIM118 (a method of the host)
                assert not is_outdated(stored.digest, [NEW_PEPPER])

    def test_a_planted_plain_digest_is_refused(self, new_host: MakeHost) -> None:
        host = new_host()
        token, key_id = host.issue()
        digest = host.key(key_id).digest
        with host.sibling(ORGKEYS_PEPPERS=[NEW_PEPPER]) as peppered:
            assert status(peppered, token) == 401
        assert host.key(key_id).digest == digest

    def test_a_digest_of_the_secret_itself_is_replaced_on_use(self, host: Host) -> None:
        token, key_id = host.issue()
        secret = token.rpartition("_")[2]
        made = hmac.digest(OLD_PEPPER, secret.encode(), "sha256").hex()
        pepper_id = host.key(key_id).digest.partition("$")[0].partition(":")[2]
        with host.app.app_context():
            host.db.session.get(
                host.orgkeys.ApiKey, key_id
            ).digest = f"hmac-sha256:{pepper_id}${made}"
            host.db.session.commit()
        assert status(host, token) == 200
        assert host.key(key_id).digest == tokens.digest(secret, [OLD_PEPPER])
        assert status(host, token) == 200

    @pytest.mark.parametrize("refused_by", ["wrong secret", "revocation", "expiry"])
    def test_a_refused_key_keeps_its_digest(self, host: Host, refused_by: str) -> None:
        expires_at = datetime.now(UTC) if refused_by == "expiry" else None
        token, key_id = host.issue(expires_at=expires_at)
        before = host.key(key_id).digest
        if refused_by == "wrong secret":
            token = with_wrong_secret(token)
        if refused_by == "revocation":
            host.revoke(key_id)

        with host.sibling(ORGKEYS_PEPPERS=[NEW_PEPPER, OLD_PEPPER]) as rotating:
            assert status(rotating, token) == 401
        assert host.key(key_id).digest == before

    def test_a_digest_is_replaced_with_last_used_switched_off(self, host: Host) -> None:
        token, key_id = host.issue()
        with host.sibling(
            ORGKEYS_PEPPERS=[NEW_PEPPER, OLD_PEPPER], ORGKEYS_LAST_USED_SECONDS=None
        ) as rotating:
            assert status(rotating, token) == 200

        assert not is_outdated(host.key(key_id).digest, [NEW_PEPPER])
        assert host.key(key_id).last_used_at is None


def status(host: Host, token: str) -> int:
    return host.client().get("/api/whoami", headers=bearer(token)).status_code
