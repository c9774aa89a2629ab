"""What a `named_env` stood for when it was locked: enough to know the environment again without asking any cache."""

from __future__ import annotations

from typing import NamedTuple

from envlock.model.arch import Arch
from envlock.model.canonical import short_hash
from envlock.model.requirements import Requirements


class Pin(NamedTuple):
    """A name, or a pathspec, and the environment that it stood for."""

    kind: str
    """`name` or `pathspec`."""
    meant: str
    """The name with its tag, `req_id:full_id`, or the pathspec; no variables."""
    requirements: Requirements
    full_ids: tuple[tuple[Arch, str], ...]
    """The environment for each arch that it is there for, sorted by arch."""
    sequence: int = 0
    """Which move of the name it was; 0 for what is no name with a tag."""
    record: str = ""
    """The digest of that move's record; empty for what is no name with a tag."""

    @property
    def req_id(self) -> str:
        """The id of what was asked."""
        return self.requirements.req_id

    def full_id(self, arch: Arch) -> str | None:
        """The environment for an arch, where there is one."""
        return dict(self.full_ids).get(arch)

    @property
    def base(self) -> str:
        """What an environment that extends this one has as `Requirements.base`.

        The same for every name of one environment, and another one for each of its contents.

        >>> Pin("name", "team/base:v1", Requirements(), ((Arch("linux-64"), "0" * 40),)).base
        'pypi:bc8c701450110368df6913215c3f78f277d2bd81:fcdd5a86e1a3374b'
        """
        rows = [[arch, full_id] for arch, full_id in sorted(self.full_ids)]
        return f"{self.requirements.type}:{self.req_id}:{short_hash('base', 1, rows)[:16]}"
