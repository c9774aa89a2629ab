"""What else is in envlock's home: packages, interpreters, builds, memos; and what of it nothing needs.

A package stays while a lock of a known project or a kernel names its hash, or an environment that stays has it
unpacked; an interpreter while an environment that stays was made from it. What is younger than `--keep` stays too. All
of it can be made again: packages come from the cache, interpreters from where they came from.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from envlock import __version__
from envlock.build.wheels import built_in
from envlock.files import LOCK_BYTES, MEMO_BYTES, read_file
from envlock.trust import make_folder
from envlock.workflow.machine.gc_values import BUILD, INTERPRETER, MEMO, PACKAGE, Going
from envlock.workflow.machine.needs import folders_in_use
from envlock.workflow.machine.sizes import walk, walk_all
from metaflow_extensions.envlock.plugins.node import stage
from metaflow_extensions.envlock.plugins.node.home import ENVIRONMENTS, PYTHONS, InUse, claim
from metaflow_extensions.envlock.plugins.node.kept import Kept, evict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from envlock.reporter import Reporter
    from envlock.workflow.machine.environments import Environments, Prefix
    from envlock.workflow.machine.sizes import Walked

_SHA256 = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_CONDA_ARCHIVE = re.compile(rb"([A-Za-z0-9_.+!-]+)\.(?:conda|tar\.bz2)(?![A-Za-z0-9])")
_MEMOS = (
    *(
        "hashed",
        "licenses",
        "remembered",
        "bytecode",
        "conda/repodata",
        "conda/distributions",
        "pip-tools",
        "packed",
        "compiled",
    ),
    "builds/logs",
)
"""Folders with files that save work, and can be missing."""
_UNUSED = "neither an environment here nor a lock of a known project needs it"


def unneeded(
    found: Environments, stay: Sequence[Prefix], before: float, reporter: Reporter
) -> tuple[list[Going], dict[str, Walked]]:
    """What nothing needs, beside environments, and was not used since `before`; and what is in those folders.

    `stay` are the environments that stay.
    """
    rest = _Rest(found, stay, before)
    going = [*rest.interpreters(), *rest.packages(), *rest.builds()]
    walked = walk_all([each.path for each in going], reporter)
    return [*(each._replace(frees=walked[each.path].size.own) for each in going), *rest.memos()], walked


class _Rest:
    def __init__(self, found: Environments, stay: Sequence[Prefix], before: float) -> None:
        self.home = found.home
        self.stay = stay
        self.paths = {each.path for each in stay}
        self.before = before
        texts = [_text_of(path) for path in found.needs.locks]
        self.hashes = {each.decode() for text in texts for each in _SHA256.findall(text)}
        self.archives = {each.decode() for text in texts for each in _CONDA_ARCHIVE.findall(text)}
        for prefix in stay:
            self.archives |= {name.removesuffix(".json") for name in _names(os.path.join(prefix.path, "conda-meta"))}
        self.in_use = folders_in_use(self.home)

    def interpreters(self) -> Iterator[Going]:
        for path in self.folders(PYTHONS):
            real = os.path.realpath(path)
            is_used = any(_is_in(each.interpreter, path, real) for each in self.stay)
            if not is_used and os.path.basename(path) not in self.hashes:
                yield self.going(INTERPRETER, path, "no environment here was made from it")

    def packages(self) -> Iterator[Going]:
        for shard in _names(os.path.join(self.home, "packages")):
            for path in self.folders(f"packages/{shard}"):
                if os.path.basename(path) not in self.hashes:
                    yield self.going(PACKAGE, path, _UNUSED)
        for path in self.folders("conda/packages"):
            if os.path.basename(path) not in self.archives:
                yield self.going(PACKAGE, path, _UNUSED)
        for path in self.folders("tools"):
            yield self.going(PACKAGE, path, "no task on this machine used this tool")

    def builds(self) -> Iterator[Going]:
        from pathlib import Path

        for path in self.folders("builds/wheels"):
            built = built_in(Path(path))
            if built is None or built.sha256 not in self.hashes:
                yield self.going(BUILD, path, "no lock of a known project names this wheel")
        for path in self.folders("builds/environments"):
            yield self.going(BUILD, path, "nothing was built in it")

    def memos(self) -> Iterator[Going]:
        for folder in _MEMOS:
            yield from self.memos_in(folder, lambda path: os.lstat(path).st_mtime < self.before)
        yield from self.memos_in("memo", self.is_outdated)

    def memos_in(self, folder: str, is_old: Callable[[str], bool]) -> Iterator[Going]:
        old, size, newest = [], 0, 0.0
        for path in _files(os.path.join(self.home, folder)):
            with suppress(OSError):
                if is_old(path):
                    old.append(path)
                    size += walk(path).own
                    newest = max(newest, os.lstat(path).st_mtime)
        if old:
            yield Going(MEMO, os.path.join(self.home, folder), "not used any more", newest, size, files=tuple(old))

    def is_outdated(self, memo: str) -> bool:
        """Whether a memo of a prefix is another envlock's, or of a prefix that is gone or goes."""
        fields = read_file(memo, MEMO_BYTES).decode("utf-8", "surrogateescape").split("\0")
        prefixes = {each for each in fields if os.path.dirname(each) == os.path.join(self.home, ENVIRONMENTS)}
        return fields[1:2] != [__version__] or bool(prefixes and not prefixes & self.paths)

    def folders(self, place: str) -> Iterator[str]:
        """The folders at a place that are old enough, that nobody makes, and that no process is in."""
        for name in _names(os.path.join(self.home, place)):
            path = os.path.join(self.home, place, name)
            with suppress(OSError):
                is_folder = os.path.isdir(path) or os.path.islink(path)
                if not name.startswith(".") and is_folder and path not in self.in_use and self.used(path) < self.before:
                    yield path

    def used(self, path: str) -> float:
        """When something was used last, or else made. Raises OSError."""
        noted = Kept(self.home, os.path.relpath(path, self.home)).last_used()
        newest = max((entry.stat(follow_symlinks=False).st_mtime for entry in _entries(path)), default=0.0)
        return noted or max(os.lstat(path).st_mtime, newest)

    def going(self, kind: str, path: str, reason: str) -> Going:
        return Going(kind, path, reason, self.used(path), 0)


def delete(home: str, each: Going) -> bool:
    """Delete one of them, unless somebody uses it by now. Whether it is gone."""
    if each.files:
        for path in each.files:
            with suppress(OSError):
                os.unlink(path)
        _remove_empty(each.path)
        return True
    place = os.path.relpath(each.path, home)
    if os.path.lexists(Kept(home, place).path):
        return evict(home, place)
    return not os.path.lexists(each.path) or _take_away(home, each.path, place.replace("/", "-"))


def _take_away(home: str, path: str, label: str) -> bool:
    """Remove a file or a folder at once: renamed to where the next builder or gc sweeps what a kill leaves."""
    place = os.path.join(home, ENVIRONMENTS, label)
    try:
        handle = claim(path) if not os.path.islink(path) else None
    except InUse:
        return False
    try:
        make_folder(os.path.join(home, ENVIRONMENTS, stage.STAGES), home)
        stage.set_aside(path, place)
        with suppress(OSError):
            os.rmdir(os.path.dirname(path))  # of packages by the beginning of their hash, if it is empty now
    except (stage.Busy, OSError):
        return False
    finally:
        if handle is not None:
            os.close(handle)
    return True


def _remove_empty(folder: str) -> None:
    for below, folders, _ in os.walk(folder, topdown=False):
        for name in folders:
            with suppress(OSError):
                os.rmdir(os.path.join(below, name))


def _is_in(path: str, *folders: str) -> bool:
    real = os.path.realpath(path)
    return any(each.startswith(f"{folder}/") for each in (path, real) for folder in folders)


def _text_of(lock: str) -> bytes:
    try:
        return read_file(lock, LOCK_BYTES)
    except OSError:
        return b""


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        return list(os.scandir(folder))
    except OSError:
        return []


def _files(folder: str) -> Iterator[str]:
    for below, _, names in os.walk(folder):
        yield from (os.path.join(below, name) for name in names)
