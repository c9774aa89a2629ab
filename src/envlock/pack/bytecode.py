"""The bytecode of a pack: made by a CPython of the lock's series, on all processors, the same bytes everywhere.

Each module is compiled by itself, so which process compiles it, and after which others, says nothing about its
bytecode. No module is run.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import struct
import subprocess
import sys
import threading
from collections import deque
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

from envlock.activation import without_python
from envlock.hydration.errors import storage_error
from envlock.interpreters import Interpreter, NoInterpreter, find_interpreter
from envlock.model.arch import host_arch
from envlock.model.lock import LockedPython
from envlock.model.python_range import python_allows
from envlock.pack.errors import CompilerFailed
from envlock.reporter import running
from envlock.trust import Closed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import ModuleType

    from envlock.hydration.port import Pythons
    from envlock.model.lock import Lock
    from envlock.reporter import Reporter

PHASE = "compiling modules"
_COMPILER = Path(__file__).with_name("compiler.py")
_BATCH = 16
"""Modules that a process is given at a time."""
_OF_PACKAGE = 4
"""How many names of a path tell modules of one package: those of `lib/python3.12/site-packages/pandas`."""
_LENGTH = struct.Struct(">I")
_HEADER = struct.Struct(">32sI")
"""Before bytecode in the folder of one call: its name, and how long it is."""
_BUFFER = 1 << 20
_LEVEL = 3
"""Of zstd, for bytecode that is kept: a quarter of its bytes, and 0.4 s for 100 MB."""
_BY_OTHERS = 0o022
_OF_TESTS = frozenset({"test", "tests"})
"""Folders in which a module named as those are that pytest and unittest collect is one of a package's own tests."""
_BY_THE_MODULE = (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS, -signal.SIGILL)
"""How a process ends that a module is too much for: in the same way everywhere."""


class Span(NamedTuple):
    """Bytes in a file, beside others."""

    file: Path
    start: int
    size: int

    @classmethod
    def of(cls, file: Path) -> Span:
        """All bytes of a file. Raises OSError."""
        return cls(file, 0, file.stat().st_size)

    def read(self) -> bytes:
        """The bytes. Raises OSError."""
        with self.file.open("rb") as file:
            file.seek(self.start)
            return file.read(self.size)


class _Module(NamedTuple):
    path: str
    source: Span
    name: str
    """Of its bytecode: by all that this depends on."""


def is_test(path: str) -> bool:
    """Whether a module is one of a package's own tests, which have no bytecode: no task imports them when it starts.

    What else is in a folder of tests has it, because some packages import that themselves.

    >>> [is_test(f"lib/python3.12/site-packages/pandas/{path}") for path in ("tests/frame/test_query.py", "testing.py")]
    [True, False]
    >>> is_test("lib/python3.12/site-packages/astropy/tests/runner.py"), is_test("lib/python3.12/test_tool.py")
    (False, False)
    """
    *folders, name = path.split("/")
    is_named = name.startswith("test_") or name.endswith("_test.py") or name == "conftest.py"
    return is_named and not _OF_TESTS.isdisjoint(folders)


def compiler_of(lock: Lock, pythons: Pythons, version: str = "") -> Interpreter:
    """The CPython of this machine that compiles the modules of a lock: of `version`, if that is given.

    Else of the version that is locked, if this machine has one; else the newest of the series. `pythons` brings one if
    there is none here. Raises HydrateError.
    """
    series = lock.python.series
    if not version and lock.python.source != "machine":
        try:
            return find_interpreter(series, lambda found: found == lock.python.version)
        except NoInterpreter:
            pass
        if lock.python.source == "uv" and lock.arch == host_arch():
            return pythons.provide(lock)
    wanted = f"=={version}" if version else f"=={series}.*"
    try:
        return find_interpreter(series, lambda found: python_allows(wanted, found), wanted=wanted)
    except NoInterpreter:
        python = LockedPython("machine", version or f"{series}.0")
        return pythons.provide(replace(lock, python=python, requirements=lock.requirements._replace(python=wanted)))


def compile_modules(
    modules: Mapping[str, Span], folder: Path, python: Interpreter, reporter: Reporter, kept: Path | None = None
) -> dict[str, Span]:
    """The bytecode of each module, by its path in the environment; without those that do not compile.

    `modules` are the sources, by their paths. In `folder`, bytecode is named by all that it depends on: a call with the
    folder of another one compiles only what is new. `kept` is a folder that lasts, for later calls (see `Kept`). Costs
    about 3 ms of a processor for each module. Raises CompilerFailed, DiskFull.
    """
    # The largest first, so that all processes end at about the same time.
    largest_first = sorted(modules.items(), key=lambda each: (-each[1].size, each[0]))
    wanted = [_Module(path, source, _name(path, source, python)) for path, source in largest_first]
    try:
        with _Made(folder) as made:
            keeping = Kept(kept) if kept is not None else None
            new = keeping.restored(wanted, made) if keeping is not None else []
            _compile([each for each in wanted if each.name not in made.spans], made, python, reporter)
    except OSError as error:
        raise storage_error(error, folder) from error
    if keeping is not None:
        keeping.keep(new, made)
    spans = {each.path: made.spans[each.name] for each in wanted if each.name in made.spans}
    return {path: span for path, span in spans.items() if span.size}


def _compile(modules: list[_Module], made: _Made, python: Interpreter, reporter: Reporter) -> None:
    """Compile modules, on all processors. Raises CompilerFailed, OSError."""
    todo = deque(modules)
    reporter.began(PHASE, len(todo), "modules")
    is_over = threading.Event()

    def work() -> None:
        while todo and not is_over.is_set():
            with _Process(python) as process:
                while not is_over.is_set() and (batch := _taken(todo)):
                    done = 0
                    for module, data in zip(batch, process.compiled(batch), strict=False):
                        made.add(module.name, data)
                        done += 1
                    if done < len(batch):  # the next one ended the process: it has no bytecode
                        reporter.advanced(PHASE, batch[done].path, done + 1)
                        todo.extendleft(batch[done + 1 :])
                        break
                    reporter.advanced(PHASE, batch[-1].path, len(batch))

    count = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, len(todo))
    with ThreadPoolExecutor(max(count, 1)) as pool:
        try:
            working = [pool.submit(work) for _ in range(count)]
            for each in wait(working, return_when=FIRST_EXCEPTION).done:
                each.result()
        finally:
            is_over.set()
            reporter.ended(PHASE)


class _Made:
    """The bytecode in a folder, by its names: a file for each call, because creating one for each module takes longer.

    A context manager: what was added can be read after it. Several may add to one folder at once.
    """

    def __init__(self, folder: Path) -> None:
        self.spans: dict[str, Span] = {}
        """Empty ones are of modules that do not compile."""
        for file in sorted(folder.iterdir()):
            self._find_in(file)
        self._path = folder / uuid4().hex
        self._file = self._path.open("wb", _BUFFER)
        self._taking_turns = threading.Lock()

    def __enter__(self) -> _Made:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, name: str, data: bytes) -> None:
        """Add bytecode; no bytes for a module that does not compile. Raises OSError."""
        with self._taking_turns:
            self._file.write(_HEADER.pack(bytes.fromhex(name), len(data)))
            self.spans[name] = Span(self._path, self._file.tell(), len(data))
            self._file.write(data)

    def _find_in(self, path: Path) -> None:
        end = path.stat().st_size
        with path.open("rb") as file:
            while len(header := file.read(_HEADER.size)) == _HEADER.size:
                name, size = _HEADER.unpack(header)
                if file.tell() + size > end:  # a full disk ended it
                    return
                self.spans.setdefault(name.hex(), Span(path, file.tell(), size))
                file.seek(size, os.SEEK_CUR)


def _zstd() -> ModuleType:
    """Imported where bytecode is kept: what only makes a tree runs on each Python that envlock's modules run on."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd


class Kept:
    """Bytecode that this user has made before, in a folder: a file for each package, named by all that it depends on.

    So a pack of which most packages were packed before compiles few modules. A file is used only if nobody but this
    user may write to it, and if it has the SHA-256 that stands in it. What proves a pack must not use it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def restored(self, modules: Iterable[_Module], made: _Made) -> list[list[_Module]]:
        """Add the bytecode of all packages that are kept; the modules of each of the others."""
        packages: dict[tuple[str, ...], list[_Module]] = {}
        for module in modules:
            packages.setdefault(tuple(module.path.split("/")[:_OF_PACKAGE]), []).append(module)
        return [group for group in packages.values() if not self._restore(group, made)]

    def keep(self, packages: Iterable[list[_Module]], made: _Made) -> None:
        """Keep the bytecode of packages, and that some modules have none. A full disk only means compiling again."""
        with suppress(OSError), Closed():
            for group in packages:
                if all(module.name in made.spans for module in group):  # none has ended its compiler
                    contents = [made.spans[module.name].read() for module in sorted(group)]
                    packed = _zstd().compress(b"".join(_LENGTH.pack(len(each)) + each for each in contents), _LEVEL)
                    path = self._file(group)
                    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
                    unfinished.write_bytes(hashlib.sha256(packed).digest() + packed)
                    unfinished.replace(path)

    def _restore(self, group: list[_Module], made: _Made) -> bool:
        """Add the bytecode of a package, if it is kept whole. Whether it is."""
        path = self._file(group)
        zstd = _zstd()
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_uid != os.geteuid() or status.st_mode & _BY_OTHERS:
                    return False
                digest, packed = file.read(32), file.read()
            if hashlib.sha256(packed).digest() != digest:
                return False
            data, position = zstd.decompress(packed), 0
            os.utime(path)  # `envlock gc` removes what was not used for long
        except (OSError, zstd.ZstdError):
            return False
        for module in sorted(group):
            (size,) = _LENGTH.unpack_from(data, position)
            position += _LENGTH.size
            made.add(module.name, data[position : position + size])
            position += size
        return True

    def _file(self, group: list[_Module]) -> Path:
        digest = hashlib.sha256(_COMPILER.read_bytes())
        for module in sorted(group):
            digest.update(module.name.encode())
        return self._folder / digest.hexdigest()


def _name(path: str, source: Span, python: Interpreter) -> str:
    """The name of the bytecode of a module: by all that it depends on."""
    digest = hashlib.sha256(f"{python.version}\0{path}\0".encode(errors="surrogateescape"))
    digest.update(source.read())
    return digest.hexdigest()


def _taken(todo: deque[_Module]) -> list[_Module]:
    batch: list[_Module] = []
    with suppress(IndexError):  # there are no more
        while len(batch) < _BATCH:
            batch.append(todo.popleft())
    return batch


class _Process:
    """A process that compiles modules. A context manager, which ends it."""

    def __init__(self, python: Interpreter) -> None:
        command = [str(python.path), "-s", "-S", "-B", "-W", "ignore", str(_COMPILER)]
        self._python = python
        self._detail = running(command)
        self._process = subprocess.Popen(
            command,
            env={**without_python(os.environ), "PYTHONHASHSEED": "0", "PYTHONUTF8": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._detail.ended("done")

    def compiled(self, batch: list[_Module]) -> Iterator[bytes]:
        """The bytecode of each module, of those up to the one that ended the process; no bytes if it does not compile.

        Raises CompilerFailed.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # it ended: there are no answers, either
            for module in batch:
                source = module.source
                row = [module.path, str(source.file), source.start, source.size]
                self._process.stdin.write(f"{json.dumps(row)}\n".encode())
            self._process.stdin.flush()
        for _ in batch:
            answer = self._process.stdout.readline().decode(errors="replace").strip()
            if answer.isdecimal():
                data = self._process.stdout.read(int(answer))
                if len(data) < int(answer):
                    raise self._failed("it was ended")
                yield data
            elif answer:
                raise self._failed(answer)
            elif self._process.wait() in _BY_THE_MODULE:
                return
            else:
                said = self._process.communicate()[1].decode(errors="replace").strip().splitlines()
                raise self._failed((said or ["it was ended"])[-1])

    def _failed(self, reason: str) -> CompilerFailed:
        series = ".".join(self._python.version.split(".")[:2])
        return CompilerFailed(python=self._python.path, series=series, reason=reason)
