"""Who works here."""

from __future__ import annotations

import getpass
import os


def user() -> str:
    """The user, as Metaflow calls them; the number of one who has no name here."""
    try:
        return os.environ.get("METAFLOW_USER") or getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"
