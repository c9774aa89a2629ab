"""`env gc`: what of envlock's home nothing needs any more, and how much is free once it is gone.

An environment stays while a process uses it, a local name or a kernel leads to it, a lock of a known project names it,
or it was used recently. What one may not delete, and what a project needs that cannot be read now, stays too. It goes
as on nodes: claimed by an exclusive flock, renamed away at once, then deleted. So a start that comes in between makes
it again, and what a kill leaves is swept by the next builder or gc.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from envlock.cache.local import LocalPackages
from envlock.hydration.errors import storage_error
from envlock.in_use import KEPT, is_held, last_used
from envlock.model.identity import ids_of_prefix
from envlock.places import home
from envlock.reporter import Reporter
from envlock.trust import make_folder
from envlock.words import byte_size
from envlock.workflow.machine.environments import Environments, find_environments, prefixes_in
from envlock.workflow.machine.gc_values import (
    BY_FAULT,
    BY_KERNEL,
    BY_MAKER,
    BY_NAME,
    BY_PROJECT,
    BY_RUN,
    BY_UNREAD,
    ENVIRONMENT,
    IN_USE,
    LEFTOVER,
    Going,
    Limits,
    Sweep,
)
from envlock.workflow.machine.needs import KERNEL, NAME, PROJECT, UNREAD, used_by_processes
from envlock.workflow.machine.sizes import FOLDER as SIZES
from envlock.workflow.machine.sizes import forget, freed, walk_all
from metaflow_extensions.envlock.plugins.node import stage
from metaflow_extensions.envlock.plugins.node.home import ENVIRONMENTS
from metaflow_extensions.envlock.plugins.node.kept import evict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from envlock.workflow.machine.environments import Prefix
    from envlock.workflow.machine.sizes import Walked

_GRACE = 60.0
"""How long what was used stays for sure, in seconds: a program takes its lock a moment after it was prepared."""
_OLD_NOTE = 3600.0
_YOUNG = 1.0
"""How long what was seen of all processes is believed, in seconds: looking takes up to a tenth of that."""


def collect(limits: Limits, *, delete: bool = False, reporter: Reporter | None = None) -> Sweep:
    """Find what nothing needs in this machine's home, and with `delete` delete it.

    Deletes nothing that a process uses, that anything began to use meanwhile, or that this user may not delete. Raises
    HomeUnusable if the home cannot be written and `delete` is wanted; what `home` raises.
    """
    reporter = reporter or Reporter()
    if delete:
        _refuse_unwritable(str(home()))
    found = find_environments(thorough=True)
    return _Gc(found, limits, reporter).run(delete=delete)


def _refuse_unwritable(place: str) -> None:
    """Raise HomeUnusable for a home in which nothing can be deleted, such as one on a disk that is read-only."""
    folder = os.path.join(place, ENVIRONMENTS)
    stages = os.path.join(folder, stage.STAGES)
    if not os.path.isdir(folder):
        return
    try:
        make_folder(stages, place)
        for each in (folder, stages):
            if not os.access(each, os.W_OK | os.X_OK):
                read_only = os.statvfs(each).f_flag & os.ST_RDONLY
                number = errno.EROFS if read_only else errno.EACCES
                raise OSError(number, os.strerror(number), each)
    except OSError as error:
        raise storage_error(error, Path(folder)) from error


class _Gc:
    """The work of one `env gc`."""

    def __init__(self, found: Environments, limits: Limits, reporter: Reporter) -> None:
        self.found = found
        self.limits = limits
        self.reporter = reporter
        self.now = time.time()
        self.notes: list[str] = []
        self.running: frozenset[str] = frozenset()
        self.looked = -_YOUNG
        self.entered: set[str] = set()
        """What processes entered after this began, though envlock did not start them."""

    def run(self, *, delete: bool) -> Sweep:
        kept, doomed, walked = self.choose()
        going = [
            Going(ENVIRONMENT, each.path, doomed[each.path], each.used, walked[each.path].size.own, each)
            for each in self.found.prefixes
            if each.path in doomed
        ]
        left = walk_all(list(self.left_over()), self.reporter)
        going += [Going(LEFTOVER, path, "a process was killed", 0.0, each.size.own) for path, each in left.items()]
        walked |= left
        with self.packages(delete=delete) as are_free:
            if are_free:
                rest, looked = self.rest(kept)
                going += rest
                walked |= looked
            if delete:
                going = self.deleted(going, kept)
        if delete:
            self.sweep_notes()
        return self.sweep(going, kept, walked)

    def choose(self) -> tuple[dict[str, str], dict[str, str], dict[str, Walked]]:
        """Why each prefix stays, or else goes; and what is in those that go."""
        kept: dict[str, str] = {}
        doomed: dict[str, str] = {}
        for each in self.found.prefixes:
            reason = self.why_kept(each)
            if reason:
                kept[each.path] = reason
            else:
                doomed[each.path] = self.why_doomed(each)
        looked_at = list(doomed) if self.limits.size is None else [each.path for each in self.found.prefixes]
        walked = walk_all(looked_at, self.reporter)
        if self.limits.size is not None:
            self.limit(kept, doomed, walked, self.limits.size)
        for path in [path for path in doomed if walked[path].locked]:
            del doomed[path]
            kept[path] = BY_FAULT
        return kept, doomed, walked

    @contextmanager
    def packages(self, *, delete: bool) -> Iterator[bool]:
        """Whether packages and the like may go; while they go, no environment is made from them."""
        if not self.limits.packages:
            yield False
        elif self.found.needs.unread:
            self.notes.append("packages, interpreters and builds are kept: a project that cannot be read may need them")
            yield False
        else:
            with LocalPackages(Path(self.found.home)).claimed() if delete else nullcontext(True) as are_free:
                if not are_free:
                    self.notes.append("packages, interpreters and builds are kept: an environment is being created")
                yield are_free

    def rest(self, kept: Collection[str]) -> tuple[list[Going], dict[str, Walked]]:
        """What goes of packages, interpreters, builds and memos; and what is in them."""
        from envlock.workflow.machine.rest_of_home import unneeded

        stay = [each for each in self.found.prefixes if each.path in kept]
        return unneeded(self.found, stay, self.now - max(self.limits.keep, _GRACE), self.reporter)

    def deleted(self, going: Sequence[Going], kept: dict[str, str]) -> list[Going]:
        """Delete what goes. Those that are gone; an environment that somebody uses by now is kept, with its Python."""
        environments = [each for each in going if each.kind in {ENVIRONMENT, LEFTOVER}]
        rest = [each for each in going if each not in environments]
        gone = [each for each in environments if self.delete(each)]
        left = [each for each in environments if each not in gone and each.kind == ENVIRONMENT]
        used = {each.path: IN_USE if self.is_used_now(each) else BY_FAULT for each in left}
        if rest:
            from envlock.workflow.machine.rest_of_home import delete

            still = {each.path for each in (self.rest(kept | used)[0] if used else rest)}
            gone += [each for each in rest if each.path in still and delete(self.found.home, each)]
        kept |= used
        return gone

    def sweep(self, going: Sequence[Going], kept: dict[str, str], walked: dict[str, Walked]) -> Sweep:
        looked = [walked[each.path] for each in going if each.path in walked]
        frees = freed(looked)
        total = _Total(looked).bytes
        others = sum(each.frees for each in going if each.path not in walked)
        return Sweep(
            home=self.found.home,
            going=tuple(going),
            kept=tuple((each, kept[each.path]) for each in self.found.prefixes if each.path in kept),
            frees=frees + others,
            stays=max(total - frees, 0),
            found=self.found,
            notes=tuple(self.notes),
        )

    def why_kept(self, prefix: Prefix) -> str:
        """Why a prefix stays; empty if nothing needs it."""
        if prefix.is_used:
            return IN_USE
        if not prefix.is_whole and _is_being_made(prefix.path):
            return BY_MAKER
        kinds = {need.kind for need in prefix.needs}
        for kind, reason in ((NAME, BY_NAME), (KERNEL, BY_KERNEL), (PROJECT, BY_PROJECT), (UNREAD, BY_UNREAD)):
            if kind in kinds:
                return reason
        age = self.now - prefix.used
        return BY_RUN if prefix.is_whole and age < max(self.limits.keep, _GRACE) else ""

    def why_doomed(self, prefix: Prefix) -> str:
        if not prefix.is_whole:
            return "it is not whole: a process was killed"
        if not prefix.made_for:
            return "no known project needs it"
        gone = {os.path.dirname(project.config) for project in self.found.needs.gone}
        if all(need.what in gone for need in prefix.made_for):
            return "its project is gone"
        return "its project has other locks now"

    def limit(self, kept: dict[str, str], doomed: dict[str, str], walked: dict[str, Walked], most: int) -> None:
        """Doom what was recently used, then what projects need, until what stays is small enough."""
        stays = _Total(walked[path] for path in kept)
        for reason in (BY_RUN, BY_PROJECT):
            for each in reversed(self.found.prefixes):
                age = self.now - each.used
                is_recent = age < max(self.limits.keep if self.limits.keeps_strictly else 0.0, _GRACE)
                if stays.bytes <= most:
                    return
                if kept.get(each.path) == reason and not is_recent and not walked[each.path].locked:
                    del kept[each.path]
                    doomed[each.path] = "the least recently used, and there is more than --size"
                    stays.remove(walked[each.path])
        if stays.bytes > most:
            said = "used too recently, in use, or have a name or a kernel"
            self.notes.append(f"{byte_size(stays.bytes)} stay, more than --size: those environments are {said}")

    def left_over(self) -> Iterable[str]:
        """The stages that no living process works on."""
        stages = os.path.join(self.found.home, ENVIRONMENTS, stage.STAGES)
        try:
            names = os.listdir(stages)
        except OSError:
            return
        for entry in sorted(names):
            place, _, kind = entry.rpartition(".")
            if kind != "lock" and not _is_being_made(os.path.join(self.found.home, ENVIRONMENTS, place)):
                yield os.path.join(stages, entry)

    def delete(self, each: Going) -> bool:
        """Delete an environment, or what was left of one, unless somebody uses it by now. Whether it is gone."""
        if each.kind == LEFTOVER:
            with suppress(OSError):
                stage.remove_dead(os.path.dirname(each.path))
            return not os.path.lexists(each.path)
        name = os.path.basename(each.path)
        if time.monotonic() - self.looked > _YOUNG:
            self.running, self.looked = used_by_processes(thorough=True), time.monotonic()
        if name in self.running:
            self.entered.add(each.path)
            return False
        if not evict(self.found.home, f"{ENVIRONMENTS}/{name}", is_wanted=lambda: last_used(each.path) > each.used):
            return False
        forget(each.path)
        return True

    def is_used_now(self, each: Going) -> bool:
        """Whether somebody began to use an environment after this began."""
        is_used = each.path in self.entered or last_used(each.path) > each.used
        return is_used or is_held(each.path) or _is_being_made(each.path)

    def sweep_notes(self) -> None:
        """Remove what is noted of prefixes that are gone, and of projects that were deleted and have none here."""
        for folder in (KEPT, SIZES):
            with suppress(OSError):
                for name in os.listdir(os.path.join(self.found.home, folder)):
                    self._sweep_note(os.path.join(self.found.home, folder, name))
        here = {":".join(ids) for ids in map(ids_of_prefix, prefixes_in(self.found.home)) if ids is not None}
        for project in self.found.needs.gone:
            if not here.intersection(project.environments):  # else it still tells whose they are
                with suppress(OSError):
                    os.unlink(project.note)

    def _sweep_note(self, note: str) -> None:
        name = os.path.basename(note).removeprefix(f"{ENVIRONMENTS}-").partition(".")[0]
        prefix = os.path.join(self.found.home, ENVIRONMENTS, name)
        with suppress(OSError):
            is_old = self.now - os.stat(note).st_mtime > _OLD_NOTE
            if ids_of_prefix(name) and is_old and not os.path.lexists(prefix):
                os.unlink(note)


class _Total:
    """The bytes of folders that share files, each file once."""

    def __init__(self, walked: Iterable[Walked]) -> None:
        self.bytes = 0
        self._files: dict[tuple[int, int], int] = {}
        for each in walked:
            self.bytes += each.own
            for key, (_, _, size) in each.links.items():
                folders = self._files.get(key, 0)
                self._files[key] = folders + 1
                self.bytes += 0 if folders else size

    def remove(self, walked: Walked) -> None:
        """Count without this folder."""
        self.bytes -= walked.own
        for key, (_, _, size) in walked.links.items():
            self._files[key] -= 1
            self.bytes -= 0 if self._files[key] else size


def _is_being_made(place: str) -> bool:
    """Whether a process makes or removes what belongs at a place now."""
    return is_held(stage.lock_of(place), exclusively=True)
