"""`import`: locks of another tool's lock, without solving: the same packages, with the same hashes.

What the other lock does not say is asked of the channel or the index that its packages are from, and held to the hashes
that it has. Then each new lock is read back, and compared with the other one, before anything is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from envlock.config.edit.env_tables import add_environment
from envlock.config.edit.errors import EnvironmentExists
from envlock.config.instants import format_instant
from envlock.config.metaflow_needs import metaflow_requirements
from envlock.config.project import Project
from envlock.config.read import project_of
from envlock.errors import ResolveError, as_one
from envlock.files import holds, write_atomically
from envlock.interchange.errors import ImportLacksArch, UnfitPackage
from envlock.interchange.imported import Choice, Imported, read
from envlock.lockfile.document import render, summary_of
from envlock.lockfile.errors import DamagedLock
from envlock.lockfile.folder import candidates, lock_path, refuse_leading_out
from envlock.lockfile.merge_conflicts import write_attributes
from envlock.lockfile.summary import quick_summary
from envlock.model.arch import ARCHS, Arch
from envlock.model.lock import Lock, LockedPackage, LockedPython
from envlock.model.requirement import PypiRequirement
from envlock.model.requirements import Requirements
from envlock.model.url import strip_credentials
from envlock.places import user
from envlock.reporter import Reporter
from envlock.resolve.errors import merge_archs
from envlock.workflow.check_rules import refuse_strange_hosts
from envlock.workflow.errors import ImportContradictsSettings, OtherLocksExist
from envlock.workflow.import_builds import built_import
from envlock.workflow.import_completion import completed_import
from envlock.workflow.locking.prune import remove


@dataclass(frozen=True)
class Wanted:
    """What to import, and as what."""

    file: Path
    name: str = "base"
    """Of the `[env.*]` table."""
    archs: tuple[Arch, ...] = ()
    python: str = ""
    """The Pythons to allow, as envlock.toml has them; empty for those that the file allows."""
    environment: str = ""
    package: str = ""
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    is_forced: bool = False
    """Whether a table or a lock that is there may be replaced."""


@dataclass(frozen=True)
class ImportResult:
    """What an import wrote, or would write."""

    kind: str
    """The format of the file."""
    project: Project
    name: str
    locks: tuple[tuple[Lock, Path], ...]
    replaced: tuple[Path, ...]
    is_new: bool
    """Whether envlock.toml was not there before."""
    completed: int
    """Packages of which the file did not say all."""
    notes: tuple[str, ...]


def import_lock(
    config: Path,
    wanted: Wanted,
    *,
    reporter: Reporter | None = None,
    offline: bool = False,
    dry_run: bool = False,
    now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
) -> ImportResult:
    """Write the locks of a file, and the `[env.*]` table that asks for them into the envlock.toml at `config`.

    Everything is read, completed and compared before anything is written; if writing fails, what was written is taken
    back. Costs what reading the file costs, and requests for what it does not say. Raises what `interchange` raises,
    EnvironmentExists, ImportContradictsSettings, HostNotAllowed.
    """
    reporter = reporter or Reporter()
    before = _project_before(config)
    if before is not None and not wanted.is_forced:
        _refuse_existing(before, wanted.name)
    start = before or project_of(config, "")
    imported = read(wanted.file, _choice(start, wanted, is_there=before is not None))
    try:
        built = built_import(start, wanted.file, imported, reporter, offline=offline)
        completed, incomplete = completed_import(start, wanted.file.name, built, reporter, offline=offline)
    except ResolveError as error:
        raise as_one(merge_archs([error])) from None
    project = _with_table(before, config, completed, wanted)
    environment = next(each for each in project.named if each.name == wanted.name)
    locks = [
        Lock(
            arch=arch,
            requirements=environment.requirements,
            python=completed.pythons[arch],
            packages=packages,
            asked_by=(wanted.name,),
            resolved_by=user(),
            resolved_at=format_instant(now()),
        )
        for arch, packages in completed.locks.items()
    ]
    texts = _texts(project, wanted, imported, locks)
    lacking = lacking_for_metaflow(completed, environment.requirements.metaflow if before is not None else None)
    notes = completed.notes
    if lacking:
        names, adds = ", ".join(lacking), f"`envlock add {' '.join(lacking)} --env {wanted.name}`"
        said = f"Metaflow needs {names} to run a step, and {wanted.file.name} has none: {adds}, then `envlock lock`"
        notes = (*notes, said)
    if before is not None and wanted.is_forced:
        notes = (*notes, *_dropped(before, completed, wanted))
    rivals = _rivals(project, locks)
    if rivals and not wanted.is_forced:
        raise OtherLocksExist(wanted.name, [project.shown(path) for path in rivals])
    if not dry_run:
        _write(before, project, texts, rivals)
    return ImportResult(
        kind=imported.kind,
        project=project,
        name=wanted.name,
        locks=tuple((lock, lock_path(project.lock_folder, lock)) for lock in locks),
        replaced=rivals,
        is_new=before is None,
        completed=incomplete,
        notes=notes,
    )


def _project_before(config: Path) -> Project | None:
    from envlock.config.read import load_project

    return load_project(config) if config.exists() or config.is_symlink() else None


def _refuse_existing(project: Project, name: str) -> None:
    if any(each.name == name for each in project.named):
        hint = "give another name to `--env`, or `--force` to replace that table and its locks"
        raise EnvironmentExists(name, project.locate(("env", name)), hint=hint)


def _dropped(before: Project, imported: Imported, wanted: Wanted) -> tuple[str, ...]:
    """Which packages the table that is replaced asked for, and the file does not have."""
    old = next((each.requirements for each in before.named if each.name == wanted.name), None)
    if old is None:
        return ()
    there = {(package.kind, package.name) for packages in imported.locks.values() for package in packages}
    asked = [("pypi", each.name) for each in old.pypi]
    asked += [("conda", each.name) for each in (*old.conda, *old.conda_only)]
    lost = sorted({name for kind, name in asked if (kind, name) not in there and name != "python"})
    if not lost:
        return ()
    return (f"no longer in [env.{wanted.name}], as {wanted.file.name} does not have it: {', '.join(lost)}",)


def _choice(project: Project, wanted: Wanted, *, is_there: bool) -> Choice:
    from envlock.config.inherit import defaults_of
    from envlock.config.system_packages import system_rows
    from envlock.config.tables import normalize_python

    python = normalize_python(wanted.python) if wanted.python else ""

    def pythons(allowed: str, archs: Sequence[Arch]) -> Mapping[Arch, LockedPython]:
        from envlock.workflow.locking.python_choice import choose_python

        asked = Requirements(python=",".join(filter(None, (python, allowed))), python_from=project.settings.python_from)
        return choose_python((wanted.name,), asked, archs, mirror=project.python_mirror)

    floors = system_rows(defaults_of(project.settings).system, {}, has_conda=False)
    archs = wanted.archs or (project.settings.archs if is_there else ())
    return Choice(
        pythons, archs, wanted.environment, wanted.package, wanted.extras, wanted.groups, system=floors, python=python
    )


def _with_table(before: Project | None, config: Path, imported: Imported, wanted: Wanted) -> Project:
    """The project with the table that asks for these packages, not written yet."""
    imported = _with_indexes(before, imported)
    asked = Requirements(
        python=imported.python,
        python_from=next(iter(imported.pythons.values())).source,
        pypi=imported.roots,
        conda=imported.conda_roots,
        overrides=tuple(sorted(imported.overrides, key=str)),
        channels=imported.channels,
        indexes=imported.indexes,
        system=imported.system,
    )
    if before is not None:
        return add_environment(before, wanted.name, asked, dict(imported.local), replacing=wanted.is_forced)
    settings = _settings(imported, asked)
    if lacking_for_metaflow(imported):
        settings += "metaflow-requirements = false\n"
    return add_environment(project_of(config, settings), wanted.name, asked, dict(imported.local))


def _with_indexes(before: Project | None, imported: Imported) -> Imported:
    """The same without the index that is searched by default; in a new project, the only other one becomes that."""
    if not imported.indexes:
        return imported
    from envlock.lockfile.consistency import is_index
    from envlock.uv_command import default_index

    default = before.settings.index_url if before is not None and before.settings.index_url else default_index()
    others = tuple(index for index in imported.indexes if not is_index(index, strip_credentials(default)))
    if before is None and len(imported.indexes) == len(others) == 1:
        return imported._replace(indexes=(), default_index=others[0])
    return imported._replace(indexes=others)


def lacking_for_metaflow(imported: Imported, needs: Iterable[PypiRequirement] | None = None) -> tuple[str, ...]:
    """What Metaflow needs to run a step, and the packages of an arch do not have, in any version. Sorted."""
    from envlock.conda.names import conda_name

    found = set()
    for packages in imported.locks.values():
        there = {(package.kind, package.name) for package in packages}
        for need in metaflow_requirements(["local"]) if needs is None else needs:
            if ("pypi", need.name) not in there and ("conda", conda_name(need.name)) not in there:
                found.add(need.name)
    return tuple(sorted(found))


def _settings(imported: Imported, asked: Requirements) -> str:
    """The `[envlock]` table of a new envlock.toml."""
    from envlock.config.edit.toml_edit import quoted, value_text
    from envlock.config.settings import Settings

    lines = ["[envlock]"]
    archs = list(imported.locks)
    if set(archs) != set(ARCHS):
        lines.append(f"archs = {value_text(archs)}")
    if asked.has_conda and imported.channels != Settings().channels:
        lines.append(f"channels = {value_text(list(imported.channels))}")
    if imported.default_index:
        lines.append(f"index-url = {quoted(imported.default_index)}")
    if asked.python_from == "uv":
        lines.append('python-from = "uv"')
    return "\n".join(lines) + "\n"


def _texts(project: Project, wanted: Wanted, imported: Imported, locks: Sequence[Lock]) -> dict[Path, bytes]:
    """The files of the locks, by their places. Raises where one would not be fresh, or not hold what was imported."""
    shown = wanted.file.name
    lacking = [arch for arch in project.settings.archs if arch not in imported.locks]
    if lacking:
        raise ImportLacksArch(
            shown, lacking, f"{project.path.name} locks for them; imported: {', '.join(imported.locks)}"
        )
    texts = {}
    for lock in locks:
        data = render(lock).encode()
        summary = quick_summary(data)
        if summary is None:
            raise UnfitPackage(shown, *_unfit(lock))
        if summary.inconsistency:
            raise ImportContradictsSettings(shown, lock.arch, summary.inconsistency, project.path.name)
        refuse_strange_hosts(project, summary, (wanted.name,))
        # What the text holds is known by its full_id, which is computed from it alone.
        different = differences(imported.locks[lock.arch], lock.packages)
        if different or summary.full_id != lock.full_id:
            raise UnfitPackage(shown, (*different, "a package")[0], "it would not be locked as the file has it")
        texts[lock_path(project.lock_folder, lock)] = data
    return texts


def _unfit(lock: Lock) -> tuple[str, str]:
    """The package of a lock that no lock may hold, and what of it."""
    for package in lock.packages:
        alone = replace(package, dependencies=())
        try:
            summary_of(replace(lock, packages=(alone, *_python_of(lock, package))))
        except DamagedLock:
            return f"{package.name} {package.version}", f"its file is `{package.filename}`, from {package.url}"
    return f"`{lock.python.version}`", "it is not a Python that can be locked"


def _python_of(lock: Lock, beside: LockedPackage) -> tuple[LockedPackage, ...]:
    return tuple(each for each in lock.conda_packages if each.name == "python" and each != beside)


def differences(source: Iterable[LockedPackage], locked: Iterable[LockedPackage]) -> tuple[str, ...]:
    """The packages that a lock does not hold as its source has them: another file, another hash, one more, one less."""
    there = {(package.kind, package.name): package for package in locked}
    found = []
    for package in source:
        other = there.pop((package.kind, package.name), None)
        if other is None or not _is_same(package, other):
            found.append(f"{package.name} {package.version}")
    return (*found, *(f"{package.name} {package.version}" for package in there.values()))


def _is_same(package: LockedPackage, other: LockedPackage) -> bool:
    """Whether a locked package is what its source says, as far as that says anything."""
    is_same_file = package.build == other.build and (
        package.version in {other.version, ""}
        and (not package.filename or package.filename == other.filename)
        and (not package.url or package.url == other.url)
        and (not package.sha256 or package.sha256 == other.sha256)
    )
    if package.conda is None or not is_same_file or not package.conda.md5:
        return is_same_file
    return other.conda is not None and package.conda.md5 == other.conda.md5


def _rivals(project: Project, locks: Sequence[Lock]) -> tuple[Path, ...]:
    """Other locks of the same requirements, which cannot stay beside these."""
    folder = project.lock_folder
    return tuple(
        path for lock in locks for path in candidates(folder, lock.arch, lock.req_id) if path != lock_path(folder, lock)
    )


def _write(before: Project | None, project: Project, texts: Mapping[Path, bytes], rivals: Sequence[Path]) -> None:
    """Write the locks, then envlock.toml, then delete what they replace; if one fails, take back those before."""
    from envlock.named.errors import ChangedMeanwhile

    written: list[Path] = []
    path = project.path
    try:
        if (before is None and path.exists()) or (before is not None and not holds(path, before.text.encode())):
            raise ChangedMeanwhile(path.name)
        for place in (*texts, *rivals):
            refuse_leading_out(place.parent, project.folder)
        for place, data in texts.items():
            if not place.exists():
                written.append(place)
            write_atomically(place, data)
        write_attributes(project.lock_folder, within=project.folder)
        write_atomically(path.resolve(), project.text.encode())
    except BaseException as error:
        for place in written:
            remove(place)
        if isinstance(error, OSError):
            from envlock.workflow.locking.prune import unwritable

            raise unwritable(project, project.lock_folder, error) from None
        raise
    for place in rivals:
        remove(place)
