"""Cockpit: a small console for projects and deployments, built around flask-orgkeys."""

from .app import create_app as create_app
from .extensions import db as db
from .extensions import orgkeys as orgkeys
from .models import Organization as Organization
