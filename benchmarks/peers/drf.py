"""djangorestframework-api-key, in an environment of its own, on keys of its own.

Generous to it: no middleware, no other authentication, and connections that stay open.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any
from urllib.parse import urlsplit

from benchmarks.peers import worker

NAMES = ("Django REST framework", "djangorestframework-api-key")
PATHS = dict(zip(NAMES, ("/bare", "/guarded"), strict=True))


def main(arguments: Sequence[str]) -> None:
    url, size = arguments
    _configure(url)
    tokens = _make_keys(int(size))
    from django.core.wsgi import get_wsgi_application

    app = get_wsgi_application()
    worker.serve(
        {name: _block(app, PATHS[name], tokens) for name in NAMES},
        {
            name: metadata.version(name)
            for name in ("django", "djangorestframework", "djangorestframework-api-key")
        },
    )


def _configure(url: str) -> None:
    import django
    from django.conf import settings

    settings.configure(
        SECRET_KEY="no session is used, so that this signs nothing",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        DATABASES={"default": {**_database(url), "CONN_MAX_AGE": None}},
        INSTALLED_APPS=["rest_framework", "rest_framework_api_key"],
        MIDDLEWARE=[],
        USE_TZ=True,
        REST_FRAMEWORK={"DEFAULT_AUTHENTICATION_CLASSES": [], "UNAUTHENTICATED_USER": None},
    )
    django.setup()


def _database(url: str) -> dict[str, Any]:
    if url.startswith("sqlite"):
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": url.removeprefix("sqlite:///"),
            "OPTIONS": {"init_command": "PRAGMA journal_mode = WAL"},
        }
    parts = urlsplit(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path[1:],
        "HOST": parts.hostname,
        "PORT": parts.port or 5432,
        "USER": parts.username,
        "PASSWORD": parts.password or "",
    }


def _make_keys(size: int) -> list[str]:
    from django.core.management import call_command
    from rest_framework_api_key.models import APIKey

    call_command("migrate", verbosity=0)
    tokens, rows = [], []
    for number in range(size):
        row = APIKey(name=f"Pipeline {number}")
        tokens.append(APIKey.objects.assign_key(row))
        rows.append(row)
    APIKey.objects.bulk_create(rows, batch_size=500)
    return tokens


def _block(app: Any, path: str, tokens: Sequence[str]) -> Callable[[int], float]:
    from django.test import RequestFactory

    template = RequestFactory().get(path).environ

    def block(count: int) -> float:
        environs = [
            {**template, "HTTP_AUTHORIZATION": f"Api-Key {token}"}
            for token in random.choices(tokens, k=count)
        ]
        statuses: list[str] = []

        def start_response(status: str, _headers: object, _exc_info: object = None) -> None:
            statuses.append(status)

        start = time.perf_counter()
        for environ in environs:
            body = app(environ, start_response)
            b"".join(body)
            body.close()
        seconds = time.perf_counter() - start
        if {status[:3] for status in statuses} != {"200"}:
            raise RuntimeError(f"{path} was answered with {set(statuses)}")
        return seconds

    return block


def __getattr__(name: str) -> Any:
    """Make the URL patterns when Django asks for them, for they need it to be set up."""
    if name != "urlpatterns":
        raise AttributeError(name)
    from django.urls import path
    from rest_framework.response import Response
    from rest_framework.views import APIView
    from rest_framework_api_key.permissions import HasAPIKey

    class Bare(APIView):
        permission_classes: list[Any] = []

        def get(self, _request: Any) -> Response:
            return Response("done")

    class Guarded(Bare):
        permission_classes = [HasAPIKey]

    return [path("bare", Bare.as_view()), path("guarded", Guarded.as_view())]


if __name__ == "__main__":
    main(sys.argv[1:])
