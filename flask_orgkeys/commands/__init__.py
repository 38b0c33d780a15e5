"""The commands ``flask orgkeys ...``. Each module adds its own to the group."""

from . import app as app
from . import keys as keys
from . import notify as notify
from . import review as review
from . import rotation as rotation
from .group import commands as commands

__all__ = ["commands"]
