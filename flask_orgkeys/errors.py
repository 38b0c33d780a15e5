"""Exceptions: the answers of guards, the errors of management, and those of a wrong set-up.

The answer of a guard is a subclass of Werkzeug's own class for the status, so a host's
``errorhandler(401)`` or ``errorhandler(errors.ExpiredKey)`` can answer in its place.

.. versionadded:: 0.1.0
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, ClassVar

from flask import Response
from werkzeug.exceptions import (
    BadRequest,
    Conflict,
    Forbidden,
    HTTPException,
    NotFound,
    ServiceUnavailable,
    Unauthorized,
    UnprocessableEntity,
)
from werkzeug.http import HTTP_STATUS_CODES

from .headers import RefusalHeaders

RETRY_AFTER_SECONDS = 5


class ConfigurationError(RuntimeError):
    """The app is set up wrongly. The text names the remedy."""


class KeyNotFound(LookupError):
    """The organisation has no key of that id. One of another organisation is no different.

    :param key_id: the id that was asked for.
    """

    def __init__(self, key_id: str) -> None:
        # Without the id, for somebody may have given a whole key for one.
        super().__init__("the organisation has no such API key")
        self.key_id = key_id


class KeyLimitReached(ValueError):
    """The organisation has as many live keys as ``ORGKEYS_MAX_KEYS`` allows.

    :param limit: that number.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(f"the organisation has {limit} live API keys, the most it may have")
        self.limit = limit


class ReplayedCreation(ValueError):
    """A create form was sent before, and has made its key.

    :param key_id: the public id of that key.
    """

    def __init__(self, key_id: str) -> None:
        super().__init__(f"this form has created the API key {key_id!r} already")
        self.key_id = key_id


class KeyEnded(RuntimeError):
    """The key was revoked or has expired. An ended key stays ended: it cannot be rotated.

    :param key_id: the public id of the key.

    .. versionadded:: 0.1.0
    """

    def __init__(self, key_id: str) -> None:
        super().__init__(f"the API key {key_id!r} has ended: create another one")
        self.key_id = key_id


class RotationConflict(RuntimeError):
    """The key was rotated by another one at the same time. Nothing is written.

    :param key_id: the public id of the key.

    .. versionadded:: 0.1.0
    """

    def __init__(self, key_id: str) -> None:
        super().__init__(f"the API key {key_id!r} was rotated by another one at the same time")
        self.key_id = key_id


class RequestRefused(HTTPException):
    """The refusal of a request by a guard. Answers with an RFC 9457 problem and, if it is due, an
    RFC 6750 challenge.

    :param realm: the realm of the challenge.
    :param scopes: the scopes the guard requires.
    """

    problem_code: ClassVar[str]
    """Value of the problem's ``code`` member."""
    challenge: ClassVar[str | None] = None
    """RFC 6750 error code of the challenge, ``""`` for a challenge without one, or ``None``."""

    def __init__(self, realm: str = "", scopes: Iterable[str] = ()) -> None:
        super().__init__()
        self.realm = realm
        self.scopes: tuple[str, ...] = tuple(scopes)

    @property
    def protocol_headers(self) -> dict[str, str]:
        """Headers that stay when a host's error handler answers with a body of its own."""
        headers = {"Cache-Control": "no-store"}
        if self.challenge is not None:
            scopes = self.scopes if self.challenge == "insufficient_scope" else ()
            headers["WWW-Authenticate"] = _challenge(self.realm, self.challenge, scopes)
        return headers

    def problem(self) -> dict[str, Any]:
        """Return the members of the problem document."""
        return {
            "type": "about:blank",
            "title": HTTP_STATUS_CODES[self.code or 0],
            "status": self.code,
            "detail": self.description,
            "code": self.problem_code,
        }

    @property
    def data(self) -> dict[str, Any]:
        """The problem document, which class frameworks like Flask-RESTful send.

        .. versionadded:: 0.1.0
        """
        return self.problem()

    def get_response(self, environ: Any = None, scope: Any = None) -> Response:  # noqa: ARG002
        """Return the problem as a response."""
        response = Response(
            _document(**self.problem()),
            status=self.code,
            content_type="application/problem+json",
        )
        for name, value in (*self.protocol_headers.items(), ("Vary", "Authorization")):
            response.headers.add(name, value)
        RefusalHeaders.keep(response)
        return response

    def keep_protocol_headers(self, response: Any) -> Any:
        """Set :attr:`protocol_headers` and ``Vary: Authorization`` on the answer of a host's error
        handler, if the status is still this one's.

        It takes no cookie either, now or later: Flask adds that of the session last of all.
        """
        if response.status_code == self.code:
            response.headers.update(self.protocol_headers)
            response.vary.add("Authorization")
            response.headers.remove("Set-Cookie")
            RefusalHeaders.keep(response)
        return response

    def answer_instead(self, response: Any) -> Any:
        """Return the problem in place of the host's answer to this refusal, if the status is
        still this one's: for ``ORGKEYS_PROBLEM_DETAILS = "always"``.
        """
        return self.get_response() if response.status_code == self.code else response


class MissingKey(RequestRefused, Unauthorized):
    """The request carries no key."""

    problem_code = "missing_key"
    challenge: ClassVar[str | None] = ""
    description: str = "This endpoint needs an API key: send it as 'Authorization: Bearer <key>'."


class InvalidKey(RequestRefused, Unauthorized):
    """The credential is malformed, unknown, wrong, or no key of ours. Which is not told."""

    problem_code = "invalid_key"
    challenge: ClassVar[str | None] = "invalid_token"
    description: str = "The API key is not valid."


class RevokedKey(RequestRefused, Unauthorized):
    """The key was revoked."""

    problem_code = "revoked_key"
    challenge: ClassVar[str | None] = "invalid_token"
    description: str = (
        "The API key was revoked. Ask an administrator of the organisation for a new one."
    )


class ExpiredKey(RequestRefused, Unauthorized):
    """The key has expired."""

    problem_code = "expired_key"
    challenge: ClassVar[str | None] = "invalid_token"
    description: str = (
        "The API key has expired. Ask an administrator of the organisation for a new one."
    )


class RotatedKey(RequestRefused, Unauthorized):
    """The secret was replaced by a rotation, and its overlap has ended.

    .. versionadded:: 0.1.0
    """

    problem_code = "rotated_key"
    challenge: ClassVar[str | None] = "invalid_token"
    description: str = (
        "The API key has a new secret, and this one no longer works. Ask an administrator of the "
        "organisation for it."
    )


class InsufficientScope(RequestRefused, Forbidden):
    """The key does not hold every scope the endpoint requires."""

    problem_code = "insufficient_scope"
    challenge: ClassVar[str | None] = "insufficient_scope"
    description: str = "The API key does not hold every scope that this endpoint requires."


class OrganizationNotFound(RequestRefused, NotFound):
    """The organisation in the URL does not exist, or the key is not one of its keys."""

    problem_code = "organization_not_found"
    description: str = "There is no such organisation."


class RotationNotAllowed(RequestRefused, Forbidden):
    """The key may not replace its own secret, or not by the secret that it was sent with.

    .. versionadded:: 0.1.0
    """

    problem_code = "rotation_not_allowed"
    description: str = "The API key may not replace its own secret, or not by this one."


class SimultaneousRotation(RequestRefused, Conflict):
    """The key was rotated while the request to rotate it was under way.

    .. versionadded:: 0.1.0
    """

    problem_code = "rotation_conflict"
    description: str = "The API key was rotated by another request at the same time."


class InvalidOverlap(RequestRefused, UnprocessableEntity):
    """The request to rotate a key asks for an overlap that is not allowed.

    .. versionadded:: 0.1.0
    """

    problem_code = "invalid_overlap"
    description: str = (
        "overlap_seconds must be a whole number of seconds in a JSON object, from 0 to the longest "
        "overlap that the app allows."
    )


class InvalidRequest(RequestRefused, BadRequest):
    """The request carries several credentials."""

    problem_code = "invalid_request"
    challenge: ClassVar[str | None] = "invalid_request"
    description: str = (
        "The request carries several credentials. Send one 'Authorization: Bearer <key>'."
    )


class Unavailable(RequestRefused, ServiceUnavailable):
    """The database cannot be asked."""

    problem_code = "unavailable"
    description: str = "API keys cannot be checked at the moment. Try again shortly."

    @property
    def protocol_headers(self) -> dict[str, str]:
        return {**super().protocol_headers, "Retry-After": str(RETRY_AFTER_SECONDS)}


def _document(**members: Any) -> bytes:
    return f"{json.dumps(members)}\n".encode()


def _challenge(realm: str, error: str, scopes: tuple[str, ...]) -> str:
    parameters = {"realm": realm}
    if error:
        parameters["error"] = error
    if scopes:
        parameters["scope"] = " ".join(scopes)
    return "Bearer " + ", ".join(f'{name}="{_quoted(value)}"' for name, value in parameters.items())


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
