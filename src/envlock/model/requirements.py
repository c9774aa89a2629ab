"""What one environment asks for: the values that `req_id` is the name of."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from envlock.model.arch import Arch
from envlock.model.canonical import Plain
from envlock.model.identity import req_id
from envlock.model.requirement import PypiRequirement

if TYPE_CHECKING:
    from envlock.model.conda_requirement import CondaRequirement

TYPES = ("pypi", "conda", "mixed")


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
    """What the user asks of PyPI. A package may be asked for more than once: all that is asked of it holds."""
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
    conda: tuple[CondaRequirement, ...] = ()
    """What the user asks of conda channels."""
    conda_only: tuple[CondaRequirement, ...] = ()
    """Conda packages that hold no Python, to go with PyPI ones."""
    channels: tuple[str, ...] = ()
    """Conda channels, names or URLs, the first of which counts most."""
    system: tuple[tuple[Arch, str, str], ...] = ()
    """`(arch, virtual package, version)`, such as `("linux-64", "__glibc", "2.28")`."""
    base: str = ""
    """The environment that this one extends, packages and all: its type, its req_id, and a hash of its full_ids."""
    channel_priority: str = ""
    """`disabled` where a package may come from any channel that has it; empty for strict, the first that has it."""

    @property
    def type(self) -> str:
        """`pypi`, `conda` or `mixed`, after what is asked; Python and Metaflow's needs do not count.

        >>> from envlock.model.conda_requirement import CondaRequirement
        >>> numpy = CondaRequirement("numpy")
        >>> Requirements(conda=(numpy,), python_from="conda").type, Requirements(python_from="conda").type
        ('conda', 'conda')
        >>> Requirements(base="conda:<req_id>:<hash>", pypi=(PypiRequirement("rich"),), python_from="conda").type
        'mixed'
        """
        return type_of(self.base, self.python_from, self.pypi, self.conda, self.conda_only)

    @property
    def has_conda(self) -> bool:
        """Whether a part of the environment, at least its Python, comes from conda channels."""
        return self.python_from == "conda"

    @property
    def all_conda(self) -> tuple[CondaRequirement, ...]:
        """Every conda package that the user asks for, those of `conda_only` last."""
        return self.conda + self.conda_only

    def roots(self) -> tuple[PypiRequirement, ...]:
        """Every PyPI requirement that is resolved: the user's, then Metaflow's as far as PyPI is to meet them."""
        return self.pypi + self.metaflow_of_pypi

    @property
    def metaflow_of_pypi(self) -> tuple[PypiRequirement, ...]:
        """What Metaflow needs and PyPI is to bring: all of it, or beside conda packages what the user asks of PyPI.

        >>> from envlock.model.conda_requirement import CondaRequirement
        >>> needs = (PypiRequirement("boto3"), PypiRequirement("requests"))
        >>> asked = Requirements(conda=(CondaRequirement("numpy"),), pypi=needs[1:], metaflow=needs)
        >>> [each.name for each in asked.metaflow_of_pypi], [each.name for each in asked.metaflow_of_conda]
        (['requests'], ['boto3'])
        """
        if self.type == "pypi":
            return self.metaflow
        own = {requirement.name for requirement in self.pypi}
        return tuple(needed for needed in self.metaflow if needed.name in own)

    @property
    def metaflow_of_conda(self) -> tuple[PypiRequirement, ...]:
        """What Metaflow needs and a channel is to bring."""
        of_pypi = self.metaflow_of_pypi
        return tuple(needed for needed in self.metaflow if needed not in of_pypi)

    def document(self) -> dict[str, Plain]:
        """The plain value that req_id hashes: version 1, fixed for ever.

        A key that came later stands in it only where it says something, so that ids from before stay.

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
            "conda": sorted(map(str, self.conda)),
            "conda-only": sorted(map(str, self.conda_only)),
            "channels": list(self.channels),
            "system": sorted([arch, name, version] for arch, name, version in self.system),
            "base": self.base,
            **({"channel-priority": self.channel_priority} if self.channel_priority else {}),
            **({"package-indexes": pinned} if (pinned := self._package_indexes()) else {}),
        }

    def _package_indexes(self) -> list[Plain]:
        """For each requirement that comes from one index alone: its text, and that index."""
        return [
            [text, index]
            for text, index in sorted((str(each), each.from_index) for each in self.pypi if each.from_index)
        ]

    @property
    def req_id(self) -> str:
        """40 hex digits that name these requirements, on every machine and for every arch.

        >>> Requirements(python=">=3.11").req_id == Requirements(python=">=3.11").req_id
        True
        >>> Requirements(indexes=("a", "b")).req_id == Requirements(indexes=("b", "a")).req_id
        False
        """
        return _req_id(self)


def type_over(base: str, asked: Requirements) -> str:
    """The type of an environment that asks for more than the one it extends, whose type is `base`.

    What adds packages of one kind only keeps that kind; two kinds together are mixed.

    >>> from envlock.model.conda_requirement import CondaRequirement
    >>> numpy = Requirements(conda=(CondaRequirement("numpy"),))
    >>> type_over("pypi", numpy), type_over("conda", numpy)
    ('mixed', 'conda')
    >>> type_over("pypi", Requirements()), type_over("conda", Requirements(conda_only=(CondaRequirement("ffmpeg"),)))
    ('pypi', 'conda')
    """
    return type_of(base, "", asked.pypi, asked.conda, asked.conda_only)


def type_of(
    base: str, python_from: str, pypi: Sequence[object], conda: Sequence[object], conda_only: Sequence[object]
) -> str:
    """The type of an environment that asks for these packages; `base` and `python_from` are as in Requirements."""
    extended = base.partition(":")[0]
    if extended in TYPES:
        added = {kind for kind, packages in (("conda", conda), ("pypi", pypi)) if packages}
        return extended if added <= {extended} else "mixed"
    if conda:
        return "mixed" if pypi else "conda"
    return "conda" if python_from == "conda" and not pypi and not conda_only else "pypi"


@lru_cache(maxsize=1024)
def _req_id(requirements: Requirements) -> str:
    return req_id(requirements.document())
