"""Make the program of a task's command small, and write it into the shim's `package_commands.py`.

Names become letters, and spaces and comments go; then it is compressed, and written in base 85. In no template of a
scheduler does a part of it mean anything: neither `$$` and `$(` of Kubernetes nor the braces of Argo and Airflow.
"""

from __future__ import annotations

import ast
import base64
import builtins
import io
import keyword
import re
import tokenize
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "scripts" / "code_package_program.py"
TARGET = ROOT / "src" / "metaflow_extensions" / "envlock" / "plugins" / "package_commands.py"
MEANT = re.compile(r"\$[$(]|\{[{%#]")
"""What some scheduler would replace."""
_LETTERS = "fEqSgsAldineo_Trmuatbchjkpvwxyz"
"""In the order that compresses best, of those that were tried, without a part that means anything."""


def small(source: str) -> str:
    r"""The program with short names, and without what Python does not need.

    >>> small('value = 1  # one\nif value:\n    print(value + 1)\n')
    'f=1\nif f:\n print(f+1)'
    """
    tree = ast.parse(source)
    own = {each.id for each in ast.walk(tree) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)}
    own |= {each.arg for each in ast.walk(tree) if isinstance(each, ast.arg)}
    own |= {each.name for each in ast.walk(tree) if isinstance(each, ast.ExceptHandler) and each.name}
    own -= {each.arg for each in ast.walk(tree) if isinstance(each, ast.keyword)}  # those of other people's functions
    names: dict[str, str] = {}
    text, depth, before = "", 0, ""
    skipped = (tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER)
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    if isinstance(tree.body[0], ast.Expr) and isinstance(tree.body[0].value, ast.Constant):
        tokens = [each for each in tokens if each.start[0] > (tree.body[0].end_lineno or 0)]
    for token in tokens:
        if token.type in skipped:
            continue
        if token.type in (tokenize.INDENT, tokenize.DEDENT):
            depth += 1 if token.type == tokenize.INDENT else -1
            continue
        if token.type == tokenize.NEWLINE:
            text, before = text + "\n", ""
            continue
        word = token.string
        if token.type == tokenize.NAME and word in own and before != ".":
            assert not keyword.iskeyword(word)
            assert not hasattr(builtins, word)
            word = names.setdefault(word, _LETTERS[len(names)])
        if not before:
            text += " " * depth
        elif (before[-1].isalnum() or before[-1] == "_") and (word[0].isalnum() or word[0] == "_"):
            text += " "
        text, before = text + word, word
    return text.strip()


def packed(text: str) -> str:
    """A program for `zlib.decompress(base64.b85decode(...))`. Spaces are added until no part of it means anything."""
    for count in range(100):
        found = base64.b85encode(zlib.compress((text + " " * count).encode(), 9)).decode()
        if not MEANT.search(found):
            return found
    raise AssertionError("no spelling of the program is plain")


def unpacked(text: str) -> str:
    """The program in what `packed` returns."""
    return zlib.decompress(base64.b85decode(text)).decode().rstrip()


def main() -> None:
    program = small(SOURCE.read_text())
    compile(program, "program", "exec")
    before = TARGET.read_text()
    kept = re.search(r'^PROGRAM = "([^"]*)"', before, re.MULTILINE)
    assert kept is not None
    if not kept[1] or unpacked(kept[1]) != program:  # zlibs differ in how they compress
        TARGET.write_text(before.replace(kept[0], f'PROGRAM = "{packed(program)}"'))


if __name__ == "__main__":
    main()
