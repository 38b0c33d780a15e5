"""Blinker signals, sent with the app as their sender. None carries a secret.

.. versionadded:: 0.1.0
"""

from __future__ import annotations

from blinker import NamedSignal, Namespace

_namespace = Namespace()

key_created: NamedSignal = _namespace.signal("orgkeys-key-created")
"""A key was created and flushed; the caller has yet to commit.

:param sender: the Flask app.
:param key: the stored key, an instance of ``orgkeys.ApiKey``.
"""

key_revoked: NamedSignal = _namespace.signal("orgkeys-key-revoked")
"""A key was revoked and flushed; the caller has yet to commit. Not sent for a repeated revocation.

:param sender: the Flask app.
:param key: the stored key, an instance of ``orgkeys.ApiKey``.
"""

key_rotated: NamedSignal = _namespace.signal("orgkeys-key-rotated")
"""A key got a new secret and was flushed; the caller has yet to commit.

:param sender: the Flask app.
:param key: the stored key, an instance of ``orgkeys.ApiKey``.

.. versionadded:: 0.1.0
"""

previous_secret_ended: NamedSignal = _namespace.signal("orgkeys-previous-secret-ended")
"""The secret before was ended ahead of its time and the key flushed; the caller has yet to commit.
Not sent if none was alive, nor for a rotation that ends an older secret.

:param sender: the Flask app.
:param key: the stored key, an instance of ``orgkeys.ApiKey``.

.. versionadded:: 0.1.0
"""

key_authenticated: NamedSignal = _namespace.signal("orgkeys-key-authenticated")
"""A request carried a valid key. Sent once a request, before any guard has looked at it.

:param sender: the Flask app.
:param key: the :class:`~flask_orgkeys.auth.AuthenticatedKey`, as ``current_key`` gives it.
"""

request_refused: NamedSignal = _namespace.signal("orgkeys-request-refused")
"""A guard refused a request.

:param sender: the Flask app.
:param error: the exception the guard raises, a :class:`~flask_orgkeys.errors.RequestRefused`.
:param key_id: the public id of the key, where one with a right checksum was presented; or
    ``None``. Anyone can write an id: only behind ``revoked_key``, ``expired_key``,
    ``rotated_key``, ``insufficient_scope`` and ``organization_not_found`` was the secret right too.
"""
