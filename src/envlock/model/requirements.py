"""The requirements of one environment, whose hash is its `req_id`, and their table in locks and pins."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from envlock.model.arch import Arch
from envlock.model.identity import Plain, req_id
from envlock.model.requirement import PypiRequirement, is_package_name, normalized, parse_requirement
from envlock.model.url import is_channel, is_links_of_folder, is_web, strip_channel_credentials, strip_credentials
from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from envlock.model.conda_requirement import CondaRequirement

TYPES = ("pypi", "conda", "mixed")

REQUIREMENT_KEYS: dict[str, type[str] | type[list[Plain]]] = {
    "python": str,
    "python-from": str,
    "pypi": list,
    "metaflow": list,
    "indexes": list,
    "default-index": str,
    "pip-flags": list,
    "exclude-newer": str,
    "conda": list,
    "conda-only": list,
    "channels": list,
    "system": list,
    "base": str,
}
"""The keys of the table, those of `Requirements.document()`; empty values are left out."""
LATER_KEYS: dict[str, type[str] | type[list[Plain]]] = {
    "channel-priority": str,
    "package-indexes": list,
    "constraints": list,
    "hashes": list,
    "find-links": list,
    "variables": list,
    "overrides": list,
}
"""Keys that are no part of the document where they are empty."""
_ROWS = {"package-indexes": 2, "hashes": 2, "variables": 2, "system": 3}
"""How many texts a row of a key has; the other lists hold texts."""


class Requirements(NamedTuple):
    """Everything that a resolution depends on, and nothing of the machine it happens on.

    The same for every arch: facts that differ by arch (`system`) are listed for all of them. `indexes` and `channels`
    are in order, for order is priority; everything else is a set. URLs carry no credentials.
    """

    python: str = ""
    """The Pythons that are allowed, a PEP 440 specifier set; empty for any."""
    python_from: str = "machine"
    """Where the interpreter comes from: `machine`, `uv` or `conda`."""
    pypi: tuple[PypiRequirement, ...] = ()
    """The user's PyPI packages. A package may have several requirements: all of them hold."""
    metaflow: tuple[PypiRequirement, ...] = ()
    """What Metaflow itself needs to run a step, added for the datastores in use."""
    indexes: tuple[str, ...] = ()
    """Extra package indexes, searched before the default one; the first that has a package wins."""
    default_index: str = ""
    """The index searched last; empty for the resolver's own default."""
    pip_flags: tuple[str, ...] = ()
    """Flags of pip without dashes, as `extras` lists them: `pre`, which allows pre-releases."""
    exclude_newer: str = ""
    """An absolute instant (RFC 3339, UTC) after which nothing was published; a span never stands here."""
    conda: tuple[CondaRequirement, ...] = ()
    """The user's conda packages."""
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
    constraints: tuple[PypiRequirement, ...] = ()
    """What the versions of PyPI packages must meet where they are needed at all: they require no package."""
    hashes: tuple[tuple[str, str], ...] = ()
    """`(PyPI package, SHA-256)`: the file of that package, or the sdist it is built from, has one of its hashes."""
    find_links: tuple[str, ...] = ()
    """Pages with links to files (pip's `--find-links`): URLs that are searched beside the indexes.

    The wheels of a folder are `wheels+sha256:` and a hash of their names and content.
    """
    variables: tuple[tuple[str, str], ...] = ()
    """`(NAME, value)`: environment variables that are set where the environment is entered."""
    overrides: tuple[PypiRequirement, ...] = ()
    """What PyPI packages are required as, in place of what anybody requires of them; nobody's where no marker holds."""

    @property
    def type(self) -> str:
        """`pypi`, `conda` or `mixed`, by the packages listed; Python and Metaflow's needs do not count.

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
        """All of the user's conda packages, those of `conda_only` last."""
        return self.conda + self.conda_only

    def conda_of(self, arch: str) -> tuple[CondaRequirement, ...]:
        """The user's conda packages that an arch has, those of `conda_only` last."""
        return tuple(
            each._replace(archs=()) if each.archs else each
            for each in self.all_conda
            if not each.archs or arch in each.archs
        )

    def roots(self) -> tuple[PypiRequirement, ...]:
        """Every PyPI requirement that is resolved: the user's, then Metaflow's as far as PyPI is to meet them."""
        return self.pypi + self.metaflow_of_pypi

    @property
    def all_pypi(self) -> tuple[PypiRequirement, ...]:
        """Every requirement that says something of a PyPI package: the roots, constraints and overrides."""
        return self.roots() + self.constraints + self.overrides

    @property
    def metaflow_of_pypi(self) -> tuple[PypiRequirement, ...]:
        """What Metaflow needs and PyPI provides: all of it, or beside conda packages what the user lists for PyPI.

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
        """What Metaflow needs and a channel provides."""
        of_pypi = self.metaflow_of_pypi
        return tuple(needed for needed in self.metaflow if needed not in of_pypi)

    def flagged(self, flag: str) -> frozenset[str]:
        """The packages that a flag of pip names, `:all:` among them if it is for every one.

        >>> sorted(Requirements(pip_flags=("no-binary=lxml", "pre")).flagged("no-binary"))
        ['lxml']
        """
        return frozenset(each[len(flag) + 1 :] for each in self.pip_flags if each.startswith(f"{flag}="))

    def is_built(self, package: str) -> bool:
        """Whether a package has to be built from its sdist, even if it has a wheel."""
        return not self.flagged("no-binary").isdisjoint({package, ":all:"})

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
            **self._of_format_3(),
        }

    def _of_format_3(self) -> dict[str, Plain]:
        found: dict[str, Plain] = {
            "constraints": sorted({str(each) for each in self.constraints}),
            "hashes": [[name, sha256] for name, sha256 in sorted(set(self.hashes))],
            "find-links": list(self.find_links),
            "variables": [[name, value] for name, value in sorted(self.variables)],
            "overrides": sorted({str(each) for each in self.overrides}),
        }
        return {key: value for key, value in found.items() if value}

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


def type_of(
    base: str, python_from: str, pypi: Sequence[object], conda: Sequence[object], conda_only: Sequence[object]
) -> str:
    """The type of an environment with these packages; `base` and `python_from` are as in Requirements."""
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


def requirements_document(table: Mapping[str, Any]) -> dict[str, Plain]:
    """The document that req_id hashes, from the table.

    Raises ValueError when the table holds something else than that document.
    """
    document: dict[str, Plain] = {}
    for key, kind in REQUIREMENT_KEYS.items():
        value: Any = table.get(key)
        if value is not None and type(value) is not kind:
            raise ValueError(f"requirements.{key} is no {kind.__name__}")
        _check_texts(key, value)
        document[key] = kind() if value is None else value
    for key, later in LATER_KEYS.items():
        if key in table:
            if type(table[key]) is not later or not table[key]:
                raise ValueError(f"requirements.{key} is no {later.__name__}")
            _check_texts(key, table[key])
            document[key] = table[key]
    if not set(table) <= {*REQUIREMENT_KEYS, *LATER_KEYS}:
        raise ValueError("requirements hold an unknown key")
    return document


def _conda(texts: Sequence[str]) -> tuple[CondaRequirement, ...]:
    if not texts:
        return ()
    from envlock.model.conda_requirement import parse_conda_requirement

    found = tuple(map(parse_conda_requirement, texts))
    if list(map(str, found)) != list(texts):
        raise ValueError("requirements hold a conda package that is not in its canonical spelling")
    return found


def _check_texts(key: str, value: object) -> None:
    if type(value) is not list:
        return
    length = _ROWS.get(key)
    fits = all(map(_is_text, value)) if length is None else all(_is_row(each, length) for each in value)
    if not fits:
        raise ValueError(f"requirements.{key} holds something else than texts")


def _is_text(value: object) -> bool:
    return type(value) is str


def _is_row(value: object, length: int) -> bool:
    return type(value) is list and len(value) == length and all(map(_is_text, value))


def requirements_from(table: Mapping[str, Any]) -> Requirements:
    """The requirements in the table, checked as those of envlock.toml are.

    Raises KeyError, TypeError, ValueError and ConfigError on other content.
    """
    requirements_document(table)
    indexes = dict(table.get("package-indexes", ()))
    pages = (url for url in table.get("find-links", ()) if not is_links_of_folder(url))
    named = (*table.get("indexes", ()), *indexes.values(), *pages)
    for url in (*named, *filter(None, [table.get("default-index", "")])):
        if not is_web(url) or strip_credentials(url) != url:
            raise ValueError(f"requirements name something that is not an index: {strip_credentials(url)!r}")
    for channel in table.get("channels", ()):
        if not is_channel(channel) or strip_channel_credentials(channel) != channel:
            raise ValueError(
                f"requirements name something that is not a channel: {strip_channel_credentials(channel)!r}"
            )
    for name, sha256 in table.get("hashes", ()):
        if normalized(name) != name or not is_package_name(name) or re.fullmatch("[0-9a-f]{64}", sha256) is None:
            raise ValueError(f"requirements hold something that is no hash of a package: {name!r}")
    for name, value in table.get("variables", ()):
        from metaflow_extensions.envlock.plugins.node.home import variable_fault

        if variable_fault(name, value):
            raise ValueError(f"requirements hold a variable that no environment may set: {name!r}")
    return Requirements(
        python=table.get("python", ""),
        python_from=table["python-from"],
        pypi=tuple(
            parse_requirement(text)._replace(from_index=indexes.get(text, "")) for text in table.get("pypi", ())
        ),
        metaflow=tuple(parse_requirement(text) for text in table.get("metaflow", ())),
        indexes=tuple(table.get("indexes", ())),
        default_index=table.get("default-index", ""),
        pip_flags=tuple(table.get("pip-flags", ())),
        exclude_newer=table.get("exclude-newer", ""),
        conda=_conda(table.get("conda", ())),
        conda_only=_conda(table.get("conda-only", ())),
        channels=tuple(table.get("channels", ())),
        system=tuple((Arch(arch), name, version) for arch, name, version in table.get("system", ())),
        base=table.get("base", ""),
        channel_priority=table.get("channel-priority", ""),
        constraints=tuple(map(parse_requirement, table.get("constraints", ()))),
        hashes=tuple((name, sha256) for name, sha256 in table.get("hashes", ())),
        find_links=tuple(table.get("find-links", ())),
        variables=tuple((name, value) for name, value in table.get("variables", ())),
        overrides=tuple(map(parse_requirement, table.get("overrides", ()))),
    )
