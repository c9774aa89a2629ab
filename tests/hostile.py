"""What somebody who means harm, or a disk that fails, makes of a file: mutations of its bytes and of its values."""

from __future__ import annotations

import copy
import hashlib
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import tomli
import tomli_w

TOKENS = [
    *(b"[" * 3000, b"{" * 3000, b"(" * 300, b"a." * 2000, b"9" * 5000, b" " * 300, b",,,,", b"../" * 9),
    *(b'"', b"'''", b"\\", b"\x00", b"\x1b[2J", b"\n::error::x\n", b"\r", b"\t", b"\xff", b"\xef\xbb\xbf"),
    *(b"-1", b"1e999", b"nan", b"true", b"null", b"\xed\xa0\x80", "\u202e\u2028".encode(), b"<<<<<<< ours\n", b"<![x["),
    *(b"0001-01-01T00:00:00+23:59", b"9999-12-31T23:59:59-23:59", b"file:///dev/zero", b"https://h:99999/", b"${HOME}"),
    *(b"#", b"=", b"@", b"%", b"~", b"*", b"!", b";", b"://", b"https://["),
]
ODD: list[Any] = [
    *(None, True, False, 0, -1, 10**30, 1.5, float("inf"), float("nan")),
    *("", "\0", "\x1b[31m", "a\nb", "../../x", "/", "~", "é" * 300, "x" * 5000, "\u202e", "${X}"),
    *("=", "[", "1.0", ">=", "==1.*", ">=1,", "x; python_version", "a@b", "::", "a::b", "a [build=*", "1.0|", "=1.0="),
    *("a @ https://[", "https://", "https://[::1", "0" * 40, "f" * 64, "linux-64", "2026-99-99", "99999999999d"),
    *("name", "pypi", "conda", "uv", "machine", "3", "3.12", "3.999", "3.12.99999999999999999999"),
    *([], {}, [[]], [{}], [None], {"": ""}, {"a": {"b": {}}}, ["x"] * 3, [1, "a"]),
]
NAMES = ["", "x", "\n", "\x1b[1m", "a.b", "linux-64", "=", "é", "format", "x" * 300]


def nested(levels: int) -> Any:
    """A list in a list, so deep."""
    made: Any = []
    for _ in range(levels):
        made = [made]
    return made


def changed_bytes(data: bytes, chance: random.Random) -> bytes:
    """A few bytes taken out, put in, doubled, or cut off."""
    found = bytearray(data)
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        at = chance.randrange(len(found) + 1)
        kind = chance.randrange(5)
        if kind == 0:
            found[at : at + chance.choice([1, 2, 10, 100])] = b""
        elif kind == 1:
            found[at:at] = chance.choice(TOKENS)
        elif kind == 2:
            found[at : at + 1] = bytes([chance.randrange(256)])
        elif kind == 3:
            other = chance.randrange(len(found) + 1)
            found[at:at] = found[min(at, other) : max(at, other)][:2000]
        else:
            del found[at:]
    return bytes(found)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from _places(each, (*path, key))


def changed_values(document: Any, chance: random.Random, odd: Callable[[Any], Any] = lambda value: value) -> Any:
    """The document with one value, or two, that are of another type, odd, renamed, doubled or gone."""
    made = copy.deepcopy(document)
    for _ in range(chance.choice([1, 1, 2])):
        *way, last = chance.choice([place for place in _places(made) if place] or [(None,)])
        if last is None:
            continue
        holder = made
        for key in way:
            holder = holder[key]
        kind = chance.randrange(6)
        if kind < 3:
            holder[last] = odd(chance.choice([*ODD, nested(200), nested(90)]))
        elif kind == 3:
            del holder[last]
        elif isinstance(holder, dict):
            holder[
                odd(chance.choice(["", "x", "\n", "\x1b[1m", "a.b", "__proto__", "linux-64", "=", "é", "format"]))
            ] = holder.pop(last)
        else:
            holder.append(copy.deepcopy(holder[last]))
        if not made:
            return made
    return made


def toml_value(value: Any) -> Any:
    """What TOML can hold in its place."""
    if value is None:
        return "null"
    if isinstance(value, list):
        return [toml_value(each) for each in value]
    if isinstance(value, dict):
        return {key: toml_value(each) for key, each in value.items()}
    return value


def toml_text(document: Any) -> str:
    """The document as TOML; nothing, where it has no such form."""
    try:
        return tomli_w.dumps(document)
    except (TypeError, ValueError, RecursionError):
        return ""


def mutations(
    data: bytes, form: str, seed: int, count: int, restamp: Callable[[bytes], bytes] | None = None
) -> Iterator[bytes]:
    """`count` mutations of a file that is `toml`, `json` or `text`, always the same for a seed.

    With `restamp`, seven of ten have the right digest again, as somebody who means harm would see to.
    """
    chance = random.Random(seed)
    document = tomli.loads(data.decode()) if form == "toml" else json.loads(data) if form == "json" else None
    for number in range(count):
        if document is None or number % 3 == 0:
            made = changed_bytes(data, chance)
        elif form == "toml":
            made = toml_text(changed_values(document, chance, toml_value)).encode("utf-8", "surrogatepass")
        else:
            made = json.dumps(changed_values(document, chance), indent=1, ensure_ascii=chance.random() < 0.5).encode(
                "utf-8", "surrogatepass"
            )
        yield restamp(made) if restamp is not None and chance.random() < 0.7 else made


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
