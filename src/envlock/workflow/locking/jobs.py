"""What there is to lock, what may change in it, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from envlock.config.project import Environment, KeyPath, Project
from envlock.errors import ConfigError
from envlock.model.arch import Arch
from envlock.model.lock import Lock
from envlock.model.requirement import name_in_either
from envlock.model.requirements import Requirements
from envlock.model.url import strip_channel_credentials, strip_credentials
from envlock.named.pin import Pin


@dataclass(frozen=True)
class Upgrade:
    """What is upgraded: nothing, some packages, or all. `python` as a package is the locked Python."""

    everything: bool = False
    packages: frozenset[str] = frozenset()
    aliases: frozenset[str] = frozenset()
    """Aliases, with or without a tag, that are looked up again where their tag moves."""
    all_aliases: bool = False
    """Whether all aliases are."""

    @classmethod
    def of(
        cls, *, everything: bool, packages: Sequence[str], aliases: Sequence[str] = (), all_aliases: bool = False
    ) -> Upgrade:
        """From the command line's words. Raises BadPackageName."""
        names = frozenset(name_in_either(name) for name in packages)
        return cls(everything, names, frozenset(aliases), all_aliases)

    @property
    def is_nothing(self) -> bool:
        """Whether every locked package is kept."""
        return not (self.everything or self.packages)


@dataclass(frozen=True, eq=False)
class Job:
    """One set of requirements for one arch, and the environments that have them. Equal to itself alone."""

    environments: tuple[Environment, ...]
    arch: Arch

    @property
    def requirements(self) -> Requirements:
        """Those of its environments."""
        return self.environments[0].requirements

    @property
    def pin(self) -> Pin | None:
        """The pin of the named environment that the environments are, where they are one and nothing else."""
        base = self.environments[0].base
        return base.pin if base is not None and not base.extends else None

    @property
    def extended(self) -> Pin | None:
        """The pin of the base that the environments extend, where they do."""
        base = self.environments[0].base
        return base.pin if base is not None and base.extends else None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the environments."""
        return tuple(environment.name for environment in self.environments)


def jobs_of(environments: Sequence[Environment], archs: Sequence[Arch]) -> list[Job]:
    """One for each arch and all environments with the same requirements."""
    # A named environment may be another solution of the requirements that a second environment has.
    groups: dict[tuple[str, object], list[Environment]] = {}
    for environment in environments:
        base = environment.base
        named = base.pin.full_ids if base is not None and base.pin is not None and not base.extends else None
        groups.setdefault((environment.requirements.req_id, named), []).append(environment)
    return [Job(tuple(group), arch) for group in groups.values() for arch in archs]


def unfit_urls(project: Project, jobs: Iterable[Job]) -> list[ConfigError]:
    """An error for each URL of these jobs that is not one once its variables are filled in, with its places.

    An index that is passed over would leave its packages to the next one, which may be anybody's.
    """
    urls: dict[tuple[str, str, str], list[KeyPath | None]] = {}
    for environment in dict.fromkeys(each for job in jobs for each in job.environments):
        origins = dict(environment.origins)
        rows: list[tuple[str, str, KeyPath | None]] = [
            *(("index", url, origins.get(strip_credentials(url))) for url in environment.index_urls),
            *(("index", url, origins.get(strip_credentials(url))) for url in environment.package_index_urls),
            *(("index", url, origins.get(strip_credentials(url))) for url in environment.find_links_urls),
            ("index", environment.default_index_url, origins.get(strip_credentials(environment.default_index_url))),
            *(("channel", url, origins.get(strip_channel_credentials(url))) for url in environment.channel_urls),
            *(("package", root.url, origins.get(root.name)) for root in environment.requirements.pypi),
        ]
        for kind, written, key in rows:
            urls.setdefault((kind, written, ""), []).append(key)
        if environment.requirements.has_conda:
            for channel, url in project.settings.channel_mirrors:
                urls["mirror", url, channel] = [("envlock", "channel-mirrors", channel)]
    errors: list[ConfigError] = []
    for (kind, written, channel), keys in urls.items():
        if "${" in written + channel:
            try:
                _fill_in(kind, written, channel)
            except ConfigError as error:
                errors.append(error.at(*dict.fromkeys(project.locate(key) for key in keys if key)))
    return errors


def _fill_in(kind: str, written: str, channel: str) -> None:
    """Raise UnsetVariable or BadVariable where a URL cannot be filled in."""
    from envlock.addresses import address
    from envlock.conda.channels import channel_address, mirrors_in_force
    from envlock.resolve.uv_compile import wheel_address

    if kind == "mirror":
        mirrors_in_force([(channel, written)])
    elif kind == "channel":
        channel_address(written)
    elif kind == "package":
        wheel_address(written)
    else:
        address(written)


@dataclass(frozen=True)
class Locked:
    """One environment and arch after `lock`."""

    environments: tuple[str, ...]
    lock: Lock | None
    """None where the old file was verified and left alone without being read in full."""
    path: Path
    arch: Arch
    action: str
    """`kept`, `re-stamped`, `locked`, `fetched` (the lock of a named environment), `settled` (several locks, of which
    one was kept), or `merged` (several, whose packages were kept)."""
    before: Lock | None = None
    notes: tuple[str, ...] = ()
    is_named: bool = False
    """Whether it is a named environment's: a lock beside it may be that of another with the same requirements."""
    beside: tuple[Path, ...] = ()
    """Files of other branches that it replaces."""


@dataclass(frozen=True)
class Pinned:
    """A reference that was pinned to the environment that it names now."""

    pin: Pin
    before: Pin | None = None


@dataclass(frozen=True)
class LockResult:
    """What `lock` did."""

    locked: tuple[Locked, ...]
    replaced: tuple[Path, ...]
    """Old files whose environments have new ones now."""
    pruned: tuple[Path, ...]
    """Files that no environment needed."""
    pinned: tuple[Pinned, ...] = ()
    fetched: int = 0
    """How many of the environments are fetched when their step starts, and never locked."""

    @property
    def changed(self) -> bool:
        """Whether any file was written or deleted."""
        return bool(self.replaced or self.pruned or self.pinned) or any(each.action != "kept" for each in self.locked)
