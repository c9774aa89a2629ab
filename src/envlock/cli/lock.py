"""`envlock lock`: resolve what changed, write the locks, show what is different."""

from __future__ import annotations

from envlock.cli.command import CommandLine, Flag, Value, command
from envlock.cli.options import (
    ARCHS,
    CONFIG,
    DRY_RUN,
    ENVS,
    FLOWS,
    JSON,
    STAGED,
    STEPS,
    index_findings,
    open_project,
    selection,
)
from envlock.errors import EnvlockError, one_line
from envlock.words import did, listed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from envlock.config.project import Project
    from envlock.config.selection import Selection
    from envlock.errors import Location
    from envlock.named.new_table import NewTable
    from envlock.workflow.locking.jobs import LockResult

_UPGRADE = Flag("--upgrade", "Upgrade all packages.", short="-U")
_UPGRADE_PACKAGE = Value(
    "--upgrade-package",
    "NAME",
    "Upgrade this package, or `python`.",
    short="-P",
    repeatable=True,
    complete="upgradable",
)
_UPGRADE_ALIAS = Value("--upgrade-alias", "NAME", "Look this alias up again.", repeatable=True, complete="pinned")
_UPGRADE_ALIASES = Flag("--upgrade-aliases", "Look up all aliases with a moving tag again.")
_ALIAS = Value("--alias", "NAME:TAG", "Give the environment this alias in the cache.", repeatable=True)
_USING = Value(
    "--using",
    "NAME[:TAG]",
    "Base `--env` on an existing environment, given by alias or ids; its own packages are added on top.",
    complete="aliases",
)
_USING_PATHSPEC = Value(
    "--using-pathspec", "FLOW/RUN/STEP", "Like `--using`, with the environment that a step of a run used."
)
_FROM = Value(
    "--from",
    "NAME[:TAG]",
    "Create `--env` with the requirements of an existing environment, given by alias or ids.",
    complete="aliases",
)
_FROM_PATHSPEC = Value(
    "--from-pathspec", "FLOW/RUN/STEP", "Like `--from`, with the environment that a step of a run used."
)
_REQUIREMENTS = Value(
    "--requirements", "FILE", "Lock this requirements.txt, without an envlock.toml.", short="-r", repeatable=True
)
_ENVIRONMENT_YML = Value(
    "--environment-yml", "FILE", "Lock this environment.yml, without an envlock.toml.", short="-f", repeatable=True
)
_PYPROJECT = Value(
    "--pyproject",
    "FILE",
    "Lock the dependencies of this pyproject.toml, without an envlock.toml.",
    short="-p",
    repeatable=True,
)
_EXTRA = Value(
    "--extra", "NAME", "With `--pyproject`: take this extra, too.", repeatable=True, complete="extras_of_pyproject"
)
_GROUP = Value(
    "--group",
    "NAME",
    "With `--pyproject`: take this dependency group, too.",
    repeatable=True,
    complete="groups_of_pyproject",
)
_PYTHON = Value("--python", "VERSION", "With a file: the Python, as `python` in envlock.toml.")
_CACHE = Value("--cache", "URL", "With a file: the cache to give the alias in. Default: that of the project here.")
_OUTPUT = Value("--output", "FOLDER", "With a file: the folder to write the locks into.")
_FILES = (_REQUIREMENTS, _ENVIRONMENT_YML, _PYPROJECT)
_OF_FILES = (_EXTRA, _GROUP, _PYTHON, _CACHE, _OUTPUT)
_OFFLINE = Flag("--offline", "Use only cached index and channel data.")
_BASES = (_USING, _USING_PATHSPEC, _FROM, _FROM_PATHSPEC)


@command(
    FLOWS,
    STEPS,
    ENVS,
    ARCHS,
    _UPGRADE,
    _UPGRADE_PACKAGE,
    _UPGRADE_ALIAS,
    _UPGRADE_ALIASES,
    _ALIAS,
    *_BASES,
    *_FILES,
    *_OF_FILES,
    _OFFLINE,
    STAGED,
    DRY_RUN,
    JSON,
    CONFIG,
)
def lock(line: CommandLine) -> int:
    """Resolve what changed in envlock.toml and write the locks, one for each environment and arch.

    Keeps locked versions where envlock.toml allows them, and deletes locks that it no longer needs. If nothing
    changed, nothing is written.

    `--using` and `--from` also write the table of `--env` into envlock.toml. With `--using`, `--env` is the existing
    environment, or extends it. With `--from`, its requirements are resolved again, for all archs of the project.

    For example:

    - `envlock lock`
    - `envlock lock --step train --arch linux-64`
    - `envlock lock -P pandas`
    - `envlock lock --upgrade --dry-run`
    - `envlock lock --env base --using team/base:v1`
    - `envlock lock --env wide --from team/base:v1`
    - `envlock lock -r requirements.txt --python 3.12 --output locks`
    - `envlock lock -f environment.yml --alias team/base:v2 --cache s3://team/envlock`

    Requirement files need no envlock.toml: several of them add up, and the settings are those of the project here, if
    there is one. The locks go into the folder of `--output`, and with `--alias` into the cache, under that name.
    """
    if any(line.has(option) for option in (*_FILES, *_OF_FILES)):
        from envlock.stage import temporary_folder

        with temporary_folder() as unused:
            return _lock_files(line, unused)
    project = open_project(line)
    status = _lock(line, project)
    findings = index_findings(line, project)
    if findings:
        from envlock.cli.console import write_reason

        for each in findings:
            write_reason(one_line(f"{each.verdict.words}: {each.repair}"))
    return max(status, *(each.exit_status for each in findings), 0)


def _lock(line: CommandLine, project: Project) -> int:
    from envlock.cli.progress import LiveReporter
    from envlock.named.give import LockAliases
    from envlock.workflow.lock import lock as lock_project
    from envlock.workflow.locking.jobs import Upgrade

    chosen = selection(line)
    upgrade = Upgrade.of(
        everything=line.has(_UPGRADE),
        packages=line.values(_UPGRADE_PACKAGE),
        aliases=line.values(_UPGRADE_ALIAS),
        all_aliases=line.has(_UPGRADE_ALIASES),
    )
    offline, dry_run = line.has(_OFFLINE), line.has(DRY_RUN)
    bases = {option.name: line.value(option) for option in _BASES if line.has(option)}
    _check_bases(bases, chosen)
    new = _new_table(project, bases, chosen) if bases else None
    project = new.project if new is not None else project
    aliases = LockAliases(project, chosen, line.values(_ALIAS))
    aliases.refuse_taken(project, upgrade)
    with LiveReporter() as reporter:
        if new is not None:
            result = new.lock(chosen, upgrade, reporter, offline=offline, dry_run=dry_run)
        else:
            result = lock_project(
                project, selection=chosen, upgrade=upgrade, reporter=reporter, offline=offline, dry_run=dry_run
            )
        try:
            given = aliases.give(result, reporter, dry_run=dry_run)
        except EnvlockError as error:
            if dry_run:
                raise
            raise error.adding("the locks are written, but the alias is not given: run `envlock alias`") from None
    from envlock.cli.console import say, say_styled, write_err, write_json
    from envlock.cli.lock_text import as_document, as_lines, behind_document, behind_text, git_add, is_settled

    if line.has(JSON):
        document = as_document(project, result, given.results)
        document["behind"] = [behind_document(each) for each in given.behind]
        document["notes"] = [
            {"note": text, "path": at.path, "line": at.line} for text, at in _notes_of_files(project, chosen)
        ]
        if new is not None:
            document["written"] = [f"env.{new.name}"] if new.is_new else []
        write_json(document, dry_run=dry_run)
    else:
        if new is not None and new.is_new:
            verb = did("wrote", dry_run=dry_run)
            say(one_line(f"{verb} [env.{new.name}] into {project.path.name}"))
        say_styled(list(as_lines(project, result, dry_run=dry_run)))
        if given.results:
            from envlock.cli.alias import given_text

            say("\n".join(given_text(each, dry_run=dry_run) for each in given.results))
        for note in (*map(behind_text, given.behind), *aliases.left(result)):
            write_err(one_line(note))
        is_told = dry_run or line.has(STAGED) or is_settled(result)  # which say what to add themselves
        if result.changed and not is_told and (command := git_add(project, also=_edited(new))):
            write_err(f"hint: {command}")
        if not dry_run and (behind := _left_behind(project, result)):
            are = "is" if len(behind) == 1 else "are"
            write_err(one_line(f"note: {listed(behind)} {are} outdated: run `envlock sync`"))
    return 0


def _left_behind(project: Project, result: LockResult) -> tuple[str, ...]:
    """The names and kernels of this machine that `envlock sync` would update."""
    from envlock.places import IN_PROJECT, KERNELS, NAMED, home

    changed = {name for each in result.locked if each.action != "kept" for name in each.environments}
    folders = (project.folder / IN_PROJECT, home() / NAMED, home() / KERNELS)
    if not changed or not any(each.is_dir() for each in folders):
        return ()
    from envlock.workflow.machine.sync import left_behind

    return left_behind(project, changed)


def _edited(new: NewTable | None) -> tuple[str, ...]:
    """What was written beside the locks."""
    return (new.project.path.name,) if new is not None and new.is_new else ()


def _lock_files(line: CommandLine, unused: Path) -> int:
    """Lock files without an envlock.toml; `unused` is the lock folder if the user wants none."""
    from pathlib import Path

    from envlock.cli.errors import BadUsage
    from envlock.config.project import CONFIG_NAME, LOCK_FOLDER_NAME
    from envlock.config.requirement_files.standalone import project_of_files, without_lines

    _check_files(line)
    around = _project_around(line)
    if line.has(_ALIAS) and not line.has(_CACHE) and around is None:
        raise BadUsage("`--alias` needs a cache", "envlock lock", hint="name it with `--cache URL`")
    locks = Path(line.value(_OUTPUT)).absolute() if line.has(_OUTPUT) else unused
    if (locks.parent / CONFIG_NAME).exists() and locks.name == LOCK_FOLDER_NAME:
        message = f"`{line.value(_OUTPUT)}` is the lock folder of a project, which `envlock lock` would clear"
        raise BadUsage(message, "envlock lock", hint="name another folder with `--output`")
    first = next(line.value(option) for option in _FILES if line.has(option))
    name = line.value(_ALIAS).partition(":")[0] if line.has(_ALIAS) else Path(first).stem
    extras, groups = list(line.values(_EXTRA)), list(line.values(_GROUP))
    pyprojects = [{"file": file, "extras": extras, "groups": groups} for file in line.values(_PYPROJECT)]
    files: dict[str, Sequence[object]] = {
        "requirements": line.values(_REQUIREMENTS),
        "environment-yml": line.values(_ENVIRONMENT_YML),
        "pyproject": pyprojects,
    }
    project = project_of_files(
        files,
        name=name,
        folder=Path.cwd(),
        locks=locks,
        python=line.value(_PYTHON),
        cache=line.value(_CACHE),
        around=around,
    )
    if line.has(_OUTPUT):
        _refuse_others(project, line.value(_OUTPUT))
    try:
        return _lock(line, project)
    except EnvlockError as error:
        raise without_lines(error) from None


def _refuse_others(project: Project, written: str) -> None:
    """Raise BadUsage if the lock folder has locks of other environments, which locking would take for old ones."""
    from envlock.cli.errors import BadUsage
    from envlock.lockfile.folder import lock_files

    (environment,) = project.environments()
    own = environment.requirements.req_id
    found = (each for path in lock_files(project.lock_folder) if path.parent.name != own for each in _asked_by(path))
    others = list(dict.fromkeys(each for each in found if each != environment.name))
    if others:
        message = f"`{written}` has the locks of another environment, which would be deleted: {', '.join(others)}"
        hint = "name another folder with `--output`, or delete this one"
        raise BadUsage(one_line(message), "envlock lock", hint=hint)


def _asked_by(path: Path) -> tuple[str, ...]:
    from envlock.lockfile.folder import read_lock

    try:
        return read_lock(path).asked_by
    except EnvlockError:
        return (path.name,)


def _check_files(line: CommandLine) -> None:
    """Raise BadUsage if options of requirement files go without a file, or with what is about an envlock.toml."""
    from envlock.cli.errors import BadUsage

    given = [option.name for option in _FILES if line.has(option)]
    if not given:
        option = next(option for option in _OF_FILES if line.has(option))
        raise BadUsage(f"`{option.name}` goes with a requirement file: `-r`, `-f` or `-p`", "envlock lock")
    others = (FLOWS, STEPS, ENVS, STAGED, *_BASES, _UPGRADE_ALIAS, _UPGRADE_ALIASES)
    wrong = next((option.name for option in others if line.has(option)), "")
    if wrong:
        raise BadUsage(f"`{given[0]}` and `{wrong}` exclude each other", "envlock lock")
    for option in (_EXTRA, _GROUP):
        if line.has(option) and not line.has(_PYPROJECT):
            raise BadUsage(f"`{option.name}` goes with `--pyproject`", "envlock lock")
    if not (line.has(_ALIAS) or line.has(_OUTPUT)):
        hint = "write them into a folder with `--output FOLDER`, or into the cache with `--alias NAME:TAG`"
        raise BadUsage("where the locks should go is not said", "envlock lock", hint=hint)


def _project_around(line: CommandLine) -> Project | None:
    """The project of the working folder, whose settings count; None if there is none."""
    from envlock.config.errors import NoConfig

    try:
        return open_project(line)
    except NoConfig:
        if line.has(CONFIG):
            raise
        return None


def _notes_of_files(project: Project, chosen: Selection) -> list[tuple[str, Location]]:
    """What the requirement files of the chosen environments say without any effect, each with its line."""
    found = dict.fromkeys(note for each in chosen.choose(project) for note in each.notes)
    return list(dict.fromkeys((text, project.locate(key)) for text, key in found))


def _check_bases(bases: Mapping[str, str], chosen: Selection) -> None:
    """Raise BadUsage if two of the options are given, or one without exactly one `--env`."""
    from envlock.cli.errors import BadUsage

    first, *more = [*bases, ""]
    if len(bases) > 1:
        raise BadUsage(f"`{first}` and `{more[0]}` exclude each other", "envlock lock")
    if bases and (len(chosen.environments) != 1 or chosen.flows or chosen.steps):
        raise BadUsage(f"`{first}` is for one environment: name it with `--env`, and nothing else", "envlock lock")
    if bases and not (chosen.environments[0].strip() and bases[first].strip()):
        raise BadUsage(f"`--env` and `{first}` need a name", "envlock lock")


def _new_table(project: Project, bases: Mapping[str, str], chosen: Selection) -> NewTable:
    """The project with the `[env.*]` that the one option makes. Raises what `named.new_table` raises."""
    from envlock.named.new_table import from_requirements, using

    ((option, reference),) = bases.items()
    kind = "pathspec" if option.endswith("-pathspec") else "name"
    make = using if option.startswith("--using") else from_requirements
    return make(project, chosen.environments[0], kind, reference)
