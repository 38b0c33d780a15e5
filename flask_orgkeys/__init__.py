"""Organisation-scoped API keys for Flask."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import errors as errors
    from . import signals as signals
    from .authentication.outcome import AuthenticatedKey as AuthenticatedKey
    from .extension import OrgKeys as OrgKeys
    from .guards.access_rule import ANY as ANY
    from .guards.current import current_key as current_key
    from .guards.current import current_organization as current_organization
    from .guards.guard import require_key as require_key
    from .guards.guard import require_scope as require_scope
    from .keys.store import IssuedKey as IssuedKey
    from .keys.updating import UNCHANGED as UNCHANGED

__all__ = [
    "ANY",
    "UNCHANGED",
    "AuthenticatedKey",
    "IssuedKey",
    "OrgKeys",
    "current_key",
    "current_organization",
    "errors",
    "require_key",
    "require_scope",
    "signals",
]

_HOMES = {
    "ANY": "guards.access_rule",
    "UNCHANGED": "keys.updating",
    "AuthenticatedKey": "authentication.outcome",
    "IssuedKey": "keys.store",
    "OrgKeys": "extension",
    "current_key": "guards.current",
    "current_organization": "guards.current",
    "require_key": "guards.guard",
    "require_scope": "guards.guard",
}

if not TYPE_CHECKING:

    def __getattr__(name):
        # On first use: pytest imports the plugin flask_orgkeys.testing, and so this, in every run.
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = import_module(f".{_HOMES.get(name, name)}", __name__)
        value = globals()[name] = getattr(module, name) if name in _HOMES else module
        return value
