"""The commits of a git repository: their files, read from git's objects by one `git cat-file`, and only when asked for.

Nothing is checked out, no hook, filter or textconv runs, and nothing is written. `revisions` shows the files of a
commit as if they lay on a disk.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from envlock.errors import ConfigError
from envlock.files import REVISIONS, NotPlain
from envlock.reporter import detail, running
from envlock.revisions import show
from envlock.values import NamedTuple
from envlock.words import did_you_mean

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess

_MOST_LINKS = 40
LARGEST = 64 << 20
"""The most that is kept of an object, unless a caller needs more: no folder, link, envlock.toml or lock has more."""
_PART = 1 << 20
_CAT_FILE = ("git", "-c", "core.fsmonitor=false", "cat-file", "--batch")
_SUBMODULE = 0o160000
_COMMIT = "commit "
"""Stands before the object of a submodule, which the repository itself does not have."""
_MOST_OPEN = 4
_AT_ONCE = 256
"""Names that are requested at once: few enough for a pipe, before git waits until its answers are read."""
_LOST = frozenset(
    {
        *("GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_NAMESPACE"),
        *("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_GRAFT_FILE", "GIT_SHALLOW_FILE"),
        *("GIT_REPLACE_REF_BASE", "GIT_NO_REPLACE_OBJECTS", "GIT_IMPLICIT_WORK_TREE"),
        *("GIT_PAGER", "GIT_EDITOR", "GIT_EXTERNAL_DIFF", "GIT_OPTIONAL_LOCKS", "GIT_TEMPLATE_DIR", "GIT_DEFAULT_HASH"),
    }
)
"""Variables of git that are about another command, such as the one whose hook runs this; so are those of traces."""
_FETCHING = "in CI, fetch the whole history: `fetch-depth: 0` for actions/checkout"


class NotARepository(ConfigError):
    """A revision is named, but the project is in no git repository that can be read."""

    code = "not-a-repository"
    message = "`{revision}` cannot be read from git: {reason}"
    hint = "name an environment of the project, an alias, a lock file or a prefix; or run this in a git work tree"


class NoSuchRevision(ConfigError):
    """The repository has no commit of this name."""

    code = "no-such-revision"
    message = "git knows no revision `{revision}` in {top}"
    hint = "git fetch"

    def __init__(self, revision: str, top: str, names: list[str]) -> None:
        super().__init__(revision=revision, top=top, hint=did_you_mean(revision, names))


class ShallowClone(ConfigError):
    """The commit is not in this clone, which holds only the last part of the history."""

    code = "shallow-clone"
    message = "`{revision}` is not in this clone, which is shallow: it does not have all of the history"
    details = (_FETCHING,)
    hint = "git fetch --unshallow"


class Tree:
    """The files of one commit. Each folder of it is read once."""

    def __init__(self, objects: Objects, revision: str, commit: str, folder: str) -> None:
        self.revision = revision
        """As it was written."""
        self.commit = commit
        self.top = objects.top
        """The top folder of the work tree, on the disk."""
        self.root = f"{REVISIONS}{commit}"
        """The path of its top folder here."""
        self._objects = objects
        self._of_submodules: dict[str, Objects] = {}
        self._folders: dict[str, Mapping[str, tuple[int, str]]] = {}
        self._top = (stat.S_IFDIR, folder)

    def entry(self, path: str, *, follow: bool = True) -> tuple[int, str, str]:
        """Mode, object and real path of what is at a path below `root`; the last part's link is followed on request.

        Raises FileNotFoundError, NotADirectoryError, and NotPlain for a link that leads out of the repository.
        """
        waiting = [part for part in path.split("/") if part not in {"", "."}][::-1]
        above: list[tuple[str, tuple[int, str]]] = []
        links = 0
        while waiting:
            part = waiting.pop()
            here = above[-1][1] if above else self._top
            if part == "..":
                if not above:
                    raise NotPlain(f"{self.root}/{path}", "it is a link that leads out of the project")
                above.pop()
                continue
            if not stat.S_ISDIR(here[0]):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            found = self.listed(here).get(part)
            if found is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            if stat.S_ISLNK(found[0]) and (waiting or follow):
                links += 1
                says = os.fsdecode(self.data(found[1]))
                if says.startswith("/") or links > _MOST_LINKS:
                    raise NotPlain(f"{self.root}/{path}", "it is a link that leads out of the project")
                waiting += [each for each in says.split("/") if each not in {"", "."}][::-1]
                continue
            if found[1].startswith(_COMMIT):
                found = self._submodule("/".join([*(name for name, _ in above), part]), found[1])
            above.append((part, found))
        mode, name = above[-1][1] if above else self._top
        return mode, name, "/".join([self.root, *(part for part, _ in above)])

    def listed(self, folder: tuple[int, str]) -> Mapping[str, tuple[int, str]]:
        """Mode and object of all that a folder has, by name; nothing of a submodule that is not checked out."""
        name = folder[1]
        if name not in self._folders:
            where, inner, plain = name.rpartition("\0")
            try:
                entries = dict(_entries(self.data(name), len(plain) // 2)) if name else {}
            except ValueError:
                raise NotPlain(self.root, f"git's object {plain} is no folder, as another says") from None
            self._folders[name] = {
                own: (mode, each if each.startswith(_COMMIT) else f"{where}{inner}{each}")
                for own, (mode, each) in entries.items()
            }
        return self._folders[name]

    def _submodule(self, path: str, name: str) -> tuple[int, str]:
        """The top folder of a submodule's commit, from the submodule's own objects."""
        place = f"{self.top}/{path}"
        if path not in self._of_submodules and os.path.lexists(f"{place}/.git"):
            self._of_submodules[path] = Objects(place)
        objects = self._of_submodules.get(path)
        found = objects.get(f"{name.removeprefix(_COMMIT)}^{{tree}}") if objects is not None else None
        return stat.S_IFDIR, f"{path}\0{found.id}" if found is not None else ""

    def read_ahead(self, paths: Iterable[str], *, depth: int = 0) -> None:
        """Read what is at some paths below `root` at once; `depth` is how many levels of folders come with them."""
        with suppress(OSError):
            found = [(mode, name) for mode, name, _ in map(self.entry, paths)]
            self._read_ahead(name for _, name in found)
            for _ in range(depth):
                found = [inner for each in found for inner in self.listed(each).values() if stat.S_ISDIR(inner[0])]
                self._read_ahead(name for _, name in found)

    def _read_ahead(self, names: Iterable[str]) -> None:
        self._objects.read_ahead(name for name in names if name.isalnum() and name not in self._folders)

    def object(self, name: str, limit: int, seen: Callable[[bytes], object] | None = None) -> Object:
        r"""An object of this commit, as `Objects.get` gives it; `PATH\0OBJECT` is one of the submodule at a path.

        Raises NotARepository if git does not have it: what cannot be read is not what is not there.
        """
        path, inner, plain = name.rpartition("\0")
        found = (self._of_submodules[path] if inner else self._objects).get(plain, limit, seen)
        if found is None:
            reason = f"git has no object {plain}, which its commit {self.commit} needs"
            raise NotARepository(revision=self.revision, reason=reason, hint="git fsck")
        return found

    def data(self, name: str) -> bytes:
        """The bytes of a folder or a link of this commit."""
        return self.object(name, LARGEST).data


def _entries(data: bytes, length: int) -> Iterator[tuple[str, tuple[int, str]]]:
    """What a tree object lists; its names of objects have `length` bytes."""
    at = 0
    while at < len(data):
        space, end = data.index(b" ", at), data.index(b"\0", at)
        mode, name = int(data[at:space], 8), os.fsdecode(data[space + 1 : end])
        at = end + 1 + length
        said = data[end + 1 : at].hex()
        yield name, (stat.S_IFDIR, f"{_COMMIT}{said}") if mode == _SUBMODULE else (mode, said)


class Object(NamedTuple):
    """An object of git."""

    id: str
    type: str
    size: int
    data: bytes
    """Empty if the object is larger than the `limit` of `Objects.get`."""


class Objects:
    """The objects of the git repository around a folder, through one `git cat-file`, started when it is needed."""

    def __init__(self, top: str) -> None:
        self.top = top
        """The top folder of the work tree."""
        self._process: subprocess.Popen[bytes] | None = None
        self._ahead: dict[str, Object | None] = {}

    def get(self, name: str, limit: int = LARGEST, seen: Callable[[bytes], object] | None = None) -> Object | None:
        """What a name means to git; None if it means nothing. Raises NotARepository.

        Of one that has more bytes than `limit`, `data` is empty. `seen` gets the bytes of any, part by part.
        """
        if "\n" in name or "\0" in name:
            return None
        if name in self._ahead:
            found = self._ahead.pop(name)
            if found is None or len(found.data) == found.size:
                if found is not None and seen is not None:
                    seen(found.data)
                return found
        self._ask([name])
        return self._answer(name, limit, seen)

    def read_ahead(self, names: Iterable[str]) -> None:
        """Read objects at once that are needed next: waiting for each takes longer than reading it."""
        wanted = list({*names} - {*self._ahead})
        for start in range(0, len(wanted), _AT_ONCE):
            batch = wanted[start : start + _AT_ONCE]
            self._ask(batch)
            for name in batch:
                self._ahead[name] = self._answer(name, LARGEST, None)

    def _ask(self, names: Sequence[str]) -> None:
        process = self._process = self._process or self._started(names[0])
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # there will be no answer
            process.stdin.write(b"".join(os.fsencode(name) + b"\n" for name in names))
            process.stdin.flush()

    def _answer(self, name: str, limit: int, seen: Callable[[bytes], object] | None) -> Object | None:
        process = self._process
        assert process is not None
        assert process.stdout is not None
        words = process.stdout.readline().split()
        if not words:
            raise self._unreadable(name)
        if len(words) != 3 or words[1] == b"missing" or not words[2].isdigit():  # `missing`, or `ambiguous`
            return None
        size = left = int(words[2])
        kept: list[bytes] = []
        while left:
            part = process.stdout.read(min(left, _PART))
            if not part:
                raise self._unreadable(name)
            left -= len(part)
            if size <= limit:
                kept.append(part)
            if seen is not None:
                seen(part)
        process.stdout.read(1)
        return Object(words[0].decode(), words[1].decode(), size, b"".join(kept))

    def run(self, *arguments: str) -> str:
        """The output of git in the work tree; empty if it fails."""
        import subprocess

        command = ["git", "-c", "core.fsmonitor=false", *arguments]
        try:
            with running(["git", "-C", self.top, *arguments]) as told:
                done = subprocess.run(command, cwd=self.top, env=_variables(), capture_output=True, check=False)
                told.ended(f"exit status {done.returncode}")
        except OSError:
            return ""
        return done.stdout.decode("utf-8", "surrogateescape") if done.returncode == 0 else ""

    def names(self) -> list[str]:
        """The branches, those of remotes included, and tags."""
        refs = ("refs/heads", "refs/tags", "refs/remotes")
        return self.run("for-each-ref", "--format=%(refname:short)", *refs).split()

    def end(self) -> None:
        """End git's process; the next request starts it again."""
        process, self._process = self._process, None
        if self in _OPEN:
            _OPEN.remove(self)
        if process is not None:
            process.communicate()  # closes its input, at which it ends

    def _started(self, name: str) -> subprocess.Popen[bytes]:
        import atexit
        import subprocess

        while len(_OPEN) >= _MOST_OPEN:
            _OPEN.pop(0).end()
        _OPEN.append(self)
        detail(f"run git -C {self.top} cat-file --batch")
        atexit.unregister(_end_all)
        atexit.register(_end_all)
        try:
            return subprocess.Popen(
                _CAT_FILE,
                cwd=self.top,
                env=_variables(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except FileNotFoundError:
            raise NotARepository(revision=name.partition("^{")[0], reason="there is no `git` on PATH") from None

    def _unreadable(self, name: str) -> NotARepository:
        reason, revision = self._reason(name), name.partition("^{")[0]
        if "dubious ownership" not in reason:
            return NotARepository(revision=revision, reason=reason)
        from shlex import quote

        trust = f"git config --global --add safe.directory {quote(self.top)}"
        return NotARepository(revision=revision, reason=reason, hint=trust)

    def _reason(self, name: str) -> str:
        """Why git ended while it read an object, in its own words: the request is repeated to capture them."""
        import subprocess

        self.end()
        done = subprocess.run(
            _CAT_FILE, cwd=self.top, env=_variables(), input=os.fsencode(name), capture_output=True, check=False
        )
        said = done.stderr.decode("utf-8", "replace").splitlines()
        return next((line.strip().removeprefix("fatal: ") for line in said if line.strip()), "git ended")


_OPEN: list[Objects] = []
"""The repositories that have a process of git: a few at most, however many are read."""


def _end_all() -> None:
    for each in [*_OPEN]:
        each.end()


def _variables() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in _LOST and not name.startswith("GIT_TRACE")}
    return {**kept, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}


def objects_around(folder: Path | str) -> Objects | None:
    """The repository that a folder is in, of a work tree or a submodule; None if it is in none. Starts nothing."""
    at = os.path.realpath(folder)
    while not os.path.lexists(f"{at}/.git"):
        at, below = os.path.dirname(at), at
        if at == below:
            return None
    return next((each for each in _OPEN if each.top == at), None) or Objects(at)


def tree_of(objects: Objects, revision: str) -> Tree | None:
    """The files of the commit that a name means, to be read below its `root`; None if it means no commit.

    Raises NotARepository where git refuses the repository, or there is no git.
    """
    found = objects.get(f"{revision}^{{commit}}") if revision else None
    if found is None or found.type != "commit":
        return None
    tree = Tree(objects, revision, found.id, os.fsdecode(found.data.partition(b"\n")[0].removeprefix(b"tree ")))
    show(tree)
    return tree


def missing(objects: Objects, revision: str) -> ConfigError:
    """Why there is no such revision: ShallowClone, or NoSuchRevision with the names that are like it."""
    if objects.run("rev-parse", "--is-shallow-repository").strip() == "true":
        return ShallowClone(revision=revision)
    names = objects.names()
    why = NoSuchRevision(revision, objects.top, names)
    return why if names else why.adding("the repository has no commit yet").with_hint("git commit")


def merge_base(objects: Objects, one: Tree, other: Tree) -> Tree | None:
    """The commit that both began at, as `A...B` means it; None if this clone does not have it."""
    found = objects.run("merge-base", one.commit, other.commit).split()
    return tree_of(objects, found[0]) if found else None
