"""Running the hooks of a source's backend in isolation, and what is said where they fail.

They get a folder of their own, few variables, and no network: `in_environment.py` holds them to it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from envlock.build.environments import build_system, command, environment_for
from envlock.build.errors import BadBuiltWheel, BuildFailed, BuildNeedsNetwork, BuildWritesOutside, VersionFromGit
from envlock.build.in_environment import MAY_WRITE, REFUSED, RESULT, WANTS_MORE
from envlock.errors import EnvlockError
from envlock.files import MEMO_BYTES, json_of, read_file, write_atomically
from envlock.places import folder_in_home
from envlock.redaction import redact
from envlock.reporter import running

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from envlock.build.environments import Environment
    from envlock.build.port import Recipe

_WORK = "envlock-build-"
_AT_ONCE = 100
"""Processes that may build one source at a time, each in a home of its own."""
_ROUNDS = 5
"""How often the hooks may ask for more build requirements."""
_LINES = 15
_LOG_TAIL = 64 << 10
_LONGEST_LINE = 200
_LONGEST_LOG = 8 << 20
_KEPT = (
    *("PATH", "LANGUAGE"),
    # which compilers, and how they find things: a machine's own matter
    *("CC", "CXX", "CPP", "AR", "LD", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "ARCHFLAGS", "MAKEFLAGS"),
    *("PKG_CONFIG", "PKG_CONFIG_PATH", "CPATH", "LIBRARY_PATH", "LD_LIBRARY_PATH", "CMAKE_PREFIX_PATH", "CUDA_HOME"),
    *("MACOSX_DEPLOYMENT_TARGET", "SDKROOT", "DEVELOPER_DIR", "JAVA_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"),
)
_OFFLINE = {
    "CARGO_NET_OFFLINE": "true",
    "GIT_TERMINAL_PROMPT": "0",
    "GOPROXY": "off",
    "PIP_NO_INDEX": "1",
    "UV_OFFLINE": "1",
    "npm_config_offline": "true",
}
"""For programs that a build starts: they fail at once, and say why."""
_NO_NETWORK = re.compile(
    r"(?:Could not resolve host|Failed to resolve|Temporary failure in name resolution|Network is unreachable"
    r"|Name or service not known|nodename nor servname provided|using offline mode|--offline was specified)[^\n]{0,200}"
)
_NO_HISTORY = re.compile(
    r"unable to detect version|getting the version from the VCS|Versioning for this project requires either an sdist"
    r"|NotVCSError|NotSdistError|Unable to detect version control system"
)
"""What fails where a version is to be found in a history that is not there."""
_REFUSAL = "] envlock "
"""How the messages of `in_environment.py` begin, after the number of the error."""
_WAYS_OUT = (
    (
        re.compile(r"Python\.h: No such file"),
        "install the headers of Python, such as with: apt-get install python3-dev",
    ),
    (
        re.compile(r"fatal error: '?([\w./+-]+\.h)(?:pp)?'?(?::| file) (?:No such file|not found)"),
        "install the library that has `{0}`, with its headers: `apt-file search {0}` tells which package that is",
    ),
    (
        re.compile(
            r"command '?(?:\S*/)?\S*(?:gcc|g\+\+|cc|c\+\+|clang)\S*?'? failed: No such file"
            r"|No such file or directory: '(?:gcc|cc|g\+\+)'|Unknown compiler\(s\)|No CMAKE_CX*_COMPILER could be found"
        ),
        "install a compiler, such as with: apt-get install build-essential",
    ),
    (
        re.compile(r"ModuleNotFoundError: No module named '(\w+)"),
        "add what has `{0}` to `requires` of `[build-system]` in its pyproject.toml, or use a release that has a wheel",
    ),
)
"""What builds fail with often, and what helps."""
_REMEDIES = (
    ("No module named 'pkg_resources'", "setuptools<82"),
    ("use_2to3 is invalid", "setuptools<58"),
)
"""What old sources fail with, and the constraint that helps: they name no version of what they were written for."""


_guard = threading.Lock()
_running: set[int] = set()
"""The processes of builds that this process waits for; each leads a group of all that it started."""


class Work(NamedTuple):
    """The folder of one build."""

    folder: Path
    handle: int
    """A descriptor of the folder, locked while the build runs: no other build works there meanwhile."""


def end_builds() -> None:
    """End the builds that threads of this process wait for; these raise BuildFailed."""
    with _guard:
        for group in _running:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)


@contextmanager
def work_folder(key: str) -> Iterator[Work]:
    """An empty folder for a build, closed to others, removed afterwards; those that killed builds left go first.

    It has the same path for the same recipe, unless another process has it: some builds write it into what they make.
    Who works in one holds an flock of it, which ends with the process, and with the build that it started.
    """
    top = os.path.realpath(tempfile.gettempdir())
    _remove_left_behind(top)
    for number in range(_AT_ONCE):
        path = f"{top}/{_WORK}{key[:16]}" + (f"-{number}" if number else "")
        try:
            Path(path).mkdir(0o700)
        except FileExistsError:
            continue
        handle = _held(path)
        if handle is not None:
            break
    else:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
    try:
        yield Work(Path(path), handle)
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(handle)


def _remove_left_behind(top: str) -> None:
    with os.scandir(top) as entries:
        left = [each.path for each in entries if each.name.startswith(_WORK)]
    for path in left:
        handle = _held(path)
        if handle is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(handle)


def _held(path: str) -> int | None:
    """The handle of a folder of this user that nobody else holds, and this process holds now."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(handle).st_uid == os.geteuid() and os.path.samestat(os.fstat(handle), os.lstat(path)):
            return handle
    except OSError:
        pass
    os.close(handle)
    return None


def run_hooks(recipe: Recipe, work: Work, project: Path, epoch: int) -> tuple[Environment, str]:
    """Run the hooks until they have what they need, and return the environment and the wheel's name."""
    system = build_system(project, recipe.said)
    requires: list[str] = list(system.requires)
    constraints: list[str] = []
    folder = work.folder
    log = folder / "build.log"
    for _ in range(_ROUNDS):
        environment = environment_for(recipe, requires, constraints)
        task: dict[str, object] = {
            "backend": system.backend,
            "path": system.path,
            "known": requires,
            "wheels": str(folder / "wheels"),
            "result": str(folder / RESULT),
        }
        status = _run(command(environment, task), project, _variables(folder, environment, epoch), log, work.handle)
        if status not in {0, WANTS_MORE}:
            remedy = _remedy(log, constraints)
            if not remedy:
                raise _failure(recipe, folder, log, status)
            constraints.append(remedy)
            continue
        needs, filename = _answer(recipe, folder)
        if status == 0:
            if Path(filename).name != filename or not (folder / "wheels" / filename).is_file():
                raise BadBuiltWheel(recipe.said, reason=f"its backend names the file `{filename}`, which is not there")
            return environment, filename
        requires += [each for each in needs if each not in requires]
    raise BuildFailed(recipe.said, reason="it asks for other build requirements each time")


def _answer(recipe: Recipe, folder: Path) -> tuple[list[str], str]:
    """The build requirements that the hooks ask for, and the wheel's name. A build may have changed the file."""
    try:
        answer = json_of(read_file(folder / RESULT, MEMO_BYTES))
        return [str(each) for each in answer["needs"]], str(answer["wheel"])
    except (OSError, ValueError, LookupError, TypeError):
        raise BuildFailed(recipe.said, reason="it removed the answer of its own hooks") from None


def _remedy(log: Path, tried: Sequence[str]) -> str:
    """The constraint of build requirements that may help a build that failed; empty if none does."""
    text = _tail(log, _LOG_TAIL).decode("utf-8", "replace")
    return next((remedy for sign, remedy in _REMEDIES if sign in text and remedy not in tried), "")


def _variables(work: Path, environment: Environment, epoch: int) -> dict[str, str]:
    folder = str(environment.python.parent)
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {
        **kept,
        **_OFFLINE,
        "PATH": os.pathsep.join([folder, *filter(None, [kept.get("PATH", os.defpath)])]),
        "VIRTUAL_ENV": str(environment.python.parent.parent),
        "HOME": str(work / "home"),
        **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(work / "tmp")),
        **dict.fromkeys(("LANG", "LC_ALL"), "en_US.UTF-8" if sys.platform == "darwin" else "C.UTF-8"),
        "TZ": "UTC",
        **_toolchains(kept),
        "SOURCE_DATE_EPOCH": str(epoch),
        "PYTHONHASHSEED": "0",
        "PYTHONNOUSERSITE": "1",
        MAY_WRITE: str(work),
    }


def _toolchains(kept: Mapping[str, str]) -> dict[str, str]:
    """Where the machine's compilers are that look for themselves below HOME."""
    rust = Path(os.environ.get("HOME") or "/", ".rustup")
    return {"RUSTUP_HOME": str(rust)} if "RUSTUP_HOME" not in kept and rust.is_dir() else {}


def _run(command: Sequence[str], folder: Path, variables: dict[str, str], log: Path, handle: int) -> int:
    """Run a command with its output in a file, and return its status. All that it started ends with it."""
    with log.open("ab") as output, _guard:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(handle,),
            start_new_session=True,
        )
        _running.add(process.pid)
    told = running([command[0], "-c", "the hooks of the backend"])
    try:
        return process.wait()
    finally:
        told.ended(f"status {process.returncode}")
        with _guard:
            _running.discard(process.pid)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _failure(recipe: Recipe, work: Path, log: Path, status: int) -> EnvlockError:
    """The error of a build that failed: what was refused, unless it says another reason, else what it said last."""
    text = _tail(log, _LOG_TAIL).decode("utf-8", "replace")
    kept = _keep_log(recipe, log)
    lines = _telling(text, str(work))
    way_out, lacks_history = _way_out(text), recipe.source.kind != "git" and _NO_HISTORY.search(text) is not None
    told = _tail(work / REFUSED, _LOG_TAIL).decode("utf-8", "replace").splitlines()
    noted = [line for line in told if line.startswith(("network ", "write "))]
    kind, _, what = noted[-1].partition(" ") if noted else ("", "", "")
    if kind and _REFUSAL not in text and (way_out or lacks_history):  # the build went on without
        refused = {"network": "the network", "write": "to write"}[kind]
        lines, kind, what = (*lines, f"before that, envlock refused {refused}: {what}"), "", ""
    unreachable = _NO_NETWORK.search(text)
    if kind == "network" or (not kind and unreachable is not None and not way_out):
        place = what or (unreachable[0] if unreachable is not None else "")
        return BuildNeedsNetwork(recipe.said, place=place, details=lines, log=kept)
    written = what if kind == "write" else _written_outside(text, work)
    if written:
        return BuildWritesOutside(recipe.said, path=written, details=lines, log=kept)
    if lacks_history:
        source = "a folder" if recipe.source.kind == "folder" else "an archive"
        return VersionFromGit(recipe.said, what=source, details=lines, log=kept)
    reason = f"its build was ended by signal {-status}" if status < 0 else "its own build failed"
    return BuildFailed(recipe.said, reason=reason, details=lines, log=kept, hint=way_out)


def _telling(text: str, folder: str) -> tuple[str, ...]:
    r"""The last lines of a log that tell something: without the frames of a backend, which is not at fault mostly.

    >>> backend = '  File "/env/x.py", line 1, in f\n    g()\n    ^^^\n'
    >>> own = '  File "/w/setup.py", line 2, in <module>\n    1/0\n'
    >>> _telling(f"building\nTraceback (most recent call last):\n{backend}{own}ZeroDivisionError: x\n", "/w")
    ('building', '  File "/w/setup.py", line 2, in <module>', '    1/0', 'ZeroDivisionError: x')
    """
    found: list[str] = []
    is_shown = True
    for line in text.splitlines():
        if line.startswith("  File "):
            is_shown = f'"{folder}/' in line or '"<string>"' in line
        elif not line.startswith("    "):
            is_shown = not line.startswith("Traceback ")
        if is_shown and line.strip():
            found.append(line.rstrip()[:_LONGEST_LINE])
    return tuple(found[-_LINES:])


def _written_outside(text: str, folder: Path) -> str:
    """The path outside a folder that a program says it may not change, although this user may; empty if there is none.

    Only Landlock forbids that.
    """
    for found in re.finditer(r"(?:^|[\s'\"`\u2018])(/[^\s'\":\u2019]+)['\"\u2019]?: Permission denied", text):
        place = Path(found[1])
        if not place.is_relative_to(folder) and (os.access(place, os.W_OK) or os.access(place.parent, os.W_OK)):
            return found[1]
    return ""


def _way_out(text: str) -> str | None:
    """What helps a build that fails as many do; None where nothing is known.

    >>> _way_out("small.c:1:10: fatal error: Python.h: No such file or directory")
    'install the headers of Python, such as with: apt-get install python3-dev'
    """
    for sign, hint in _WAYS_OUT:
        found = sign.search(text)
        if found is not None:
            return hint.format(*found.groups())
    return None


def _keep_log(recipe: Recipe, log: Path) -> Path:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", recipe.said).strip("-.")[:60]
    kept = folder_in_home("builds", "logs") / f"{name}-{recipe.key[:8]}.log"
    text = _tail(log, _LONGEST_LOG).decode("utf-8", "surrogateescape")
    write_atomically(kept, redact(text).encode("utf-8", "surrogateescape"))
    return kept


def _tail(log: Path, size: int) -> bytes:
    """The end of a log; nothing if the build removed it."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - size))
            return file.read()
    except OSError:
        return b""
