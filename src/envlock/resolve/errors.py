"""Why a resolution fails."""

from __future__ import annotations

from collections.abc import Sequence

from envlock.errors import ConfigError, EnvlockError, Location, ResolveError


class _OfOneEnvironment(ResolveError):
    """A failure of one environment for one arch; the workflow adds the lines of envlock.toml."""

    def __init__(
        self,
        environment: str,
        arch: str,
        message: str,
        *,
        details: tuple[str, ...] = (),
        hint: str | None = None,
        packages: tuple[str, ...] = (),
    ) -> None:
        super().__init__(f"{environment} on {arch}: {message}", details=details, hint=hint)
        self.environment = environment
        self.arch = arch
        self.sentence = message
        self.packages = packages

    @property
    def alike(self) -> object:
        """What failures of several archs have in common where they are one failure, besides what is said of it."""
        return (self.code, self.environment, self.sentence, self.details, self.hint, self.packages, self.locations)

    def on(self, archs: tuple[str, ...]) -> EnvlockError:
        """The same failure, of several archs; the arch is no other word in any of its texts."""
        names = ", ".join(archs)
        merged = type(self)(
            self.environment, names, self.sentence, details=self.details, hint=self.hint, packages=self.packages
        )
        merged.locations = self.locations
        return merged

    def in_general(self, word: str) -> _OfOneEnvironment:
        """The same failure, its arch called by another word wherever it is named."""
        general = type(self)(
            self.environment,
            word,
            self.sentence.replace(self.arch, word),
            details=tuple(text.replace(self.arch, word) for text in self.details),
            hint=self.hint.replace(self.arch, word) if self.hint else None,
            packages=self.packages,
        )
        general.locations = self.locations
        return general


def merge_archs(errors: Sequence[EnvlockError]) -> tuple[EnvlockError, ...]:
    """The errors in order, each once, those that differ in nothing but their arch made one."""
    groups: list[list[EnvlockError]] = []
    known: dict[object, list[EnvlockError]] = {}
    told: set[str] = set()
    for error in errors:
        if not isinstance(error, _OfOneEnvironment):
            if error.render() not in told:
                groups.append([error])
            told.add(error.render())
            continue
        keys = (error.alike, error.in_general("{arch}").alike)
        group = next((known[key] for key in keys if key in known), None)
        if group is None:
            groups.append(group := [])
        group.append(error)
        known.update(dict.fromkeys(keys, group))
    return tuple(map(_merged, groups))


def _merged(group: Sequence[EnvlockError]) -> EnvlockError:
    alike = [error for error in group if isinstance(error, _OfOneEnvironment)]
    if len(alike) < 2:
        return group[0]
    first = alike[0]
    archs = tuple(error.arch for error in alike)
    if all(error.alike == first.alike for error in alike):
        merged = first.on(archs)
        if any(error.details != first.details for error in alike):
            merged.details += (f"these lines are of {first.arch}; those of the others differ in versions",)
        return merged
    return first.in_general(", ".join(archs))


class NoSolution(_OfOneEnvironment):
    """The requirements contradict each other, or what is published."""

    code = "no-solution"


class OlderMajorVersion(_OfOneEnvironment):
    """A package would go back a major version, because what is newer has no wheel."""

    code = "older-major-version"


class ReleasesDiffer(_OfOneEnvironment):
    """The releases of Python that an environment may be made of cannot all have the same packages."""

    code = "releases-differ"


class NoSuchPackage(_OfOneEnvironment):
    """An index has no package of that name."""

    code = "no-such-package"


class UnknownHash(_OfOneEnvironment):
    """An index tells no SHA-256 of a file, and it may not be fetched to find out."""

    code = "unknown-hash"


class IndexHashMismatch(_OfOneEnvironment):
    """A file is not what its index says of it: the digest that is told is that of other bytes."""

    code = "index-hash-mismatch"


class NoWheel(_OfOneEnvironment):
    """A package is published, but not as a wheel for this arch and Python."""

    code = "no-wheel"


class IndexUnauthorized(_OfOneEnvironment):
    """An index wants other credentials."""

    code = "index-unauthorized"


class IndexNotFound(_OfOneEnvironment):
    """There is no package index at that URL."""

    code = "index-not-found"


class IndexUnreachable(_OfOneEnvironment):
    """An index did not answer."""

    code = "index-unreachable"
    nobody_there = False
    """Whether there is nobody who would answer anything: then no other environment need be tried."""

    @classmethod
    def by(cls, environments: Sequence[str], archs: Sequence[str], indexes: Sequence[str]) -> IndexUnreachable:
        """The failure of several environments for several archs, where nobody is at an index."""
        names = ", ".join(indexes) or "an index"
        return cls(
            ", ".join(dict.fromkeys(environments)),
            ", ".join(dict.fromkeys(archs)),
            f"{names} did not answer",
            hint="check the network and the index URL, then `envlock lock` again",
            packages=tuple(indexes),
        )


class BadDirectUrl(_OfOneEnvironment):
    """A direct URL that is no wheel that can be fetched."""

    code = "bad-direct-url"


class UnknownPipFlag(_OfOneEnvironment):
    """A pip flag in `extras` that has no meaning when locking."""

    code = "unknown-pip-flag"


class ResolverCannot(_OfOneEnvironment):
    """The resolver that envlock.toml chooses has no way to do what is asked."""

    code = "resolver-cannot"


class ResolversDisagree(_OfOneEnvironment):
    """What one resolver decided, the one that finds the files of it cannot have."""

    code = "resolvers-disagree"


class ResolverNotInstalled(ConfigError):
    """The package of the resolver that envlock.toml chooses is not installed, or not in a release that works."""

    code = "resolver-not-installed"

    def __init__(self, key: str, resolver: str, found: str, needed: str) -> None:
        super().__init__(
            f'`{key} = "{resolver}"` needs {needed}; here is {found or "none"}',
            hint=f"pip install 'envlock[{resolver}]'",
        )


class ConflictWithConda(_OfOneEnvironment):
    """A PyPI requirement does not fit what a conda package of the environment provides."""

    code = "conda-pypi-conflict"


class ConflictWithBase(ConflictWithConda):
    """What is asked beside a named environment does not fit what that has."""

    code = "conflict-with-base"


class BaseWithoutConda(_OfOneEnvironment):
    """Conda packages are asked beside a named environment that has none, not even its Python."""

    code = "base-without-conda"


class ExtraOfCondaPackage(_OfOneEnvironment):
    """An extra is asked of a package that conda provides, and what the extra brings is not known."""

    code = "extra-of-conda-package"
    wanted: tuple[str, ...] = ()
    """The PyPI names of the packages whose extras are asked."""


class CondaOnlyWithPython(_OfOneEnvironment):
    """What is asked in `conda_only` brings Python packages, which there come from PyPI."""

    code = "conda-only-with-python"


class CondaConflict(NoSolution):
    """What is asked of conda channels contradicts itself, or what they have."""

    code = "conda-conflict"

    @property
    def alike(self) -> object:
        """The solver's lines count for nothing: each arch has other builds, and often other versions."""
        return (self.code, self.environment, self.sentence, self.hint, self.packages, self.locations)


class NoSuchCondaPackage(_OfOneEnvironment):
    """No channel has a package of that name."""

    code = "no-such-conda-package"


class NoCondaBuild(_OfOneEnvironment):
    """A package is in the channels, but not for this arch, or not in that version or build."""

    code = "no-conda-build"


class UnmetSystemRequirement(_OfOneEnvironment):
    """A conda package needs more of the machine than the environment is locked for."""

    code = "unmet-system-requirement"


class BadMatchSpec(_OfOneEnvironment):
    """A requirement that conda's own language does not know."""

    code = "bad-match-spec"


class ChannelUnauthorized(_OfOneEnvironment):
    """A channel wants other credentials."""

    code = "channel-unauthorized"


class ChannelNotFound(_OfOneEnvironment):
    """There is no conda channel at that URL."""

    code = "channel-not-found"


class ChannelUnreachable(_OfOneEnvironment):
    """A channel did not answer."""

    code = "channel-unreachable"


class SolveTimeout(_OfOneEnvironment):
    """The solver was given up on."""

    code = "solve-timeout"


class UnlockableCondaPackage(_OfOneEnvironment):
    """The solver chose a package that a lock cannot hold."""

    code = "unlockable-conda-package"


class SecretInLink(_OfOneEnvironment):
    """An index links to another place with the value of a variable in the link."""

    code = "secret-in-link"


class UnexpectedAnswer(_OfOneEnvironment):
    """A resolver said something that envlock does not know."""

    code = "unexpected-answer"


class NoFittingPython(ResolveError):
    """No Python that can be locked lies in the range that is asked."""

    code = "no-fitting-python"

    def __init__(
        self, environments: tuple[str, ...], asked: str, *, here: tuple[str, ...] = (), oldest: str = ""
    ) -> None:
        found = f"on this machine: {', '.join(here) or 'none'}; none that uv can download fits either"
        ask = f"ask for Python {oldest} or later" if oldest else "widen `python` in envlock.toml"
        super().__init__(
            f"no Python fits `{asked}`, asked by {', '.join(environments)}",
            details=(f"the oldest that can be locked is Python {oldest}" if oldest else found,),
            hint=ask if oldest else f"{ask}, or install such an interpreter",
        )
        self.environments = environments


class NotYet(ResolveError):
    """A table that is read and merged, but that this version cannot resolve."""

    code = "not-yet"
    exit_status = 2

    def __init__(self, environment: str, table: str, *, location: Location | None = None) -> None:
        super().__init__(
            f"{environment}: this version of envlock cannot resolve `{table}` yet",
            locations=(location,) if location is not None else (),
            details=("it is read, and comes with a later version",),
            hint=f"take `{table}` out of this environment for now",
        )
        self.environment = environment
        self.table = table
