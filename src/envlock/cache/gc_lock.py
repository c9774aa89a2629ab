"""How pushes and gc run at the same time: each announces itself before it looks for the other.

A push writes what it needs under `pushes/`, and only then looks for a running gc, and for the packages that the cache
has. gc writes its flag under `sweeps/`, and only then reads what pushes need. Whichever was first, one of them sees the
other: gc keeps what the push needs, or the push waits until gc ends. This needs a store whose writes are visible to
every later read, as those of folders and of all three services are.

A killed process leaves its file behind. The file of a push expires after a day, a gc's flag 15 minutes after it was
last renewed, both by the server's clock. Each checks that its own file has not expired before it relies on it. A flag
that is dated in the future expires when it has been watched for 15 minutes without being renewed.
"""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from envlock.cache.errors import CacheUnusable, GcOverdue, UnreadableAnnouncement
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
"""Seconds after which a gc that cannot renew its flag stops, well before the flag expires."""
_LAST_DELETES = 10.0
"""Seconds that an interrupted gc waits for the deletes that it has begun."""
_PAUSE = 0.02
_LONGEST_PAUSE = 2.0


_LATER = ("kits", "parts")
"""Keys that the file of a push has only where they hold something."""


class Needs(NamedTuple):
    """The paths that gc has to keep.

    Packages of an environment whose lock is in the cache need not be listed.
    """

    environments: frozenset[str] = frozenset()
    packages: frozenset[str] = frozenset()
    kits: frozenset[str] = frozenset()
    """Files of kits. Plans stay with their environment, so they are not listed."""
    parts: frozenset[str] = frozenset()
    """Parts of packs; the folder `parts` for all of them. A push that packs learns their paths only as it makes them.
    """

    def render(self) -> bytes:
        """The JSON that is written. A gc that knows no kits or parts reads the rest of it."""
        lists = {name: sorted(paths) for name, paths in self._asdict().items() if paths or name not in _LATER}
        return json.dumps({"format": FORMAT, **lists}, indent=1).encode() + b"\n"

    @classmethod
    def parse(cls, data: bytes) -> Needs:
        """Read what `render` wrote. Raises ValueError for anything else, including newer formats."""
        try:
            document = json_of(data)
            if document["format"] != FORMAT:
                raise ValueError(document["format"])
            lists = [document.get(name, []) if name in _LATER else document[name] for name in cls._fields]
            if not all(type(paths) is list and all(type(path) is str for path in paths) for paths in lists):
                raise ValueError(lists)
            return cls(*map(frozenset, lists))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(str(error)) from None


class Announcement:
    """The file in which one push says what it needs."""

    def __init__(self, store: Store, needs: Needs, reporter: Reporter) -> None:
        self._store = store
        self._needs = needs
        self._reporter = reporter
        self._path = ""
        self._made = 0.0

    def make(self) -> None:
        """Write the file, then wait for every gc that may have missed it. Two requests if none is running.

        From then on, gc keeps what the push needs. Raises CacheUnusable.
        """
        path = push_path(os.urandom(8).hex())
        self._made = time.time()  # compared with this machine's own clock only
        self._store.put(path, self._needs.render())
        old, self._path = self._path, path
        if old:
            with suppress(CacheUnusable):  # it expires
                self._store.delete(old)
        self._wait({entry.path for entry in self._store.entries(SWEEPS)})

    def stands(self) -> bool:
        """Whether the file is there, and is far from expiring. One request."""
        is_young = 0 <= time.time() - self._made < PUSH_LIVES / 2
        return is_young and self._store.entry(self._path) is not None

    def withdraw(self) -> None:
        """Delete the file. If that fails, it expires."""
        if self._path:
            with suppress(CacheUnusable):
                self._store.delete(self._path)

    def _wait(self, sweeps: set[str]) -> None:
        """Wait until the gc of each of these flags has ended or its flag has expired. Later ones have read the file."""
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
            # A date in the future would keep it for years: a clock was wrong, or somebody set it.
            frozen = {entry.path for entry in alive if steady - renewed[entry.path][1] >= SWEEP_LIVES}
            for path in frozen:
                with suppress(CacheUnusable):  # or the next push would wait as long
                    self._store.delete(path)
            sweeps = {entry.path for entry in alive} - frozen
            if not sweeps:
                return
            if pause == _LONGEST_PAUSE and not is_told:
                self._reporter.noted(
                    f"`envlock cache gc` is running on {self._store.url}; waiting until it ends, or until "
                    f"{min(sweeps)} has not changed for {SWEEP_LIVES / 60:.0f} minutes; if nobody is "
                    "running it, delete that file"
                )
                is_told = True
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)


@contextmanager
def announced(store: Store, needs: Needs, reporter: Reporter | None = None) -> Iterator[Announcement]:
    """Keep gc from deleting what is needed, inside the context. Four requests, and two more while a gc runs.

    Look up what the cache has inside the context only: before it, gc may still delete.
    """
    announcement = Announcement(store, needs, reporter or Reporter())
    try:
        announcement.make()
        yield announcement
    finally:
        announcement.withdraw()


def is_alive(entry: Entry, now: float | None, lives: float) -> bool:
    """Whether a file was written less than `lives` seconds before `now`, both by the server's clock.

    If the server does not say when files were written, nothing is alive: gc deletes nothing of unknown age.
    """
    return now is not None and entry.modified is not None and now - entry.modified < lives


def is_ahead(entry: Entry, now: float | None) -> bool:
    """Whether a file is dated more than a day after the server's clock: more than clocks differ."""
    return now is not None and entry.modified is not None and entry.modified - now > PUSH_LIVES


class Announced(NamedTuple):
    """What the running pushes need."""

    needs: Needs
    pushes: int
    dead: tuple[Entry, ...]
    """Files of pushes that were killed long ago."""
    unreadable: tuple[UnreadableAnnouncement, ...] = ()
    """Files that cannot be read: such a push may need anything."""
    ahead: tuple[Entry, ...] = ()
    """Files dated so far in the future that they would count for longer than any push takes."""


def announcements(store: Store, now: float | None) -> Announced:
    """Read what the running pushes need. One listing, and one read for each push."""
    needed = [set[str]() for _ in Needs._fields]
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
        except FileNotFoundError:  # it ended after the listing, and what it wrote is there
            continue
        except (ValueError, DamageError):
            unreadable.append(UnreadableAnnouncement(f"{store.url}/{entry.path}"))
            continue
        for found, paths in zip(needed, needs, strict=True):
            found.update(paths)
        count += 1
    return Announced(Needs(*map(frozenset, needed)), count, tuple(dead), tuple(unreadable), tuple(ahead))


class GcFlag:
    """The file that says that gc is running: written, renewed, and deleted at the end of the `with`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._path = sweep_path(os.urandom(8).hex())
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)
        self._renewed = (0.0, 0.0)
        self._taking = 0
        self._idle = threading.Condition()
        self.now: float | None = None
        """When it was written, by the server's clock; None if the server does not say."""

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
            self._thread.join()  # or a renewal that has begun would outlive this
        if is_idle:  # or the flag expires, after the deletes that are still running
            with suppress(CacheUnusable):
                self._store.delete(self._path)

    @contextmanager
    def taking(self) -> Iterator[None]:
        """Delete inside this context: the flag stays until it ends. Any thread may enter it.

        Raises GcOverdue if the flag may have expired, so that pushes no longer wait: nothing may be deleted then.
        """
        with self._idle:
            if self._ended.is_set() or self._overdue():
                raise GcOverdue(self._store.url)
            self._taking += 1
        try:
            yield
        finally:
            with self._idle:
                self._taking -= 1
                self._idle.notify_all()

    def _overdue(self) -> bool:
        # Both clocks: one stops while the machine sleeps, and the other can be changed.
        wall, steady = self._renewed
        return not (0 <= time.time() - wall < _OVERDUE and time.monotonic() - steady < _OVERDUE)

    def _put(self) -> None:
        moment = (time.time(), time.monotonic())
        self._store.put(self._path, b'{"format": 1}\n')
        self._renewed = moment

    def _renew(self) -> None:
        while not self._ended.wait(_RENEWED_EVERY):
            if self._overdue():
                return  # somebody may have seen it expired: it must stay so
            with suppress(CacheUnusable):
                self._put()
