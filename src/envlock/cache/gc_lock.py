"""Pushes and sweeps at the same time: each says that it is there before it looks for the other.

A push writes what it is going to need under `pushes/`, and only then looks whether a sweep is under way, and which
packages the cache has. A sweep writes its flag under `sweeps/`, and only then reads what pushes need. So, whichever was
first, one of the two sees the other: the sweep leaves what the push needs, or the push waits for the sweep to end. That
needs a store in which what was written is seen by whoever looks later, as folders and all buckets are.

Whoever is killed leaves its file. A push's counts for a day, a sweep's for a quarter of an hour after it was last
renewed, both by the server's clock; and both look whether theirs still counts before they rely on it. A sweep's that is
dated ahead counts for a quarter of an hour of being watched without being renewed.
"""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from envlock.cache.errors import CacheUnusable, SweepOverdue, UnreadableAnnouncement
from envlock.cache.layout import PUSHES, SWEEPS, push_path, sweep_path
from envlock.errors import DamageError
from envlock.files import json_of
from envlock.reporter import Reporter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envlock.cache.port import Entry, Store

FORMAT = 1
PUSH_LIVES = 24 * 3600.0
SWEEP_LIVES = 900.0
_RENEWED_EVERY = 60.0
_OVERDUE = 300.0
"""A sweep that could not renew its flag for so long ends itself, well before anybody takes it for dead."""
_LAST_DELETES = 10.0
"""How long a sweep that is broken off waits for what it was deleting."""
_PAUSE = 0.02
_LONGEST_PAUSE = 2.0


class Needs(NamedTuple):
    """What a sweep has to leave: paths of environments and of packages.

    Packages that an environment names need no mention once its lock is in the cache.
    """

    environments: frozenset[str] = frozenset()
    packages: frozenset[str] = frozenset()

    def render(self) -> bytes:
        """What is written."""
        document = {"format": FORMAT, "environments": sorted(self.environments), "packages": sorted(self.packages)}
        return json.dumps(document, indent=1).encode() + b"\n"

    @classmethod
    def parse(cls, data: bytes) -> Needs:
        """What was written. Raises ValueError for anything else, a newer format as well."""
        try:
            document = json_of(data)
            if document["format"] != FORMAT:
                raise ValueError(document["format"])
            lists = [document[name] for name in cls._fields]
            if not all(type(paths) is list and all(type(path) is str for path in paths) for paths in lists):
                raise ValueError(lists)
            return cls(*map(frozenset, lists))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(str(error)) from None


class Announcement:
    """What one push is going to need, said in the cache."""

    def __init__(self, store: Store, needs: Needs, reporter: Reporter) -> None:
        self._store = store
        self._needs = needs
        self._reporter = reporter
        self._path = ""
        self._made = 0.0

    def make(self) -> None:
        """Say it, and wait for the sweeps that may not have heard. Two requests where there are none.

        From now on, what the cache has of what is needed stays there. Raises CacheUnusable.
        """
        path = push_path(os.urandom(8).hex())
        self._made = time.time()  # compared with this machine's own clock only
        self._store.put(path, self._needs.render())
        old, self._path = self._path, path
        if old:
            with suppress(CacheUnusable):  # it ends by its age
                self._store.delete(old)
        self._wait({entry.path for entry in self._store.entries(SWEEPS)})

    def stands(self) -> bool:
        """Whether no sweep can have taken it for that of a dead push, nor soon will. One request."""
        is_young = 0 <= time.time() - self._made < PUSH_LIVES / 2
        return is_young and self._store.entry(self._path) is not None

    def withdraw(self) -> None:
        """Take it back. Where that fails, it ends by its age."""
        if self._path:
            with suppress(CacheUnusable):
                self._store.delete(self._path)

    def _wait(self, sweeps: set[str]) -> None:
        """Wait until each of these sweeps has ended, or is known to be dead. Later ones have heard."""
        if not sweeps:
            return
        mine = self._store.entry(self._path)
        written, began = mine.modified if mine else None, time.monotonic()
        renewed: dict[str, tuple[float | None, float]] = {}
        pause, is_told = _PAUSE, False
        while True:
            steady = time.monotonic()
            now = None if written is None else written + steady - began
            alive = [entry for entry in self._store.entries(SWEEPS) if entry.path in sweeps]
            alive = [entry for entry in alive if is_alive(entry, now, SWEEP_LIVES)]
            for entry in alive:
                if renewed.get(entry.path, (None, 0.0))[0] != entry.modified:
                    renewed[entry.path] = (entry.modified, steady)
            # By its date it may live for years: a clock was set wrong, or somebody chose it.
            frozen = {entry.path for entry in alive if steady - renewed[entry.path][1] >= SWEEP_LIVES}
            for path in frozen:
                with suppress(CacheUnusable):  # else the next push waits as long
                    self._store.delete(path)
            sweeps = {entry.path for entry in alive} - frozen
            if not sweeps:
                return
            if pause == _LONGEST_PAUSE and not is_told:
                self._reporter.noted(
                    f"{self._store.url} is being swept; waiting until that is over, or until {min(sweeps)} in it "
                    f"has not changed for {SWEEP_LIVES / 60:.0f} minutes; if nobody is sweeping, delete that file"
                )
                is_told = True
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)


@contextmanager
def announced(store: Store, needs: Needs, reporter: Reporter | None = None) -> Iterator[Announcement]:
    """As long as the context lasts, no sweep takes away what is needed. Four requests, and two more while one sweeps.

    What the cache has has to be looked at inside of the context: before, a sweep may have been at it.
    """
    announcement = Announcement(store, needs, reporter or Reporter())
    try:
        announcement.make()
        yield announcement
    finally:
        announcement.withdraw()


def is_alive(entry: Entry, now: float | None, lives: float) -> bool:
    """Whether a file was written less than `lives` seconds before `now`, both by the server's clock.

    A server that does not say when files were written has no live sweeps: they take nothing away whose age is unknown.
    """
    return now is not None and entry.modified is not None and now - entry.modified < lives


def is_ahead(entry: Entry, now: float | None) -> bool:
    """Whether a file is dated more than a day ahead of the server's clock, further than clocks differ."""
    return now is not None and entry.modified is not None and entry.modified - now > PUSH_LIVES


class Announced(NamedTuple):
    """What the pushes that are under way need."""

    needs: Needs
    pushes: int
    dead: tuple[Entry, ...]
    """Announcements of pushes that were killed long ago."""
    unreadable: tuple[UnreadableAnnouncement, ...] = ()
    """Those that cannot be understood: such a push may need anything."""
    ahead: tuple[Entry, ...] = ()
    """Those that are dated so far ahead of the server's clock that they would count for longer than any push takes."""


def announcements(store: Store, now: float | None) -> Announced:
    """What all pushes need that are under way. A listing, and a read for each."""
    environments: set[str] = set()
    packages: set[str] = set()
    dead: list[Entry] = []
    unreadable: list[UnreadableAnnouncement] = []
    ahead: list[Entry] = []
    count = 0
    for entry in store.entries(PUSHES):
        if is_ahead(entry, now):
            ahead.append(entry)
        if now is not None and entry.modified is not None and now - entry.modified >= PUSH_LIVES:
            dead.append(entry)
            continue
        try:
            needs = Needs.parse(store.read(entry.path))
        except FileNotFoundError:  # it has ended since it was listed, and left what it wrote
            continue
        except (ValueError, DamageError):
            unreadable.append(UnreadableAnnouncement(f"{store.url}/{entry.path}"))
            continue
        environments |= needs.environments
        packages |= needs.packages
        count += 1
    return Announced(
        Needs(frozenset(environments), frozenset(packages)), count, tuple(dead), tuple(unreadable), tuple(ahead)
    )


class GcFlag:
    """That a sweep is under way, said in the cache for as long as its `with` lasts, and renewed meanwhile."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._path = sweep_path(os.urandom(8).hex())
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)
        self._renewed = (0.0, 0.0)
        self._taking = 0
        self._idle = threading.Condition()
        self.now: float | None = None
        """When it was written, by the server's clock; None where the server does not say."""

    def __enter__(self) -> GcFlag:
        self._put()
        try:
            entry = self._store.entry(self._path)
            self.now = entry.modified if entry else None
            self._thread.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with self._idle:
            self._ended.set()
            is_idle = self._idle.wait_for(lambda: not self._taking, _LAST_DELETES)
        if self._thread.is_alive():
            self._thread.join()  # else what it is about to write would outlive the sweep
        if is_idle:  # else the flag ends by its age, after whatever is under way still
            with suppress(CacheUnusable):
                self._store.delete(self._path)

    @contextmanager
    def taking(self) -> Iterator[None]:
        """Something is taken away in this context, and the flag stays until it is. From any thread.

        Raises SweepOverdue, and nothing may be taken, where the flag may no longer hold pushes off.
        """
        with self._idle:
            if self._ended.is_set() or self._overdue():
                raise SweepOverdue(self._store.url)
            self._taking += 1
        try:
            yield
        finally:
            with self._idle:
                self._taking -= 1
                self._idle.notify_all()

    def _overdue(self) -> bool:
        # Both clocks: one stands still while the machine sleeps, the other may be set.
        wall, steady = self._renewed
        return not (0 <= time.time() - wall < _OVERDUE and time.monotonic() - steady < _OVERDUE)

    def _put(self) -> None:
        moment = (time.time(), time.monotonic())
        self._store.put(self._path, b'{"format": 1}\n')
        self._renewed = moment

    def _renew(self) -> None:
        while not self._ended.wait(_RENEWED_EVERY):
            if self._overdue():
                return  # somebody may have taken it for dead already: it stays so
            with suppress(CacheUnusable):
                self._put()
