"""Aliases and moves: whatever is read is written back, and nothing else is read."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envlock.cache.layout import alias_folder, move_at, move_path
from envlock.model.arch import ARCHS
from envlock.named.alias import LONGEST_NAME, LONGEST_TAG, Alias, parse_alias, parse_move_reference
from envlock.named.errors import BadAlias
from envlock.named.move import LAST, BadMove, Move, parse_move
from tests.property.strategies import words

_edges = st.sampled_from("abcz019")
_parts = st.builds(lambda first, inner, last: first + inner + last, _edges, st.text("ab0-_", max_size=6), _edges)
_inner = st.text("ab0-_.", max_size=8).filter(lambda text: ".." not in text)
_tags = st.builds(lambda first, inner, last: first + inner + last, _edges, _inner, _edges)
aliases = st.builds(Alias, st.lists(_parts, min_size=1, max_size=4).map("/".join), st.just("latest") | _tags)
ids = st.integers(0, 2**160 - 1).map(lambda number: f"{number:040x}")
moves = st.builds(
    lambda alias, sequence, previous, full_ids, **told: Move(
        name=alias.name,
        tag=alias.tag,
        sequence=sequence,
        previous=previous if sequence > 1 else "",
        full_ids=tuple(sorted(full_ids.items())),
        **told,
    ),
    aliases,
    st.integers(1, 5) | st.integers(1, LAST),
    st.integers(0, 2**256 - 1).map(lambda number: f"{number:064x}"),
    st.dictionaries(st.sampled_from(ARCHS), ids, min_size=1),
    req_id=ids,
    who=words,
    when=words,
    source=words,
    why=words,
    nonce=words,
)


@given(aliases)
def test_a_name_is_read_as_it_is_written(alias: Alias) -> None:
    assert parse_alias(str(alias)) == alias
    assert parse_move_reference(f"{alias}@7") == (alias, 7)


@given(st.text(max_size=30) | st.text("abA:/.@-_ é\u0430", max_size=12))
def test_whatever_is_no_name_is_refused_and_what_is_one_is_safe(text: str) -> None:
    try:
        alias = parse_alias(text)
    except BadAlias:
        return
    assert str(alias) in {text, f"{text}:latest"}
    assert len(alias.name) <= LONGEST_NAME
    assert len(alias.tag) <= LONGEST_TAG
    parts = alias_folder(alias).split("/")
    assert "" not in parts
    assert not {".", ".."} & set(parts)
    assert alias_folder(alias).isascii()


@given(aliases, aliases, st.integers(1, LAST), st.integers(1, LAST))
def test_every_move_has_a_place_of_its_own(one: Alias, other: Alias, first: int, second: int) -> None:
    path, another = move_path(one, first), move_path(other, second)
    assert move_at(path) == (one, first)
    assert (path == another) == ((one, first) == (other, second))
    assert not another.startswith(f"{path}/")
    if one == other:
        assert (path < another) == (first < second), "in the order of paths, moves are in their own"


@given(moves)
def test_a_move_is_read_as_it_is_written(move: Move) -> None:
    assert parse_move(move.render()) == move
    assert json.loads(move.render())["sha256"] == move.digest


@given(moves, st.data())
def test_a_move_that_is_changed_in_any_byte_is_none(move: Move, data: st.DataObject) -> None:
    whole = bytearray(move.render())
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BadMove):
        parse_move(bytes(whole))


@given(moves)
def test_a_move_that_is_spelt_otherwise_is_none(move: Move) -> None:
    fields = json.loads(move.render())
    for data in (json.dumps(fields), json.dumps(fields, indent=2) + "\n", json.dumps({**fields, "more": 1}, indent=1)):
        with pytest.raises(BadMove):
            parse_move(data.encode())


@given(moves)
def test_what_has_no_place_in_a_chain_is_no_move(move: Move) -> None:
    for wrong in (
        replace(move, sequence=0),
        replace(move, sequence=LAST + 1),
        replace(move, previous="" if move.sequence > 1 else "0" * 64),
        replace(move, name="Team"),
        replace(move, name=move.name + ":v1"),
        replace(move, full_ids=()),
        replace(move, req_id=move.req_id[1:]),
        replace(move, full_ids=((ARCHS[0], "x" * 40),)),
    ):
        with pytest.raises(BadMove):
            parse_move(wrong.render())


@given(
    st.binary(max_size=60)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps).map(str.encode)
)
def test_other_bytes_are_no_move(data: bytes) -> None:
    with pytest.raises(BadMove):
        parse_move(data)
