"""What git's merges leave in a lock folder, and what of it can still be read.

Two branches that lock one environment differently each take away the same old file and add a new one. Git takes that
for a file that was renamed twice, and would write its conflict markers into both. So the lock folder has a
`.gitattributes` which has it leave locks as they are. Where that did not hold (an older branch, a tool that does not
know attributes), both sides are read from between the markers. Pins of names keep the markers: they have one path on
both branches, so that git would leave only one of the two.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import tomli

from envlock.errors import ConfigError, EnvlockError
from envlock.files import holds, write_atomically
from envlock.lockfile.document import lock_from, parse
from envlock.lockfile.folder import lock_bytes, refuse_leading_out
from envlock.model.lock import Lock

ATTRIBUTES = """\
# Where two branches locked the same, git keeps both locks whole; `envlock lock` then makes one of them.
*.toml merge=binary
/aliases/** merge
"""
_SIDES = ("HEAD", "MERGE_HEAD", "REBASE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "stash", "HEAD^1", "HEAD^2")
"""Where git has the sides of what is under way, or was just committed."""
_UNDER_WAY = ("MERGE_HEAD", "REBASE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "AUTO_MERGE")
"""What lies in git's folder while there may be conflicts; the last one also after `git stash pop`."""
_MARKER = re.compile(r"(<{7,}|\|{7,}|={7,}|>{7,})(?: .*)?\r?\n?\Z")


def sides(text: str) -> tuple[str, str] | None:
    r"""Both sides of a text with git's conflict markers, of any length and style; None where they do not add up.

    What the branches have in common with their ancestor is in neither.

    >>> sides("a\n<<<<<<< HEAD\nb\n||||||| 1a2b\nx\n=======\nc\n>>>>>>> theirs\nd\n")
    ('a\nb\nd\n', 'a\nc\nd\n')
    >>> sides("a\n<<<<<<< HEAD\nb\n") is None
    True
    """
    found: dict[str, list[str]] = {"<": [], "|": [], "=": []}
    part, size, times = "", 0, 0
    for line in text.splitlines(keepends=True):
        marker = _MARKER.match(line)
        kind = marker[1][0] if marker is not None else ""
        if marker is None or (part and len(marker[1]) != size):  # longer ones stand between versions of an ancestor
            for each in (part,) if part else ("<", "="):
                found[each].append(line)
        elif {"": "<", "<": "|=", "|": "=", "=": ">"}[part].find(kind) < 0:
            return None
        else:
            part, size, times = ("" if kind == ">" else kind), len(marker[1]), times + (kind == ">")
    return ("".join(found["<"]), "".join(found["="])) if times and not part else None


def locks_in(path: Path, shown: str) -> Iterator[tuple[Lock, bool]]:
    """The locks that can be read in a file that is no longer a whole lock, and whether each is verified.

    One that is not verified tells only which versions were locked: git may have put lines of both sides together.
    """
    try:
        text = lock_bytes(path, shown=shown).decode("utf-8", "replace")
    except EnvlockError:  # it is no file
        return
    for side in dict.fromkeys(sides(text) or (text,)):
        try:
            yield parse(side.encode(), shown), True
        except EnvlockError:  # noqa: PERF203  each side for itself
            lock = _unverified(side)
            if lock is not None:
                yield lock, False


def _unverified(text: str) -> Lock | None:
    try:
        return lock_from(tomli.loads(text))
    except (tomli.TOMLDecodeError, RecursionError, KeyError, TypeError, ValueError, AttributeError, ConfigError):
        return None


def versions_in_git(path: Path, folder: Path) -> list[bytes]:
    """What git has at a path on either side of a merge, rebase, cherry-pick or stash, even one that is committed.

    `folder` is the project's. Empty where there is no git, or no work tree. One process.
    """
    place = path.relative_to(folder).as_posix()
    objects = "".join(f"{side}:./{place}\n" for side in _SIDES).encode()
    answer = _git(folder, "cat-file", "--batch", given=objects)
    found: list[bytes] = []
    at = 0
    for _ in _SIDES:
        line, _, _ = answer[at:].partition(b"\n")
        at += len(line) + 1
        words = line.split()
        if len(words) == 3 and words[1] == b"blob":
            size = int(words[2])
            found.append(answer[at : at + size])
            at += size + 1
    return list(dict.fromkeys(found))


def is_unmerged(folder: Path) -> bool:
    """Whether files of a lock folder conflict in a merge, or the like, that git has under way."""
    return bool(_git(folder.parent, "ls-files", "--unmerged", "--", folder.name))


def awaits_git_add(folder: Path) -> bool:
    """Whether files of a lock folder conflict, where git has a merge or the like under way. No process where not."""
    with suppress(OSError):
        for parent in folder.absolute().parents:
            git = parent / ".git"
            if git.is_file():  # of a work tree, or a submodule
                git = parent / git.read_text(encoding="utf-8", errors="replace").removeprefix("gitdir:").strip()
            if git.is_dir():
                return any((git / name).exists() for name in _UNDER_WAY) and is_unmerged(folder)
    return False


def not_added(folder: Path, *others: Path) -> tuple[str, ...] | None:
    """What git's index lacks, or has otherwise, of a lock folder and of other files; None outside of a work tree.

    Files that were deleted and are still in the index count too, and locks that git ignores. The paths are relative to
    the folder that the lock folder is in. One process.
    """
    here = folder.parent.resolve()
    root = next((each for each in (here, *here.parents) if (each / ".git").exists()), here)  # git's paths begin there
    inside = (other for other in others if other.resolve().is_relative_to(root))
    names = [folder.name, *(os.path.relpath(other, folder.parent) for other in inside)]
    options = ("-z", "--untracked-files=all", "--ignored=matching", "--no-renames")
    answer = _git(folder.parent, "--no-optional-locks", "status", "--porcelain", "--branch", *options, "--", *names)
    if not answer:
        return None
    entries = [entry.decode(errors="replace") for entry in answer.split(b"\0") if entry]
    paths = [entry[3:].rstrip("/") for entry in entries if not entry.startswith("##") and entry[1] != " "]
    return tuple(os.path.relpath(root / path, here) for path in paths)


def _git(folder: Path, *arguments: str, given: bytes = b"") -> bytes:
    """The output of git in a folder; empty if it fails."""
    import subprocess

    command = ["git", "-c", "core.fsmonitor=false", *arguments]
    try:
        done = subprocess.run(command, cwd=folder, input=given, capture_output=True, check=False)
    except OSError:  # there is no git
        return b""
    return done.stdout if done.returncode == 0 else b""


def write_attributes(folder: Path, *, within: Path | None = None) -> None:
    """Have git leave the locks of a folder as they are. An existing file is not touched.

    Raises NotPlain where a link leads the folder out of the project `within`.
    """
    if within is not None:
        refuse_leading_out(folder, within)
    path = folder / ".gitattributes"
    if not path.exists():
        write_atomically(path, ATTRIBUTES.encode())


def remove_attributes(folder: Path) -> None:
    """Delete what `write_attributes` wrote, if there is nothing else in the folder."""
    path = folder / ".gitattributes"
    if [*folder.iterdir()] == [path] and holds(path, ATTRIBUTES.encode()):
        path.unlink()
