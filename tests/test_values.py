"""`values.NamedTuple` is typing's own, but for what it costs to define one."""

from __future__ import annotations

import inspect
import pickle
import typing

import pytest

from envlock.values import NamedTuple


class Typed(typing.NamedTuple):
    """A place."""

    path: str
    line: int | None = None
    key: str = ""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"

    @property
    def is_known(self) -> bool:
        return self.line is not None

    @classmethod
    def at(cls, path: str) -> typing.Any:
        return cls(path)


class Light(NamedTuple):
    """A place."""

    path: str
    line: int | None = None
    key: str = ""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"

    @property
    def is_known(self) -> bool:
        return self.line is not None

    @classmethod
    def at(cls, path: str) -> typing.Any:
        return cls(path)


@pytest.mark.parametrize("made", [Typed, Light])
def test_a_light_named_tuple_is_one_of_typings(made: type[typing.Any]) -> None:
    value = made("a", 3)
    assert value == ("a", 3, "")
    assert (str(value), value.is_known, made.at("b")) == ("a:3", True, ("b", None, ""))
    assert repr(value) == f"{made.__name__}(path='a', line=3, key='')"
    assert value._replace(key="k")._asdict() == {"path": "a", "line": 3, "key": "k"}
    assert (made._fields, made._field_defaults) == (("path", "line", "key"), {"line": None, "key": ""})
    assert (made.__doc__, made.__module__, made.__qualname__) == ("A place.", __name__, made.__name__)
    assert str(inspect.signature(made)).startswith("(path")
    assert pickle.loads(pickle.dumps(value)) == value
    with pytest.raises(TypeError):
        made()
    with pytest.raises(AttributeError):
        value.other = 1
