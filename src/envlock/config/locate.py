"""The line on which a key stands in TOML text, and the lines of one that stands there twice."""

from __future__ import annotations

from envlock.config.toml_scan import Key, line_number, scan


def line_of(text: str, key: Key) -> int | None:
    r"""The line, from 1, where `key` is written; that of its nearest parent where it is not; None where nothing is.

    Parts of arrays are named by their place, as are tables of an array of tables. Never raises, whatever the text.

    >>> text = "[flow.Train]\npypi.packages = { rich = '15', requests = '2' }\nfile = 'train.py'\n"
    >>> line_of(text, ("flow", "Train", "pypi", "packages", "rich")), line_of(text, ("flow", "Train", "file"))
    (2, 3)
    >>> line_of(text, ("flow", "Train", "conda")), line_of(text, ("env",))
    (1, None)
    """
    nodes = scan(text)
    for length in range(len(key), 0, -1):
        within = [node for node in nodes if node.path[:length] == key[:length]]
        if within:
            own = next((node for node in within if len(node.path) == length), within[0])
            return line_number(text, own.start)
    return None


def written_twice(text: str) -> tuple[Key, tuple[int, ...]] | None:
    r"""The first key that is defined more than once, with its lines; None where TOML's rule is kept.

    >>> written_twice("[a]\nx = 1\n[a.b]\n[a]\n")
    (('a',), (1, 4))
    """
    starts: dict[Key, list[int]] = {}
    for node in scan(text):
        starts.setdefault(node.path, []).append(node.start)
    return next(
        ((key, tuple(line_number(text, start) for start in found)) for key, found in starts.items() if len(found) > 1),
        None,
    )
