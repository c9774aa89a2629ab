"""Errors of resolving."""

from __future__ import annotations

from collections.abc import Sequence

from envlock.errors import ConfigError, EnvlockError, Location, ResolveError


class _OfOneEnvironment(ResolveError):
    """A failure of one environment for one arch. `lock` adds the lines of envlock.toml."""

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
        """What must be equal in the failures of several archs for them to be shown as one."""
        return (self.code, self.environment, self.sentence, self.details, self.hint, self.packages, self.locations)

    def on(self, archs: tuple[str, ...]) -> EnvlockError:
        """The same failure, of several archs. None of its texts may contain the arch."""
        names = ", ".join(archs)
        merged = type(self)(
            self.environment, names, self.sentence, details=self.details, hint=self.hint, packages=self.packages
        )
        merged.locations = self.locations
        return merged

    def in_general(self, word: str) -> _OfOneEnvironment:
        """The same failure, with `word` in place of the arch in all of its texts."""
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
    """The errors in order, without repeats; those that differ only in their arch become one."""
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
    """The requirements contradict each other, or no published version meets them."""

    code = "no-solution"


class OlderMajorVersion(_OfOneEnvironment):
    """The newest version with a wheel is of an older major version."""

    code = "older-major-version"


class ReleasesDiffer(_OfOneEnvironment):
    """No one set of packages works for every allowed release of Python."""

    code = "releases-differ"


class NoSuchPackage(_OfOneEnvironment):
    """The index has no package of this name."""

    code = "no-such-package"


class UnknownHash(_OfOneEnvironment):
    """The index publishes no SHA-256 for a file, and the file may not be downloaded to compute it."""

    code = "unknown-hash"


class IndexHashMismatch(_OfOneEnvironment):
    """A file does not have the hash that its index publishes."""

    code = "index-hash-mismatch"


class NoWheel(_OfOneEnvironment):
    """The package has no wheel for this arch and Python."""

    code = "no-wheel"


class IndexUnauthorized(_OfOneEnvironment):
    """The index refused the credentials, or wants some."""

    code = "index-unauthorized"


class IndexNotFound(_OfOneEnvironment):
    """There is no package index at this URL."""

    code = "index-not-found"


class IndexUnreachable(_OfOneEnvironment):
    """The index did not answer."""

    code = "index-unreachable"
    nobody_there = False
    """Whether no index answers at all, so that no other environment need be tried."""

    @classmethod
    def by(cls, environments: Sequence[str], archs: Sequence[str], indexes: Sequence[str]) -> IndexUnreachable:
        """The failure of several environments and archs whose indexes do not answer."""
        names = ", ".join(indexes) or "an index"
        return cls(
            ", ".join(dict.fromkeys(environments)),
            ", ".join(dict.fromkeys(archs)),
            f"{names} did not answer",
            hint="check the network and the index URL, then `envlock lock` again",
            packages=tuple(indexes),
        )


class BadDirectUrl(_OfOneEnvironment):
    """A direct URL is not the URL of a wheel that can be downloaded."""

    code = "bad-direct-url"


class UnknownPipFlag(_OfOneEnvironment):
    """`extras` has a pip flag that means nothing when locking."""

    code = "unknown-pip-flag"


class ResolverCannot(_OfOneEnvironment):
    """The resolver that envlock.toml chooses does not support what is asked."""

    code = "resolver-cannot"


class ResolversDisagree(_OfOneEnvironment):
    """pip-tools chose versions that uv cannot find wheels for."""

    code = "resolvers-disagree"


class ResolverNotInstalled(ConfigError):
    """The resolver that envlock.toml chooses is not installed, or not in a supported release."""

    code = "resolver-not-installed"

    def __init__(self, key: str, resolver: str, found: str, needed: str) -> None:
        super().__init__(
            f'`{key} = "{resolver}"` needs {needed}; here is {found or "none"}',
            hint=f"pip install 'envlock[{resolver}]'",
        )


class ConflictWithConda(_OfOneEnvironment):
    """A PyPI requirement contradicts what a conda package of the environment provides."""

    code = "conda-pypi-conflict"


class ConflictWithBase(ConflictWithConda):
    """A requirement contradicts the packages of the base that it extends."""

    code = "conflict-with-base"


class BaseWithoutConda(_OfOneEnvironment):
    """Conda packages extend a base that has none, not even its Python."""

    code = "base-without-conda"


class ExtraOfCondaPackage(_OfOneEnvironment):
    """A requirement has an extra of a package that conda provides, and the extra's own requirements are unknown."""

    code = "extra-of-conda-package"
    wanted: tuple[str, ...] = ()
    """The PyPI names of the packages with these extras."""


class CondaOnlyWithPython(_OfOneEnvironment):
    """A package in `conda_only` brings Python packages, which must come from PyPI there."""

    code = "conda-only-with-python"


class CondaConflict(NoSolution):
    """The conda requirements contradict each other, or no build in the channels meets them."""

    code = "conda-conflict"

    @property
    def alike(self) -> object:
        """Without the solver's lines: builds, and often versions, differ by arch."""
        return (self.code, self.environment, self.sentence, self.hint, self.packages, self.locations)


class NoSuchCondaPackage(_OfOneEnvironment):
    """No channel has a package of this name."""

    code = "no-such-conda-package"


class NoCondaBuild(_OfOneEnvironment):
    """The channels have the package, but not for this arch, or not in this version or build."""

    code = "no-conda-build"


class UnmetSystemRequirement(_OfOneEnvironment):
    """A conda package needs a system package that the environment is not locked for."""

    code = "unmet-system-requirement"


class BadMatchSpec(_OfOneEnvironment):
    """A requirement is not a valid conda match specification."""

    code = "bad-match-spec"


class ChannelUnauthorized(_OfOneEnvironment):
    """The channel refused the credentials, or wants some."""

    code = "channel-unauthorized"


class ChannelNotFound(_OfOneEnvironment):
    """There is no conda channel at this URL."""

    code = "channel-not-found"


class ChannelUnreachable(_OfOneEnvironment):
    """The channel did not answer."""

    code = "channel-unreachable"


class SolveTimeout(_OfOneEnvironment):
    """The solver took too long."""

    code = "solve-timeout"


class UnlockableCondaPackage(_OfOneEnvironment):
    """The solver chose a package that cannot be locked."""

    code = "unlockable-conda-package"


class SecretInLink(_OfOneEnvironment):
    """An index links to another host, and the link contains the value of a variable."""

    code = "secret-in-link"


class UnexpectedAnswer(_OfOneEnvironment):
    """A resolver printed something that envlock does not understand."""

    code = "unexpected-answer"


class NoFittingPython(ResolveError):
    """No Python that can be locked is in the range."""

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
    """A table that this version reads but cannot resolve."""

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
