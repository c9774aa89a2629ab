"""What is at a path: on a disk, or in a revision of git, which is read as if it lay on one.

The files of a revision have paths below `/dev/null/<commit>`, where no disk has anything. What reads envlock.toml, flow
files, requirement files and locks reads those of a revision too, as long as it looks through these functions and
through `files.read_file`; code that does not finds nothing there. `git_objects` is where the files come from.

A link in a revision leads to what that revision has at its place. One that leads out of the repository leads nowhere.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from envlock.files import REVISIONS, NotPlain, sha256_of
from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envlock.git_objects import Tree

_POINTER = rb"version https://git-lfs[^\n]*\n(?:[a-z0-9.-]+ [^\n]*\n)*?oid sha256:([0-9a-f]{64})\n"
"""How git LFS names a file that it keeps outside of git."""
_POINTER_BYTES = 1024
_TREES: dict[str, Tree] = {}


def show(tree: Tree) -> None:
    """Have the files of a commit below its `root`, until this process ends."""
    _TREES[tree.commit] = tree


class Entry(NamedTuple):
    """What a folder has, as `os.DirEntry` has it."""

    name: str
    path: str
    mode: int

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a folder."""
        return is_folder(self.path) if follow_symlinks else stat.S_ISDIR(self.mode)

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a file."""
        return is_file(self.path) if follow_symlinks else stat.S_ISREG(self.mode)

    def is_symlink(self) -> bool:
        """Whether it is a link."""
        return stat.S_ISLNK(self.mode)


def _place(path: str) -> tuple[Tree, str] | None:
    """The tree, and the path in it; None for a path that no open revision has."""
    commit, _, below = os.path.normpath(path)[len(REVISIONS) :].partition("/")
    tree = _TREES.get(commit)
    return (tree, below) if tree is not None else None


def _entry(path: str, *, follow: bool = True) -> tuple[Tree, int, str, str]:
    place = _place(path)
    if place is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    tree, below = place
    if below == ".git":  # so that who looks for the top of a work tree finds it
        return tree, stat.S_IFDIR, "", path
    return tree, *tree.entry(below, follow=follow)


def tree_with(path: Path | str) -> Tree | None:
    """The commit that a path is in; None for a path on a disk."""
    text = os.fspath(path)
    place = _place(text) if text.startswith(REVISIONS) else None
    return place[0] if place is not None else None


def mode_of(path: Path | str, *, follow: bool = True) -> int:
    """The mode of what is at a path; 0 if there is nothing."""
    place = os.fspath(path)
    try:
        if place.startswith(REVISIONS):
            return _entry(place, follow=follow)[1]
        return os.stat(place, follow_symlinks=follow).st_mode
    except (OSError, ValueError):
        return 0


def mode_and_size(path: Path | str) -> tuple[int, int]:
    """The mode of what is at a path, and of a file how many bytes it has. Raises OSError as `os.stat`."""
    place = os.fspath(path)
    if not place.startswith(REVISIONS):
        found = os.stat(place)
        return found.st_mode, found.st_size
    tree, mode, name, _ = _entry(place)
    return mode, tree.object(name, 0).size if stat.S_ISREG(mode) else 0


def is_file(path: Path | str) -> bool:
    """Whether a file is at a path, or a link to one."""
    return stat.S_ISREG(mode_of(path))


def is_folder(path: Path | str) -> bool:
    """Whether a folder is at a path, or a link to one."""
    return stat.S_ISDIR(mode_of(path))


def exists(path: Path | str, *, follow: bool = True) -> bool:
    """Whether anything is at a path; without `follow`, a link that leads nowhere counts."""
    return mode_of(path, follow=follow) != 0


def real(path: Path | str) -> str:
    """The path without links."""
    place = os.fspath(path)
    if not place.startswith(REVISIONS):
        return os.path.realpath(place)
    try:
        return _entry(place)[3]
    except OSError:
        return os.path.normpath(place)


def link_at(path: str) -> str:
    """What a link says. Raises OSError where there is none."""
    if not path.startswith(REVISIONS):
        return os.readlink(path)
    tree, _, name, _ = _entry(path, follow=False)
    return os.fsdecode(tree.data(name))


def names_in(folder: Path | str) -> list[str]:
    """The names of all that a folder has. Raises OSError as `os.listdir`."""
    place = os.fspath(folder)
    return [each.name for each in listed(place)] if place.startswith(REVISIONS) else os.listdir(place)


def listed(folder: str) -> list[Entry] | list[os.DirEntry[str]]:
    """All that a folder has. Raises OSError as `os.scandir`."""
    if not folder.startswith(REVISIONS):
        with os.scandir(folder) as entries:
            return list(entries)
    tree, mode, name, _ = _entry(folder)
    if not stat.S_ISDIR(mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), folder)
    return [Entry(each, f"{folder}/{each}", found[0]) for each, found in tree.listed((mode, name)).items()]


def read_ahead(paths: Iterable[Path], *, depth: int = 0) -> None:
    """Read from git at once what is needed next, of paths of a revision; `depth` is how many levels of folders come.

    Only saves time: what is not there, or is on a disk, is left out.
    """
    places: dict[int, tuple[Tree, list[str]]] = {}
    for path in map(str, paths):
        place = _place(path) if path.startswith(REVISIONS) else None
        if place is not None:
            places.setdefault(id(place[0]), (place[0], []))[1].append(place[1])
    for tree, below in places.values():
        tree.read_ahead(below, depth=depth)


DEEPEST_FOLDER = 128
"""Folders in each other that are looked into. A name of an environment may have a hundred parts."""


def files_below(top: Path | str, failed: Callable[[OSError], None] = lambda _: None) -> Iterator[tuple[str, list[str]]]:
    """Each folder below `top`, itself first, with the names of what is no folder in it; no link is followed.

    However deep others nest folders, this does not break (`os.walk` does, before Python 3.12). `failed` is called for a
    folder that cannot be listed.
    """
    waiting = [(os.fspath(top), 0)]
    while waiting:
        folder, depth = waiting.pop()
        names: list[str] = []
        try:
            for each in listed(folder):
                if not each.is_dir(follow_symlinks=False):
                    names.append(each.name)
                elif depth < DEEPEST_FOLDER:
                    waiting.append((each.path, depth + 1))
        except OSError as error:
            failed(error)
            continue
        yield folder, names


def matching(folder: Path, pattern: str) -> Iterator[Path]:
    """The paths below a folder that a pattern with `*` and `**` matches, as `Path.glob` finds them."""
    if not str(folder).startswith(REVISIONS):
        yield from folder.glob(pattern)
        return
    from fnmatch import fnmatchcase

    first, _, rest = pattern.partition("/")
    if first == "**":
        yield from matching(folder, rest) if rest else [folder]
    for each in listed(str(folder)) if is_folder(folder) else ():
        path = folder / each.name
        if first == "**":
            yield from matching(path, pattern) if each.is_dir(follow_symlinks=False) else ()
        elif fnmatchcase(each.name, first):
            yield from matching(path, rest) if rest else [path]


def read(path: str, limit: int) -> bytes:
    """The bytes of a file of a revision. Raises OSError as `files.read_file`."""
    tree, mode, name, _ = _entry(path)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    found = tree.object(name, limit)
    if found.size > limit:
        raise NotPlain(path, f"it has more than {limit >> 20} MiB, the most that is read of such a file")
    return found.data


def digest_of(path: str, limit: int) -> str:
    """The SHA-256 of a file, 64 hex digits. Of what git LFS keeps outside of a revision, that of the file itself."""
    import re
    from hashlib import sha256

    if not path.startswith(REVISIONS):
        return sha256_of(Path(path))
    tree, mode, name, _ = _entry(path)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    digest, begin = sha256(), bytearray()

    def seen(part: bytes) -> None:
        digest.update(part)
        begin.extend(part[: _POINTER_BYTES - len(begin)])

    if tree.object(name, 0, seen).size > limit:
        raise NotPlain(path, f"it has more than {limit >> 20} MiB, the most that is read of such a file")
    pointer = re.match(_POINTER, begin)
    return pointer[1].decode() if pointer else digest.hexdigest()


def is_of(path: Path | str, project: str) -> bool:
    """Whether a path is of the same revision as a project."""
    return real(path).startswith("/".join(project.split("/")[:4]) + "/")
