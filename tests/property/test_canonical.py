"""The canonical bytes say one thing only: they can be read back, so no two values share them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from envlock.model.identity import Plain, canonical, short_hash

text = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=6)
plain: st.SearchStrategy[Plain] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), text),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.lists(inner, max_size=4).map(tuple), st.dictionaries(text, inner, max_size=4)
    ),
    max_leaves=12,
)


def read(data: bytes) -> Plain:
    """The value that canonical bytes were made of."""
    value, rest = _read(data)
    assert rest == b""
    return value


def _read(data: bytes) -> tuple[Plain, bytes]:
    kind, data = data[:1], data[1:]
    if kind in b"ntf":
        return {b"n": None, b"t": True, b"f": False}[kind], data
    if kind == b"i":
        number, _, data = data.partition(b";")
        return int(number), data
    length, _, data = data.partition(b":")
    if kind == b"s":
        return data[: int(length)].decode(), data[int(length) :]
    items: list[Plain] = []
    for _ in range(int(length) * (2 if kind == b"d" else 1)):
        item, data = _read(data)
        items.append(item)
    if kind == b"l":
        return items, data
    assert kind == b"d"
    assert items[::2] == sorted(items[::2])  # type: ignore[type-var]
    return dict(zip(items[::2], items[1::2], strict=True)), data  # type: ignore[arg-type]


def shape(value: Plain) -> object:
    """The value, tuples as lists, and every part with its type (for True is 1 to Python)."""
    if isinstance(value, dict):
        return ("dict", {key: shape(item) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return ("list", [shape(item) for item in value])
    return (type(value).__name__, value)


@given(plain)
def test_what_was_made_can_be_read_back(value: Plain) -> None:
    assert shape(read(canonical(value))) == shape(value)


@given(plain, plain)
def test_other_values_have_other_bytes_and_another_hash(one: Plain, two: Plain) -> None:
    is_same = shape(one) == shape(two)
    assert (canonical(one) == canonical(two)) == is_same
    assert (short_hash("test", 1, one) == short_hash("test", 1, two)) == is_same


@given(st.dictionaries(text, plain, max_size=5))
def test_the_order_of_keys_does_not_matter(table: dict[str, Plain]) -> None:
    assert canonical(dict(reversed(table.items()))) == canonical(table)


@given(plain)
def test_purposes_and_versions_are_apart(value: Plain) -> None:
    assert len({short_hash(purpose, version, value) for purpose in ("a", "b") for version in (1, 2)}) == 4
