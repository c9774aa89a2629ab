"""What one environment asks for: the values that `req_id` is the name of."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from envlock.model.arch import Arch
from envlock.model.canonical import Plain
from envlock.model.identity import req_id
from envlock.model.requirement import PypiRequirement


class Requirements(NamedTuple):
    """Everything that a resolution depends on, and nothing of the machine it happens on.

    The same for every arch: facts that differ by arch (`system`) are listed for all of them. `indexes` and `channels`
    are in order, for order is priority; everything else is a set. URLs carry no credentials.
    """

    python: str = ""
    """The Python asked for, a PEP 440 specifier set; empty for any."""
    python_from: str = "machine"
    """Where the interpreter comes from: `machine`, `uv` or `conda`."""
    pypi: tuple[PypiRequirement, ...] = ()
    metaflow: tuple[PypiRequirement, ...] = ()
    """What Metaflow itself needs to run a step, added for the datastores in use."""
    indexes: tuple[str, ...] = ()
    """Extra package indexes, asked before the default one, first match wins."""
    default_index: str = ""
    """The index asked last; empty for the resolver's own default."""
    pip_flags: tuple[str, ...] = ()
    """The reference's `extras`: pip flags without dashes, of which `pre` has a meaning here."""
    exclude_newer: str = ""
    """An absolute instant (RFC 3339, UTC) after which nothing was published; a span never stands here."""
    conda: tuple[str, ...] = ()
    conda_only: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    system: tuple[tuple[Arch, str, str], ...] = ()
    """`(arch, virtual package, version)`, such as `("linux-64", "__glibc", "2.28")`."""
    base: str = ""
    """The named environment that this one extends."""

    @property
    def type(self) -> str:
        """`pypi`, `conda` or `mixed`, after what is asked."""
        if self.conda or self.conda_only:
            return "mixed" if self.pypi else "conda"
        return "pypi"

    def roots(self) -> tuple[PypiRequirement, ...]:
        """Every PyPI requirement that is resolved: the user's, then Metaflow's."""
        return self.pypi + self.metaflow

    def document(self) -> dict[str, Plain]:
        """The plain value that req_id hashes: version 1, fixed for ever.

        >>> sorted(Requirements().document())[:4]
        ['base', 'channels', 'conda', 'conda-only']
        """
        return {
            "python": self.python,
            "python-from": self.python_from,
            "pypi": sorted(str(requirement) for requirement in self.pypi),
            "metaflow": sorted(str(requirement) for requirement in self.metaflow),
            "indexes": list(self.indexes),
            "default-index": self.default_index,
            "pip-flags": sorted(set(self.pip_flags)),
            "exclude-newer": self.exclude_newer,
            "conda": sorted(self.conda),
            "conda-only": sorted(self.conda_only),
            "channels": list(self.channels),
            "system": sorted([arch, name, version] for arch, name, version in self.system),
            "base": self.base,
        }

    @property
    def req_id(self) -> str:
        """40 hex digits that name these requirements, on every machine and for every arch.

        >>> Requirements(python=">=3.11").req_id == Requirements(python=">=3.11").req_id
        True
        >>> Requirements(indexes=("a", "b")).req_id == Requirements(indexes=("b", "a")).req_id
        False
        """
        return _req_id(self)


@lru_cache(maxsize=1024)
def _req_id(requirements: Requirements) -> str:
    return req_id(requirements.document())
