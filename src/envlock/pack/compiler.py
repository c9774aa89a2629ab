"""Compiles modules, in a process of any CPython 3: the same bytes for the same source and the same release of CPython.

`bytecode.py` starts it. It imports the standard library alone, and runs nothing of what it compiles. Each line of stdin
is a JSON array: the path of a module in its environment, the file of its source, where in that the source begins, and
its size. Each answer is a line: the size of the bytecode, which follows; `0` if the source does not compile; else what
went wrong.

The bytecode is valid whatever the time and the size of its source (PEP 552, unchecked hash): in a pack, no file has a
time of its own.
"""

from __future__ import annotations

import importlib.util
import json
import marshal
import sys
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType

_UNCHECKED_HASH = (1).to_bytes(4, "little")
_STACK = 64 << 20
"""Bytes. How deeply nested a source may be must not depend on the limits of the process that starts this one."""
_PARTS = (
    *("co_consts", "co_names", "co_varnames", "co_freevars", "co_cellvars", "co_filename", "co_name", "co_qualname"),
    *("co_code", "co_linetable", "co_exceptiontable"),
)
_SETS_ARE_SORTED = sys.version_info >= (3, 11)
"""Whether marshal writes the members of a set in an order that depends on them alone."""
_FIXED = (str, bytes, int, float, complex)


def compiled(source: bytes, path: str) -> bytes | None:
    """The content of the .pyc of a module; None if it does not compile."""
    try:
        code = compile(source, path, "exec", dont_inherit=True, optimize=0)
    except Exception:  # noqa: BLE001  SyntaxError, ValueError, RecursionError, MemoryError, those of codecs ...
        return None
    held = held_by(code)
    if not _SETS_ARE_SORTED and not all(_has_fixed_hash(each) for each in held if isinstance(each, frozenset)):
        return None
    if _depends_on_names(held, type(code)):
        code = compile(source, path, "exec", dont_inherit=True, optimize=0)
        held += held_by(code)
    magic = importlib.util.MAGIC_NUMBER
    return b"".join((magic, _UNCHECKED_HASH, importlib.util.source_hash(source), marshal.dumps(code)))


def held_by(code: CodeType) -> list[object]:
    """Everything that marshal writes of a code object, so that there are two references at least to each.

    marshal marks what is referred to more than once, and what else in a process refers to it depends on what was
    compiled before.
    """
    held: list[object] = []
    todo: list[object] = [code]
    while todo:
        each = todo.pop()
        held.append(each)
        if isinstance(each, (tuple, frozenset)):
            todo.extend(each)
        elif isinstance(each, type(code)):
            todo.extend(getattr(each, name) for name in _PARTS if hasattr(each, name))
    return held


def _depends_on_names(held: list[object], code: type[CodeType]) -> bool:
    """Whether CPython makes other objects of these constants if its process knows some of the names in them.

    It replaces names by equal ones that the process knows (interned strings). Then equal sets are no longer one object,
    nor are, since 3.13, the name of a class in a class and that in its code. While what was compiled first is held, all
    names are known: so compiling it again always gives the same.
    """
    sets = [each for each in held if isinstance(each, frozenset)]
    if sets and (not _SETS_ARE_SORTED or len(set(sets)) < len(sets)):
        return True
    return sys.version_info >= (3, 13) and any(
        isinstance(each, code) and "." in each.co_qualname and each.co_qualname in each.co_consts for each in held
    )


def _has_fixed_hash(constant: object) -> bool:
    """Whether the hash of a constant is the same in each process: that of None is an address, and that of NaN."""
    if isinstance(constant, (tuple, frozenset)):
        return all(map(_has_fixed_hash, constant))
    return isinstance(constant, _FIXED) and constant == constant


def main() -> None:
    """Answer each line of stdin."""
    for line in sys.stdin:
        path, source, start, size = json.loads(line)
        try:
            with open(source, "rb") as file:  # noqa: PTH123  pathlib takes longer to import
                file.seek(start)
                data = compiled(file.read(size), path) or b""
        except OSError as error:
            sys.stdout.buffer.write(str(error).replace("\n", " ").encode(errors="replace") + b"\n")
        else:
            sys.stdout.buffer.write(b"%d\n" % len(data))
            sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    threading.stack_size(_STACK)
    thread = threading.Thread(target=main)
    thread.start()
    thread.join()
