"""`envlock lock --using` and `--from`: which environment is meant, and what `[env.*]` table is to be written for it."""

from __future__ import annotations

from envlock.cli.errors import BadUsage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from envlock.config.project import Project
    from envlock.config.selection import Selection
    from envlock.workflow.lock_new import Asked

OPTIONS = ("--using", "--using-pathspec", "--from", "--from-pathspec")


def check_usage(options: Mapping[str, str], selection: Selection) -> None:
    """Raise BadUsage where two of the options are given, or one without exactly one `--env`."""
    given = [option for option in OPTIONS if option in options]
    if len(given) > 1:
        raise BadUsage(f"`{given[0]}` and `{given[1]}` exclude each other", "envlock lock")
    if given and (len(selection.environments) != 1 or selection.flows or selection.steps):
        raise BadUsage(f"`{given[0]}` is for one environment: name it with `--env`, and nothing else", "envlock lock")
    if given and not (selection.environments[0].strip() and options[given[0]].strip()):
        raise BadUsage(f"`--env` and `{given[0]}` need a name", "envlock lock")


def asked(project: Project, options: Mapping[str, str], selection: Selection) -> Asked:
    """envlock.toml with what the options ask for. Raises what `workflow.lock_new` raises."""
    from envlock.workflow.lock_new import from_requirements, using

    ((option, said),) = options.items()
    kind = "pathspec" if option.endswith("-pathspec") else "name"
    make = using if option.startswith("--using") else from_requirements
    return make(project, selection.environments[0], kind, said)
