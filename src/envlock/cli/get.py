"""`envlock get`: the locks of a shared environment, out of the cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from envlock.cli.options import ArchOption, ConfigOption, JsonOption, PathspecOption, complete_alias, open_project
from envlock.errors import one_line

if TYPE_CHECKING:
    from envlock.config.project import Project
    from envlock.workflow.get import Fetched


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def get(
        name: Annotated[
            Optional[str],  # noqa: UP045
            typer.Argument(
                metavar="[NAME[:TAG]|REQ_ID:FULL_ID]",
                autocompletion=complete_alias,
                help="A name in the cache, one of its moves (`name:tag@MOVE`), or the first digits of both ids.",
                show_default=False,
            ),
        ] = None,
        pathspec: PathspecOption = None,
        arch: ArchOption = None,
        into: Annotated[
            Optional[Path],  # noqa: UP045
            typer.Option(
                "--into",
                metavar="FOLDER",
                help="Write the locks into this folder, whether or not envlock.toml needs them.",
            ),
        ] = None,
        as_json: JsonOption = False,
        config: ConfigOption = None,
    ) -> int:
        """Fetch the locks of an environment from the cache into envlock.lock, if envlock.toml needs them.

        They replace the locks for the same requirements. If no environment in envlock.toml needs them, nothing is
        written, except with `--into`.

        Examples: `envlock get team/base:v1`, `envlock get --pathspec TrainFlow/142/train`,
        `envlock get team/base:v1 --into locks`.
        """
        from envlock.cli.console import out
        from envlock.cli.errors import BadUsage
        from envlock.model.arch import parse_arch
        from envlock.named.lookup import Lookup
        from envlock.workflow.get import get as fetch

        if (name is None) == (pathspec is None):
            raise BadUsage("either a name, or ids, or --pathspec says what to fetch", "envlock get")
        archs = [parse_arch(each) for each in arch or ()]
        lookup = Lookup(open_project(config), recalls=True)
        found = lookup.reference(name) if name is not None else lookup.pathspec(pathspec or "")
        fetched = fetch(lookup, found, archs, into=into)
        if as_json:
            out.print(json.dumps(as_document(lookup.project, fetched), indent=2))
        else:
            out.print(as_text(lookup.project, fetched))
        return 0


def as_text(project: Project, fetched: Fetched) -> str:
    """What was fetched, and whom it serves."""
    lines = [f"wrote {project.shown(path)}" for path in fetched.written]
    lines += [f"kept {project.shown(path)}: it is that lock already" for path in fetched.kept]
    lines += [f"replaced {project.shown(path)}" for path in fetched.replaced]
    archs = ", ".join(lock.arch for lock in fetched.locks)
    serves = ", ".join(fetched.serves) or "no environment of envlock.toml"
    lines.append(f"{fetched.found.reference} on {archs} serves {serves}")
    if fetched.left_out:
        lines.append(f"it is there for {', '.join(fetched.left_out)} too, which was not asked for")
    return "\n".join(map(one_line, lines))


def as_document(project: Project, fetched: Fetched) -> dict[str, object]:
    """The same, for machines."""
    return {
        "said": fetched.found.reference,
        "req_id": fetched.found.req_id,
        "full_ids": dict(fetched.found.full_ids),
        "archs": [lock.arch for lock in fetched.locks],
        "written": [project.shown(path) for path in fetched.written],
        "kept": [project.shown(path) for path in fetched.kept],
        "replaced": [project.shown(path) for path in fetched.replaced],
        "serves": list(fetched.serves),
        "left_out": list(fetched.left_out),
    }
