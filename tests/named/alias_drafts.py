"""Moves to be, and stores that tell how they are used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from envlock.cache.port import Entry, Store, tell_nobody
from envlock.model.arch import LINUX_64
from envlock.named.alias import parse_alias
from envlock.named.move import Move


def draft(alias: str, letter: str = "a", *, who: str = "mia", when: str = "2026-11-01T00:00:00Z") -> Move:
    """What gives an alias to the environment whose ids are that letter (a-f) again and again."""
    name = parse_alias(alias)
    return Move(
        name=name.name,
        tag=name.tag,
        sequence=1,
        req_id=letter * 40,
        full_ids=((LINUX_64, letter * 40),),
        who=who,
        when=when,
        source="base",
        why=f"because of {letter}",
    )


class CountingStore:
    """A store that counts what is asked of it, by method."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.asked: Counter[str] = Counter()
        self.url = store.url

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.store, name)

        def counted(*arguments: Any, **options: Any) -> Any:
            self.asked[name] += 1
            return method(*arguments, **options)

        return counted


class CarelessStore:
    """A store that lets everybody create what is there."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.url = store.url

    def entry(self, path: str) -> Entry | None:
        return self.store.entry(path)

    def entries(self, folder: str) -> Iterator[Entry]:
        return self.store.entries(folder)

    def read(self, path: str) -> bytes:
        return self.store.read(path)

    def sha256(self, path: str) -> str:
        return self.store.sha256(path)

    def fetch(self, path: str, to: Path, *, on_bytes: Any = tell_nobody) -> None:
        self.store.fetch(path, to)

    def put(self, path: str, data: bytes | Path, *, on_bytes: Any = tell_nobody) -> None:
        self.store.put(path, data)

    def create(self, path: str, data: bytes) -> bool:
        self.store.put(path, data)
        return True

    def delete(self, path: str) -> None:
        self.store.delete(path)
