"""The home of a node: where it is, who may have written there, its receipts and its locks.

It has the layout of a workstation's home: prefixes in `environments/`, Python builds in `pythons/`, and beside them
`tools/` (uv, py-rattler). `kept.py` says how long each of them stays. Whoever uses a folder holds a shared flock of it,
which lasts until the last process has ended that inherited it; what is in use is never removed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat

from . import stage
from .errors import DiskFull, Misconfigured, NodeError
from .values import parse_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Mapping, Sequence, Tuple

    from .manifest import Target

HOME_VARIABLE = "ENVLOCK_HOME"
PREBUILT_VARIABLE = "ENVLOCK_PREBUILT"
SHARED_HOME = "/var/tmp/envlock"  # noqa: S108  closed to others, see `distrust`
OWN_FOLDER = ".envlock"
"""In the task's folder: the home that no other task has, and `enter.sh`."""
RECEIPT = ".envlock.json"
VARIABLES = ".envlock-variables.json"
"""In a prefix without conda packages: the variables of the environment. Conda has a file for them, `conda-meta/state`.
"""
_RESERVED = ("pyvenv.cfg", RECEIPT, VARIABLES, "conda-meta", "bin", "lib", "lib64")
ENVIRONMENTS, PYTHONS, TOOLS, KEPT = "environments", "pythons", "tools", "kept"

LONGEST_PREFIX = 255
"""Bytes. Binaries of conda packages contain their prefix, in a field of this length."""
_UNFIT_FOR_CONDA = "\"'`$\\"
"""Characters that break the shell scripts and the Python configuration into which conda packages write their prefix."""
_SET_BY_OTHERS = (
    r"(?:PATH|HOME|SHELL|USER|LOGNAME|PWD|OLDPWD|SHLVL|_|IFS|ENV|CDPATH|GLOBIGNORE|PS4|PROMPT_COMMAND|POSIXLY_CORRECT"
    r"|PYTHON(?:PATH|HOME|PLATLIBDIR|EXECUTABLE|NOUSERSITE|USERBASE|SAFEPATH|STARTUP)"
    r"|(?:BASH|LD_|DYLD_|SHELLOPTS|_*CONDA|_*METAFLOW|_*ENVLOCK|_*PYVENV|VIRTUAL_ENV|MF_).*)\Z"
)
"""Variables that decide which programs, modules and libraries a process finds, or that somebody else sets."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
_LOCKED_OUT = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.ENOENT)


class InUse(Exception):
    """A folder cannot be replaced, because a running task uses it."""


class Unusable(Misconfigured):
    """A folder cannot be the home: others may have written there, or its path breaks what is installed there."""


class Receipt:
    """What a prefix was made from. The file is the one that workstations write: see `envlock.hydration.prefix`."""

    def __init__(self, target: Target, python: str, version: str) -> None:
        self.identity = tuple(target[:3])
        self.python = python
        self.version = version
        self.signature = signature(python)

    @classmethod
    def read(cls, prefix: str) -> Receipt | None:
        """The receipt of a prefix; None if there is none, or it is not valid."""
        try:
            with open(os.path.join(prefix, RECEIPT), "rb") as file:
                found = parse_json(file.read(1 << 16).decode("utf-8"))
            receipt = cls.__new__(cls)
            receipt.identity = found["arch"], found["req_id"], found["full_id"]
            receipt.python, receipt.version = found["python"], found["python_version"]
            receipt.signature = tuple(found["python_file"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        texts = (*receipt.identity, receipt.python, receipt.version)
        return receipt if all(isinstance(text, str) and "\0" not in text for text in texts) else None

    @property
    def is_unchanged(self) -> bool:
        """Whether the interpreter is still the same file. Costs one `stat`.

        A receipt in an image has no inode: the file system of each container gives the file another one.
        """
        return bool(self.signature) and signature(self.python)[: len(self.signature)] == self.signature

    def write(self, prefix: str) -> None:
        """Declare a prefix whole. Raises OSError."""
        import json

        arch, req_id, full_id = self.identity
        fields = {
            "req_id": req_id,
            "full_id": full_id,
            "arch": arch,
            "python": self.python,
            "python_version": self.version,
            "python_file": list(self.signature),
            "envlock": "node",
        }
        write_atomically(os.path.join(prefix, RECEIPT), json.dumps(fields, indent=1) + "\n")


def signature(path: str) -> tuple[int, ...]:
    """mtime, size and inode of a file; empty if there is none."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino


def name_of(target: Target) -> str:
    """The name of the folder of an environment."""
    return "metaflow_%s_%s" % (target.req_id, target.full_id)


def place_of(target: Target) -> str:
    """The place of an environment below a home."""
    return "%s/%s" % (ENVIRONMENTS, name_of(target))


def prefix_in(home: str, target: Target) -> str:
    """Where the prefix of an environment belongs."""
    return os.path.join(home, place_of(target))


def homes(environ: Mapping[str, str], folder: str) -> list[str]:
    """Where environments may be kept, in order: the one that the user chose, else the node's, else the task's own."""
    chosen = environ.get(HOME_VARIABLE)
    if chosen:
        return [os.path.abspath(os.path.expanduser(chosen))]
    return [SHARED_HOME, os.path.join(folder, OWN_FOLDER)]


def prebuilt(environ: Mapping[str, str], target: Target) -> str | None:
    """The prefix of an environment that the image brings, if it does: `$ENVLOCK_PREBUILT` is a prefix or a home."""
    given = environ.get(PREBUILT_VARIABLE)
    for prefix in (given, prefix_in(given, target)) if given else ():
        receipt = Receipt.read(prefix)
        if receipt is not None and receipt.identity == target[:3]:
            return os.path.abspath(prefix)
    return None


def make_usable(home: str) -> None:
    """Make the folders of a home, closed to others. Raises OSError, and NodeError if others may have written there."""
    os.makedirs(home, 0o755 if os.geteuid() == 0 else 0o700, exist_ok=True)
    for folder in ("", ENVIRONMENTS, PYTHONS, TOOLS, KEPT):
        path = os.path.join(home, folder) if folder else home
        inner = os.path.join(path, stage.STAGES) if folder and folder != KEPT else path
        os.makedirs(inner, 0o755, exist_ok=True)
        for each in {path, inner}:
            reason = distrust(each)
            if reason:
                own = "" if home == SHARED_HOME else ", such as %s/envlock" % home
                raise Unusable(
                    "%s %s, and envlock runs nothing that others may have written: set %s to a folder of your own%s"
                    % (each, reason, HOME_VARIABLE, own)
                )
            if not os.access(each, os.W_OK | os.X_OK):
                raise OSError(errno.EACCES, os.strerror(errno.EACCES), each)
    if os.statvfs(home).f_flag & os.ST_NOEXEC:
        raise Unusable(
            "no program starts in %s, which is mounted with noexec: set %s to another folder" % (home, HOME_VARIABLE)
        )


def distrust(path: str) -> str:
    """Why somebody else may have written what is at a path; empty if nobody else may."""
    found = os.stat(path)
    for owner in {found.st_uid, os.lstat(path).st_uid}:  # who made a link chose where it leads
        if owner not in (os.geteuid(), 0):
            return "belongs to user %d" % owner
    if found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and found.st_gid != 0):
        return "may be written by others"
    return ""


def unfit_characters(prefix: str, *, conda: bool) -> str:
    """The characters of a path that break an environment there, each once. Workstations ask here too.

    >>> unfit_characters("/srv/a:b/c$d", conda=True), unfit_characters("/srv/c$d", conda=False)
    (':$', '')
    """
    import unicodedata

    unfit = ":" + (_UNFIT_FOR_CONDA if conda else "")
    return "".join(each for each in dict.fromkeys(prefix) if each in unfit or unicodedata.category(each) == "Cc")


def unquotable(path: str) -> str:
    """The characters of a path that break a command: Metaflow starts a task by `$ENVLOCK_PYTHON`, without quotes.

    >>> unquotable("/opt/my env/x"), unquotable("/opt/envlock")
    (' ', '')
    """
    return "".join(each for each in " *?[" if each in path)


def is_reserved(path: str) -> bool:
    """Whether a path below a prefix belongs to the environment: its receipt, its interpreter, its records.

    Ignores case, as some file systems do. Workstations ask here too.

    >>> [is_reserved(path) for path in ("pyvenv.cfg", ".ENVLOCK.json", "bin/python3", "conda-meta/x.json", "bin/x")]
    [True, True, True, True, False]
    """
    top, _, rest = path.lower().partition("/")
    if not rest:
        return top in _RESERVED
    if top == "bin":
        return rest.startswith("python") and not rest[len("python") :].strip("0123456789.t")
    return top == "conda-meta"


def variable_fault(name: str, value: str) -> str:
    """Why no environment may set an environment variable where it is entered; empty if one may. Workstations ask too.

    >>> variable_fault("OMP_NUM_THREADS", "4"), variable_fault("OMP-THREADS", "4")
    ('', 'the name of a variable has letters, digits and `_`')
    >>> variable_fault("LD_PRELOAD", "x.so") == variable_fault("METAFLOW_USER", "mia")
    True
    >>> variable_fault("PATH", "/opt/bin"), variable_fault("TOKENIZERS_PARALLELISM", "false")
    ('no environment may set it: the system, Python, conda, Metaflow or envlock does', '')
    """
    import re

    if re.match(r"[A-Za-z_][A-Za-z0-9_]*\Z", name) is None:
        return "the name of a variable has letters, digits and `_`"
    if re.match(_SET_BY_OTHERS, name) is not None:
        return "no environment may set it: the system, Python, conda, Metaflow or envlock does"
    return "no variable has the character U+0000 in its value" if "\0" in value else ""


def variables_file(prefix: str) -> str:
    """The file of a prefix that has the variables of its environment: conda's own where there are conda packages."""
    conda = os.path.join(prefix, "conda-meta")
    return os.path.join(conda, "state") if os.path.isdir(conda) else os.path.join(prefix, VARIABLES)


def write_variables(prefix: str, variables: Sequence[Tuple[str, str]]) -> None:
    """Let a prefix set variables where it is entered, by conda too if it has conda packages. Raises OSError."""
    if variables:
        import json

        text = json.dumps({"version": 1, "env_vars": dict(variables)}, indent=1) + "\n"
        write_atomically(variables_file(prefix), text)


def free_bytes(folder: str) -> int:
    """How many bytes may still be written in a folder."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def storage_error(error: OSError, home: str) -> NodeError:
    """What an OSError met while writing into a home means for the task."""
    where = error.filename or home
    if error.errno in _FULL:
        return disk_full(home)
    reason = error.strerror or str(error)
    kind = Misconfigured if error.errno in _LOCKED_OUT else NodeError
    return kind("cannot write %s (%s): set %s to a folder that the task may write" % (where, reason, HOME_VARIABLE))


def disk_full(home: str) -> DiskFull:
    """The error for a home on a disk, or with a quota, that is full."""
    return DiskFull(
        "no space is left for the environment in %s: make room there, or set %s to a folder on a larger disk"
        % (home, HOME_VARIABLE)
    )


def is_full(output: str) -> bool:
    """Whether the output of a program says that the disk, or a quota, is full."""
    return any(os.strerror(each) in output for each in _FULL)


def hold(folder: str) -> int | None:
    """A descriptor of a folder with a shared lock, which keeps it from being removed; None if it is gone.

    Waits while somebody makes or removes the folder. On a file system without locks, the descriptor has none.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    with contextlib.suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_SH)
    if stage.is_at(handle, folder):
        return handle
    os.close(handle)
    return None


def claim(folder: str) -> int | None:
    """A descriptor of a folder with an exclusive lock; None if there is no folder. Raises InUse, and does not wait."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise InUse from None
    except OSError:  # a file system without locks: nobody can say that it is in use
        pass
    return handle


def write_atomically(path: str, text: str, *, lasts: bool = True) -> None:
    """Make a file hold a text, whole, or leave it as it was. Raises OSError.

    With `lasts`, it is on the disk then, which is slow where much is written.
    """
    part = "%s.%d.%s.part" % (path, os.getpid(), os.urandom(4).hex())
    try:
        with open(part, "x", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
            if lasts:
                file.flush()
                os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise
