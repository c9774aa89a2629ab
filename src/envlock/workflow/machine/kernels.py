"""Jupyter kernels of locked environments.

A kernel has a prefix of its own: the locked environment, every package of it to the hash, and ipykernel with what that
needs. It is resolved when the kernel is installed, as an environment that extends the locked one. So nothing is ever
installed into a locked environment, and its tasks never see ipykernel.

```
<home>/kernels/<name>/lock/         the lock of the kernel's environment, as in a lock folder
                      prefix        a link to its prefix
                      made-from.json  what it was made from
                      start.py      what Jupyter starts
<folder of Jupyter>/kernels/<name>/kernel.json
```
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import envlock
from envlock.activation import activated
from envlock.errors import EnvlockError, printable
from envlock.files import MEMO_BYTES, json_of, read_file, write_atomically
from envlock.hydration.errors import storage_error
from envlock.hydration.prefix import prefix_of, read_receipt
from envlock.in_use import hold, used
from envlock.lockfile.folder import write_lock
from envlock.places import KERNELS, folder_in_home, home, trusted
from envlock.reporter import Reporter
from envlock.workflow.hydrate import hydrate
from envlock.workflow.machine import kernel_start
from envlock.workflow.machine.errors import (
    KernelTaken,
    NoSuchKernel,
)
from envlock.workflow.machine.jupyter import (
    FOLDER,
    check_kernel_name,
    jupyter_folder,
    kernel_name,
    owner_of,
    refuse_unwritable,
    remove_spec,
    search_path,
    write_spec,
)
from envlock.workflow.machine.kernel_environment import resolve
from envlock.workflow.machine.local_names import Origin, lead

if TYPE_CHECKING:
    from collections.abc import Mapping

    from envlock.config.project import Project
    from envlock.model.lock import Lock
    from envlock.workflow.machine.kernel_environment import Subject

_START = "start.py"


@dataclass(frozen=True)
class MadeFrom:
    """What a kernel was made from, as its file says it."""

    name: str
    """In lower case, as Jupyter lists it."""
    subject: str
    """What messages call the environment."""
    base: str
    """The ids of the locked environment: `req_id:full_id`."""
    identity: str
    """The ids of the kernel's own."""
    spec: str
    """The folder of Jupyter's kernel.json."""
    display_name: str
    command: str
    """The command that makes the kernel again."""
    envlock: str
    """The folders where the envlock which installed it, and what that needs, are found; as in PATH."""
    config: str = ""
    """The envlock.toml that has the environment; empty if it is of no project."""
    flow: str = ""
    step: str = ""
    environment: str = ""
    more: str = ""
    """What it was asked to have beside ipykernel, a requirement in each line."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """What is set in the kernel, beside what its prefix sets."""

    @property
    def origin(self) -> Origin | None:
        """The environment of a project that it is for."""
        return Origin(Path(self.config), self.flow, self.step, self.environment) if self.config else None

    @property
    def outdated(self) -> str:
        """Why the environment is not today what the kernel was made of; empty if it is, or is of no project."""
        today = self.origin.compared(lambda lock: lock.identity == self.base) if self.origin is not None else None
        return today if isinstance(today, str) else ""


@dataclass(frozen=True)
class Kernel:
    """A kernel of this machine."""

    name: str
    folder: Path
    made_from: MadeFrom | None
    """None for what is damaged."""

    @property
    def prefix(self) -> Path | None:
        """Its prefix, whether or not that is there."""
        try:
            return (self.folder / kernel_start.PREFIX).readlink()
        except OSError:
            return None

    @property
    def state(self) -> str:
        """`ready`, `gone` (its prefix is not on this machine), `unlisted` (Jupyter does not have it), or `damaged`."""
        if self.made_from is None or self.prefix is None:
            return "damaged"
        if read_receipt(self.prefix) is None:
            return "gone"
        return "ready" if owner_of(Path(self.made_from.spec)) == str(self.folder) else "unlisted"


def kernels() -> tuple[Kernel, ...]:
    """The kernels that envlock installed from this home, sorted by name."""
    folder = home() / KERNELS
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    except OSError:
        return ()
    return tuple(Kernel(name, folder / name, _made_from(folder / name)) for name in names)


def _made_from(folder: Path) -> MadeFrom | None:
    try:
        said = json_of(read_file(folder / kernel_start.MADE_FROM, MEMO_BYTES))
        found = MadeFrom(**said)
        texts = (value for key, value in said.items() if key != "variables")
        is_valid = all(type(value) is str for value in texts) and isinstance(found.variables, dict)
        return found if is_valid and found.name == folder.name else None
    except (OSError, ValueError, TypeError):
        return None


# Installing, listing, removing.


@dataclass(frozen=True)
class Installed:
    """A kernel that was installed, or, by a dry run, would be."""

    made_from: MadeFrom
    lock: Lock
    prefix: Path
    added: tuple[str, ...]
    """What it has beside the locked packages, as `ipykernel 6.29.5`."""


def install(
    project: Project,
    subject: Subject,
    reporter: Reporter,
    *,
    name: str | None = None,
    display_name: str = "",
    prefix: Path | None = None,
    variables: Mapping[str, str] | None = None,
    offline: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> Installed:
    """Install a kernel of a locked environment, or make the one of that name again.

    `prefix` is that of the Jupyter which is to list it; by default it is the user's own. What cannot work is refused
    before anything is resolved. Raises BadKernelName, KernelTaken, JupyterFolderUnusable, and what resolving and
    hydrating raise.

    `variables` are set in the kernel too; without any, one that is made again keeps those that it had.
    """
    folder, spec = place_of(subject, name, prefix)
    known = _made_from(folder)
    if variables is None:
        variables = known.variables if known is not None else {}
    origin = subject.origin
    made_from = MadeFrom(
        name=folder.name,
        subject=subject.name,
        base=subject.lock.identity,
        identity="",
        spec=str(spec),
        display_name=display_name or f"{subject.name} (envlock)",
        command=_command(subject, folder.name, display_name, prefix),
        envlock="",
        config=str(origin.config) if origin else "",
        flow=origin.flow if origin else "",
        step=origin.step if origin else "",
        environment=origin.environment if origin else "",
        more="\n".join(subject.more),
        variables=dict(variables),
    )
    return _make(project, subject, made_from, reporter, offline=offline, force=force, dry_run=dry_run)


def update(
    project: Project, subject: Subject, known: MadeFrom, reporter: Reporter, *, offline: bool, dry_run: bool
) -> Installed:
    """Make a kernel again, as it was asked for, of what its environment is now. Raises as `install`."""
    refuse_unwritable(Path(known.spec))
    made_from = replace(known, base=subject.lock.identity)
    return _make(project, subject, made_from, reporter, offline=offline, dry_run=dry_run)


def _make(
    project: Project,
    subject: Subject,
    made_from: MadeFrom,
    reporter: Reporter,
    *,
    offline: bool,
    force: bool = False,
    dry_run: bool,
) -> Installed:
    folder = home() / KERNELS / made_from.name
    lock = resolve(project, subject, folder / "lock", reporter, offline=offline)
    own = {(each.kind, each.name) for each in subject.lock.packages}
    added = tuple(f"{each.name} {each.version}" for each in lock.packages if (each.kind, each.name) not in own)
    made_from = replace(made_from, identity=lock.identity, envlock=os.pathsep.join(_own_folders()))
    if dry_run:
        return Installed(made_from, lock, prefix_of(lock, home()), added)
    prefix = hydrate(project, lock, reporter, offline=offline, force=force)
    before = _made_from(folder)
    _write(folder, made_from, lock, prefix)
    write_spec(Path(made_from.spec), folder / _START, made_from.display_name, made_from.subject)
    if before is not None and before.spec != made_from.spec and owner_of(Path(before.spec)) == str(folder):
        remove_spec(Path(before.spec))  # it was another Jupyter's
    return Installed(made_from, lock, prefix, added)


def place_of(subject: Subject, name: str | None, prefix: Path | None = None) -> tuple[Path, Path]:
    """The folders of a kernel, in the home and in Jupyter's, which can be written.

    Raises BadKernelName, KernelTaken, JupyterFolderUnusable.
    """
    name = kernel_name(subject.name) if name is None else check_kernel_name(name)
    folder = home() / KERNELS / name
    spec = jupyter_folder(os.environ, prefix) / FOLDER / name
    _refuse_taken(name, folder, spec, subject)
    refuse_unwritable(spec)
    return folder, spec


def _command(subject: Subject, name: str, display_name: str, prefix: Path | None) -> str:
    """The command that makes a kernel again."""
    options: tuple[tuple[str, str], ...] = (
        ("--name", name),
        ("--display-name", display_name),
        ("--prefix", str(prefix or "")),
    )
    options += tuple(("--with", each) for each in subject.more)
    own = " ".join(f"{option} {shlex.quote(value)}" for option, value in options if value)
    return f"envlock kernel install {subject.options} {own}"


def _refuse_taken(name: str, folder: Path, spec: Path, subject: Subject) -> None:
    """Raise KernelTaken for a name that another kernel has, of envlock or of anybody: Jupyter shows one of them."""
    for place in dict.fromkeys([spec, *(each / FOLDER / name for each in search_path(os.environ))]):
        owner = owner_of(place)
        if owner == "":
            raise KernelTaken(name, str(place), "it is not envlock's", f"`jupyter kernelspec remove {name}` removes it")
        if owner is not None and owner != str(folder):
            raise KernelTaken(
                name, str(place), f"it belongs to another home of envlock, {Path(owner).parent.parent}", ""
            )
    known = _made_from(folder)
    if known is not None and (known.subject, known.origin) != (subject.name, subject.origin):
        remove = f"`envlock kernel remove {name}` removes it"
        raise KernelTaken(name, known.spec, f"it is the kernel of {known.subject}", remove)


def _write(folder: Path, made_from: MadeFrom, lock: Lock, prefix: Path) -> None:
    """Write a kernel into the home.

    What says which environment it has comes last: a kill at any moment leaves a kernel that starts, and that is updated
    once more.
    """
    try:
        folder_in_home(KERNELS, folder.name)
        path = write_lock(folder / "lock", lock)
        write_atomically(folder / _START, Path(kernel_start.__file__).read_bytes())
        lead(folder / kernel_start.PREFIX, prefix)
        write_atomically(folder / kernel_start.MADE_FROM, _json(asdict(made_from)))
        for old in (folder / "lock").rglob("pylock.*.toml"):
            if old != path:
                old.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(error, folder) from error


def _own_folders() -> list[str]:
    """Where this process finds envlock and its libraries."""
    libraries = [each for each in sys.path if Path(each).name in {"site-packages", "dist-packages"}]
    return list(dict.fromkeys([*libraries, str(Path(envlock.__file__).parent.parent)]))


def _json(document: object) -> bytes:
    return (json.dumps(document, indent=1) + "\n").encode()


def remove(name: str) -> Kernel:
    """Remove a kernel: from Jupyter, and from the home. Its prefix stays, until nothing needs it.

    Raises NoSuchKernel, HomeUnusable, JupyterFolderUnusable.
    """
    known = {each.name: each for each in kernels()}
    kernel = known.get(name.lower())
    if kernel is None:
        raise NoSuchKernel(name, sorted(known))
    try:
        spec = Path(kernel.made_from.spec) if kernel.made_from is not None else None
        if spec is not None and owner_of(spec) == str(kernel.folder):
            remove_spec(spec)
        shutil.rmtree(kernel.folder)
    except OSError as error:
        raise storage_error(error, kernel.folder) from error
    return kernel


def enter(folder: str) -> dict[str, str]:
    """The variables of a process in a kernel's prefix. Says on stderr if its environment was locked again since.

    For `kernel_start.py` alone: ends the process if the prefix cannot be entered.
    """
    place = Path(folder)
    made_from = _made_from(place)
    try:
        trusted(place)  # who may write there decides what runs here
        prefix = trusted((place / kernel_start.PREFIX).readlink())
        if made_from is not None and (why := made_from.outdated):
            _warn(f"the kernel `{made_from.name}` is outdated: {why}\n  to update it: {made_from.command}")
        used(str(prefix))
        if not hold(str(prefix)):
            kernel_start.end(kernel_start.gone(place.name, str(prefix), made_from.command if made_from else ""))
        return activated(str(prefix), os.environ, warn=_warn)
    except EnvlockError as error:
        kernel_start.end(error.render(), error.exit_status)
    except OSError as error:
        kernel_start.end(f"envlock: the kernel `{place.name}` cannot be started: {error}")


def _warn(message: str) -> None:
    sys.stderr.write(printable(f"warning: {message}\n"))
