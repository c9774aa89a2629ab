"""`envlock kernel`: Jupyter kernels of locked environments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envlock.cli.command import Argument, CommandLine, Flag, Group, Value, command
from envlock.cli.options import CONFIG, DRY_RUN, FORCE, JSON, OFFLINE, PATHSPEC, open_project

if TYPE_CHECKING:
    from pathlib import Path

    from envlock.config.project import Project
    from envlock.workflow.machine.kernel_environment import Subject
    from envlock.workflow.machine.kernels import Installed, Kernel

_REFERENCE = Argument(
    "reference",
    "[REFERENCE]",
    "The environment: a step, `Flow/step`, an `[env.NAME]`, an alias, ids, or the path of a lock. Needed only if the "
    "project has several.",
    complete="shown",
)
_KERNEL = Argument("kernel", "KERNEL", "The kernel's name.", complete="kernels")
_NAME = Value("--name", "N", "The kernel's name, for `jupyter`. Default: made from that of the environment.")
_DISPLAY_NAME = Value("--display-name", "TEXT", "What notebooks show. Default: the environment's name.")
_WITH = Value(
    "--with",
    "PACKAGE",
    "Also add this package to the kernel, such as `metaflow` or `ipywidgets`.",
    repeatable=True,
)
_USER = Flag("--user", "Install it for this user, in Jupyter's own folder. This is the default.")
_PREFIX = Value("--prefix", "FOLDER", "Install it for the Jupyter of this prefix, in `FOLDER/share/jupyter`.")


@command(
    *(_REFERENCE, PATHSPEC, _WITH, _NAME, _DISPLAY_NAME, _USER, _PREFIX, FORCE, OFFLINE, DRY_RUN, JSON, CONFIG),
    epilog="Exit status: 0; 1 if the environment's lock is stale; 4 if ipykernel does not fit its packages.",
)
def install(line: CommandLine) -> int:
    """Install a Jupyter kernel that has exactly the packages of a locked environment, and ipykernel.

    The kernel has an environment of its own: every locked package as it is, and ipykernel with what that needs. Nothing
    is installed into the locked environment. If the kernel is there already, it is updated to what is locked now.

    For example:

    - `envlock kernel install train`
    - `envlock kernel install base --name work --display-name "Python of the team"`
    - `envlock kernel install --pathspec TrainFlow/142/train`
    - `envlock kernel install train --with metaflow --with ipywidgets`
    - `envlock kernel install train --prefix .venv`
    """
    from dataclasses import replace

    from envlock.cli.console import say, write_err, write_json
    from envlock.cli.errors import BadUsage
    from envlock.cli.progress import LiveReporter
    from envlock.errors import one_line
    from envlock.words import count, listed
    from envlock.workflow.machine import kernels

    if line.has(_USER) and line.has(_PREFIX):
        raise BadUsage("`--user` and `--prefix` exclude each other: give one of them", "envlock kernel install")
    if line.has(_REFERENCE) and line.has(PATHSPEC):
        raise BadUsage("give one environment: a reference, or --pathspec", "envlock kernel install")
    project = open_project(line)
    subject = replace(subject_of(project, line.value(_REFERENCE), line.value(PATHSPEC)), more=line.values(_WITH))
    prefix = _folder(line.value(_PREFIX)) if line.has(_PREFIX) else None
    with LiveReporter() as reporter:
        installed = kernels.install(
            project,
            subject,
            reporter,
            name=line.value(_NAME) if line.has(_NAME) else None,
            display_name=line.value(_DISPLAY_NAME),
            prefix=prefix,
            offline=line.has(OFFLINE),
            force=line.has(FORCE),
            dry_run=line.has(DRY_RUN),
        )
    if line.has(JSON):
        write_json(_as_document(installed, dry_run=line.has(DRY_RUN)))
        return 0
    made_from = installed.made_from
    done = "would install" if line.has(DRY_RUN) else "installed"
    say(one_line(f"{done} the kernel {made_from.name}, of {made_from.subject}, in {made_from.spec}"))
    if installed.added:
        own = [each for each in installed.added if each.startswith("ipykernel ")]
        more = count(len(installed.added) - len(own), "other package" if own else "package")
        write_err(one_line(f"note: its environment has {listed([*own, more])} beside the locked ones"))
    return 0


def subject_of(project: Project, reference: str, pathspec: str) -> Subject:
    """The locked environment that a command line names, for this machine.

    Raises what references raise, and what is wrong with its lock.
    """
    from pathlib import Path
    from shlex import quote

    from envlock.config.selection import choose_one
    from envlock.hydration.prefix import name_of
    from envlock.model.arch import host_arch
    from envlock.places import expanded
    from envlock.workflow.machine.kernel_environment import Subject, of_project
    from envlock.workflow.references import referred

    config = f"--config {quote(str(project.path))}"
    if pathspec:
        from envlock.named.lookup import Lookup

        lookup = Lookup(project, recalls=True)
        found = lookup.pathspec(pathspec)
        lock = lookup.lock(found, host_arch())
        # Of a step, it is the newest task that was looked up: the next time, that may be another one.
        name = "/".join(found.reference.split("/")[: len(pathspec.split("/"))])
        return Subject(name, lock, options=f"--pathspec {quote(pathspec)} {config}")
    if not reference:
        return of_project(project, choose_one(project, by_options=False), config)
    named = referred(project, reference, archs=(host_arch(),))
    if named.environment is not None and not named.revision:
        return of_project(project, named.environment, f"{quote(reference)} {config}")
    lock = named.lock(host_arch())
    path = Path(expanded(reference)).absolute()
    if path.exists():  # a lock file, or a prefix: what it was locked for says more than its name
        return Subject(name_of(lock), lock, options=f"{quote(str(path))} {config}")
    return Subject(named.name, lock, options=f"{quote(reference)} {config}")


def _folder(text: str) -> Path:
    from pathlib import Path

    from envlock.cli.errors import BadUsage
    from envlock.places import expanded

    if not text:
        raise BadUsage("`--prefix` needs a folder", "envlock kernel install")
    return Path(expanded(text)).absolute()


def _as_document(installed: Installed, *, dry_run: bool) -> dict[str, object]:
    made_from = installed.made_from
    document: dict[str, object] = {
        "name": made_from.name,
        "display_name": made_from.display_name,
        "environment": made_from.subject,
        "base": made_from.base,
        "identity": made_from.identity,
        "added": list(installed.added),
        "prefix": str(installed.prefix),
        "kernel_json": f"{made_from.spec}/kernel.json",
    }
    return {**document, "dry_run": True} if dry_run else document


_WORDS = {
    "ready": "ready",
    "outdated": "outdated",
    "gone": "its environment is not on this machine",
    "unlisted": "Jupyter does not have it",
    "damaged": "damaged",
}


@command(JSON, epilog="Exit status: 0.")
def ls(line: CommandLine) -> int:
    """List the kernels that envlock has installed on this machine.

    For example:

    - `envlock kernel ls`
    - `envlock kernel ls --json`
    """
    from envlock.cli.console import aligned, write, write_err, write_json
    from envlock.workflow.machine.kernels import kernels

    found = [(each, *_state(each)) for each in kernels()]
    if line.has(JSON):
        write_json({"kernels": [_listed(*each) for each in found]})
        return 0
    for row in aligned([_row(each, state) for each, state, _ in found]):
        write("  ".join(row).rstrip())
    if not found:
        write_err("note: envlock has installed no kernel here; `envlock kernel install STEP` installs one")
    return 0


def _state(kernel: Kernel) -> tuple[str, str]:
    """The state of a kernel, and why it is outdated."""
    state = kernel.state
    why = kernel.made_from.outdated if state == "ready" and kernel.made_from is not None else ""
    return ("outdated", why) if why else (state, "")


def _listed(kernel: Kernel, state: str, why: str) -> dict[str, object]:
    made_from = kernel.made_from
    return {
        "name": kernel.name,
        "state": state,
        "why": why or None,
        "environment": made_from.subject if made_from else None,
        "display_name": made_from.display_name if made_from else None,
        "base": made_from.base if made_from else None,
        "identity": made_from.identity if made_from else None,
        "prefix": str(kernel.prefix) if kernel.prefix else None,
        "kernel_json": f"{made_from.spec}/kernel.json" if made_from else None,
        "command": made_from.command if made_from else None,
    }


def _row(kernel: Kernel, state: str) -> tuple[str, str, str]:
    """A kernel for the list: its name, its environment, and its state, with the command that repairs it."""
    made_from = kernel.made_from
    repair = "" if state == "ready" or made_from is None else f": {made_from.command}"
    return kernel.name, made_from.subject if made_from else "?", f"{_WORDS[state]}{repair}"


@command(_KERNEL, JSON)
def remove(line: CommandLine) -> int:
    """Remove a kernel that envlock has installed.

    Its environment stays on this machine until `envlock env gc` finds that nothing needs it.

    For example:

    - `envlock kernel remove trainflow-train`
    """
    from envlock.cli.console import say, write_json
    from envlock.errors import one_line
    from envlock.workflow.machine import kernels

    removed = kernels.remove(line.value(_KERNEL))
    if line.has(JSON):
        write_json({"removed": removed.name})
    else:
        say(one_line(f"removed the kernel {removed.name}"))
    return 0


kernel = Group(
    "kernel",
    "Install Jupyter kernels of locked environments, list them, remove them.",
    (install, ls, remove),
)
