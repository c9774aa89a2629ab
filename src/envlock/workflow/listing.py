"""`list`: every environment of projects: its state, its size, and where it is. Read-only, and offline by default."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from envlock.config.project import Environment, Project
from envlock.config.selection import Selection, steps_of, tables_of
from envlock.errors import ConfigError, EnvlockError
from envlock.lockfile.folder import full_id_of
from envlock.lockfile.rows import verified_rows
from envlock.model.arch import Arch, UnsupportedHost, host_arch
from envlock.values import NamedTuple
from envlock.workflow.check import check_and_read
from envlock.workflow.needed_locks import locks_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from envlock.lockfile.rows import LockRows
    from envlock.workflow.check_rules import Finding

    _Ask = Callable[[Sequence[tuple[Arch, Path]]], dict[tuple[Arch, Path], bool]]

FRESH = "fresh"
DISABLED = "disabled"
FETCHED = "fetched"


class Listed(NamedTuple):
    """One environment, or a step that has none."""

    name: str
    state: str
    """`fresh`, `disabled`, `fetched` (when the step starts), or the worst verdict of `check`."""
    archs: tuple[Arch, ...] = ()
    """Those that it is locked for."""
    wanting: tuple[str, ...] = ()
    """The archs that the verdict is about, if it is not about all."""
    arch: str = ""
    """That of the facts below: this machine's, or else the first that is locked."""
    identity: str = ""
    python: str = ""
    packages: int | None = None
    download: int | None = None
    """Bytes of the packages, as far as the lock knows them."""
    prefix: str = ""
    """Where it is on this machine; empty if it is not."""
    prefix_size: int | None = None
    """Bytes of the prefix on the disk, files included that it shares with others."""
    pushed: tuple[tuple[Arch, bool | None], ...] = ()
    """For each arch, whether the cache has it; None if this machine does not know."""
    aliases: tuple[str, ...] = ()
    """Those to give to it, by `aliases`."""
    base: str = ""
    """The reference of what it is, or extends."""
    extends: bool = False

    @property
    def in_cache(self) -> str:
        """Whether the cache has it: `yes`, `no`, the archs that it has, or `unknown`; empty if it is not locked."""
        there = [arch for arch, is_there in self.pushed if is_there]
        if there:
            return "yes" if len(there) == len(self.pushed) else ", ".join(there)
        return ("unknown" if any(each is None for _, each in self.pushed) else "no") if self.pushed else ""


class ListedProject(NamedTuple):
    """The environments of one project, or why it cannot be read."""

    path: Path
    """envlock.toml."""
    environments: tuple[Listed, ...] = ()
    others: tuple[Finding, ...] = ()
    """What `check` finds that is about no environment: locks that none needs, flows that cannot be read in full."""
    error: EnvlockError | None = None


def list_project(project: Project, *, online: bool = False) -> ListedProject:
    """Every environment of a project, steps that are disabled included.

    Offline, what a bucket holds is known as far as this machine has pushed it or read it from there. `online` asks the
    cache. Raises CacheUnusable, ConfigError for the settings of the cache.
    """
    result, read = check_and_read(project, Selection())
    findings: dict[str, list[Finding]] = {}
    for finding in result.findings:
        findings.setdefault(finding.environment, []).append(finding)
    rows: dict[Path, LockRows] = {}
    listed: list[Listed] = []
    paths_of: dict[str, dict[Arch, Path]] = {}
    for choice in (*steps_of(project), *tables_of(project)):
        environment = choice.environment
        if environment is None:
            listed.append(Listed(choice.name, DISABLED))
            continue
        paths = {} if environment.is_fetched else _paths(project, environment)
        paths_of[choice.name] = paths
        listed.append(_listed(project, environment, paths, findings.pop(choice.name, []), read, rows))
    has = _asker(project, online=online)
    if paths_of:
        every = {(arch, path) for paths in paths_of.values() for arch, path in paths.items()}
        there = has(sorted(every)) if has is not None else {}
        for number, each in enumerate(listed):
            own = paths_of.get(each.name, {})
            pushed = tuple((arch, there.get((arch, path))) for arch, path in own.items())
            listed[number] = each._replace(pushed=pushed)
    others = tuple(finding for group in findings.values() for finding in group)
    return ListedProject(project.path, tuple(_with_sizes(listed)), others)


def _with_sizes(listed: Sequence[Listed]) -> Sequence[Listed]:
    """The environments with the sizes of their prefixes, which are remembered in the home."""
    prefixes = list(dict.fromkeys(each.prefix for each in listed if each.prefix))
    if not prefixes:
        return listed
    from envlock.workflow.machine.sizes import sizes_of

    sizes = {prefix: size.own + size.shared for prefix, size in sizes_of(prefixes).items()}
    return [each._replace(prefix_size=sizes.get(each.prefix)) for each in listed]


def _paths(project: Project, environment: Environment) -> dict[Arch, Path]:
    found = ((arch, locks_of(project, environment, arch)) for arch in project.settings.archs)
    return {arch: paths[0] for arch, paths in found if paths}


def _listed(
    project: Project,
    environment: Environment,
    paths: Mapping[Arch, Path],
    findings: Sequence[Finding],
    read: Mapping[Path, bytes],
    rows: dict[Path, LockRows],
) -> Listed:
    base = environment.base
    made = Listed(
        environment.name,
        FETCHED if environment.is_fetched else FRESH,
        tuple(paths),
        aliases=tuple(alias for alias, _ in environment.aliases),
        base=(base.reference or base.written) if base is not None else "",
        extends=base is not None and base.extends,
    )
    if findings:
        gravest = max(findings, key=lambda finding: finding.exit_status).verdict
        of = [finding.arch for finding in findings if finding.verdict is gravest and finding.arch]
        is_partial = len(set(of)) < len(project.settings.archs)
        made = made._replace(state=str(gravest), wanting=tuple(dict.fromkeys(of)) if is_partial else ())
    arch = _own_arch(paths)
    if arch is None or paths[arch] not in read:  # what could not be read whole, check has a finding of
        return made
    path = paths[arch]
    if path not in rows:
        rows[path] = verified_rows(read[path], project.shown(path))
    lock = rows[path]
    return made._replace(
        arch=arch,
        identity=lock.identity,
        python=lock.python.series,
        packages=len(lock.packages),
        download=sum(package.size or 0 for package in lock.packages),
        prefix=_prefix(lock),
    )


def _own_arch(paths: Mapping[Arch, Path]) -> Arch | None:
    try:
        here = host_arch()
    except UnsupportedHost:
        return next(iter(paths), None)
    return here if here in paths else next(iter(paths), None)


def _prefix(lock: LockRows) -> str:
    """The prefix of a lock on this machine; empty if there is none, or its interpreter has changed."""
    from envlock.places import home

    place = home() / "environments" / lock.prefix_name
    if not place.is_dir():  # what reads receipts takes long to import
        return ""
    from envlock.hydration.prefix import read_receipt

    receipt = read_receipt(place)
    if receipt is None or (receipt.req_id, receipt.full_id, receipt.arch) != (lock.req_id, lock.full_id, lock.arch):
        return ""
    return str(place) if receipt.python_is_unchanged else ""


def _asker(project: Project, *, online: bool) -> _Ask | None:
    """What tells whether the cache has locks; None if this machine does not know anything of it."""
    try:
        return _ask_of(project, online=online)
    except ConfigError:  # such as a variable that is not set: offline, that is no reason to list nothing
        if online:
            raise
        return None


def _ask_of(project: Project, *, online: bool) -> _Ask | None:
    url = project.cache_url
    if "://" not in url and not Path(url).is_dir():
        return lambda wanted: dict.fromkeys(wanted, False)
    if online or "://" not in url or url.startswith("file:"):
        return lambda wanted: _in_cache(project, wanted)
    from envlock.cache.immutable_cache import remembered

    memory = remembered(url, project.cache_options)
    if memory is None:  # a cache in the memory of another process
        return None
    return lambda wanted: {each: True for each in wanted if (place := _place(*each)) and memory.has(place)}


def _place(arch: Arch, path: Path) -> str:
    """Where a cache keeps a lock of the lock folder; empty for a file that has no name of a lock."""
    from envlock.cache.errors import UnsafePath
    from envlock.cache.layout import EnvironmentPlace

    try:
        return EnvironmentPlace(arch, path.parent.name, full_id_of(path)).path
    except UnsafePath:
        return ""


def _in_cache(project: Project, wanted: Sequence[tuple[Arch, Path]]) -> dict[tuple[Arch, Path], bool]:
    """Ask the cache, many at a time. Raises CacheUnusable."""
    from envlock.cache.open import open_cache
    from envlock.cache.parallel import all_in_parallel

    store = open_cache(project)

    def has(each: tuple[Arch, Path]) -> bool:
        place = _place(*each)
        return bool(place) and store.entry(place) is not None

    return dict(all_in_parallel(has, wanted))


def list_below(folders: Sequence[Path], *, online: bool = False) -> Iterator[ListedProject]:
    """The environments of every project below folders; what is wrong with one does not hide the others."""
    from envlock.config.flows.repository import config_files

    for path in dict.fromkeys(path for folder in folders for path in config_files(folder)):
        yield _listed_at(path, online=online)


def _listed_at(path: Path, *, online: bool) -> ListedProject:
    from envlock.config.read import load_project

    try:
        return list_project(load_project(path), online=online)
    except EnvlockError as error:
        return ListedProject(path, error=error)
