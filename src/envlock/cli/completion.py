"""Shell completion of values. The `complete` of an option or an argument names the function.

A second parameter gets what the command line has for the option or the argument of that name.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from envlock.errors import EnvlockError
from envlock.files import CONFIG_BYTES, read_file, toml_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from envlock.config.project import Project


def commands(incomplete: str, command: Sequence[str] = ()) -> list[str]:
    """Commands; after the name of a group, those of the group."""
    from envlock.cli import PANELS, declared
    from envlock.cli.command import Group

    names = [name for panel in PANELS.values() for name in panel]
    if not command:
        return _starting(names, incomplete)
    found = declared(command[0]) if command[0] in names and len(command) == 1 else None
    return _starting(found.commands, incomplete) if isinstance(found, Group) else []


def flows(incomplete: str) -> list[str]:
    """Flows of the project."""
    project = _nearby_project()
    return _starting((flow.name for flow in project.flows), incomplete) if project else []


def steps(incomplete: str) -> list[str]:
    """Steps of the project's flows."""
    project = _nearby_project()
    return _starting((step.name for flow in project.flows for step in flow.steps), incomplete) if project else []


def environments(incomplete: str) -> list[str]:
    """Named environments of the project."""
    project = _nearby_project()
    return _starting((environment.name for environment in project.named), incomplete) if project else []


def archs(incomplete: str) -> list[str]:
    """Architectures: the project's, or all."""
    from envlock.model.arch import ARCHS

    project = _nearby_project()
    return _starting(project.settings.archs if project else ARCHS, incomplete)


def settings(incomplete: str) -> list[str]:
    """The settings of `[envlock]` and of settings files."""
    from envlock.config.settings import MACHINE, PROJECT

    return _starting(dict.fromkeys((*PROJECT, *MACHINE)), incomplete)


def aliases(incomplete: str) -> list[str]:
    """Aliases in the project's cache, if that is a folder: a shell should not wait for a bucket."""
    project = _nearby_project()
    if project is None:
        return []
    from envlock.cache.open import open_cache
    from envlock.named.history import Aliases

    try:
        if "://" in project.cache_url:
            return []
        store = open_cache(project)
        return [str(alias) for alias in Aliases(store).names(incomplete)]
    except (EnvlockError, OSError):
        return []


def shown(incomplete: str) -> list[str]:
    """What `envlock show` takes: steps, flows and environments of the project, or of a revision; names in its cache."""
    from envlock.git_objects import objects_around, tree_of

    revision, colon, name = incomplete.rpartition(":")
    own = [*steps(name), *flows(name), *environments(name)]
    if not colon:
        return own or aliases(incomplete)
    objects = objects_around(Path.cwd())
    try:
        is_revision = objects is not None and tree_of(objects, revision) is not None
    except EnvlockError:
        is_revision = False
    return [*([f"{revision}:{each}" for each in own] if is_revision else ()), *aliases(incomplete)]


def compared(incomplete: str) -> list[str]:
    """What `envlock diff` takes: what `show` does, and revisions of git."""
    from envlock.git_objects import objects_around

    objects = objects_around(Path.cwd())
    return [*shown(incomplete), *_starting(objects.names() if objects is not None else (), incomplete)]


def extras_of_pyproject(incomplete: str, pyproject: Sequence[str] = ()) -> list[str]:
    """The extras of the pyproject.toml files of a command line, or else of that in the working folder."""
    return _starting(
        _names_in(pyproject, ("project", "optional-dependencies"), ("tool", "poetry", "extras")), incomplete
    )


def groups_of_pyproject(incomplete: str, pyproject: Sequence[str] = ()) -> list[str]:
    """Their dependency groups."""
    return _starting(_names_in(pyproject, ("dependency-groups",), ("tool", "poetry", "group")), incomplete)


def _names_in(files: Sequence[str], *tables: tuple[str, ...]) -> Iterator[str]:
    """The keys of tables of TOML files."""
    for file in files or ("pyproject.toml",):
        try:
            document = toml_of(read_file(Path(file), CONFIG_BYTES).decode())
        except (OSError, ValueError):
            continue
        for table in tables:
            found: object = document
            for key in table:
                found = found.get(key) if isinstance(found, dict) else None
            yield from found if isinstance(found, dict) else ()


def packages(incomplete: str) -> list[str]:
    """Packages in the project's locks of this machine's arch, or else of its first."""
    project = _nearby_project()
    if project is None:
        return []
    from envlock.workflow.references import all_referred
    from envlock.workflow.show import default_arch

    try:
        referred = all_referred(project, archs=[default_arch(project)])
        rows = [each.rows(arch) for each in referred for arch in each.archs]
    except (EnvlockError, OSError):
        return []
    return _starting(sorted({package.name for each in rows for package in each.packages}), incomplete)


def upgradable(incomplete: str) -> list[str]:
    """What `lock --upgrade-package` takes."""
    return _starting(["python", *packages("")], incomplete)


def required(incomplete: str) -> list[str]:
    """Packages that envlock.toml and its requirement files name."""
    project = _nearby_project()
    if project is None:
        return []
    names: set[str] = set()
    for each in (environment.requirements for environment in project.environments()):
        names |= {package.name for package in each.pypi} | {package.name for package in (*each.conda, *each.conda_only)}
    return _starting(sorted(names), incomplete)


def indexes(incomplete: str) -> list[str]:
    """Names of `[envlock.indexes]`."""
    project = _nearby_project()
    return _starting((name for name, _ in project.settings.indexes), incomplete) if project else []


def pinned(incomplete: str) -> list[str]:
    """Aliases that the project is based on, which `lock --upgrade-alias` looks up again."""
    project = _nearby_project()
    bases = [each.base for each in project.environments()] if project else []
    return _starting((each.reference or each.written for each in bases if each and each.kind == "name"), incomplete)


def local_names(incomplete: str) -> list[str]:
    """Names that `envlock create --name` gave on this machine."""
    from envlock.workflow.machine.local_names import local_names as names_here

    return _starting((each.name for each in names_here()), incomplete)


def kernels(incomplete: str) -> list[str]:
    """Jupyter kernels that envlock has installed."""
    from envlock.workflow.machine.kernels import kernels as kernels_here

    return _starting((each.name for each in kernels_here()), incomplete)


def names_of_project(incomplete: str) -> list[str]:
    """Local names and kernels that follow the project."""
    from envlock.workflow.machine.local_names import names_of
    from envlock.workflow.machine.sync import kernels_of

    project = _nearby_project()
    if project is None:
        return []
    names = [each.name for each in names_of(project)] + [each.name for each in kernels_of(project)]
    return _starting(names, incomplete)


def _nearby_project() -> Project | None:
    """The project of the working folder, or None: completion has no room for errors."""
    from envlock.config.read import find_config, load_project

    try:
        return load_project(find_config(Path.cwd()))
    except (EnvlockError, OSError):
        return None


def _starting(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]
