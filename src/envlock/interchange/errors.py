"""What keeps a lock from being written in another tool's format."""

from __future__ import annotations

from collections.abc import Sequence

from envlock.errors import ConfigError
from envlock.words import first_of

_SHOWN = 6


class FormatCannotHold(ConfigError):
    """A lock has something that the format has no place for, and nothing is left out silently."""

    code = "format-cannot-hold"
    message = "the format `{format}` cannot hold {what}"
    details = ("of {environment}: {found}",)

    def __init__(self, format: str, what: str, environment: str, found: Sequence[str], hint: str) -> None:  # noqa: A002
        """`what` says what kind of thing it is, `found` which ones there are."""
        super().__init__(format=format, what=what, environment=environment, found=first_of(found, _SHOWN), hint=hint)
