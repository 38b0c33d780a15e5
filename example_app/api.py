"""The endpoints for automation. Each asks for an API key, and takes nothing else."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, abort, request
from sqlalchemy import select

from flask_orgkeys import current_key, require_key, require_scope

from .extensions import db
from .models import AppVersion, Deployment, Project, as_utc, is_slug

api = Blueprint("api", __name__, url_prefix="/api")

_LABEL = re.compile(r"[!-~]{1,100}", re.ASCII)
_APP_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


@api.after_request
def keep_private(response: Response) -> Response:
    """What a key may read is for its holder alone."""
    response.headers.setdefault("Cache-Control", "no-store")
    return response


@api.get("/whoami")
@require_key
def whoami() -> dict[str, Any]:
    """What the presented key is."""
    expires_at = current_key.expires_at
    return {
        "id": current_key.id,
        "name": current_key.name,
        "organization_id": current_key.organization_id,
        "scopes": sorted(current_key.scopes),
        "expires_at": expires_at.isoformat() if expires_at else None,
    }


@api.get("/o/<org_slug>/projects/<project>/rc")
@require_scope("project:read-rc")
def read_runtime_config(org_slug: str, project: str) -> dict[str, Any]:
    """A project's runtime configuration."""
    found = _project(project)
    return {"organization": org_slug, "project": found.slug, "config": found.runtime_config}


@api.post("/o/<org_slug>/projects/<project>/deployments")
@require_scope("project:deploy")
def deploy(org_slug: str, project: str) -> tuple[dict[str, Any], int]:
    """Deploy a project. The body may name a ``ref``."""
    deployment = Deployment(
        project=_project(project),
        ref=_label_from_body("ref", default="main"),
        key_id=current_key.id,
        key_name=current_key.name,
    )
    db.session.add(deployment)
    db.session.commit()
    return {
        "id": deployment.id,
        "organization": org_slug,
        "project": deployment.project.slug,
        "ref": deployment.ref,
        "by": deployment.key_name,
        "created_at": as_utc(deployment.created_at).isoformat(),
    }, 201


@api.post("/o/<org_slug>/apps/<app_name>/versions")
@require_scope("app:publish")
def publish(org_slug: str, app_name: str) -> tuple[dict[str, Any], int]:
    """Publish a version of an app. The body may name the ``version``; the default is the date."""
    if not _APP_NAME.fullmatch(app_name):
        abort(404, "An app has no such name.")
    published = AppVersion(
        organization_id=current_key.organization_id,
        app_name=app_name,
        version=_label_from_body("version", default=f"{datetime.now(UTC):%Y.%m.%d}"),
        key_id=current_key.id,
        key_name=current_key.name,
    )
    db.session.add(published)
    db.session.commit()
    return {
        "id": published.id,
        "organization": org_slug,
        "app": published.app_name,
        "version": published.version,
        "by": published.key_name,
        "created_at": as_utc(published.created_at).isoformat(),
    }, 201


def _project(slug: str) -> Project:
    """The project of that slug in the key's organisation."""
    query = select(Project).where(
        Project.organization_id == current_key.organization_id, Project.slug == slug
    )
    project = db.session.scalar(query) if is_slug(slug) else None
    if project is None:
        abort(404, "The organisation has no such project.")
    return project


def _label_from_body(name: str, *, default: str) -> str:
    """Return a short text from the JSON body, which may be absent. Anything odd is a 422."""
    body = request.get_data()
    if not body.strip():
        return default
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        abort(HTTPStatus.UNPROCESSABLE_ENTITY, "The body is not JSON.")
    if not isinstance(document, dict):
        abort(HTTPStatus.UNPROCESSABLE_ENTITY, "The body is not a JSON object.")
    value = document.get(name, default)
    if not isinstance(value, str) or not _LABEL.fullmatch(value):
        abort(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"'{name}' must be 1 to 100 printable ASCII characters without spaces.",
        )
    return value
