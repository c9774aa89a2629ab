"""Find or hydrate the prefix of one environment, by envlock.toml and its lock, or by its name on this machine."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from envlock.activation import RECEIPT
from envlock.cli.errors import NamedEnvironmentGone, NameTaken, NoSuchName, NotHydrated
from envlock.cli.one_environment import Wanted, named_link, origin_file
from envlock.cli.options import config_path
from envlock.cli.prefix_memo import remember
from envlock.config.project import CONFIG_NAME
from envlock.config.read import load_project
from envlock.config.selection import choose_one
from envlock.errors import EnvlockError, printable
from envlock.files import MEMO_BYTES, read_file, write_atomically
from envlock.hydration.errors import storage_error
from envlock.hydration.prefix import find_prefix, prefix_of, read_receipt
from envlock.interpreters import version_of
from envlock.lockfile.folder import lock_path
from envlock.model.arch import host_arch
from envlock.named.alias import has_variables
from envlock.places import folder_in_home, home, trusted
from envlock.workflow.hydrate import find_lock, hydrate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envlock.config.project import Base, Project
    from envlock.model.lock import Lock


def find_or_hydrate(wanted: Wanted, into: Path | None = None) -> str:
    """The prefix of the environment, hydrated if it is not on this machine, and remembered. Raises EnvlockError.

    `into` is another home for it, and that is not remembered.
    """
    if wanted.name:
        return _named(wanted)
    project = load_project(config_path(wanted.config))
    environment = choose_one(project, flow=wanted.flow, step=wanted.step, environment=wanted.environment)
    lock = find_lock(project, environment, host_arch())
    prefix = None if wanted.rebuild else find_prefix(lock, into or home())
    if prefix is None:
        if not wanted.hydrate:
            raise NotHydrated(environment.name, prefix_of(lock, home()))
        from envlock.cli.progress import LiveReporter

        with LiveReporter() as reporter:
            prefix = hydrate(
                project, lock, reporter, offline=wanted.offline, force=wanted.force, rebuild=wanted.rebuild, into=into
            )
    if into is not None:
        return str(prefix)
    base = environment.base
    is_pinned = base is None or (not base.fetch_at_exec and not has_variables(base.written))
    if is_pinned and not any(url.startswith("folder") for url, _ in environment.local):  # else no few files decide it
        remember(wanted.key, str(prefix), _deciding(wanted, project, base, lock, prefix), began=wanted.began)
    return str(prefix)


def _deciding(wanted: Wanted, project: Project, base: Base | None, lock: Lock, prefix: Path) -> Iterator[str]:
    """Every path whose change could change the answer: which prefix it is, or whether it is complete."""
    if not wanted.config:
        for folder in (Path.cwd(), *Path.cwd().parents):
            yield str(folder / CONFIG_NAME)
            if folder == project.folder:
                break
    yield str(project.path)
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
    link = Path(named_link(wanted.name))
    if not link.is_symlink():
        names = sorted(path.name for path in link.parent.iterdir() if path.is_symlink()) if link.parent.is_dir() else []
        raise NoSuchName(wanted.name, names)
    home()  # refuses a home that others may write: they would decide what runs here
    prefix = trusted(link.readlink())
    receipt = read_receipt(prefix)
    if receipt is None:
        raise NamedEnvironmentGone(wanted.name, f"{prefix} is missing or incomplete")
    version = version_of(Path(receipt.python))
    if version is None or version.split(".")[:2] != receipt.python_version.split(".")[:2]:
        raise NamedEnvironmentGone(wanted.name, f"its interpreter {receipt.python} is {version or 'gone'}")
    origin = _origin(wanted.name)
    if origin is None:
        remember(("prefix", str(prefix)), str(prefix), _of_prefix(prefix), began=wanted.began)
    else:
        _compare(wanted, origin, prefix)
    return str(prefix)


def give_name(name: str, prefix: str, origin: Wanted | None, *, force: bool) -> None:
    """Give a prefix on this machine the name `name`. Raises NameTaken unless `force`; HomeUnusable.

    `origin` is the project's environment that it is, so that a newer lock is noticed; None if it is of no project.
    """
    link = Path(named_link(name))
    try:
        folder_in_home("named")
        if os.path.lexists(link):
            target = str(link.readlink()) if link.is_symlink() else "not a link of envlock"
            if target != prefix and not force:
                raise NameTaken(name, link, target)
        stage = link.with_name(f".{name}.{os.getpid()}")
        stage.unlink(missing_ok=True)
        stage.symlink_to(prefix)
        stage.replace(link)
        _keep_origin(name, origin)
    except OSError as error:
        raise storage_error(error, link.parent) from error


def _keep_origin(name: str, wanted: Wanted | None) -> None:
    """Write down which environment of which project the name is for; None if it is of no project."""
    path = Path(origin_file(name))
    if wanted is None:
        path.unlink(missing_ok=True)
        return
    said = {
        "config": str(config_path(wanted.config)),
        "flow": wanted.flow,
        "step": wanted.step,
        "environment": wanted.environment,
    }
    write_atomically(path, json.dumps(said).encode())


def _origin(name: str) -> Wanted | None:
    """Which environment of which project the name is for; None if that is unknown."""
    try:
        said = json.loads(read_file(origin_file(name), MEMO_BYTES))
        config, flow, step, environment = (str(said[key]) for key in ("config", "flow", "step", "environment"))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return Wanted(config=config, flow=flow, step=step, environment=environment)


def _compare(wanted: Wanted, origin: Wanted, prefix: Path) -> None:
    """Warn if the project of a name has a newer lock; else remember the prefix."""
    key = ("named", wanted.name, str(prefix))
    if not Path(origin.config).exists():  # the project is gone, the environment is still good
        remember(key, str(prefix), (origin.config, *_of_prefix(prefix)), began=wanted.began)
        return
    try:
        project = load_project(Path(origin.config))
        environment = choose_one(project, flow=origin.flow, step=origin.step, environment=origin.environment)
        if environment.is_fetched:
            return
        lock = find_lock(project, environment, host_arch())
    except EnvlockError as error:
        _warn_of_older(wanted.name, origin, error.message)
        return
    if prefix_of(lock, home()) != prefix:
        _warn_of_older(wanted.name, origin, f"`{environment.name}` has been locked again since")
    elif environment.base is None or not has_variables(environment.base.written):
        deciding = _deciding(origin, project, environment.base, lock, prefix)
        remember(key, str(prefix), deciding, began=wanted.began)


def _warn_of_older(name: str, origin: Wanted, why: str) -> None:
    options = (("--config", origin.config), ("--flow", origin.flow), ("--step", origin.step))
    said = [f"{option} {shlex.quote(value)}" for option, value in (*options, ("--env", origin.environment)) if value]
    command = f"envlock create {' '.join(said)} --name {name} --force"
    sys.stderr.write(printable(f"warning: `{name}` is outdated: {why}\n  to update it: {command}\n"))
