"""The pages for people: sign-in, organisations, and each organisation's settings."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flask import Blueprint, Response, abort, flash, redirect, render_template, request, url_for
from flask_login import current_user, login_user, logout_user
from sqlalchemy import select
from werkzeug.security import check_password_hash, generate_password_hash

from .extensions import db, login_manager
from .forms import LoginForm, OrganizationForm
from .mailbox import mails_of
from .models import AppVersion, Deployment, Membership, Organization, Project, User

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

RECENT = 25

# Signing out twice, from two tabs say, is no reason to be asked to sign in for it.
OPEN_TO_ALL = ("pages.login", "pages.logout")

pages = Blueprint("pages", __name__)

# One slash and no backslash: browsers read "//host" and "/\host" as another site.
_LOCAL_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]*", re.ASCII)
_NOBODYS_HASH = generate_password_hash("nobody's")


@pages.before_request
def require_sign_in() -> ResponseReturnValue | None:
    """Ask for a signed-in user on every page but those open to all."""
    if request.endpoint not in OPEN_TO_ALL and not current_user.is_authenticated:
        refusal: ResponseReturnValue = login_manager.unauthorized()
        return refusal
    return None


@pages.after_request
def keep_private(response: Response) -> Response:
    """After signing out, Back shows nothing."""
    response.headers.setdefault("Cache-Control", "no-store")
    return response


@pages.route("/login", methods=["GET", "POST"])
def login() -> ResponseReturnValue:
    """The sign-in page."""
    if current_user.is_authenticated:
        return redirect(_after_login(), 303)
    form = LoginForm()
    if not form.is_submitted():
        return render_template("cockpit/login.html", form=form)
    user = _user_of(form) if form.validate() else None
    if user is None:
        return render_template("cockpit/login.html", form=form, refused=True), 422
    login_user(user)
    return redirect(_after_login(), 303)


@pages.post("/logout")
def logout() -> ResponseReturnValue:
    """End the session."""
    logout_user()
    flash("You are signed out.")
    return redirect(url_for("pages.login"), 303)


@pages.get("/")
def organizations() -> ResponseReturnValue:
    """The organisations of the signed-in user."""
    memberships = sorted(current_user.memberships, key=lambda each: each.organization.name)
    return render_template("cockpit/organizations.html", memberships=memberships)


@pages.get("/o/<org_slug>/")
def overview(org_slug: str) -> ResponseReturnValue:
    """An organisation's projects, and what was deployed and published last."""
    organization = _membership(org_slug).organization
    deployments = db.session.scalars(
        select(Deployment)
        .join(Deployment.project)
        .where(Project.organization_id == organization.id)
        .order_by(Deployment.id.desc())
        .limit(RECENT)
    )
    versions = db.session.scalars(
        select(AppVersion)
        .where(AppVersion.organization_id == organization.id)
        .order_by(AppVersion.id.desc())
        .limit(RECENT)
    )
    return render_template(
        "cockpit/overview.html",
        organization=organization,
        deployments=deployments.all(),
        versions=versions.all(),
        recent=RECENT,
    )


@pages.route("/o/<org_slug>/settings/", methods=["GET", "POST"])
def general(org_slug: str) -> ResponseReturnValue:
    """The General tab. Only an administrator may rename the organisation."""
    membership = _membership(org_slug)
    organization = membership.organization
    form = OrganizationForm(obj=organization)
    if form.is_submitted():
        if not membership.is_admin:
            abort(403)
        if form.validate():
            organization.name = str(form.name.data)
            db.session.commit()
            flash("The name is saved.")
            return redirect(url_for("pages.general", org_slug=org_slug), 303)
    page = render_template(
        "cockpit/general.html", organization=organization, form=form, membership=membership
    )
    return page, 422 if form.errors else 200


@pages.get("/o/<org_slug>/settings/members")
def members(org_slug: str) -> ResponseReturnValue:
    """The Members tab."""
    organization = _membership(org_slug).organization
    memberships = sorted(organization.memberships, key=lambda each: each.user.email)
    return render_template(
        "cockpit/members.html", organization=organization, memberships=memberships
    )


@pages.get("/o/<org_slug>/settings/mailbox")
def mailbox(org_slug: str) -> ResponseReturnValue:
    """The Mailbox tab, for administrators."""
    membership = _membership(org_slug)
    if not membership.is_admin:
        abort(403)
    organization = membership.organization
    mails = mails_of(organization)
    return render_template("cockpit/mailbox.html", organization=organization, mails=mails)


def _membership(org_slug: str) -> Membership:
    """The user's membership. To others the organisation does not exist."""
    organization = Organization.by_slug(org_slug)
    membership = current_user.membership_of(organization) if organization else None
    if not isinstance(membership, Membership):
        abort(404)
    return membership


def _user_of(form: LoginForm) -> User | None:
    """The user with that address and password. An unknown address takes as long to refuse."""
    user = db.session.scalar(select(User).where(User.email == str(form.email.data).lower()))
    matches = check_password_hash(
        user.password_hash if user else _NOBODYS_HASH, str(form.password.data)
    )
    return user if matches else None


def _after_login() -> str:
    """Where to go after signing in: ``next``, as long as it is a path of this site."""
    target = request.args.get("next", "")
    return target if _LOCAL_PATH.fullmatch(target) else url_for("pages.organizations")
