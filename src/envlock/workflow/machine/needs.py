"""Who needs the environments of this machine: projects by their locks, local names, kernels, processes."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from envlock.files import PIN_BYTES, read_file
from envlock.model.arch import ARCHS
from envlock.model.identity import ids_of_prefix, prefix_name
from envlock.places import IN_PROJECT, NAMED, home
from envlock.revisions import files_below
from envlock.workflow.machine.deadlines import all_within
from envlock.workflow.machine.jupyter import FOLDER as KERNELS
from envlock.workflow.machine.known_projects import KnownProject, known_projects
from metaflow_extensions.envlock.plugins.node.home import ENVIRONMENTS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

PROJECT, NAME, KERNEL, UNREAD = "project", "name", "kernel", "unread"
"""What needs an environment: the lock of a project, a local name, a kernel, a project that cannot be read now."""
_SECONDS = 10.0
"""How long a project's folder may take to answer: a server of files that is gone never does."""
_TAIL = 1 << 16
_LOCK = re.compile(r"pylock\.([0-9a-f]{40})\.toml\Z")
_ID = re.compile(r"[0-9a-f]{40}\Z")
_REQ_ID = re.compile(rb'(?m)^req-id = "([0-9a-f]{40})"$')
_IDS = re.compile(rb'"([0-9a-f]{40})"')
_ASKED_BY = re.compile(rb"(?m)^asked-by = (\[.*\])$")
_PREFIX = prefix_name("[0-9a-f]{40}", "[0-9a-f]{40}")


class Need(NamedTuple):
    """One reason why an environment is needed."""

    kind: str
    what: str
    """The folder of a project, the local name or its link, the name of a kernel."""
    environments: tuple[str, ...] = ()
    """Of a project: the steps and tables."""


class Unread(NamedTuple):
    """A project that may need environments, and cannot be read now."""

    project: KnownProject
    reason: str


class Missing(NamedTuple):
    """A local name or a kernel whose prefix is gone."""

    kind: str
    what: str
    prefix: str


class Needs(NamedTuple):
    """Who needs what, by the name of the prefix's folder."""

    needs: dict[str, list[Need]]
    made_for: dict[str, list[Need]]
    """Projects that an environment was made for, and that need it no longer."""
    unread: tuple[Unread, ...]
    gone: tuple[KnownProject, ...]
    """Projects that were deleted."""
    missing: tuple[Missing, ...]
    locks: tuple[str, ...]
    """Every lock of a known project or a kernel."""


class _Found(NamedTuple):
    """What one project needs."""

    locks: dict[str, list[str]]
    """Its lock files, by the name of the prefix that each is for."""
    pinned: frozenset[str]
    links: tuple[tuple[str, str], ...]
    is_gone: bool = False


def read_needs(here: Collection[str]) -> Needs:
    """Who needs environments of this machine. `here` are the names of the prefixes that are there.

    Costs a listing for each lock of a known project, and the end of each lock whose environment is here. Raises what
    `home` raises.
    """
    known = known_projects()
    answers = all_within([partial(_of_project, each) for each in known], _SECONDS)
    needs: dict[str, list[Need]] = {}
    made_for: dict[str, list[Need]] = {}
    unread: list[Unread] = []
    gone: list[KnownProject] = []
    missing: list[Missing] = []
    locks: list[str] = []
    for project, found in zip(known, answers, strict=True):
        where = os.path.dirname(project.config)
        if not isinstance(found, _Found):
            unread.append(Unread(project, _reason(found)))
            for name, asked in _made(project):
                needs.setdefault(name, []).append(Need(UNREAD, where, asked))
            continue
        if found.is_gone:
            gone.append(project)
        for name, files in found.locks.items():
            locks += files
            if name in here:
                needs.setdefault(name, []).append(Need(PROJECT, where, _asked_by(files)))
        made = dict(_made(project))
        for name in found.pinned - found.locks.keys():
            needs.setdefault(name, []).append(Need(PROJECT, where, made.get(name, ())))
        for name in made.keys() - found.locks.keys() - found.pinned:
            made_for.setdefault(name, []).append(Need(PROJECT, where, made[name]))
        for link, target in found.links:
            _add_link(NAME, link, target, here, needs, missing)
    for name, target in _links(os.path.join(home(), NAMED)):
        _add_link(NAME, os.path.basename(name), target, here, needs, missing)
    for kernel, target, files in _kernels():
        locks += files
        _add_link(KERNEL, kernel, target, here, needs, missing)
    return Needs(needs, made_for, tuple(unread), tuple(gone), tuple(missing), tuple(locks))


def _add_link(
    kind: str, what: str, target: str, here: Collection[str], needs: dict[str, list[Need]], missing: list[Missing]
) -> None:
    name = os.path.basename(target.rstrip("/"))
    need = Need(kind, what)
    if ids_of_prefix(name) and need not in needs.setdefault(name, []):
        needs[name].append(need)
    gone = Missing(kind, what, target)
    if name not in here and not os.path.lexists(target) and gone not in missing:
        missing.append(gone)


def _reason(found: object) -> str:
    if isinstance(found, OSError):
        return found.strerror or str(found)
    return f"it did not answer within {_SECONDS:g} s" if found is None else str(found)


def _made(project: KnownProject) -> Iterator[tuple[str, tuple[str, ...]]]:
    for identity, asked in project.environments.items():
        req_id, _, full_id = identity.partition(":")
        yield prefix_name(req_id, full_id), asked


def _of_project(project: KnownProject) -> _Found:
    """What a project needs. Raises OSError if that cannot be known."""
    folder = os.path.dirname(project.config)
    try:
        os.stat(project.locks)
    except (FileNotFoundError, NotADirectoryError):
        if not project.is_on_mounted_disk:
            raise OSError(0, f"its disk is not mounted at {project.mount}") from None
        return _Found({}, frozenset(), tuple(_links_in(folder)), is_gone=not os.path.lexists(project.config))
    locks: dict[str, list[str]] = {}
    for arch in ARCHS:
        for req_id in _names_in(os.path.join(project.locks, arch)):
            below = os.path.join(project.locks, arch, req_id)
            for name in _names_in(below) if _ID.match(req_id) else ():
                found = _LOCK.match(name)
                if found:
                    locks.setdefault(prefix_name(req_id, found[1]), []).append(os.path.join(below, name))
    return _Found(locks, frozenset(_pinned(project.locks)), tuple(_links_in(folder)))


def _pinned(locks: str) -> Iterator[str]:
    """The environments of a project's pins. Raises OSError."""
    failed: list[OSError] = []
    for folder, names in files_below(os.path.join(locks, "aliases"), failed.append):
        for name in names:
            if name.endswith(".toml"):
                text = read_file(os.path.join(folder, name), PIN_BYTES)
                for req_id in _REQ_ID.findall(text):
                    yield from (prefix_name(req_id.decode(), each.decode()) for each in set(_IDS.findall(text)))
    for error in failed:
        if not isinstance(error, FileNotFoundError):
            raise error


def _names_in(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _links_in(project: str) -> Iterator[tuple[str, str]]:
    """The links in a project's own folder, which `create --in-project` makes."""
    return _links(os.path.join(project, IN_PROJECT))


def _links(folder: str) -> Iterator[tuple[str, str]]:
    with suppress(OSError):
        for name in sorted(os.listdir(folder)):
            path = os.path.join(folder, name)
            if not name.startswith(".") and os.path.islink(path):
                yield path, os.readlink(path)


def _kernels() -> Iterator[tuple[str, str, list[str]]]:
    """Each kernel, the prefix that it needs, and its locks: one link or lock file in its folder is enough."""
    top = os.path.join(home(), KERNELS)
    for name in sorted(_names_in(top)):
        for folder, files in files_below(os.path.join(top, name)):
            for file in files:
                path, found = os.path.join(folder, file), _LOCK.match(file)
                req_id = os.path.basename(folder)
                if found and _ID.match(req_id):
                    yield name, os.path.join(home(), ENVIRONMENTS, prefix_name(req_id, found[1])), [path]
                elif os.path.islink(path):
                    yield name, os.readlink(path), []


def _asked_by(locks: list[str]) -> tuple[str, ...]:
    """The steps and tables that locks were made for, by their last lines; of this order, each once."""
    asked: dict[str, None] = {}
    for path in locks:
        try:
            with open(path, "rb") as file:
                file.seek(max(os.fstat(file.fileno()).st_size - _TAIL, 0))
                found = _ASKED_BY.findall(file.read(_TAIL))
            asked |= dict.fromkeys(map(str, json.loads(found[-1])))  # a list of strings is the same in TOML
        except (OSError, ValueError, IndexError, TypeError, RecursionError):  # noqa: PERF203
            continue
    return tuple(asked)


def used_by_processes(*, thorough: bool = False) -> frozenset[str]:
    """The names of prefixes that processes are in though envlock did not start them: an editor's, a terminal's.

    Looks at what Linux tells of each process: its program, arguments, folder and variables, with `thorough` also the
    files that it has mapped. Of other users' processes only the arguments are told. Empty on other systems.
    """
    folder = os.path.join(home(), ENVIRONMENTS)
    return frozenset(_named_by_processes(folder, _PREFIX, thorough=thorough))


def folders_in_use(place: str) -> frozenset[str]:
    """The folders of interpreters and of builds in a home that processes run from. Raises nothing."""
    below = r"(?:pythons|builds/environments|tools)/[^/\0:]+"
    return frozenset(os.path.join(place, each) for each in _named_by_processes(place, below, thorough=True))


def _named_by_processes(folder: str, below: str, *, thorough: bool) -> Iterator[str]:
    """What processes name below a folder, as this pattern says."""
    places = b"|".join(re.escape(os.fsencode(each)) for each in {folder, os.path.realpath(folder)})
    wanted = re.compile(rb"(?:" + places + rb")/(" + below.encode() + rb")")
    for pid in _names_in("/proc"):
        if pid.isdigit():
            yield from (os.fsdecode(each) for each in _told_by(f"/proc/{pid}", wanted, thorough=thorough))


def _told_by(process: str, wanted: re.Pattern[bytes], *, thorough: bool) -> Iterator[bytes]:
    told = []
    for name in ("cmdline", "environ", *(("maps",) if thorough else ())):
        with suppress(OSError), open(f"{process}/{name}", "rb") as file:
            told.append(file.read())
    for name in ("exe", "cwd"):
        with suppress(OSError):
            told.append(os.fsencode(os.readlink(f"{process}/{name}")))
    program = told[0].partition(b"\0")[0] if told else b""
    if b"/bin/" in program and program.startswith(b"/"):  # by a local name, which is a link
        told.append(os.fsencode(os.path.realpath(os.path.dirname(os.fsdecode(program)))))
    for text in told:
        yield from wanted.findall(text)
