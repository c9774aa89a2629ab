"""Errors of resolving."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from envlock.errors import ConfigError, EnvlockError, Location, ResolveError

if TYPE_CHECKING:
    from typing_extensions import Self


ARCH = "{arch}"
"""Stands for the archs in the texts of an error."""


class OfOneEnvironment(ResolveError):
    """A failure of one environment, for one arch, or for several that fail alike.

    `lock` adds the lines of envlock.toml.
    """

    def __init__(
        self,
        environment: str,
        arch: str | Sequence[str],
        sentence: str,
        *,
        details: tuple[str, ...] = (),
        hint: str | None = None,
        packages: tuple[str, ...] = (),
        lacking: tuple[str, ...] = (),
    ) -> None:
        """`packages` are what the error is about, `lacking` packages that would have to be built to avoid it."""
        self.environment = environment
        self.lacking = lacking
        self.archs = (arch,) if isinstance(arch, str) else tuple(dict.fromkeys(arch))
        self.sentence = sentence
        self.packages = packages
        self.texts = (sentence, details, hint)
        super().__init__(
            self._about_archs(f"{environment} on {ARCH}: {sentence}"),
            details=tuple(map(self._about_archs, details)),
            hint=self._about_archs(hint) if hint else None,
        )

    def _about_archs(self, text: str) -> str:
        return text.replace(ARCH, ", ".join(self.archs))

    @property
    def alike(self) -> object:
        """What must be equal in the failures of several archs for them to be shown as one."""
        return (self.code, self.environment, self.texts, self.packages, self.locations)

    def adding(self, *details: str, locations: tuple[Location, ...] = (), packages: tuple[str, ...] = ()) -> Self:
        """As EnvlockError has it; with more packages that it is about."""
        made = super().adding(*details, locations=locations)
        sentence, before, hint = self.texts
        made.texts, made.packages = (sentence, (*before, *details), hint), (*self.packages, *packages)
        return made

    def on(self, archs: Sequence[str]) -> Self:
        """The same failure, of several archs."""
        made = self._with()
        sentence, details, hint = self.texts
        OfOneEnvironment.__init__(
            made, self.environment, archs, sentence, details=details, hint=hint, packages=self.packages
        )
        made.locations = self.locations
        return made


def merge_archs(errors: Sequence[EnvlockError]) -> tuple[EnvlockError, ...]:
    """The errors in order, without repeats; those that differ only in their arch become one."""
    groups: dict[object, list[EnvlockError]] = {}
    for error in errors:
        key = error.alike if isinstance(error, OfOneEnvironment) else error.render()
        groups.setdefault(key, []).append(error)
    return tuple(map(_merged, groups.values()))


def _merged(group: Sequence[EnvlockError]) -> EnvlockError:
    alike = [error for error in group if isinstance(error, OfOneEnvironment)]
    if len(alike) < 2:
        return group[0]
    first = alike[0]
    merged = first.on([arch for error in alike for arch in error.archs])
    if any(error.texts != first.texts for error in alike):
        return merged.adding(f"these lines are for {first.archs[0]}; those of the other archs differ in versions")
    return merged


class NoSolution(OfOneEnvironment):
    """The requirements contradict each other, or no published version meets them."""

    code = "no-solution"


class OlderMajorVersion(OfOneEnvironment):
    """The newest version with a wheel is of an older major version."""

    code = "older-major-version"


class ReleasesDiffer(OfOneEnvironment):
    """No one set of packages works for every allowed release of Python."""

    code = "releases-differ"


class NoSuchPackage(OfOneEnvironment):
    """The index has no package of this name."""

    code = "no-such-package"


class UnknownHash(OfOneEnvironment):
    """The index publishes no SHA-256 for a file, and the file may not be downloaded to compute it."""

    code = "unknown-hash"


class IndexHashMismatch(OfOneEnvironment):
    """A file does not have the hash that its index publishes."""

    code = "index-hash-mismatch"


class NoRequiredHash(OfOneEnvironment):
    """No file of a package has one of the hashes that its requirement asks for."""

    code = "no-required-hash"


class NoWheel(OfOneEnvironment):
    """The package has no wheel for this arch and Python."""

    code = "no-wheel"


class CannotBuild(OfOneEnvironment):
    """A package has to be built, which this command does not do."""

    code = "cannot-build"


class BuiltForOtherArch(OfOneEnvironment):
    """A package that is built has compiled parts, and this machine is of another arch."""

    code = "built-for-other-arch"


class BuiltForNewerSystem(OfOneEnvironment):
    """A package that was built here needs a newer system than the environment promises to run with."""

    code = "built-for-newer-system"


class SourceNotHere(OfOneEnvironment):
    """A package was locked from a folder or a file that this project does not have."""

    code = "source-not-here"


class IndexUnauthorized(OfOneEnvironment):
    """The index denied access: the credentials are missing or wrong."""

    code = "index-unauthorized"


class IndexNotFound(OfOneEnvironment):
    """There is no package index at this URL."""

    code = "index-not-found"


class IndexUnreachable(OfOneEnvironment):
    """The index did not answer."""

    code = "index-unreachable"
    nobody_there = False
    """Whether no index answers at all, so that no other environment need be tried."""

    @classmethod
    def by(
        cls, environments: Sequence[str], archs: Sequence[str], indexes: Sequence[str], details: tuple[str, ...] = ()
    ) -> IndexUnreachable:
        """The failure of several environments and archs whose indexes do not answer."""
        return cls(
            ", ".join(dict.fromkeys(environments)),
            archs,
            f"{', '.join(indexes) or 'an index'} did not answer",
            details=details,
            hint="check the network and the index URL, then run `envlock lock` again",
            packages=tuple(indexes),
        )


class BadDirectUrl(OfOneEnvironment):
    """A direct URL is not the URL of a wheel that can be downloaded."""

    code = "bad-direct-url"


class UnknownPipFlag(OfOneEnvironment):
    """`extras` has a pip flag that has no effect on a lock."""

    code = "unknown-pip-flag"


class ResolverCannot(OfOneEnvironment):
    """The resolver that envlock.toml chooses does not support these requirements."""

    code = "resolver-cannot"


class ResolversDisagree(OfOneEnvironment):
    """envlock cannot find the files of the versions that pip-tools or conda-lock chose."""

    code = "resolvers-disagree"


class ResolverNotInstalled(ConfigError):
    """The resolver that envlock.toml chooses is not installed, or not in a supported release."""

    code = "resolver-not-installed"

    def __init__(self, key: str, resolver: str, found: str, needed: str) -> None:
        super().__init__(
            f'`{key} = "{resolver}"` needs {needed}; found {found or "none"}',
            hint=f"pip install 'envlock[{resolver}]'",
        )


class ConflictWithConda(OfOneEnvironment):
    """A PyPI requirement contradicts what a conda package of the environment provides."""

    code = "conda-pypi-conflict"


class ConflictWithBase(ConflictWithConda):
    """A requirement contradicts the packages of the base that it extends."""

    code = "conflict-with-base"


class BaseWithoutConda(OfOneEnvironment):
    """Conda packages extend a base that has none, not even its Python."""

    code = "base-without-conda"


class ExtraOfCondaPackage(OfOneEnvironment):
    """A requirement has an extra of a package that conda provides, and the extra's own requirements are unknown."""

    code = "extra-of-conda-package"
    wanted: tuple[str, ...] = ()
    """The PyPI names of the packages with these extras."""


class CondaOnlyWithPython(OfOneEnvironment):
    """A package in `conda_only` depends on Python packages, which must come from PyPI there."""

    code = "conda-only-with-python"


class CondaConflict(NoSolution):
    """The conda requirements contradict each other, or no build in the channels meets them."""

    code = "conda-conflict"

    @property
    def alike(self) -> object:
        """Without the solver's lines: builds, and often versions, differ by arch."""
        return (self.code, self.environment, self.sentence, self.texts[2], self.packages, self.locations)


class NoSuchCondaPackage(OfOneEnvironment):
    """No channel has a package of this name."""

    code = "no-such-conda-package"


class NoCondaBuild(OfOneEnvironment):
    """The channels have the package, but not for this arch, or not in this version or build."""

    code = "no-conda-build"


class UnmetSystemRequirement(OfOneEnvironment):
    """A conda package needs a system package that the environment is not locked for."""

    code = "unmet-system-requirement"


class BadMatchSpec(OfOneEnvironment):
    """A requirement is not a valid conda match specification."""

    code = "bad-match-spec"


class ChannelUnauthorized(OfOneEnvironment):
    """The channel denied access: the credentials are missing or wrong."""

    code = "channel-unauthorized"


class ChannelNotFound(OfOneEnvironment):
    """There is no conda channel at this URL."""

    code = "channel-not-found"


class ChannelUnreachable(OfOneEnvironment):
    """The channel did not answer."""

    code = "channel-unreachable"


class SolveTimeout(OfOneEnvironment):
    """The solver took too long."""

    code = "solve-timeout"


class UnlockableCondaPackage(OfOneEnvironment):
    """The solver chose a package that cannot be locked."""

    code = "unlockable-conda-package"


class SecretInLink(OfOneEnvironment):
    """An index links to another host, and the link contains the value of a variable."""

    code = "secret-in-link"


class UnknownUpstream(OfOneEnvironment):
    """A mirror of an index has a file at a URL that does not show its URL upstream."""

    code = "unknown-upstream"


class AmbiguousMirror(OfOneEnvironment):
    """The mirror of an index is also an index of its own: a lock could not say which of them a package is from."""

    code = "ambiguous-mirror"


class UnexpectedAnswer(OfOneEnvironment):
    """A resolver printed something that envlock does not understand."""

    code = "unexpected-answer"


class NoFittingPython(ResolveError):
    """No Python that can be locked is in the range."""

    code = "no-fitting-python"

    def __init__(
        self, environments: tuple[str, ...], asked: str, *, here: tuple[str, ...] = (), oldest: str = ""
    ) -> None:
        found = f"on this machine: {', '.join(here) or 'none'}; uv can download none that matches either"
        ask = f"use Python {oldest} or later" if oldest else "widen `python` in envlock.toml"
        super().__init__(
            f"no Python matches `{asked}`, required by {', '.join(environments)}",
            details=(f"envlock can lock Python {oldest} or later" if oldest else found,),
            hint=ask if oldest else f"{ask}, or install a matching Python",
        )
        self.environments = environments
