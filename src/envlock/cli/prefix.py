"""Find or hydrate the prefix of one environment, by envlock.toml and its lock, or by its name on this machine."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from envlock.activation import RECEIPT
from envlock.cli.errors import NamedEnvironmentGone, NotHydrated
from envlock.cli.one_environment import Wanted, named_link, origin_file
from envlock.cli.options import config_path
from envlock.cli.prefix_memo import remember
from envlock.config.project import CONFIG_NAME
from envlock.config.read import load_project, load_project_if_any
from envlock.config.selection import choose_one, one_of
from envlock.errors import printable
from envlock.hydration.prefix import find_prefix, prefix_of, read_receipt
from envlock.interpreters import version_of
from envlock.lockfile.folder import lock_path
from envlock.model.arch import host_arch
from envlock.places import home, trusted
from envlock.workflow.hydrate import find_lock, hydrate, where_to_hydrate
from envlock.workflow.machine.known_projects import know

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from envlock.config.project import Base, Environment, Project
    from envlock.model.lock import Lock
    from envlock.workflow.machine.local_names import Origin


def find_or_hydrate(wanted: Wanted, into: Path | None = None) -> str:
    """The prefix of the environment, hydrated if it is not on this machine, and remembered. Raises EnvlockError.

    `into` is another home for it, and that is not remembered.
    """
    if wanted.name:
        return _named(wanted)
    if wanted.pathspec:
        return str(_of_task(wanted, load_project_if_any(wanted.config), into))
    project = load_project(config_path(wanted.config))
    environment = chosen(wanted, project)
    if environment is None:
        from envlock.workflow.references import referred

        named = referred(project, wanted.reference, archs=(host_arch(),))
        return str(_of_lock(wanted, project, named.lock(host_arch()), named.name, into))
    lock = find_lock(project, environment, host_arch())
    prefix = _of_lock(wanted, project, lock, environment.name, into)
    if into is not None or wanted.dry_run:
        return str(prefix)
    if _is_decided_by_few_files(environment):
        deciding = _deciding(project, environment.base, lock, prefix, is_nearest=not wanted.config)
        remember(wanted.key, str(prefix), deciding, began=wanted.began)
    return str(prefix)


def chosen(wanted: Wanted, project: Project) -> Environment | None:
    """The environment of the project that is wanted; None for one of the cache, of a lock file or of a prefix.

    Raises what `choose_one` raises.
    """
    if not wanted.reference:
        return choose_one(project, flow=wanted.flow, step=wanted.step, environment=wanted.environment)
    from envlock.workflow.find import choices_of

    choices = choices_of(project, wanted.reference)
    return one_of(project, choices) if choices else None


def _is_decided_by_few_files(environment: Environment) -> bool:
    """Whether its lock stays the right one while the files of `_deciding` do: no variable, folder or cache decides."""
    base = environment.base
    if base is not None:
        from envlock.named.alias import has_variables

        if base.fetch_at_exec or has_variables(base.written):
            return False
    return not any(url.startswith("folder") for url, _ in environment.local)


def _of_task(wanted: Wanted, project: Project, into: Path | None) -> Path:
    """The prefix of what a task ran in. It is not remembered: a step may have more tasks tomorrow."""
    from envlock.named.lookup import Lookup

    lookup = Lookup(project, recalls=True)
    found = lookup.pathspec(wanted.pathspec)
    return _of_lock(wanted, project, lookup.lock(found, host_arch()), found.reference, into)


def _of_lock(wanted: Wanted, project: Project, lock: Lock, name: str, into: Path | None) -> Path:
    """The prefix of a lock, hydrated if it is not on this machine. Raises NotHydrated, and as `hydrate`."""
    prefix = None if wanted.rebuild else find_prefix(lock, into or home())
    if prefix is None:
        if not wanted.hydrate:
            raise NotHydrated(name, prefix_of(lock, home()))
        from envlock.cli.progress import LiveReporter

        with LiveReporter() as reporter:
            if wanted.dry_run:
                return where_to_hydrate(lock, into or home(), reporter, force=wanted.force)
            return hydrate(
                project, lock, reporter, offline=wanted.offline, force=wanted.force, rebuild=wanted.rebuild, into=into
            )
    if into is None and not wanted.dry_run:
        know(project, lock)
    return prefix


def _deciding(project: Project, base: Base | None, lock: Lock, prefix: Path, *, is_nearest: bool) -> Iterator[str]:
    """Every path whose change could change the answer: which prefix it is, or whether it is complete.

    `is_nearest` says that the project was found from the working folder.
    """
    if is_nearest:
        for folder in (Path.cwd(), *Path.cwd().parents):
            yield str(folder / CONFIG_NAME)
            if folder == project.folder:
                break
    yield str(project.path)
    yield from project.layers.files if project.layers is not None else ()
    yield from (str(path) for flow in project.flows for path in (flow.file, *flow.modules))
    yield from map(str, project.files)
    yield from (str(project.folder / path) for each in project.environments() for _, path in each.local)
    if base is not None:
        from envlock.named.pin import pin_path

        yield str(pin_path(project.lock_folder, base.kind, base.reference))
    path = lock_path(project.lock_folder, lock)
    yield from (str(path.parent), str(path))
    yield from _of_prefix(prefix)


def _of_prefix(prefix: Path) -> Iterator[str]:
    receipt = read_receipt(prefix)
    yield str(prefix / RECEIPT)
    if receipt is not None:
        yield receipt.python


def _named(wanted: Wanted) -> str:
    from envlock.workflow.machine.errors import NoSuchName
    from envlock.workflow.machine.local_names import local_names, read_origin

    link = Path(named_link(wanted.name))
    if not link.is_symlink():
        raise NoSuchName(wanted.name, [each.name for each in local_names()])
    home()  # refuses a home that others may write: they would decide what runs here
    prefix = trusted(link.readlink())
    receipt = read_receipt(prefix)
    origin = read_origin(Path(origin_file(wanted.name)))
    repair = _command(wanted.name, origin) if origin is not None and origin.config.exists() else ""
    if receipt is None:
        raise NamedEnvironmentGone(wanted.name, f"{prefix} is missing or incomplete", repair)
    version = version_of(Path(receipt.python))
    if version is None or version.split(".")[:2] != receipt.python_version.split(".")[:2]:
        raise NamedEnvironmentGone(wanted.name, f"its interpreter {receipt.python} is {version or 'gone'}", repair)
    if origin is None:
        remember(("prefix", str(prefix)), str(prefix), _of_prefix(prefix), began=wanted.began)
    else:
        _compare(wanted, origin, prefix)
    return str(prefix)


def _compare(wanted: Wanted, origin: Origin, prefix: Path) -> None:
    """Warn if the project of a name has a newer lock; else remember the prefix."""
    key = ("named", wanted.name, str(prefix))
    if not origin.config.exists():  # the project is gone, the environment is still good
        remember(key, str(prefix), (str(origin.config), *_of_prefix(prefix)), began=wanted.began)
        return
    today = origin.compared(lambda lock: prefix_of(lock, home()) == prefix)
    if isinstance(today, str):
        _warn_of_older(wanted.name, origin, today)
    elif today is not None and _is_decided_by_few_files(today.environment):
        deciding = _deciding(today.project, today.environment.base, today.lock, prefix, is_nearest=False)
        remember(key, str(prefix), deciding, began=wanted.began)


def _warn_of_older(name: str, origin: Origin, why: str) -> None:
    command = _command(name, origin)
    sys.stderr.write(printable(f"warning: `{name}` is outdated: {why}\n  to update it: {command}\n"))


def _command(name: str, origin: Origin) -> str:
    """The command that lets a name lead to what its project has locked now."""
    return f"envlock sync {name} --config {shlex.quote(str(origin.config))}"
