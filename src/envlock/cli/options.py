"""The options that several commands share, and how they are read."""

from __future__ import annotations

from envlock.cli.command import Argument, Flag, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from envlock.cli.command import CommandLine
    from envlock.config.project import Project
    from envlock.config.selection import Selection
    from envlock.model.arch import Arch
    from envlock.named.lookup import Lookup, NamedEnvironment
    from envlock.workflow.check_rules import Finding

JSON = Flag("--json", "Print JSON.")
DRY_RUN = Flag("--dry-run", "Write nothing: print what would be written.")
CONFIG = Value("--config", "PATH", "The envlock.toml to use. Default: the nearest one in this folder or above.")

FLOWS = Value("--flow", "FLOW", "Only this flow.", complete="flows", repeatable=True)
STEPS = Value("--step", "STEP", "Only this step.", complete="steps", repeatable=True)
ENVS = Value("--env", "NAME", "Only this `[env.NAME]`.", complete="environments", repeatable=True)
ARCHS = Value("--arch", "ARCH", "Only this architecture.", complete="archs", repeatable=True)

ONE_FLOW = Value("--flow", "FLOW", "The flow of the step.", complete="flows")
ONE_STEP = Value("--step", "STEP", "The step. `--flow` is needed only if several flows have it.", complete="steps")
ONE_ENV = Value("--env", "NAME", "The `[env.NAME]`.", complete="environments")
ENVIRONMENT = Argument(
    "environment",
    "[ENVIRONMENT]",
    "A step, FLOW/STEP, a flow, an `[env.NAME]`, an alias (`team/base:v1`), ids, a pathspec, a lock file or a prefix.",
    complete="shown",
)
"""The one environment of a command, named without an option."""
OF_PROJECT = Argument(
    "environment", "[STEP|FLOW|ENV]", "A step, FLOW/STEP, a flow or an `[env.NAME]`.", complete="shown"
)
"""The same of a command that takes environments of the project alone."""
PATHSPEC = Value("--pathspec", "FLOW/RUN/STEP[/TASK]", "The environment that a task of a run used.")

STAGED = Flag("--staged", "For hooks: exit with 1 unless git's index has the locks, too.")
OFFLINE = Flag("--offline", "Use only packages from the cache.")
FORCE = Flag("--force", "Create the environment even if this machine lacks what its lock requires.")
KEEP_PYTHONPATH = Flag("--keep-pythonpath", "Keep PYTHONPATH. The modules that it adds are not locked.")
LOCAL_NAME = Value(
    "--name", "N", "The environment that `envlock create --name N` made, from any folder.", complete="local_names"
)
ENTERING = (ONE_FLOW, ONE_STEP, ONE_ENV, LOCAL_NAME, PATHSPEC, OFFLINE, FORCE, KEEP_PYTHONPATH, CONFIG)
"""What commands take that enter an environment."""


def open_project(line: CommandLine) -> Project:
    """The project of `--config`, or of the nearest envlock.toml in the working folder or above.

    A task that ran needs none: with `--pathspec`, it may be missing. Raises ConfigError.
    """
    from envlock.config.read import load_project, load_project_if_any

    if PATHSPEC in line.command.params and line.has(PATHSPEC):
        return load_project_if_any(config_given(line))
    return load_project(config_path(config_given(line)))


def config_given(line: CommandLine) -> str:
    """What `--config` says; empty if it is not given. An empty path is the working folder, as it is for the system."""
    return (line.value(CONFIG) or ".") if line.has(CONFIG) else ""


def config_path(said: str) -> Path:
    """The envlock.toml that `--config` names, or else the nearest one. Raises ConfigError."""
    from pathlib import Path

    from envlock.config.read import find_config

    return Path(said).absolute() if said else find_config(Path.cwd())


def selection(line: CommandLine) -> Selection:
    """What `--flow`, `--step`, `--env` and `--arch` choose. Raises UnknownArch."""
    from envlock.config.selection import Selection

    return Selection(
        flows=line.values(FLOWS),
        steps=line.values(STEPS),
        environments=line.values(ENVS),
        archs=tuple(archs(line)) if ARCHS in line.command.params else (),
    )


def archs(line: CommandLine, option: Value = ARCHS) -> list[Arch]:
    """What `--arch` names. Raises UnknownArch."""
    from envlock.model.arch import parse_arch

    return [parse_arch(each) for each in line.values(option)]


def looked_up(line: CommandLine, lookup: Lookup, argument: Argument) -> NamedEnvironment:
    """The environment of the cache that an argument refers to, or else `--pathspec`. Raises what Lookup raises."""
    return lookup.reference(line.value(argument)) if line.has(argument) else lookup.pathspec(line.value(PATHSPEC))


def index_findings(line: CommandLine, project: Project) -> tuple[Finding, ...]:
    """What `--staged` finds; nothing where it is not given. Raises BadUsage outside of a git work tree."""
    if not line.has(STAGED):
        return ()
    from envlock.workflow.check import check_index

    found = check_index(project)
    if found is None:
        from envlock.cli.errors import BadUsage

        command = f"envlock {line.command.name}"
        raise BadUsage(f"`--staged` needs a git work tree, and {project.folder} is in none", command)
    return found
