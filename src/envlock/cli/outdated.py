"""`envlock outdated`: the locked packages of which there are newer releases."""

from __future__ import annotations

from envlock.cli.command import Argument, CommandLine, Flag, command
from envlock.cli.options import ARCHS, CONFIG, JSON, archs, open_project
from envlock.cli.why import places_document
from envlock.words import count, first_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from envlock.model.arch import Arch
    from envlock.workflow.outdated import Compared

_NAMES = Argument(
    "name",
    "[STEP|FLOW|ENV]",
    "Only this step, FLOW/STEP, flow or `[env.NAME]`. Default: the whole project.",
    complete="shown",
)
_ALL_PACKAGES = Flag("--all-packages", "Compare every locked package, not only those that are required by name.")
_EXIT_CODE = Flag("--exit-code", "Exit with 1 if a package is outdated.")
_MOST_NAMES = 3


@command(
    _NAMES,
    _ALL_PACKAGES,
    _EXIT_CODE,
    ARCHS,
    JSON,
    CONFIG,
    epilog="Exit status: 0; 1 if a lock is missing or stale, and with --exit-code if a package is outdated; "
    "4 if an index or a channel does not answer.",
)
def outdated(line: CommandLine) -> int:
    """Ask indexes and channels for newer releases of what is locked.

    `allowed` is the newest release that the requirement allows, with a file for the locked Python and the arch: what
    `envlock lock --upgrade` may take. `newest` is the newest of all: to get it, change the requirement, or the Python.
    Yanked releases do not count, nor does what `exclude-newer` excludes; pre-releases count as uv counts them.

    For example:

    - `envlock outdated`
    - `envlock outdated train --all-packages`
    - `envlock outdated --exit-code --json`
    """
    from envlock.cli.console import say, write_json, write_table
    from envlock.cli.progress import LiveReporter
    from envlock.cli.tree import locked, tell_missing
    from envlock.workflow.outdated import outdated as compare
    from envlock.workflow.references import all_referred

    chosen = archs(line)
    project = open_project(line)
    referred = locked(all_referred(project, line.value(_NAMES), archs=chosen), chosen)
    with LiveReporter() as reporter:
        found = compare(project, referred, everything=line.has(_ALL_PACKAGES), reporter=reporter)
    old = [each for each in found if each.is_outdated]
    if line.has(JSON):
        write_json({"packages": [as_document(each) for each in found]})
    elif old:
        is_mixed = len({each.kind for each in found}) > 1
        titles = ("package", *(["kind"] if is_mixed else []), "locked", "allowed", "newest", "required", "in")
        all_archs = tuple(chosen or project.settings.archs)
        write_table(titles, [_row(each, all_archs, is_mixed=is_mixed) for each in old])
    else:
        say(f"nothing is outdated: {count(len({(each.kind, each.name) for each in found}), 'package')} compared")
    tell_missing(referred)
    return int(bool(old) and line.has(_EXIT_CODE))


def _row(compared: Compared, all_archs: tuple[Arch, ...], *, is_mixed: bool) -> Sequence[str]:
    newer = compared.newer
    places = [
        first_of(names, _MOST_NAMES) + ("" if set(on) == set(all_archs) else f" on {', '.join(on)}")
        for names, on in compared.places
    ]
    return (
        compared.name,
        *([compared.kind] if is_mixed else []),
        compared.locked,
        newer.allowed if newer.is_allowed_newer else "",
        newer.newest if newer.is_newer else "",
        compared.requirement,
        "; ".join(places),
    )


def as_document(compared: Compared) -> dict[str, object]:
    """A package, for `--json`."""
    return {
        "kind": compared.kind,
        "name": compared.name,
        "locked": compared.locked,
        "allowed": compared.newer.allowed or None,
        "newest": compared.newer.newest or None,
        "outdated": compared.is_outdated,
        "allowed_is_newer": compared.newer.is_allowed_newer,
        "requirement": compared.requirement or None,
        "places": places_document(compared.places),
    }
