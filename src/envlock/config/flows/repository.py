"""The flows of many Python files: those of a folder, or of a whole repository. No file is run."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from envlock.config.flows.decorator_tables import DecoratedFlow
from envlock.config.flows.decorators import read_decorators
from envlock.config.flows.errors import FlowFileMissing
from envlock.config.project import CONFIG_NAME
from envlock.errors import EnvlockError
from envlock.files import FLOW_BYTES, read_file
from envlock.reporter import Reporter

MOST_FILES = 50_000
"""Python files that are looked at in one repository."""
_SKIPPED = {"__pycache__", "build", "dist", "node_modules", "site-packages", "venv"}
"""Folders that hold no flow that somebody wrote there; neither do those that begin with a dot."""
_TEXT_BYTES = 1 << 20
_ENVIRONMENT_WORDS = (b"--environment", b"DEFAULT_ENVIRONMENT")
_ENVIRONMENT = re.compile(rb"(?:--environment[= ]|METAFLOW_DEFAULT_ENVIRONMENT\W{1,4})(?:conda|pypi|uv)\b")
_LOOKING = "looking for flows"
_WORDS = (b"FlowSpec", b"metaflow", b"@step")
"""A file with none of them has a flow only if it inherits all of one from another file."""


def flows_in(
    project: Path, paths: Iterable[Path], reporter: Reporter | None = None
) -> tuple[tuple[DecoratedFlow, ...], tuple[EnvlockError, ...]]:
    """The flows of these files, in their order, and why files that may have flows cannot be read.

    A class that only serves other flows as their base is not a flow of its own, whatever files they are in. `project`
    is the folder whose modules are read for base classes. Parses only files that speak of flows.
    """
    order = {path: number for number, path in enumerate(_without_links(paths))}
    found: list[tuple[int, DecoratedFlow]] = []
    failed: list[EnvlockError] = []
    left, reporter = list(order), reporter or Reporter()
    reporter.began(_LOOKING, len(left), "files")
    words: tuple[bytes, ...] = _WORDS
    while words and left:
        candidates = {path for path in left if _has_any(path, words, project)}
        left = [path for path in left if path not in candidates]
        reporter.advanced(_LOOKING, "", len(left) if words is _WORDS else 0)
        new: list[DecoratedFlow] = []
        for path in sorted(candidates, key=order.__getitem__):
            flows, error = _read(path, project)
            reporter.advanced(_LOOKING, path.name, 1 if words is _WORDS else 0)
            new += flows
            found += [(order[path], each) for each in flows]
            failed += [error] if error is not None else []
        names = dict.fromkeys(name for flow in new for name in (flow.name, *(base for _, base in flow.bases)))
        words = tuple(f"({name}".encode() for name in names)
    reporter.ended(_LOOKING)
    in_order = [flow for _, flow in sorted(found, key=lambda each: each[0])]
    return without_bases(in_order), tuple(failed)


def _without_links(paths: Iterable[Path]) -> list[Path]:
    """The paths but for links to files that are among them."""
    paths = list(dict.fromkeys(paths))
    files = {path.absolute() for path in paths if not path.is_symlink()}
    return [path for path in paths if not path.is_symlink() or path.resolve() not in files]


def _has_any(path: Path, words: Sequence[bytes], project: Path) -> bool:
    try:
        data = read_file(path, FLOW_BYTES, within=project)
    except OSError:  # a folder of that name, a link out of the project, what this user may not read
        return False
    return any(word in data for word in words)


def _read(path: Path, project: Path) -> tuple[tuple[DecoratedFlow, ...], EnvlockError | None]:
    try:
        return read_named(path, project), None
    except EnvlockError as error:
        return (), error


def read_named(path: Path, project: Path) -> tuple[DecoratedFlow, ...]:
    """The flows of a file that envlock.toml can name. Raises FlowFileMissing, FlowFileSyntax."""
    try:
        os.path.relpath(path, project).encode()
    except UnicodeEncodeError:
        raise FlowFileMissing(path, "its name is not UTF-8, so envlock.toml cannot name it") from None
    return read_decorators(path, project)


def without_bases(flows: Sequence[DecoratedFlow]) -> tuple[DecoratedFlow, ...]:
    """The flows but for those that others inherit and whose own file does not start them."""
    bases = {base for flow in flows for base in flow.bases}
    return tuple(flow for flow in flows if flow.is_started or (flow.path, flow.name) not in bases)


def named_from(flow: DecoratedFlow, folder: Path) -> DecoratedFlow:
    """The flow with its files named as an envlock.toml in `folder` names them."""

    def name(path: str) -> str:
        return Path(os.path.relpath(path, folder)).as_posix()

    notes = tuple(replace(note, file=name(note.path)) if note.path else note for note in flow.notes)
    return replace(flow, file=name(flow.path), notes=notes)


def python_files(folder: Path) -> tuple[list[Path], bool]:
    """The Python files of a repository, sorted, and whether there are more than are looked at.

    In a work tree of git, those that it does not ignore. Links to folders are not followed, and folders that tools fill
    are left out.
    """
    found = [path for path in _files(folder) if path.suffix == ".py" and not _is_skipped(folder, path)]
    return found[:MOST_FILES], len(found) > MOST_FILES


def config_files(folder: Path) -> list[Path]:
    """Every envlock.toml below a folder, sorted, as `python_files` finds files; in each work tree below it too."""
    if not _is_in_work_tree(folder):
        found: list[Path] = []
        for top, folders, files in os.walk(folder):
            trees = [name for name in folders if os.path.exists(f"{top}/{name}/.git")]  # noqa: PTH110  see _is_of_tools
            found += [path for name in trees for path in config_files(Path(top) / name)]
            folders[:] = [name for name in folders if name not in trees and not _is_of_tools(top, name)]
            found += [Path(top) / CONFIG_NAME] if CONFIG_NAME in files else []
        return sorted(found)
    return [path for path in _files(folder) if path.name == CONFIG_NAME and not _is_skipped(folder, path)]


def _is_in_work_tree(folder: Path) -> bool:
    return any((each / ".git").exists() for each in (folder, *folder.absolute().parents))


def _is_of_tools(top: str, name: str) -> bool:
    # pathlib's own raises for a folder that may not be read.
    return name in _SKIPPED or name.startswith(".") or os.path.exists(f"{top}/{name}/pyvenv.cfg")  # noqa: PTH110


def uses_of_other_environments(folder: Path) -> Iterator[tuple[Path, int, str]]:
    """Where files of a repository have Metaflow use another environment than envlock: the file, the line, the option.

    Looks at CI's files too, and at no large or binary file.
    """
    for path in _files(folder)[:MOST_FILES]:
        data = b""
        with suppress(OSError):
            data = read_file(path, _TEXT_BYTES, within=folder)
        if b"\0" in data or not any(word in data for word in _ENVIRONMENT_WORDS):
            continue
        for found in _ENVIRONMENT.finditer(data):
            yield path, data.count(b"\n", 0, found.start()) + 1, found[0].decode()


def _files(folder: Path) -> list[Path]:
    """The files of a repository, sorted."""
    return sorted(_tracked(folder) or _walked(folder))


def _tracked(folder: Path) -> list[Path]:
    """The files of a git work tree; none outside of one."""
    command = ["git", "-c", "core.fsmonitor=false", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    except OSError:  # there is no git
        return []
    names = dict.fromkeys(os.fsdecode(name) for name in done.stdout.split(b"\0") if name)
    return [folder / name for name in names if (folder / name).is_file()]


def _walked(folder: Path) -> Iterator[Path]:
    for top, folders, files in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if name not in {*_SKIPPED, ".git"} and not os.path.exists(f"{top}/{name}/pyvenv.cfg")  # noqa: PTH110
        ]
        yield from (Path(top) / name for name in files)


def _is_skipped(folder: Path, path: Path) -> bool:
    return any(name.startswith(".") or name in _SKIPPED for name in path.relative_to(folder).parts[:-1])


def project_of(folder: Path) -> Path:
    """The folder of the project that a folder belongs to: that of the nearest envlock.toml, else the folder itself.

    Nothing above the top of a git work tree is looked at.
    """
    for each in (folder, *folder.parents):
        if (each / CONFIG_NAME).is_file():
            return each
        if (each / ".git").exists():
            break
    return folder


def groups_of(folder: Path, flows: Sequence[DecoratedFlow]) -> dict[Path, list[DecoratedFlow]]:
    """The flows by the folder of their envlock.toml.

    That is the nearest one which is there, else `folder`: one project has one cache, one set of settings, and all the
    modules that flows import. Where flows of one name meet in it, all flows of their folders get one of their own.
    """
    found: dict[Path, list[DecoratedFlow]] = {}
    for flow in flows:
        own = Path(flow.path).parent
        above = [each for each in (own, *own.parents) if each == folder or folder in each.parents]
        found.setdefault(next((each for each in above if (each / CONFIG_NAME).exists()), folder), []).append(flow)
    split: dict[Path, list[DecoratedFlow]] = {}
    for place, group in found.items():
        apart = {Path(flow.path).parent for flow in of_one_name(group)} - {place}
        if len({Path(flow.path).parent for flow in of_one_name(group)}) == 1:
            apart = set()
        for flow in group:
            own = Path(flow.path).parent
            split.setdefault(own if own in apart else place, []).append(flow)
    return split


def of_one_name(flows: Sequence[DecoratedFlow]) -> list[DecoratedFlow]:
    """The flows whose name another one has too."""
    names = [flow.name for flow in flows]
    return [flow for flow in flows if names.count(flow.name) > 1]


def top_of(folder: Path) -> Path:
    """The top of the git work tree that a folder is in, from which its modules are imported; else the folder."""
    return next((each for each in (folder, *folder.parents) if (each / ".git").exists()), folder)


def flows_outside(folder: Path) -> tuple[DecoratedFlow, ...]:
    """The flows of the git work tree that a folder is in, but for those in the folder; none outside of one."""
    top = top_of(folder)
    if top == folder:
        return ()
    paths, _ = python_files(top)
    return flows_in(top, [path for path in paths if folder not in path.parents])[0]
