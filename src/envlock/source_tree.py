"""The files of a folder that a wheel is built from, and the hash of them: what a build may read, and nothing else.

The hash is the same on every machine and in every checkout: it holds paths, bytes, and whether a file may be run; no
times, owners, other modes, or names of folders above. So what differs between two checkouts of one commit does not
count:

- what version control, editors, Python and its tools leave (`.git`, `__pycache__`, `*.egg-info`, `.venv`, caches), and
  `build` and `dist` at the top, where builds write;
- what git ignores: by the `.gitignore` files in the folder, and by those above it up to the top of the work tree. One
  user's own rules (`core.excludesFile`, `.git/info/exclude`) are not read, and git is not run;
- `envlock.toml` and `envlock.lock`, which say what is built and do not go into it.

A link that stays in the folder counts as a link. One that leads to a file elsewhere in the project counts as that file.

`check` reads every folder of envlock.toml, so this imports little, and paths are plain strings: 300 files
take about 10 ms.
"""

from __future__ import annotations

import os
import re
import stat

from envlock.errors import ConfigError, Location
from envlock.files import REVISIONS, NotPlain, is_of, read_file
from envlock.revisions import DEEPEST_FOLDER, digest_of, exists, is_file, link_at, listed, mode_and_size, mode_of, real
from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import Final

    from envlock.revisions import Entry

SOURCE_BYTES: Final = 1 << 30
"""The most that the files of a source may have together."""
SOURCE_FILES: Final = 50_000
_CHUNK = 1 << 18
_GITIGNORE_BYTES = 1 << 20
_FORMAT = b"envlock source 1\n"
EPOCH: Final = 315532800
"""1980-01-01, the first day that a zip file can tell, in seconds: the time of every file that is copied."""

_LEFT_BY_TOOLS = frozenset(
    {
        *(".git", ".hg", ".svn", ".bzr", ".jj", "_darcs", "CVS"),
        *("__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", ".tox", ".nox", ".eggs"),
        *(".venv", ".ipynb_checkpoints", ".metaflow", ".DS_Store", ".coverage", "envlock.toml", "envlock.lock"),
    }
)
_ENDINGS_LEFT_BY_TOOLS = (".pyc", ".pyo", ".egg-info")
_WRITTEN_BY_BUILDS = ("build", "dist")


class UnusableSource(ConfigError):
    """A folder cannot be built from as it is: what it holds differs from machine to machine, or has no end."""

    code = "unusable-source"
    message = "no wheel can be built from `{folder}`: {reason}"
    hint = "remove what is named from the folder, or add it to a `.gitignore` file: what git ignores does not count"

    def __init__(self, folder: str, reason: str, *, path: str = "") -> None:
        self.path = path
        self.reason = f"{reason}: {path}" if path else reason
        super().__init__(folder=folder, reason=reason, locations=(Location(path),) if path else ())


class SourceFile(NamedTuple):
    """One file of a source."""

    path: str
    """Relative to the folder, with `/`."""
    place: str
    """Where its bytes are: below the folder, or where a link leads to."""
    link: str = ""
    """What a link says that stays in the folder; nothing for a file."""


def content_hash(folder: Path | str) -> str:
    """The SHA-256 of a folder's files: of their paths, their bytes, and whether each may be run; 64 hex digits.

    Raises UnusableSource, and OSError for a file that cannot be read.
    """
    return _hash_files(os.fspath(folder), None)


def copy_to(folder: Path | str, target: Path | str) -> str:
    """Copy the files of a folder into an empty one, and return the hash of what was copied, as `content_hash` does.

    What is copied has the modes 755 and 644, whatever the umask, and the time EPOCH. Raises as `content_hash`.
    """
    return _hash_files(os.fspath(folder), os.fspath(target))


def files_of(folder: Path | str) -> tuple[SourceFile, ...]:
    """The files of a folder that count, sorted by path. Opens none but `.gitignore`. Raises as `content_hash`."""
    top = os.path.abspath(folder)  # pathlib's own keeps `..`
    found = sorted(_walk(top), key=lambda each: os.fsencode(each.path))
    return tuple(found)


def _hash_files(folder: str, target: str | None) -> str:
    from hashlib import sha256

    whole, left = sha256(_FORMAT), SOURCE_BYTES
    for each in files_of(folder):
        path = os.fsencode(each.path)
        if each.link:
            kind, digest = b"l", sha256(os.fsencode(each.link)).digest()
            if target is not None:
                os.symlink(each.link, _made_for(target, each.path))
        else:
            copy = None if target is None else _made_for(target, each.path)
            digest, size, is_executable = _read(folder, each, copy, left)
            kind, left = b"x" if is_executable else b"f", left - size
        whole.update(b"%b %d " % (kind, len(path)) + path + digest)
    return whole.hexdigest()


def _read(folder: str, file: SourceFile, copy: str | None, most: int) -> tuple[bytes, int, bool]:
    """The digest of a file, its size, and whether it may be run. What it holds is written to `copy`."""
    from hashlib import sha256

    if file.place.startswith(REVISIONS):
        whole = bytes.fromhex(digest_of(file.place, most))
        return whole, mode_and_size(file.place)[1], bool(mode_of(file.place) & stat.S_IXUSR)
    handle = os.open(file.place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise UnusableSource(folder, "it holds something that is not a file", path=file.path)
        digest, size = sha256(), 0
        is_executable = bool(found.st_mode & stat.S_IXUSR)
        written = None if copy is None else os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            while data := os.read(handle, _CHUNK):
                size += len(data)
                if size > most:
                    reason = f"its files have more than {SOURCE_BYTES >> 20} MiB together"
                    raise UnusableSource(folder, reason, path=file.path)
                digest.update(data)
                if written is not None:
                    _write_all(written, data)
            if written is not None:
                os.fchmod(written, 0o755 if is_executable else 0o644)
                os.utime(written, (EPOCH, EPOCH))
        finally:
            if written is not None:
                os.close(written)
    finally:
        os.close(handle)
    return digest.digest(), size, is_executable


def _write_all(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]


def _made_for(target: str, path: str) -> str:
    """The place of a file in a copy, whose folder is made."""
    place = f"{target}/{path}"
    folder = os.path.dirname(place)
    if not os.path.isdir(folder):
        os.makedirs(folder, 0o755, exist_ok=True)
    return place


def _walk(top: str) -> Iterator[SourceFile]:
    waiting = [("", _rules_above(top), 0)]
    count = 0
    while waiting:
        below, rules, depth = waiting.pop()
        folder = f"{top}/{below}".rstrip("/")
        found = listed(folder)
        names = {each.name for each in found}
        if depth and "pyvenv.cfg" in names:  # a virtual environment, whatever it is called
            continue
        if ".gitignore" in names:
            rules = (*rules, *_rules_in(folder, folder))
        for each in found:
            is_folder = each.is_dir(follow_symlinks=False)
            if _is_left_by_tools(each.name, not depth and not each.is_file(follow_symlinks=False)) or _is_ignored(
                each.path, is_folder, rules
            ):
                continue
            path = f"{below}{each.name}"
            if is_folder:
                if depth >= DEEPEST_FOLDER:
                    raise UnusableSource(top, f"it has more than {DEEPEST_FOLDER} folders in each other", path=path)
                waiting.append((f"{path}/", rules, depth + 1))
                continue
            count += 1
            if count > SOURCE_FILES:
                raise UnusableSource(top, f"it has more than {SOURCE_FILES:,} files")
            yield _file(top, path, each)


def _is_left_by_tools(name: str, may_be_of_builds: bool) -> bool:
    return (
        name in _LEFT_BY_TOOLS
        or name.endswith(_ENDINGS_LEFT_BY_TOOLS)
        or (may_be_of_builds and name in _WRITTEN_BY_BUILDS)
    )


def _file(top: str, path: str, entry: Entry | os.DirEntry[str]) -> SourceFile:
    if entry.is_symlink():
        return _link(top, path, entry.path)
    if not entry.is_file(follow_symlinks=False):
        raise UnusableSource(top, "it holds a named pipe, a socket or a device", path=path)
    return SourceFile(path, entry.path)


def _link(top: str, path: str, place: str) -> SourceFile:
    says = link_at(place)
    leads_to, real_top = real(place), real(top)
    leads_up = os.path.normpath(f"{os.path.dirname(path) or '.'}/{says}").split("/")[0] == ".."
    if not os.path.isabs(says) and not leads_up and f"{leads_to}/".startswith(f"{real_top}/"):
        return SourceFile(path, place, says)
    if not is_of(leads_to, top):
        raise UnusableSource(top, f"it holds a link that leads out of the project, to {says}", path=path)
    if not is_file(leads_to):
        raise UnusableSource(top, f"it holds a link to {says}, which is not a file", path=path)
    return SourceFile(path, leads_to)


# What git ignores: gitignore(5).


class _Rules(NamedTuple):
    """Consecutive lines of one `.gitignore` that all ignore, or all take back."""

    base: str
    """The folder of the file, with a slash."""
    ignores: bool
    names: set[str]
    folder_names: set[str]
    ends: list[str]
    """What follows a `*` that begins a line."""
    others: list[tuple[re.Pattern[str], bool]]
    """Patterns of the path below `base`, each with whether it is of folders only."""

    def match(self, place: str, name: str, is_folder: bool) -> bool:
        """Whether one of the lines is about this path."""
        if name in self.names or (is_folder and name in self.folder_names) or name.endswith(tuple(self.ends)):
            return True
        path = _in_bytes(place[len(self.base) :])
        return any(
            pattern.fullmatch(path) is not None for pattern, of_folders in self.others if is_folder or not of_folders
        )


def _is_ignored(place: str, is_folder: bool, rules: Sequence[_Rules]) -> bool:
    """Whether the last line that is about a path ignores it."""
    name = place[place.rindex("/") + 1 :]
    return next((each.ignores for each in reversed(rules) if each.match(place, name, is_folder)), False)


def _rules_above(top: str) -> tuple[_Rules, ...]:
    """The rules of the folders above, up to the top of the work tree; none if the folder is ignored itself.

    Where git's own folder was left out, as in a container, the top is the folder of envlock.toml.
    """
    above = _folders_above(top)
    rules: tuple[_Rules, ...] = ()
    for folder, inner in zip(above, [*above, top][1:], strict=True):
        rules = (*rules, *_rules_in(folder, folder))
        if _is_ignored(inner, True, rules):
            return ()
    return rules


def _folders_above(top: str) -> list[str]:
    """The folders of the work tree above one, the top first."""
    found: list[str] = []
    project, at = 0, top
    while not exists(f"{at}/.git", follow=False):
        at, below = os.path.dirname(at), at
        if at == below:
            return found[:project][::-1]
        found.append(at)
        if is_file(f"{at}/envlock.toml"):
            project = len(found)
    return found[::-1]


def _rules_in(folder: str, base: str) -> tuple[_Rules, ...]:
    try:
        text = read_file(f"{folder}/.gitignore", _GITIGNORE_BYTES).decode("utf-8", "surrogateescape")
    except NotPlain as error:
        raise UnusableSource(folder, error.reason, path=".gitignore") from None
    except OSError:
        return ()
    return _parsed(text, base)


def _parsed(text: str, base: str) -> tuple[_Rules, ...]:
    r"""The rules of a `.gitignore`.

    >>> rules = _parsed("*.log\n!keep.log\n/top\nlogs/\na/**/z\n*.py[cod]\n", "/p")
    >>> [_is_ignored(path, False, rules) for path in ("/p/x/a.log", "/p/keep.log", "/p/top", "/p/x/top", "/p/a/b/z")]
    [True, False, True, False, True]
    >>> _is_ignored("/p/logs", True, rules), _is_ignored("/p/logs", False, rules), _is_ignored("/p/a.pyc", False, rules)
    (True, False, True)
    """
    found: list[_Rules] = []
    for line in text.removeprefix("\ufeff").split("\n"):
        pattern = re.sub(r"(?<!\\)[ \t]+$", "", line.removesuffix("\r"))
        ignores = not pattern.startswith("!")
        pattern = pattern if ignores else pattern[1:]
        of_folders = pattern.endswith("/")
        pattern = pattern.removesuffix("/")
        if not pattern or pattern.startswith("#"):
            continue
        if not found or found[-1].ignores != ignores:
            found.append(_Rules(f"{base}/", ignores, set(), set(), [], []))
        rules = found[-1]
        if not re.search(r"[*?\[\\/]", pattern):
            (rules.folder_names if of_folders else rules.names).add(pattern)
        elif not of_folders and re.fullmatch(r"\*[^*?\[\\/]+", pattern):
            rules.ends.append(pattern[1:])
        else:
            rules.others.append((_regular(pattern), of_folders))
    return tuple(found)


def _regular(pattern: str) -> re.Pattern[str]:
    """A pattern of gitignore(5) as a regular expression of the path below its folder, in bytes as git matches them."""
    parts = ["" if "/" in pattern else "(?:.*/)?"]
    pattern = _in_bytes(pattern.removeprefix("/"))
    at = 0
    while at < len(pattern):
        rest = pattern[at:]
        if rest.startswith("**/") and (at == 0 or pattern[at - 1] == "/"):
            part, length = "(?:.*/)?", 3
        elif rest == "/**":
            part, length = "/.+", 3
        elif rest[0] == "*":
            part, length = "[^/]*", len(rest) - len(rest.lstrip("*"))
        elif rest[0] == "?":
            part, length = "[^/]", 1
        elif rest[0] == "[":
            found = re.match(r"\[([!^]?)((?:\]|(?!\]))(?:[^\]\\[]|\\.|\[:\w+:\]|\[)*)\]", rest, re.DOTALL)
            if found is None:
                return _NOTHING
            part, length = f"(?!/)[{'^' * bool(found[1])}{_set(found[2])}]", found.end()
        elif rest[0] == "\\":
            if len(rest) == 1:
                return _NOTHING
            part, length = re.escape(rest[1]), 2
        else:
            part, length = re.escape(rest[0]), 1
        parts.append(part)
        at += length
    try:
        return re.compile("".join(parts), re.DOTALL)
    except re.error:  # a range that ends before it begins
        return _NOTHING


_NOTHING = re.compile(r"(?!)")
_CLASSES = {
    "alpha": "a-zA-Z", "digit": "0-9", "alnum": "a-zA-Z0-9", "upper": "A-Z", "lower": "a-z", "xdigit": "0-9A-Fa-f",
    "space": r"\s", "blank": r" \t", "punct": r"!-/:-@\[-`{-~",
}  # fmt: skip


def _set(inside: str) -> str:
    """What is between the brackets of a set, for `re`."""
    return re.sub(r"\[:(\w+):\]|\\(.)|([\\\]\[&|~^])", _member, inside, flags=re.DOTALL)


def _member(found: re.Match[str]) -> str:
    return _CLASSES.get(found[1], "") if found[1] else re.escape(found[2] or found[3])


def _in_bytes(text: str) -> str:
    """The text with a character for each of its bytes."""
    return text if text.isascii() else os.fsencode(text).decode("latin-1")
