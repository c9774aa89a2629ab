"""Runs in a build environment: calls the hooks of PEP 517, and keeps what they run from the network and from the disk.

Every Python that starts in a build environment imports this first, through a `.pth` file: so it imports nothing but the
standard library, and runs on every Python that builds are made with. Outside of a build it does nothing.

The audit hook refuses connections and changes of files outside the build's own folder, and notes what it refused. It
keeps builds honest, and is no prison: code that means harm gets around it. Where the kernel of Linux lets it, the
process leaves the network, and gives up its right to write elsewhere (Landlock), and so does all that it starts.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import traceback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MAY_WRITE = "ENVLOCK_BUILD_FOLDER"
"""The variable with the build's own folder, which is the only one that it may write into."""
REFUSED = "refused"
"""The file in that folder with what was refused, a line each: `network` or `write`, and what."""
RESULT = "result.json"
WANTS_MORE = 3
"""The exit status of a build that needs packages that its environment may lack."""

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_OF_NAMES = {
    "os.mkdir": ((0, 2),),
    "os.rmdir": ((0, 1),),
    "os.remove": ((0, 1),),
    "os.rename": ((0, 2), (1, 3)),
    "os.link": ((1, 3),),
    "os.symlink": ((1, 2),),
}
"""Events that change a folder: where in their details a path is, and the open folder that it is relative to."""
_OF_FILES = {
    "os.truncate": ((0, None),),
    "os.chmod": ((0, 2),),
    "os.chown": ((0, 3),),
    "os.utime": ((0, 3),),
    "os.setxattr": ((0, None),),
    "os.removexattr": ((0, None),),
}
"""Events that change what is at the end of a link."""
_LOOKUPS = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}
_OF_NETWORK = {*_LOOKUPS, "socket.connect", "socket.sendto", "socket.sendmsg", "urllib.Request"}
_ALWAYS = ("/dev/null", "/dev/zero", "/dev/full", "/dev/tty", "/dev/stdout", "/dev/stderr", "/dev/fd", "/dev/shm")
_ALWAYS_BELOW = ("/dev/fd/", "/dev/shm/", "/dev/pts/")

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""The calls of Landlock (landlock(7)): their numbers on every processor."""
_WITH_MOVES, _WITH_TRUNCATE, _WITH_NETWORK = 2, 3, 4
"""Its versions: without the first, no file can be moved to another folder."""
_WRITE, _TRUNCATE, _CONNECT = 1 << 1, 1 << 14, 1 << 1
_CHANGES = _WRITE | sum(1 << right for right in range(4, 14))
"""Writing files; making, moving and removing anything."""


class _Guard:
    """Refuses connections, and changes of files that are not in the build's own folder."""

    def __init__(self, folder: str) -> None:
        self.folder = os.path.realpath(folder)
        self._environment = os.path.realpath(sys.prefix)

    def on_event(self, event: str, details: tuple[Any, ...]) -> None:
        """Raise OSError for what a build may not do (`sys.addaudithook`)."""
        if event == "open":
            path, _, flags = details
            if isinstance(flags, int) and flags & _WRITES:
                self._check(path)
        elif event in _OF_NAMES:
            if event != "os.mkdir" or not os.path.isdir(details[0]):  # which fails in its own way
                for at, relative_to in _OF_NAMES[event]:
                    self._check(details[at], details[relative_to], of_name=True)
        elif event in _OF_FILES:
            for at, opened in _OF_FILES[event]:
                self._check(details[at], None if opened is None else details[opened])
        elif event in _OF_NETWORK:
            asked = _asked_of_network(event, details)
            if asked:
                self._note("network", asked)
                raise OSError(errno.ENETUNREACH, f"envlock builds without a network, and this asks for {asked}")

    def _check(self, path: Any, relative_to: object = None, *, of_name: bool = False) -> None:
        if isinstance(path, int):
            return  # it is open already
        path = os.fsdecode(path)
        if isinstance(relative_to, int) and relative_to >= 0 and not os.path.isabs(path):
            try:
                path = os.path.join(os.readlink(f"/proc/self/fd/{relative_to}"), path)
            except OSError:
                return
        place = os.path.realpath(path)
        if of_name:
            folder, name = os.path.split(path.rstrip("/"))
            place = os.path.join(os.path.realpath(folder or "."), name)
        if not self._may_write(place):
            self._note("write", place)
            raise PermissionError(errno.EACCES, "envlock lets a build write in its own folder only", path)

    def _may_write(self, path: str) -> bool:
        return (
            path == self.folder
            or path.startswith((f"{self.folder}/", f"/proc/{os.getpid()}/", *_ALWAYS_BELOW))
            or path in _ALWAYS
            or (path.startswith(f"{self._environment}/") and "__pycache__" in path)  # of what the environment has
        )

    def _note(self, kind: str, what: str) -> None:
        text = f"{kind} {what}".replace("\n", " ")
        handle = os.open(os.path.join(self.folder, REFUSED), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(handle, f"{text}\n".encode("utf-8", "replace"))
        os.close(handle)


def _asked_of_network(event: str, details: tuple[Any, ...]) -> str:
    """What a process asks of the network; empty for what is of this machine."""
    if event == "urllib.Request":
        url = str(details[0])
        return "" if url.startswith(("file:", "data:")) else url.split("?")[0]
    if event in _LOOKUPS:
        host = os.fsdecode(details[0] or "")
        return "" if host == "localhost" else host
    address = details[1] if len(details) > 1 else None
    return ":".join(map(str, address[:2])) if isinstance(address, tuple) else ""


def _keep_bytecode_out(folder: str) -> None:
    """Write no bytecode of what is built: the wheel could hold it, and it has the time of a file in it."""
    import importlib.machinery

    loader = importlib.machinery.SourceFileLoader
    own = getattr(loader, "_cache_bytecode", None)
    if own is None:
        sys.dont_write_bytecode = True
        return

    def cache_bytecode(self: Any, source_path: str, bytecode_path: str, data: bytes) -> None:
        if not os.path.realpath(source_path).startswith(folder + "/"):
            own(self, source_path, bytecode_path, data)

    loader._cache_bytecode = cache_bytecode  # type: ignore[attr-defined]


def _end_with_parent() -> None:
    """Be killed where the parent is, however that ends (Linux): a build that nobody waits for is of no use."""
    library = _library()
    if library is not None:
        library.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _library() -> Any:
    """The C library of Linux; None elsewhere, and for a Python that was built without ctypes."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        import ctypes

        return ctypes.CDLL(None, use_errno=True)
    except (ImportError, OSError):
        return None


def _leave_network() -> None:
    """Leave the machine's network for one that reaches nothing, where the kernel lets a process do that (Linux)."""
    if _library() is None:
        return
    child = os.fork()  # half of it may work, so another process tries first
    if not child:
        os._exit(0 if _leaves_network() else 1)
    if os.waitpid(child, 0)[1] == 0:
        _leaves_network()


def _leaves_network() -> bool:
    of_users, of_network = 0x10000000, 0x40000000  # CLONE_NEWUSER, CLONE_NEWNET
    user, group = os.geteuid(), os.getegid()
    try:
        try:
            _unshare(of_network)
        except OSError:
            _unshare(of_users | of_network)
            for name, text in (
                ("setgroups", "deny"),
                ("uid_map", f"{user} {user} 1"),
                ("gid_map", f"{group} {group} 1"),
            ):
                with open("/proc/self/" + name, "w") as file:
                    file.write(text)
    except (OSError, ImportError, AttributeError):
        return False
    return True


def _unshare(what: int) -> None:
    if hasattr(os, "unshare"):
        os.unshare(what)
        return
    if _library().unshare(what):
        raise OSError(errno.EPERM, "unshare")


def _stay_in(folder: str) -> bool:
    """Give up the right to change files outside a folder and this environment, where the kernel knows that (Linux).

    Whether it does. Rights to read and to run stay.
    """
    library = _library()
    if library is None:
        return False
    import ctypes
    import struct

    library.syscall.restype = ctypes.c_long

    def call(number: int, *arguments: Any) -> int:
        return int(library.syscall(ctypes.c_long(number), *arguments))

    version = call(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    if version < _WITH_MOVES:
        return False
    rights = _CHANGES | (_TRUNCATE if version >= _WITH_TRUNCATE else 0)
    asked = struct.pack("=QQ", rights, _CONNECT) if version >= _WITH_NETWORK else struct.pack("=Q", rights)
    rules = call(_CREATE_RULESET, asked, ctypes.c_size_t(len(asked)), ctypes.c_uint32(0))
    if rules < 0:
        return False
    for path, allowed in (
        (folder, rights),
        (sys.prefix, rights),  # its bytecode
        ("/dev/shm", rights),
        ("/dev", _WRITE | _TRUNCATE),
        ("/proc", _WRITE),
    ):
        if os.path.isdir(path):
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            rule = struct.pack("=Qi", allowed & rights, place)
            call(_ADD_RULE, ctypes.c_int(rules), ctypes.c_int(1), rule, ctypes.c_uint32(0))
            os.close(place)
    library.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS, without which it is not allowed
    done = call(_RESTRICT_SELF, ctypes.c_int(rules), ctypes.c_uint32(0))
    os.close(rules)
    return done == 0


def _print(error: BaseException) -> None:
    """Print the traceback of code of others, without the frames of this module."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    traceback.print_exception(type(error), error, trace)


def _call(hook: Callable[..., object], *arguments: object) -> Any:
    """The answer of a hook, called in a process of its own, as PEP 517 asks; None if it failed."""
    told, tells = os.pipe()
    child = os.fork()
    if not child:
        os.close(told)
        status = 1
        try:
            _end_with_parent()
            left = json.dumps(hook(*arguments)).encode()
            while left:
                left = left[os.write(tells, left) :]
            status = 0
        except SystemExit as error:  # what failed has said why
            if not isinstance(error.code, int):
                sys.stderr.write(f"{error.code}\n")
        except BaseException as error:
            _print(error)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    os.close(tells)
    with os.fdopen(told, "rb") as answer:
        text = answer.read()
    _, status = os.waitpid(child, 0)
    return json.loads(text.decode()) if status == 0 else None


def _backend(name: str, path: list[str]) -> Any:
    """The object with the hooks. Raises ImportError, AttributeError."""
    import importlib

    sys.path[:0] = path
    module, _, inner = name.partition(":")
    found = importlib.import_module(module)
    if path and not any(
        os.path.realpath(getattr(found, "__file__", None) or "").startswith(os.path.realpath(each) + "/")
        for each in path
    ):
        raise ImportError(f"the backend {module} is not in `backend-path`")
    for part in filter(None, inner.split(".")):
        found = getattr(found, part)
    return found


def main(asked: str) -> int:
    """Build a wheel, and return the exit status: 0, WANTS_MORE, or 1 with the reason on stderr.

    `asked` is JSON: `backend`, `path` (its `backend-path`), `known` (requirements that the environment was made for),
    `wheels` (the folder for the wheel) and `result` (the file for the answer).
    """
    sys.path[:] = [each for each in sys.path if each not in ("", os.getcwd())]
    task = json.loads(asked)
    os.umask(0o022)
    _end_with_parent()
    _leave_network()
    _stay_in(os.environ[MAY_WRITE])
    try:
        backend = _backend(task["backend"], task["path"])
    except Exception as error:  # of any kind: it is code of others
        _print(error)
        return 1
    build = getattr(backend, "build_wheel", None)
    if build is None:
        sys.stderr.write(f"the backend {task['backend']} has no `build_wheel`\n")
        return 1
    needs = getattr(backend, "get_requires_for_build_wheel", None)
    found = [] if needs is None else _call(needs)
    if found is None:
        return 1
    answer = {"needs": found, "wheel": ""}
    if all(each in task["known"] for each in found):
        answer["wheel"] = _call(build, task["wheels"])
        if answer["wheel"] is None:
            return 1
    with open(task["result"], "w") as file:
        json.dump(answer, file)
    return 0 if answer["wheel"] else WANTS_MORE


if os.environ.get(MAY_WRITE):
    _guard = _Guard(os.environ[MAY_WRITE])
    if hasattr(sys, "addaudithook"):
        sys.addaudithook(_guard.on_event)
    _keep_bytecode_out(_guard.folder)
