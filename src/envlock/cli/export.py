"""`envlock export`: write locks in the format of another tool."""

from __future__ import annotations

import os
import sys

from envlock.cli.command import CommandLine, Flag, Value, command
from envlock.cli.options import ARCHS, CONFIG, JSON, OF_PROJECT, ONE_ENV, ONE_FLOW, ONE_STEP, archs, open_project
from envlock.interchange.exported import FORMATS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from envlock.cli.progress import LiveReporter
    from envlock.config.project import Project
    from envlock.workflow.export import Exported

_FORMAT = Value(
    "--format",
    "FORMAT",
    f"What to write: {', '.join(FORMATS)}. Needed unless FILE has the name that its tool gives such files.",
    choices=tuple(FORMATS),
)
_ONLY = Value(
    "--only",
    "KIND",
    "Leave out the packages of the other kind: `pypi` or `conda`.",
    choices=("pypi", "conda"),
)
_LICENSES = Flag("--licenses", "For an SBOM: fetch wheels that this machine does not have, and read their licenses.")
_OUTPUT = Value("--output", "FILE", "Write to this file instead of stdout.", short="-o")


@command(
    OF_PROJECT,
    ONE_FLOW,
    ONE_STEP,
    ONE_ENV,
    ARCHS,
    _FORMAT,
    _ONLY,
    _LICENSES,
    _OUTPUT,
    JSON,
    CONFIG,
    epilog="Exit status: 0; 1 if a lock is stale or missing; 2 if the format cannot hold the environment; 3 damage.",
)
def export(line: CommandLine) -> int:
    """Write a locked environment in the format of another tool: the same packages, with the same hashes.

    If the project has one environment, no option chooses it. If a format holds several architectures, all of the
    project's are in the file; else this machine's is. What a format cannot hold is an error.

    For example:

    - `envlock export --format requirements`
    - `envlock export --env base --format conda-lock -o conda-lock.yml`
    - `envlock export train --arch linux-64 --format explicit -o train.txt`
    """
    from envlock.cli.console import write_err, write_json
    from envlock.cli.errors import BadUsage
    from envlock.workflow.export import export_environment

    if line.has(OF_PROJECT) and any(map(line.has, (ONE_FLOW, ONE_STEP, ONE_ENV))):
        raise BadUsage(f"give one environment: {OF_PROJECT.metavar}, --flow and --step, or --env", "envlock export")
    chosen, wanted = _format(line), archs(line)
    project = open_project(line)
    target = _target(line.value(_OUTPUT), project) if line.has(_OUTPUT) else None

    def exported_with(fetching: LiveReporter | None) -> Exported:
        return export_environment(
            project,
            chosen,
            flow=line.value(ONE_FLOW),
            step=line.value(ONE_STEP),
            environment=line.value(ONE_ENV),
            name=line.value(OF_PROJECT),
            archs=wanted,
            only=line.value(_ONLY),
            fetching=fetching,
        )

    if line.has(_LICENSES):
        with _fetching(chosen) as reporter:
            exported = exported_with(reporter)
    else:
        exported = exported_with(None)
    text, notes = exported.export.text, [*exported.export.notes]
    if target is not None:
        from envlock.files import write_atomically

        write_atomically(target, text.encode())
        changed = [project.shown(each) for each in _sources_around(project, target) if str(target) in _files_of(each)]
        notes += [f"{line.value(_OUTPUT)} is in {each}, which is built: run `envlock lock`" for each in changed]
    if line.has(JSON):
        write_json({**as_document(exported, target), "notes": notes})
        return 0
    if target is None:
        sys.stdout.write(text)
    else:
        given = exported.given
        write_err(f"wrote {line.value(_OUTPUT)}: {given.environment} on {', '.join(given.archs)}")
    for note in notes:
        write_err(f"note: {note}")
    return 0


def as_document(exported: Exported, target: Path | None) -> dict[str, object]:
    """What was exported, for `--json`; its text only if it is in no file."""
    given = exported.given
    return {
        "format": given.format,
        "environment": given.environment,
        "locks": [
            {"arch": lock.arch, "identity": lock.identity, "packages": len(given.packages(lock))}
            for lock in given.locks
        ],
        "file": str(target) if target else None,
        "text": exported.export.text if target is None else None,
        "notes": list(exported.export.notes),
    }


def _sources_around(project: Project, target: Path) -> list[Path]:
    """The folders of the project that packages are built from, and that a file is in."""
    folders = {(project.folder / path).resolve() for each in project.environments() for _, path in each.local}
    return sorted(each for each in folders if each.is_dir() and target.is_relative_to(each))


def _files_of(source: Path) -> set[str]:
    from envlock.source_tree import files_of

    return {os.path.realpath(each.place) for each in files_of(source)}


def _format(line: CommandLine) -> str:
    """The format of `--format`, or else the one that such files have. Raises BadUsage."""
    if line.has(_FORMAT):
        return line.value(_FORMAT)
    named = os.path.basename(line.value(_OUTPUT))  # noqa: PTH119
    for name, each in FORMATS.items():
        if each.file == named:
            return name
    from envlock.cli.errors import BadUsage

    raise BadUsage(f"say which format: `--format` with one of {', '.join(FORMATS)}", "envlock export")


def _fetching(chosen: str) -> LiveReporter:
    """What shows how wheels are fetched. Raises BadUsage for a format that has no licenses."""
    from envlock.cli.errors import BadUsage
    from envlock.cli.progress import LiveReporter

    if not FORMATS[chosen].is_sbom:
        raise BadUsage("`--licenses` is for an SBOM: `--format cyclonedx` or `--format spdx`", "envlock export")
    return LiveReporter()


def _target(text: str, project: Project) -> Path:
    """The file to write. Raises BadUsage for a folder, and for what the project itself is made of."""
    from pathlib import Path

    from envlock.cli.errors import BadUsage
    from envlock.places import expanded

    path = Path(os.path.abspath(expanded(text)))  # noqa: PTH100  pathlib's own keeps `..`
    if not text or (
        path.exists() and not path.is_file()
    ):  # a folder, or a device, which a file would take the place of
        raise BadUsage("`--output` needs a file", "envlock export")
    if not path.parent.is_dir():
        raise BadUsage(f"`--output`: there is no folder {path.parent}", "envlock export")
    sources = [project.folder / path for each in project.environments() for _, path in each.local]
    own = [project.path, *project.team_files, *project.files, *sources]
    own += [file for flow in project.flows for file in (flow.file, *flow.modules)]
    target, locks = os.path.realpath(path), os.path.realpath(project.lock_folder)
    if target in set(map(os.path.realpath, own)) or f"{target}/".startswith(f"{locks}/"):
        raise BadUsage(f"`--output`: {text} is a file of this project", "envlock export")
    if path.exists() and any(target in _files_of(source) for source in _sources_around(project, Path(target))):
        raise BadUsage(f"`--output`: {text} is a file that a package is built from", "envlock export")
    return Path(target)  # what a link leads to is written, and the link stays
