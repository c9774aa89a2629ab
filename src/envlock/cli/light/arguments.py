"""The options of the light commands, read without a library; typer describes the same ones for `--help`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


def read_options(
    arguments: Sequence[str], *, values: Collection[str], flags: Collection[str]
) -> dict[str, list[str]] | None:
    """Each option with what was given for it, or None when there is anything that a light command does not know.

    >>> read_options(["--step", "train", "--json", "--arch=linux-64"], values=["--step", "--arch"], flags=["--json"])
    {'--step': ['train'], '--json': [''], '--arch': ['linux-64']}
    >>> read_options(["--stpe", "train"], values=["--step"], flags=[]) is None
    True
    """
    found: dict[str, list[str]] = {}
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if argument in flags:
            found.setdefault(argument, []).append("")
        elif name in values:
            given = value if equals else next(rest, None)
            if given is None or (not equals and given.startswith("-")):
                return None
            found.setdefault(name, []).append(given)
        else:
            return None
    return found
