"""`envlock create`: make an environment now, and give it a name that works anywhere on this machine."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from envlock.cli.one_environment import ConfigOption, OfflineOption, OneEnv, OneFlow, OneStep, wanted
from envlock.cli.options import PathspecOption, complete_alias
from envlock.errors import ConfigError, Location

if TYPE_CHECKING:
    from envlock.cli.light.wanted import Wanted

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")


class BadName(ConfigError):
    """A name that an environment of this machine cannot have."""

    code = "bad-name"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"`{name}` cannot be the name of an environment",
            details=("letters, digits, `.`, `_` and `-`, beginning with a letter or a digit",),
            hint="envlock create --name train",
        )


class NameTaken(ConfigError):
    """The name stands for another environment already."""

    code = "name-taken"

    def __init__(self, name: str, link: Path, target: str) -> None:
        super().__init__(
            f"`{name}` is the name of another environment",
            locations=(Location(str(link)),),
            details=(f"it is {target}",),
            hint=f"envlock create --name {name} --force, which lets the name stand for the new one",
        )


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def create(
        shared: Annotated[
            Optional[str],  # noqa: UP045
            typer.Argument(
                metavar="[NAME[:TAG]|REQ_ID:FULL_ID]",
                autocompletion=complete_alias,
                help="An environment in the cache, even if this project does not use it: a name, or the "
                "first digits of both ids, as `req_id:full_id`.",
                show_default=False,
            ),
        ] = None,
        flow: OneFlow = None,
        step: OneStep = None,
        env: OneEnv = None,
        pathspec: PathspecOption = None,
        name: Annotated[
            Optional[str],  # noqa: UP045
            typer.Option("--name", metavar="N", help="Call it N: `envlock run --name N -- ...` then works anywhere."),
        ] = None,
        force: Annotated[
            bool,
            typer.Option(
                "--force",
                help="Take the name away from another environment, and make this one even where this machine lacks "
                "what its lock asks for.",
            ),
        ] = False,
        rebuild: Annotated[
            bool,
            typer.Option(
                "--rebuild", help="Make it again, even if it exists, from packages whose hashes are checked again."
            ),
        ] = False,
        offline: OfflineOption = False,
        config: ConfigOption = None,
    ) -> int:
        """Make a locked environment on this machine and print where it is.

        A project with one environment needs no option. What is named in the cache, or ran as a task, needs no lock in
        the project.

        Examples: `envlock create --step train`, `envlock create --env base --name base`,
        `envlock create --step train --rebuild`, `envlock create team/base:v1 --name base`,
        `envlock create --pathspec TrainFlow/142/train`.
        """
        from envlock.cli.light.wanted import prefix_of

        if name is not None and not _NAME.match(name):
            raise BadName(name)
        asked: Wanted | None = None
        if shared is None and pathspec is None:
            asked = wanted(flow, step, env, config, offline=offline, force=force, rebuild=rebuild)
            prefix = prefix_of(asked)
        else:
            if (shared and pathspec) or flow or step or env:
                from envlock.cli.errors import BadUsage

                raise BadUsage(
                    "say once what to make: a name, --flow and --step, --env, or --pathspec", "envlock create"
                )
            prefix = _make_shared(shared, pathspec, config, offline=offline, force=force, anew=rebuild)
        if name is not None:
            give_name(name, prefix, asked, force=force)
        typer.echo(prefix)
        return 0


def _make_shared(
    shared: str | None, pathspec: str | None, config: Path | None, *, offline: bool, force: bool, anew: bool
) -> str:
    """The prefix of an environment of the cache, for this machine."""
    from envlock.cli.options import open_project
    from envlock.cli.progress import LiveReporter
    from envlock.model.arch import host_arch
    from envlock.named.lookup import Lookup
    from envlock.workflow.hydrate import hydrate

    lookup = Lookup(open_project(config), recalls=True)
    found = lookup.reference(shared) if shared is not None else lookup.pathspec(pathspec or "")
    lock = lookup.lock(found, host_arch())
    with LiveReporter() as reporter:
        return str(hydrate(lookup.project, lock, reporter, offline=offline, force=force, anew=anew))


def give_name(name: str, prefix: str, asked: Wanted | None, *, force: bool) -> None:
    """Let `name` stand for a prefix on this machine. Raises NameTaken unless `force`; HomeUnusable.

    `asked` is which environment of a project it is, so that one can tell when that has another; None for any other.
    """
    from envlock.cli.environment import keep_origin
    from envlock.cli.light.wanted import named_link
    from envlock.hydrate.errors import storage_error
    from envlock.places import folder_in_home

    link = Path(named_link(name))
    try:
        folder_in_home("named")
        if os.path.lexists(link):
            target = str(link.readlink()) if link.is_symlink() else "no link of envlock's"
            if target != prefix and not force:
                raise NameTaken(name, link, target)
        stage = link.with_name(f".{name}.{os.getpid()}")
        stage.unlink(missing_ok=True)
        stage.symlink_to(prefix)
        stage.replace(link)
        keep_origin(name, asked)
    except OSError as error:
        raise storage_error(error, link.parent) from error
