"""The names in a store: who wins, what is refused, and what is found when somebody changed them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from envlock.cache.errors import StoreNotExclusive
from envlock.cache.layout import move_path
from envlock.cache.open import open_store
from envlock.cache.port import Entry, Store
from envlock.config.settings import CacheOptions
from envlock.named.alias import Alias, EnvironmentIds, parse_alias
from envlock.named.errors import AliasMoved, AliasTaken, BrokenAliasChain, NewerMoveFormat, NoSuchMove
from envlock.named.history import Aliases
from tests.forked import run_module
from tests.named.alias_drafts import CarelessStore, CountingStore, draft
from tests.servers.clouds import CLOUDS, Cloud

# Who wins is decided by the store, which tests/contract holds each of them to. moto looks, then writes, with nothing
# that holds others off.
# That of many who create one file in a bucket one does, is held by tests/contract/test_store.py for each service.
RACES = ("folder", *(pytest.param(name, marks=pytest.mark.slow) for name in ("seaweedfs", "gcs", "azurite")))
LATEST = Alias("team/base")
V1 = Alias("team/base", "v1")


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened = open_store(str(tmp_path / "cache") if request.param == "folder" else f"memory://{tmp_path.name}")
    yield opened
    for entry in [entry for folder in ("aliases", "envs", "probe") for entry in opened.entries(folder)]:
        opened.delete(entry.path)


def moved(store: Store, letters: str, alias: str = "team/base") -> Aliases:
    """A tag that was moved to one environment after another."""
    aliases = Aliases(store)
    for letter in letters:
        aliases.add(draft(alias, letter))
    return aliases


class TestGiving:
    def test_a_name_that_nobody_gave(self, store: Store) -> None:
        aliases = Aliases(store)
        assert aliases.newest(V1) is None
        assert aliases.history(V1) == ()
        assert aliases.move(V1, 1) is None
        assert aliases.names() == {}

    def test_what_was_given_is_found(self, store: Store) -> None:
        move, before = Aliases(store).add(draft("team/base:v1"))
        assert before is None
        assert move == replace(draft("team/base:v1"), nonce=move.nonce)
        assert Aliases(store).newest(V1) == move
        assert Aliases(store).names() == {V1: 1}

    def test_giving_it_again_is_no_error_and_writes_nothing(self, store: Store) -> None:
        first, _ = Aliases(store).add(draft("team/base:v1"))
        again, before = Aliases(store).add(draft("team/base:v1", who="ben", when="2026-12-01T00:00:00Z"))
        assert before == again
        assert again == first, "it is still hers"
        assert len(list(store.entries("aliases"))) == 1

    def test_a_tag_that_never_moves_is_taken(self, store: Store) -> None:
        Aliases(store).add(draft("team/base:v1"))
        with pytest.raises(AliasTaken) as caught:
            Aliases(store).add(draft("team/base:v1", "b", who="ben"))
        said = caught.value.render()
        assert "2026-11-01T00:00:00Z by mia, from base" in said
        assert "because of a" in said
        assert "aaaaaaaaaaaa:aaaaaaaaaaaa on linux-64" in said
        assert "not      bbbbbbbbbbbb:bbbbbbbbbbbb" in said
        assert "team/base:v2" in said
        assert len(list(store.entries("aliases"))) == 1

    def test_another_arch_is_another_environment(self, store: Store) -> None:
        Aliases(store).add(draft("team/base:v1"))
        more = replace(draft("team/base:v1"), full_ids=(*draft("team/base:v1").full_ids, ("osx-64", "c" * 40)))
        with pytest.raises(AliasTaken, match="taken"):
            Aliases(store).add(more)  # type: ignore[arg-type]

    def test_it_can_be_refused_before_anything_is_done(self, store: Store) -> None:
        aliases = moved(store, "a", "team/base:v1")
        not_resolved = EnvironmentIds("b" * 40, ())
        aliases.refuse_taken(V1, EnvironmentIds("a" * 40, ()))
        aliases.refuse_taken(V1, draft("team/base:v1").ids)
        aliases.refuse_taken(Alias("team/base", "v2"), not_resolved)
        aliases.refuse_taken(LATEST, not_resolved)
        for ids in (not_resolved, EnvironmentIds("a" * 40, draft("x", "b").full_ids)):
            with pytest.raises(AliasTaken):
                aliases.refuse_taken(V1, ids)

    def test_a_tag_that_moves(self, store: Store) -> None:
        aliases = moved(store, "abca")
        history = aliases.history(LATEST)
        assert [move.req_id[0] for move in history] == list("abca")
        assert [move.sequence for move in history] == [1, 2, 3, 4]
        assert [move.previous for move in history[1:]] == [move.digest for move in history[:-1]]
        assert aliases.newest(LATEST) == history[-1]
        assert aliases.move(LATEST, 2) == history[1]
        for sequence in (0, 5):
            with pytest.raises(NoSuchMove, match=f"no move {sequence}"):
                aliases.move(LATEST, sequence)

    def test_the_order_is_not_that_of_a_clock(self, store: Store) -> None:
        aliases = Aliases(store)
        for letter, when in (("a", "2030-01-01T00:00:00Z"), ("b", "1999-01-01T00:00:00Z")):
            aliases.add(draft("team/base", letter, when=when))
        head = aliases.newest(LATEST)
        assert head is not None
        assert head.req_id[0] == "b"

    def test_a_decision_upon_what_has_moved_meanwhile(self, store: Store) -> None:
        aliases = moved(store, "ab")
        with pytest.raises(AliasMoved, match="it was at move 1, and is at move 2") as caught:
            aliases.add(draft("team/base", "c"), expected=1)
        assert "by mia" in caught.value.render()
        with pytest.raises(AliasMoved, match="not given yet"):
            aliases.add(draft("team/base", "c"), expected=0)
        move, before = aliases.add(draft("team/base", "b"), expected=1)
        assert move == before, "somebody else did what was wanted"
        assert aliases.add(draft("team/base", "c"), expected=2)[0].sequence == 3

    def test_tags_and_names_that_begin_alike(self, store: Store) -> None:
        aliases = Aliases(store)
        for name in ("team", "team/base", "team/base:v1", "team/base:v1.1", "team/base/v1", "team/base-2:v1"):
            aliases.add(draft(name))
        found = [str(alias) for alias in aliases.names()]
        assert list(aliases.names()) == sorted(aliases.names())
        assert len(found) == 6
        assert [str(alias) for alias in aliases.names("team/base:v1")] == ["team/base:v1", "team/base:v1.1"]
        assert [str(alias) for alias in aliases.names("team/base/")] == ["team/base/v1:latest"]
        assert len(aliases.names("team/ba")) == 5
        assert aliases.names("../envs/") == aliases.names("Team/") == aliases.names("other") == {}
        assert {len(aliases.history(parse_alias(name))) for name in found} == {1}


class TestTampering:
    """Whoever may write the store may change a move; whoever reads it finds out."""

    def broken(self, store: Store, alias: Alias, place: str) -> BrokenAliasChain:
        with pytest.raises(BrokenAliasChain) as caught:
            Aliases(store).history(alias)
        assert caught.value.exit_status == 3
        assert str(caught.value.locations[0]) == f"{store.url}/{place}"
        assert str(alias) in caught.value.message
        return caught.value

    @pytest.mark.parametrize("alias", [LATEST, V1])
    def test_a_move_that_was_edited(self, store: Store, alias: Alias) -> None:
        moved(store, "a", str(alias))
        path = move_path(alias, 1)
        store.put(path, store.read(path).replace(b"a" * 40, b"b" * 40))
        assert "changed" in self.broken(store, alias, path).details[0]
        with pytest.raises(BrokenAliasChain):
            Aliases(store).newest(alias)
        with pytest.raises(BrokenAliasChain):
            Aliases(store).add(draft(str(alias), "c"))

    def test_a_move_in_the_middle_that_was_edited(self, store: Store) -> None:
        moved(store, "abc")
        path = move_path(LATEST, 2)
        store.put(path, store.read(path).replace(b"because of b", b"because of x"))
        self.broken(store, LATEST, path)

    def test_a_move_that_was_replaced_by_a_whole_one(self, store: Store) -> None:
        moves = moved(store, "abc").history(LATEST)
        path = move_path(LATEST, 2)
        store.put(path, replace(moves[1], who="somebody else").render())
        assert "move 3 follows another" in self.broken(store, LATEST, path).details[0]

    @pytest.mark.parametrize("sequence", [1, 2])
    def test_a_move_that_was_taken_away(self, store: Store, sequence: int) -> None:
        moved(store, "abc")
        store.delete(move_path(LATEST, sequence))
        error = self.broken(store, LATEST, move_path(LATEST, sequence))
        assert "missing" in error.details[0]
        with pytest.raises(BrokenAliasChain):
            Aliases(store).newest(LATEST)
        assert [type(found) for _, found in Aliases(store).all_newest()] == [BrokenAliasChain]

    @pytest.mark.parametrize("data", [b"", b"{}", b"null", b"[1]", b"\xff", b"[" * 100_000, b'{"format": 1}'])
    def test_other_bytes(self, store: Store, data: bytes) -> None:
        moved(store, "a")
        store.put(move_path(LATEST, 1), data)
        self.broken(store, LATEST, move_path(LATEST, 1))

    def test_a_move_of_another_name(self, store: Store) -> None:
        moved(store, "a")
        store.put(move_path(V1, 1), store.read(move_path(LATEST, 1)))
        assert "team/base:latest" in self.broken(store, V1, move_path(V1, 1)).details[0]

    def test_a_second_move_of_a_tag_that_never_moves(self, store: Store) -> None:
        first = moved(store, "a", str(V1)).history(V1)[0]
        second = replace(draft(str(V1), "b"), sequence=2, previous=first.digest)
        store.put(move_path(V1, 2), second.render())
        assert "one move" in self.broken(store, V1, move_path(V1, 2)).details[0]
        assert [type(found) for _, found in Aliases(store).all_newest("team/base:v")] == [BrokenAliasChain]

    def test_a_move_of_a_newer_envlock(self, store: Store) -> None:
        moved(store, "a")
        path = move_path(LATEST, 1)
        fields = json.loads(store.read(path))
        store.put(path, json.dumps({**fields, "format": 2, "more": []}).encode())
        with pytest.raises(NewerMoveFormat) as caught:
            Aliases(store).newest(LATEST)
        assert "upgrade envlock" in caught.value.render()

    def test_files_of_others_are_no_moves(self, store: Store) -> None:
        aliases = moved(store, "ab")
        folder = "aliases/team/base/@tags/latest"
        for name in ("README", "3.json", "0000000000.json", "0000000003.json.bak", "deeper/0000000003.json"):
            store.put(f"{folder}/{name}", b"ours")
        assert len(aliases.history(LATEST)) == 2
        assert aliases.names() == {LATEST: 2}

    def test_a_listing_that_is_behind_is_read_again(self, store: Store) -> None:
        """Others may write two moves while it is made: it may show the later one, and not the earlier."""

        class Behind(CountingStore):
            def entries(self, folder: str) -> Iterator[Entry]:
                self.asked["entries"] += 1
                skipped = move_path(LATEST, 2) if self.asked["entries"] < 3 else ""
                return (entry for entry in self.store.entries(folder) if entry.path != skipped)

        moved(store, "abc")
        behind = Behind(store)
        head = Aliases(behind).newest(LATEST)  # type: ignore[arg-type]
        assert head is not None
        assert head.sequence == 3
        assert behind.asked["entries"] == 3


class TestRaces:
    def test_threads_that_move_one_tag(self, store: Store) -> None:
        def move(number: int) -> None:
            for step in range(4):
                letters = f"{number:020x}{step:020x}"
                wanted = replace(draft("team/base"), req_id=letters, who=str(number))
                made, before = Aliases(store).add(wanted)
                assert made != before

        threads = [threading.Thread(target=move, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        history = Aliases(store).history(LATEST)
        assert len(history) == 24
        assert len({move.req_id for move in history}) == 24

    @pytest.mark.parametrize(
        ("where", "same"),
        [
            ("folder", True),
            ("folder", False),
            *(pytest.param(where, False, marks=pytest.mark.slow) for where in ("seaweedfs", "gcs", "azurite")),
        ],
    )
    def test_sixteen_processes_that_create_one_name(self, place: Place, where: str, same: bool) -> None:
        url, options = place(where)
        answers = _race(url, options, "team/base:v1", same=same)
        (move,) = Aliases(open_store(url, options)).history(V1)
        won = [each["who"] for each in answers if each["won"]]
        assert won == [move.who]
        for each in answers:
            if not each["won"]:
                assert each["error"] == ("" if same else "alias-taken"), each
                assert same or f"by {move.who}, from base" in str(each["said"])

    @pytest.mark.parametrize("where", RACES)
    def test_sixteen_processes_that_move_one_tag(self, place: Place, where: str) -> None:
        url, options = place(where)
        answers = _race(url, options, "team/base", same=False)
        assert all(each["won"] for each in answers), answers
        history = Aliases(open_store(url, options)).history(LATEST)
        assert sorted(move.who for move in history) == sorted(str(each["who"]) for each in answers)
        assert len(history) == 16


Place = Callable[[str], tuple[str, CacheOptions]]


@pytest.fixture
def place(tmp_path: Path, clouds: Callable[[str], Cloud], log_in: Callable[[Cloud], Cloud]) -> Place:
    """Where a cache of each kind is for this test: its URL, and its options."""

    def url(name: str) -> tuple[str, CacheOptions]:
        if name not in CLOUDS:
            return str(tmp_path / "cache"), CacheOptions()
        cloud = log_in(clouds(name))
        return cloud.url(f"{tmp_path.parent.name}/{tmp_path.name}"), cloud.options

    return url


def _race(url: str, options: CacheOptions, alias: str, *, same: bool) -> list[dict[str, object]]:
    said = run_module("tests.named.alias_racing", url, json.dumps(options._asdict()), alias, str(same))
    answers: list[dict[str, object]] = json.loads(said)
    assert len(answers) == 16
    return answers


class TestStores:
    @pytest.mark.parametrize("alias", ["team/base:v1", "team/base"])
    def test_a_store_that_lets_two_create_one_file_holds_no_names(self, store: Store, alias: str) -> None:
        with pytest.raises(StoreNotExclusive):
            Aliases(CarelessStore(store)).add(draft(alias))
        assert list(store.entries("aliases")) == []

    def test_a_hundred_thousand_files_make_no_difference(self, tmp_path: Path) -> None:
        empty, full = (open_store(f"memory://{tmp_path.name}-{name}") for name in ("empty", "full"))
        for number in range(50_000):
            full.put(f"packages/{number:064x}/x.whl", b"")
            full.put(f"aliases/team/other-{number}/@tags/latest/0000000001.json", b"")
        asked = _requests(full)
        assert asked == _requests(empty)
        assert asked["head"] == asked["head of one that moves"] == {"entries": 1, "read": 1}
        assert asked["head of none"] == {"entries": 1}
        assert asked["move"] == {"entries": 1, "read": 1, "create": 1}
        assert sum(asked["first"].values()) < 10, "the store is tried out first"
        for folder in ("packages", "aliases"):
            for entry in list(full.entries(folder)):
                full.delete(entry.path)


def _requests(store: Store) -> dict[str, dict[str, int]]:
    """What each kind of work asks of a store."""
    counting = CountingStore(store)
    aliases = Aliases(counting)  # type: ignore[arg-type]
    asked = {}
    for name, work in (
        ("first", lambda: aliases.add(draft("team/base:v1"))),
        ("again", lambda: aliases.add(draft("team/base:v1"))),
        ("other", lambda: aliases.add(draft("team/base", "a"))),
        ("move", lambda: aliases.add(draft("team/base", "b"))),
        ("head", lambda: aliases.newest(V1)),
        ("head of one that moves", lambda: aliases.newest(LATEST)),
        ("head of none", lambda: aliases.newest(Alias("team/other"))),
        ("history", lambda: aliases.history(LATEST)),
        ("tags", lambda: aliases.names("team/base:")),
    ):
        counting.asked.clear()
        work()
        asked[name] = dict(counting.asked)
    return asked


def test_a_move_holds_what_is_shown(store: Store) -> None:
    move, _ = Aliases(store).add(draft("team/base:v1"))
    fields = json.loads(store.read(move_path(V1, 1)))
    assert list(fields)[-1] == "sha256"
    assert fields["full_ids"] == {"linux-64": "a" * 40}
    assert (fields["who"], fields["why"], fields["source"]) == ("mia", "because of a", "base")
    assert len(fields["nonce"]) == 16
    assert fields["sha256"] == move.digest
