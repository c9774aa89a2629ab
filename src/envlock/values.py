"""`NamedTuple`, made in a third of the time that typing's takes, and `Protocol`: imports are most of a command's cost.

typing compiles each annotation of each class. To type checkers these are typing's own; no light module needs `typing`
itself.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple
    from typing import Protocol as Protocol
else:
    from collections import namedtuple

    class _Making(type):
        def __new__(cls, name: str, _: tuple[type, ...], namespace: dict[str, object]) -> type:
            """The named tuple of the fields that a class body declares, with their defaults, and what else it has."""
            fields = namespace.pop("__annotations__")
            defaults = [namespace.pop(each) for each in fields if each in namespace]
            made = namedtuple(name, fields, defaults=defaults, module=namespace["__module__"])
            made.__annotations__ = fields
            for key, value in namespace.items():
                if key != "__module__":
                    setattr(made, key, value)
            return made

    Protocol = object
    NamedTuple = type.__new__(_Making, "NamedTuple", (), {})
