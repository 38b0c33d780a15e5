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
:param key: the :class:`~flask_orgkeys.AuthenticatedKey`, as ``current_key`` gives it.
"""

request_refused: NamedSignal = _namespace.signal("orgkeys-request-refused")
"""A guard refused a request.

:param sender: the Flask app.
:param error: the exception the guard raises, a :class:`~flask_orgkeys.errors.RequestRefused`.
:param key_id: the public id of the key, where one with a right checksum was presented; or
    ``None``. Anyone can write an id: only behind ``revoked_key``, ``expired_key``,
    ``rotated_key``, ``insufficient_scope`` and ``organization_not_found`` was the secret right too.
"""

notices_due: NamedSignal = _namespace.signal("orgkeys-notices-due")
"""Keys of an organisation end soon, or are still called after their end. Sent by ``flask orgkeys
notify``, once for each organisation with something due.

A receiver sends the mail or the webhook. It runs in the transaction that marks the notices as
told: its own rows in ``db.session`` are kept or lost with the marks, and it must not commit. If it
raises, nothing is marked, and the next run tells the notices again.

:param sender: the Flask app.
:param organization_id: the host's id of the organisation.
:param notices: a list of :class:`~flask_orgkeys.keys.notices.Notice`.
"""
