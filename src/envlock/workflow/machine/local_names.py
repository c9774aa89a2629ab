"""Local names: links to prefixes that editors and kernels hold, and that `sync` moves to what is locked now.

```
<home>/named/<name>                          of this machine: `envlock create --name <name>`
<folder of envlock.toml>/.envlock/envs/<name>  of a project: `envlock create --in-project`
```

Beside each link, `.<name>.from` says which environment of which project it is for. A link of an environment that is of
no project (an alias, a task) has no such file, and is never moved.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from envlock.config.read import load_project
from envlock.config.selection import choose_one
from envlock.errors import EnvlockError
from envlock.files import MEMO_BYTES, json_of, leads_out, read_file, write_atomically
from envlock.hydration.errors import storage_error
from envlock.model.arch import host_arch
from envlock.places import IN_PROJECT, NAMED, folder_in_home, home
from envlock.workflow.hydrate import find_lock
from envlock.workflow.machine.errors import BadName, NameTaken

if TYPE_CHECKING:
    from collections.abc import Callable

    from envlock.config.project import Environment, Project
    from envlock.model.lock import Lock

_GITIGNORE = b"# Links to environments on this machine, made by `envlock create --in-project`.\n*\n"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")


class Origin(NamedTuple):
    """The environment of a project that a local name or a kernel is for. Empty means that the choice is open."""

    config: Path
    """envlock.toml, absolute."""
    flow: str = ""
    step: str = ""
    environment: str = ""
    """The name of an `[env.*]` table."""

    @property
    def options(self) -> str:
        """It as options of commands, quoted for a shell."""
        chosen = (("--flow", self.flow), ("--step", self.step), ("--env", self.environment))
        options = (("--config", str(self.config)), *chosen)
        return " ".join(f"{option} {shlex.quote(value)}" for option, value in options if value)

    def of_today(self) -> tuple[Project, Environment]:
        """The project and its environment as envlock.toml has them now. Raises ConfigError."""
        project = load_project(self.config)
        return project, self.of(project)

    def of(self, project: Project) -> Environment:
        """The environment, of the project that it is of. Raises ConfigError."""
        return choose_one(project, flow=self.flow, step=self.step, environment=self.environment)

    def compared(self, is_of: Callable[[Lock], bool]) -> Today | str | None:
        """What the environment is today; or why something of it is not that, as the end of a sentence.

        `is_of` says whether it was made for a lock. None if there is nothing to compare with: the project is gone, or
        looks the environment up when its step starts.
        """
        if not self.config.exists():
            return None
        try:
            project, environment = self.of_today()
            if environment.is_fetched:
                return None
            lock = find_lock(project, environment, host_arch())
        except EnvlockError as error:
            return error.message
        if not is_of(lock):
            return f"`{environment.name}` has been locked again since"
        return Today(project, environment, lock)


class Today(NamedTuple):
    """An environment as its project has it, and has locked it, now."""

    project: Project
    environment: Environment
    lock: Lock


class LocalName(NamedTuple):
    """A name of an environment on this machine: a link."""

    name: str
    link: Path
    origin: Origin | None
    """None for an environment that is of no project, and where that cannot be read."""

    @property
    def prefix(self) -> Path:
        """Where the link leads, whether or not that is there. Raises OSError."""
        return self.link.readlink()


def check_name(name: str) -> str:
    """The name. Raises BadName."""
    if not _NAME.match(name):
        raise BadName(name)
    return name


def name_in_project(environment: Environment) -> str:
    """What the link of an environment is called in its project: `Train.start`, `base`. Raises BadName."""
    return check_name(environment.name.replace("/", ".") if environment.is_step else environment.name)


def folder_of_links(project: Project | None = None) -> Path:
    """Where the links are: of the machine, or of a project."""
    return home() / NAMED if project is None else project.folder / IN_PROJECT


def local_names(project: Project | None = None) -> tuple[LocalName, ...]:
    """The local names of this machine, or those in a project's folder, sorted. Raises NoHome."""
    folder = folder_of_links(project)
    if project is not None and leads_out(folder, project.folder):
        return ()
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_symlink() and _NAME.match(entry.name))
    except OSError:
        return ()
    return tuple(LocalName(name, folder / name, read_origin(folder / f".{name}.from")) for name in names)


def names_of(project: Project) -> tuple[LocalName, ...]:
    """The local names that follow a project: those of its own folder, then the machine's."""
    names = (*local_names(project), *local_names())
    return tuple(each for each in names if each.origin is not None and is_of(each.origin.config, project))


def give_name(
    name: str,
    prefix: Path,
    origin: Origin | None,
    *,
    project: Project | None = None,
    force: bool,
    dry_run: bool = False,
) -> Path:
    """Give a prefix a local name, of this machine or in a project's folder; the link. A dry run writes nothing.

    `origin` is the project's environment that it is; None if it is of no project. The link is replaced at once.
    Raises NameTaken unless `force`; HomeUnusable, DiskFull; CannotWrite for a project's folder.
    """
    folder = folder_of_links(project)
    link = folder / name
    try:
        if os.path.lexists(link):
            target = str(link.readlink()) if link.is_symlink() else "not a link of envlock"
            if target != str(prefix) and not force:
                own = "" if project is None else "--in-project "
                raise NameTaken(name, str(link), target, f"envlock create {own}--name {name}")
        if dry_run:
            return link
        if project is None:
            folder_in_home(NAMED)
        else:
            _make_in_project(project)
        note = folder / f".{name}.from"
        if origin is not None:  # first: of a link without it, nobody knows that it is outdated
            if project is not None:  # which may move
                origin = origin._replace(config=Path(os.path.relpath(origin.config, folder)))
            write_atomically(note, json.dumps(origin._asdict(), default=str).encode())
        lead(link, prefix)
        if origin is None:
            note.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(error, folder, project) from error
    return link


def _unwritable(error: OSError, folder: Path, project: Project | None) -> EnvlockError:
    if project is None:
        return storage_error(error, folder)
    from envlock.config.edit.errors import CannotWrite

    return CannotWrite(project.shown(folder), error.strerror or str(error))


def _make_in_project(project: Project) -> None:
    """Make the folder of a project's links, which git ignores. Raises OSError."""
    folder = project.folder / IN_PROJECT
    if leads_out(folder, project.folder):
        raise NotADirectoryError(20, "it is a link that leads out of the project", str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    ignored = folder.parent / ".gitignore"
    if not ignored.exists() and folder.parent != home():
        write_atomically(ignored, _GITIGNORE)


def lead(link: Path, prefix: Path) -> None:
    """Let a link lead to a prefix, at once. Raises OSError."""
    stage = link.with_name(f".{link.name}.{os.getpid()}")
    stage.unlink(missing_ok=True)
    stage.symlink_to(prefix)
    try:
        stage.replace(link)
    except OSError:
        stage.unlink(missing_ok=True)
        raise


def read_origin(path: Path) -> Origin | None:
    """The environment that a file says a name is for; None if there is none, or it is not valid."""
    try:
        said = json_of(read_file(path, MEMO_BYTES))
        config, *chosen = (str(said[key]) for key in Origin._fields)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return Origin(Path(os.path.normpath(path.parent / config)), *chosen)


def is_of(config: Path, project: Project) -> bool:
    """Whether an envlock.toml is the project's."""
    try:
        return config == project.path or config.samefile(project.path)
    except OSError:
        return False
