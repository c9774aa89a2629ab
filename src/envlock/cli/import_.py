"""`envlock import`: adopt the lock of another tool, without solving."""

from __future__ import annotations

import os

from envlock.cli.command import Argument, CommandLine, Flag, Value, command
from envlock.cli.options import CONFIG, DRY_RUN, JSON, archs, config_given, config_path
from envlock.errors import one_line
from envlock.words import count, did

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from envlock.workflow.import_locks import ImportResult

_FILE = Argument("file", "FILE", "The lock of another tool.")
_ENV = Value("--env", "NAME", "The `[env.NAME]` to write.", default="base")
_ARCH = Value(
    "--arch", "ARCH", "Only this architecture, of those that the file has.", complete="archs", repeatable=True
)
_PYTHON = Value("--python", "RANGE", "The Pythons to allow, if the file leaves that open: `3.12`, `>=3.11,<3.13`.")
_ENVIRONMENT = Value("--environment", "NAME", "The environment of a file that has several, such as a pixi.lock.")
_PACKAGE = Value("--package", "NAME", "The project of a uv.lock that has several.")
_EXTRA = Value("--extra", "NAME", "Also the packages of this extra of the project.", repeatable=True)
_GROUP = Value("--group", "NAME", "Also the packages of this dependency group, or category.", repeatable=True)
_FORCE = Flag("--force", "Replace the `[env.NAME]` and its locks, if they exist.")
_OFFLINE = Flag("--offline", "Use only cached index and channel data.")


@command(
    _FILE,
    _ENV,
    _ARCH,
    _PYTHON,
    _ENVIRONMENT,
    _PACKAGE,
    _EXTRA,
    _GROUP,
    _FORCE,
    _OFFLINE,
    DRY_RUN,
    JSON,
    CONFIG,
)
def import_(line: CommandLine) -> int:
    """Make locks from the lock of another tool, with the same packages and hashes. Nothing is solved.

    Reads conda-lock.yml, pixi.lock, uv.lock, poetry.lock, pdm.lock, pylock.toml, `@EXPLICIT` files, requirements.txt
    with hashes, and Metaflow's conda.manifest and conda_v2.cnd. What such a file does not say is asked of the channel
    or the index, and compared with the hashes that the file has.

    Writes an `[env.NAME]` into envlock.toml, which is created if there is none, and its locks.

    For example:

    - `envlock import conda-lock.yml`
    - `envlock import pixi.lock --environment train --env train`
    - `envlock import uv.lock --extra gpu --group train --python 3.12`
    - `envlock import environment.txt --arch linux-64 --dry-run`
    """
    from pathlib import Path

    from envlock.cli.console import say, write_err, write_json
    from envlock.cli.errors import BadUsage
    from envlock.cli.lock_text import git_add
    from envlock.cli.progress import LiveReporter
    from envlock.workflow.import_locks import Wanted, import_lock

    if not line.value(_ENV).strip():
        raise BadUsage("`--env` needs a name", "envlock import")
    wanted = Wanted(
        file=Path(line.value(_FILE)),
        name=line.value(_ENV),
        archs=tuple(archs(line, _ARCH)),
        python=line.value(_PYTHON),
        environment=line.value(_ENVIRONMENT),
        package=line.value(_PACKAGE),
        extras=line.values(_EXTRA),
        groups=line.values(_GROUP),
        is_forced=line.has(_FORCE),
    )
    with LiveReporter() as reporter:
        result = import_lock(
            _config(line), wanted, reporter=reporter, offline=line.has(_OFFLINE), dry_run=line.has(DRY_RUN)
        )
    if line.has(JSON):
        write_json(as_document(result, dry_run=line.has(DRY_RUN)), dry_run=line.has(DRY_RUN))
    else:
        say(as_text(result, dry_run=line.has(DRY_RUN)))
        if not line.has(DRY_RUN) and (command := git_add(result.project, also=(result.project.path.name,))):
            write_err(f"hint: {command}")
    return 0


def _config(line: CommandLine) -> Path:
    """The envlock.toml to write into: that of `--config`, the nearest one, or a new one in the working folder."""
    from pathlib import Path

    from envlock.config.errors import NoConfig
    from envlock.config.project import CONFIG_NAME

    try:
        return config_path(config_given(line))
    except NoConfig:
        return Path.cwd() / CONFIG_NAME


def as_text(result: ImportResult, *, dry_run: bool) -> str:
    """A line for each lock, the notes, and what to do next."""
    config, verb = os.path.relpath(result.project.path), did("wrote", dry_run=dry_run)
    lines = []
    for lock, path in result.locks:
        packages = count(len(lock.packages), "package")
        lines.append(f"{lock.arch}: {packages}, CPython {lock.python.series}  {result.project.shown(path)}")
    if result.completed:
        completed = count(result.completed, "package")
        lines.append(f"  note: looked up in their index or channel, as the file does not say all of them: {completed}")
    lines += [f"  note: {note}" for note in result.notes]
    new = " (new)" if result.is_new else ""
    lines.append(f"{verb} [env.{result.name}] into {config}{new}, and {count(len(result.locks), 'lock')}")
    return "\n".join(map(one_line, lines))


def as_document(result: ImportResult, *, dry_run: bool) -> dict[str, object]:
    """The result, for `--json`."""
    project = result.project
    return {
        "format": result.kind,
        "environment": result.name,
        "config": str(project.path),
        "written": not dry_run,
        "new_config": result.is_new,
        "completed": result.completed,
        "locks": [
            {
                "arch": lock.arch,
                "req_id": lock.req_id,
                "full_id": lock.full_id,
                "packages": len(lock.packages),
                "path": project.shown(path),
            }
            for lock, path in result.locks
        ],
        "replaced": [project.shown(path) for path in result.replaced],
        "notes": list(result.notes),
    }
