"""Bytecode: the same whatever a process compiled before, and valid whatever the time of its source."""

from __future__ import annotations

import importlib.util
import marshal
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from envlock.interpreters import Interpreter, NoInterpreter, find_interpreter
from envlock.model.arch import LINUX_64, LINUX_AARCH64
from envlock.model.lock import Lock, LockedPython
from envlock.pack import bytecode
from envlock.pack.bytecode import Span, compile_modules, compiler_of
from envlock.pack.compiler import compiled, held_by
from envlock.pack.errors import CompilerFailed
from tests.hydration.making import SERIES, Heard, MachinePythons, Making

TAG = f"cpython-{SERIES.replace('.', '')}"
SOURCES = {
    "plain.py": b"X = ('shared', 1.5, b'bytes', 10**20)\ndef f(a, *, b='shared'):\n    return lambda: (a, b, 1.5)\n",
    "sets.py": b"def f(x):\n    return x in {'a', 'b', 'c', 1, 2.5, (3, 'd')}\n",
    "none.py": b"def f(x):\n    return x in {None, 'a', ...}\n",
    "same.py": b"Y = ('shared', 1.5, b'bytes', 10**20)\nclass C:\n    shared = 'shared'\n",
    "cookie.py": b"# -*- coding: latin-1 -*-\nS = '\xe4'\n",
    "text.py": "'''Doc\u2028 with ü'''\nS = 'ü'\n".encode(),
}
HEADER = importlib.util.MAGIC_NUMBER + b"\1\0\0\0"
BROKEN = {
    "syntax.py": b"def f(:\n",
    "nul.py": b"X = 1\0\n",
    "codec.py": b"# -*- coding: no-such -*-\nX = 1\n",
    "template.py": b"{{ name }} = 1 2\n",
    "deep.py": b"X = " + b"-" * 200_000 + b"1\n",
    "nested.py": b"(" * 5_000 + b")" * 5_000,
}


def written(folder: Path, sources: dict[str, bytes]) -> dict[str, Span]:
    folder.mkdir(parents=True)
    for name, data in sources.items():
        (folder / name).write_bytes(data)
    return {f"lib/{name}": Span.of(folder / name) for name in sources}


def here() -> Interpreter:
    return MachinePythons().provide(replace(Making(Path()).lock))


def made(tmp_path: Path, sources: dict[str, bytes], python: Interpreter | None = None) -> dict[str, bytes]:
    """The bytecode of each module, by its path."""
    count = len(list(tmp_path.iterdir()))
    out = tmp_path / f"out{count}"
    out.mkdir()
    modules = written(tmp_path / f"sources{count}", sources)
    found = compile_modules(modules, out, python or here(), Heard())
    return {path: span.read() for path, span in found.items()}


def test_what_a_process_compiled_before_changes_no_byte() -> None:
    alone = {name: compiled(data, f"lib/{name}") for name, data in SOURCES.items()}
    names = list(SOURCES)
    kept = []
    for order in (names, names[::-1], names[2:] + names[:2]):
        for name in order:
            again = compiled(SOURCES[name], f"lib/{name}")
            assert again == alone[name], name
            # Something else in the process refers to the same constants.
            kept.append(held_by(compile(SOURCES[name], "elsewhere.py", "exec", dont_inherit=True)))
    assert kept


def test_everything_that_is_written_may_be_referred_to() -> None:
    source = SOURCES["plain.py"]
    code = compile(source, "lib/plain.py", "exec", dont_inherit=True)
    held = held_by(code)
    assert all(each in held for each in ("shared", 1.5, b"bytes", 10**20, code))
    data = marshal.dumps(code)
    assert data[0] & 0x80, "marshal's mark of what is referred to more than once"
    assert compiled(source, "lib/plain.py") == HEADER + importlib.util.source_hash(source) + data


def test_names_that_a_process_knows_change_no_byte() -> None:
    """CPython takes names that it knows already in place of those of a source, and then equal sets are two objects."""
    unknown = f"n{os.urandom(8).hex()}"
    source = KNOWN.replace("NAME", unknown).encode()
    first = compiled(source, "lib/known.py")
    kept = compile(source, "elsewhere.py", "exec", dont_inherit=True)
    assert compiled(source, "lib/known.py") == first
    assert kept


KNOWN = """
def one(x):
    return x in {'NAMEa', 'NAMEb'}
def two(x):
    return x in {'NAMEa', 'NAMEb'}, ('NAMEc', ('NAMEa', 1.5))
class NAMEd:
    class NAMEe:
        class NAMEf:
            def g(self, NAMEg={'NAMEh': 'NAMEa'}): return [NAMEg for NAMEi in {'NAMEa'}]
"""
_ADVERSARY = f"""
import sys
sys.path.insert(0, {str(bytecode._COMPILER.parent)!r})
import compiler
source = {KNOWN!r}.encode()
first = compiler.compiled(source, "lib/known.py")
kept = compile(source, "elsewhere.py", "exec")
raise SystemExit(first != compiler.compiled(source, "lib/known.py"))
"""


@pytest.mark.parametrize("series", ["3.8", "3.9", "3.10", "3.12", "3.13", "3.14"])
def test_each_cpython_makes_the_same_in_any_order(tmp_path: Path, series: str) -> None:
    try:
        python = find_interpreter(series, lambda version: True)
    except NoInterpreter:
        pytest.skip(f"there is no CPython {series} here")
    first = made(tmp_path, SOURCES, python)
    assert made(tmp_path, dict(reversed(SOURCES.items())), python) == first
    is_ordered = tuple(map(int, series.split("."))) >= (3, 11)
    assert ("lib/none.py" in first) == is_ordered, "before 3.11, marshal writes a set in the order of addresses"
    assert first.keys() >= {"lib/plain.py", "lib/sets.py", "lib/cookie.py", "lib/text.py"}
    knowing = subprocess.run([python.path, "-s", "-S", "-c", _ADVERSARY], env={"PYTHONHASHSEED": "0"}, check=False)
    assert knowing.returncode == 0, "names that the process knows change the bytecode"


def test_what_does_not_compile_has_no_bytecode_and_all_else_has(tmp_path: Path) -> None:
    assert made(tmp_path, {**BROKEN, "good.py": b"X = 1\n"}).keys() == {"lib/good.py"}


def test_bytecode_is_valid_whatever_its_source_and_names_the_file_that_is_imported(tmp_path: Path) -> None:
    source = b"import sys\ndef f():\n    raise ValueError('compiled')\n"
    data = made(tmp_path, {"mod.py": source})["lib/mod.py"]
    assert data[:8] == HEADER
    assert data[8:16] == importlib.util.source_hash(source)
    place = tmp_path / "place"
    (place / "__pycache__").mkdir(parents=True)
    (place / "__pycache__" / f"mod.{TAG}.pyc").write_bytes(data)
    (place / "mod.py").write_text("def f():\n    raise ValueError('edited')\n")
    code = "import mod\ntry:\n    mod.f()\nexcept ValueError as e:\n    t = e.__traceback__.tb_next.tb_frame.f_code\n"
    ran = subprocess.run(
        [here().path, "-c", f"{code}    print(e, t.co_filename)"],
        cwd=place,
        env={"PATH": os.defpath},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.split() == ["compiled", str(place / "mod.py")]


def test_nothing_that_is_compiled_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "ran"
    hostile = f"import pathlib\npathlib.Path({str(mark)!r}).write_text('x')\n".encode()
    names = ("__init__.py", "sitecustomize.py", "json.py", "encodings.py", "compiler.py")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "sources0"))
    monkeypatch.chdir(tmp_path)
    assert len(made(tmp_path, dict.fromkeys(names, hostile))) == len(names)
    assert not mark.exists()


def dying(tmp_path: Path, how: str) -> Path:
    """The compiler, which ends itself as `how` says at a module whose name begins with `killer`."""
    path = tmp_path / "dying.py"
    path.write_text(
        f"import os, signal, sys\nsys.path.insert(0, {str(bytecode._COMPILER.parent)!r})\nimport compiler\n"
        "real = compiler.compiled\n"
        f"def compiled(data, path):\n    if 'killer' in path: {how}\n    return real(data, path)\n"
        "compiler.compiled = compiled\ncompiler.main()\n"
    )
    return path


def test_a_module_that_ends_its_compiler_has_no_bytecode_and_all_others_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bytecode, "_COMPILER", dying(tmp_path, "os.kill(os.getpid(), signal.SIGSEGV)"))
    sources = {f"{name}{number}.py": b"X = 1\n" for name in ("good", "killer") for number in range(20)}
    assert made(tmp_path, sources).keys() == {f"lib/good{number}.py" for number in range(20)}


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "it was ended"),
        ("raise SystemExit('no codec')", "no codec"),
        ("print('Permission denied: 3', flush=True)", "Permission denied: 3"),
    ],
)
def test_a_compiler_that_fails_is_an_error_and_no_pack_without_bytecode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, reason: str
) -> None:
    """The system ends what takes its memory: another machine would have compiled the module."""
    monkeypatch.setattr(bytecode, "_COMPILER", dying(tmp_path, how))
    with pytest.raises(CompilerFailed) as caught:
        made(tmp_path, {"killer.py": b"X = 1\n"})
    assert reason in caught.value.message
    assert str(here().path) in caught.value.message


def test_an_interpreter_that_does_not_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(CompilerFailed, match="/bin/false"):
        made(tmp_path, {"good.py": b"X = 1\n"}, Interpreter(Path("/bin/false"), f"{SERIES}.0"))


def test_the_modules_are_counted_as_they_are_compiled(tmp_path: Path) -> None:
    heard = Heard()
    (tmp_path / "out").mkdir()
    sources = {f"m{number}.py": b"X = 1\n" for number in range(40)}
    compile_modules(written(tmp_path / "sources", sources), tmp_path / "out", here(), heard)
    assert heard.totals["compiling"] == sum(heard.done_of("compiling").values()) == 40


class Asked(MachinePythons):
    """Remembers which Python was asked for."""

    def __init__(self) -> None:
        self.locks: list[Lock] = []

    def provide(self, lock: Lock) -> Interpreter:
        self.locks.append(lock)
        return Interpreter(Path("/brought/python"), lock.python.version)


def test_the_compiler_is_of_the_locked_series_and_brought_here_if_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = Making(tmp_path, 0).lock
    asked = Asked()
    assert compiler_of(lock, asked).version.startswith(f"{SERIES}.")
    assert asked.locks == []
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("ENVLOCK_PYTHONS", f"only:{tmp_path / 'empty'}")
    compiler_of(lock, asked)
    assert asked.locks[-1].python.series == SERIES
    assert asked.locks[-1].requirements.python == f"=={SERIES}.*"


def test_a_locked_build_compiles_only_where_it_runs(tmp_path: Path) -> None:
    """One for another arch cannot run here: any CPython of its series serves then."""
    asked = Asked()
    lock = Making(tmp_path, 0).lock
    exact = replace(lock, python=LockedPython("uv", f"{SERIES}.99", "https://index.example/cpython.tar.gz", "c.tar.gz"))
    assert compiler_of(exact, asked).version == f"{SERIES}.99"
    assert asked.locks == [exact]
    foreign = replace(exact, arch=LINUX_AARCH64 if exact.arch == LINUX_64 else LINUX_64)
    assert compiler_of(foreign, asked).version != f"{SERIES}.99"
    assert asked.locks == [exact]


def test_the_version_that_a_plan_names_is_the_only_one_that_serves(tmp_path: Path) -> None:
    asked = Asked()
    found = compiler_of(Making(tmp_path, 0).lock, asked, f"{SERIES}.0")
    assert found.version == f"{SERIES}.0"
    assert [lock.requirements.python for lock in asked.locks] in ([f"=={SERIES}.0"], [])


def test_compiling_starts_from_the_compiler_alone() -> None:
    """It runs on any CPython, with neither envlock nor anything else installed."""
    ran = subprocess.run(
        [sys.executable, "-I", "-S", str(bytecode._COMPILER)], input="", capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


@pytest.fixture
def twice(tmp_path: Path) -> Callable[[], tuple[int, dict[str, bytes]]]:
    """Compiles the modules of two packages, with a folder that lasts: how many were compiled, and the bytecode."""
    (tmp_path / "kept").mkdir(mode=0o700)
    written(tmp_path / "sources", {f"{name}.py": b"X = 1\n" for name in "abc"} | {"bad.py": b"1 +\n"})
    packages = {"a": "one/a.py", "b": "one/b.py", "c": "two/c.py", "bad": "two/bad.py"}
    files = {f"lib/p/site/{path}": tmp_path / "sources" / f"{name}.py" for name, path in packages.items()}

    def compiling() -> tuple[int, dict[str, bytes]]:
        heard = Heard()
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        out.mkdir()
        modules = {path: Span.of(file) for path, file in files.items()}
        found = compile_modules(modules, out, here(), heard, tmp_path / "kept")
        return int(heard.totals["compiling"]), {path: span.read() for path, span in found.items()}

    return compiling


def test_bytecode_that_is_kept_is_not_made_again(
    twice: Callable[[], tuple[int, dict[str, bytes]]], tmp_path: Path
) -> None:
    count, first = twice()
    assert (count, len(first)) == (4, 3)
    assert twice() == (0, first)
    (tmp_path / "sources" / "a.py").write_bytes(b"X = 2\n")
    count, changed = twice()
    assert count == 2, "the modules of its package, and of no other"
    assert changed["lib/p/site/two/c.py"] == first["lib/p/site/two/c.py"]
    assert changed["lib/p/site/one/a.py"] != first["lib/p/site/one/a.py"]


def test_a_release_that_compiles_otherwise_uses_nothing_that_was_kept(
    twice: Callable[[], tuple[int, dict[str, bytes]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twice()
    other = tmp_path / "compiler.py"
    other.write_text(bytecode._COMPILER.read_text() + "\n")
    monkeypatch.setattr(bytecode, "_COMPILER", other)
    assert twice()[0] == 4


@pytest.mark.parametrize(
    "harm",
    [
        lambda file: file.write_bytes(file.read_bytes()[:-1]),
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(bytes([file.read_bytes()[0] ^ 1]) + file.read_bytes()[1:]),
        lambda file: file.chmod(0o666),
        lambda file: file.unlink(),
    ],
    ids=["cut off", "empty", "changed", "open to others", "gone"],
)
def test_bytecode_that_is_not_as_it_was_kept_is_made_again(
    twice: Callable[[], tuple[int, dict[str, bytes]]], tmp_path: Path, harm: Callable[[Path], object]
) -> None:
    _, first = twice()
    for file in (tmp_path / "kept").iterdir():
        harm(file)
    assert twice() == (4, first)
    assert twice() == (0, first), "and is kept again"


def test_one_folder_of_bytecode_serves_many_trees(tmp_path: Path) -> None:
    heard = Heard()
    modules = written(tmp_path / "sources", {"good.py": b"X = 1\n", "bad.py": b"1 +\n"})
    (tmp_path / "out").mkdir()
    first = compile_modules(modules, tmp_path / "out", here(), heard)
    again = compile_modules(modules, tmp_path / "out", here(), heard)
    assert first == again
    assert first.keys() == {"lib/good.py"}
    assert heard.totals["compiling"] == 0, "what does not compile is known, too"
    modules["lib/good.py"].file.write_text("X = 2\n")
    modules["lib/other.py"] = modules["lib/good.py"]
    changed = compile_modules(modules, tmp_path / "out", here(), heard)
    assert heard.totals["compiling"] == 2
    assert changed["lib/good.py"].read() != first["lib/good.py"].read()
    assert changed["lib/other.py"].read() != changed["lib/good.py"].read(), "each names its own file"
