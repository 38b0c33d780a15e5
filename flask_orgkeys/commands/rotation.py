"""Commands on the secrets of a key: ``flask orgkeys rotate`` and ``end-previous``."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from .. import tokens
from ..errors import KeyEnded, KeyNotFound, RotationConflict
from ..keys import rotation
from ..keys.document import document
from ..keys.events import Actor
from ..keys.models import ApiKey
from ..keys.rotation import ends_oldest, marker_of
from ..keys.times import is_past
from ..management import management
from ..state import AppState, state_of
from .group import as_json, by, commands, commit, login_name, organization_id_of
from .keys import expires_at_of, expires_in, issued_text, key_of
from .output import minute, output, print_json, secret_output

OLDEST_ENDS = "The oldest secret ends at once."

_OVERLAP = re.compile("([0-9]{1,6})([dh])|0")


@commands.command("rotate")
@click.argument("organization")
@click.argument("key_id")
@click.option(
    "--overlap",
    metavar="7d|12h|0",
    help="How long the secret before works on. [default: as on the page]",
)
@expires_in
@output
@by
@as_json
def rotate(
    organization: str,
    key_id: str,
    overlap: str | None,
    expires_in: str | None,
    output: Path | None,
    by: str | None,
    as_json: bool,
) -> None:
    """Give a key of ORGANIZATION a new secret, and print it once.

    ORGANIZATION is the organisation's name in URLs. KEY_ID is the key's id, or its start as the
    pages show it. The key stands alone on standard output. If it is lost before its first use,
    rotate again.
    """
    state = state_of()
    length = _overlap(state, overlap)
    expires_at = expires_at_of(state, expires_in)
    organization_id = organization_id_of(state, organization)
    key = key_of(state, organization, organization_id, key_id)
    key_id = key.id
    if ends_oldest(key, datetime.now(UTC)):
        click.echo(OLDEST_ENDS, err=True)
    actor = Actor.of(by or login_name())
    shown = marker_of(key.rotated_at)
    # Once for all retries: the first has printed it.
    token = tokens.generate(state.settings.prefix, key_id)

    def rotate_and_write() -> ApiKey:
        issued = rotation.rotate(
            state.keys,
            organization_id,
            key_id,
            overlap=length,
            expires_at=expires_at,
            actor=actor,
            after=shown,
            token=token,
        )
        write(issued_text(issued, state, as_json))
        return issued.key

    try:
        with secret_output(output, unless="the key was not rotated") as write:
            rotated = commit(rotate_and_write)
    except (KeyEnded, KeyNotFound, RotationConflict) as error:
        raise click.ClickException(str(error)) from error
    click.echo(_summary(rotated), err=True)


@commands.command("end-previous")
@click.argument("organization")
@click.argument("key_id")
@by
@as_json
def end_previous(organization: str, key_id: str, by: str | None, as_json: bool) -> None:
    """End the secret before the last rotation of a key of ORGANIZATION.

    ORGANIZATION is the organisation's name in URLs. KEY_ID is the key's id, or its start as the
    pages show it.
    """
    state, actor = state_of(), by or login_name()
    organization_id = organization_id_of(state, organization)
    key = key_of(state, organization, organization_id, key_id)
    key_id = key.id
    ended = commit(lambda: management.end_previous_secret(organization_id, key_id, ended_by=actor))
    text = "Ended the secret before of" if ended else "No secret before is alive:"
    click.echo(f"{text} {key_id}", err=True)
    if as_json:
        print_json({"ended": ended, "key": document(key, state.settings)})


def _overlap(state: AppState, text: str | None) -> timedelta:
    settings = state.settings
    if text is None:
        return timedelta(hours=settings.default_rotation_overlap_hours)
    match = _OVERLAP.fullmatch(text)
    if match is None:
        raise click.BadParameter(
            f"{text!r}: write days like '7d', hours like '12h', or '0'.", param_hint="'--overlap'"
        )
    overlap = timedelta(hours=int(match[1] or 0) * (24 if match[2] == "d" else 1))
    if overlap > settings.longest_overlap:
        raise click.BadParameter(
            f"{text!r} is longer than the longest of ORGKEYS_ROTATION_OVERLAP_HOURS, "
            f"{settings.rotation_overlap_hours[-1]}h.",
            param_hint="'--overlap'",
        )
    return overlap


def _summary(key: ApiKey) -> str:
    expires = "never expires" if key.expires_at is None else f"expires {key.expires_at:%Y-%m-%d}"
    has_ended = is_past(key.previous_until, datetime.now(UTC))
    before = "has ended" if has_ended else f"works until {minute(key.previous_until)}"
    return f"Rotated {key.id} {key.name!r}: the secret before {before}; {expires}."
