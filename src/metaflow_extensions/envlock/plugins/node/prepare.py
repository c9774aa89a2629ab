"""`prepare`: the environment of a step on this node: the one that the image brings, one that is kept, or a new one.

If it is there, this reads a few small files, imports no Metaflow and uses no network. Of many tasks that want it at
once, one makes it, and the others wait without having read the plan.
"""

from __future__ import annotations

import contextlib
import os
import time

from . import home as homes
from . import stage
from .errors import DiskFull, Misconfigured, NodeError
from .kept import Kept, is_due, make_room
from .machine import check, node_arch
from .manifest import PATHSPEC_VARIABLE, Reference, Target
from .report import QUIET_SECONDS
from .values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Mapping

    from .make import Filling
    from .manifest import Manifest
    from .plan import Plan
    from .report import Reporter

_ATTEMPTS = 3


class Entered(NamedTuple):
    """An environment that is there, and stays as long as its lock is held."""

    prefix: str
    python: str
    """Its interpreter, by the path that makes it the environment's."""
    target: Target
    lock: int | None
    """A descriptor that holds a shared lock of the prefix. None if nothing removes the prefix anyway."""


def prepare(manifest: Manifest, step: str, environ: Mapping[str, str], reporter: Reporter) -> Entered | None:
    """The environment of a step, made if it is not on this node; None if the step is disabled.

    `environ` are the task's variables; the working folder is the task's. Raises NodeError.
    """
    entry = manifest.entry(step)
    if entry is None:
        return None
    work = Preparing(manifest, step, environ, reporter)
    target = work.look_up(entry) if isinstance(entry, Reference) else entry
    here = node_arch()
    if target.arch != here:
        raise Misconfigured(
            "%s/%s is deployed for %s, and this node is %s: run it on %s, or lock it for %s and deploy it again"
            % (manifest.flow, step, target.arch, here, target.arch, here)
        )
    # What this makes is closed to others, whatever the image's umask is.
    umask = os.umask(0o022)
    os.umask(umask | 0o022)
    try:
        entered = work.find(target) or work.make(target)
        work.write_record(entered)
    finally:
        os.umask(umask)
    return entered


class Preparing:
    """The work for one task."""

    def __init__(self, manifest: Manifest, step: str, environ: Mapping[str, str], reporter: Reporter) -> None:
        self.manifest = manifest
        self.step = step
        self.environ = environ
        self.reporter = reporter
        self.folder = os.getcwd()
        self._transport: Any = None

    @property
    def transport(self) -> Any:
        """The cache, which costs importing a client, once."""
        if self._transport is None:
            from .transport import open_transport

            self._transport = open_transport(self.manifest)
            self._transport.waiting = self.reporter.waiting
        return self._transport

    def look_up(self, reference: Reference) -> Target:
        """The environment that a reference names now."""
        from .names import look_up

        return look_up(self.manifest, reference, self.step, self.transport, self.environ)

    def write_record(self, entered: Entered) -> None:
        """Write down in the cache what the step runs in, if this process has opened it. Else the task does."""
        pathspec = self.environ.get(PATHSPEC_VARIABLE)
        if self._transport is not None and pathspec:
            from .record import write_once

            write_once(lambda: self._transport, entered.target, pathspec, entered.prefix)

    def find(self, target: Target) -> Entered | None:
        """The environment, if the image brings it or a home keeps it, whole."""
        brought = homes.prebuilt(self.environ, target)
        if brought is not None:
            receipt = homes.Receipt.read(brought)
            python = os.path.join(brought, "bin", "python")
            is_there = receipt is not None and os.access(python, os.X_OK)
            if is_there and (receipt.is_unchanged or _is_of(_version_of(python), receipt.version)):
                prefix = self._by_its_name(brought, target)
                return Entered(prefix, os.path.join(prefix, "bin", "python"), target, None)
            self.reporter.said("%s is not used: it is not whole, or its Python is not in this image" % brought)
        for home in homes.homes(self.environ, self.folder):
            found = whole(home, target, self.manifest, self.environ)
            if found is not None:
                return found
        return None

    def _by_its_name(self, prefix: str, target: Target) -> str:
        """A path of a prefix by which a process can tell what environment it is in, and a shell starts its programs."""
        name = homes.name_of(target)
        if os.path.basename(prefix) == name and not _unfit(prefix):
            return prefix
        link = os.path.join(self.folder, homes.OWN_FOLDER, name)
        if _unfit(link):
            text = "%s cannot be used from %s, because of %r in their paths: have it at a path such as /opt/envlock"
            raise homes.Unusable(text % (prefix, self.folder, _unfit(link)))
        try:
            os.makedirs(os.path.dirname(link), exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.symlink(prefix, link)
        except OSError as error:
            raise homes.storage_error(error, os.path.dirname(link)) from None
        return link

    def make(self, target: Target) -> Entered:
        """Make the environment in the first home that will do."""
        failures: list[NodeError] = []
        for home in homes.homes(self.environ, self.folder):
            if failures:
                self.reporter.said("%s; trying %s" % (failures[-1], home))
            try:
                homes.make_usable(home)
                return Making(self, target, home).run()
            except homes.InUse:
                failures.append(
                    NodeError(
                        "%s was made from another image's Python, and running tasks use it: set %s to another folder, "
                        'or `remote-python = "kit"` in envlock.toml'
                        % (homes.prefix_in(home, target), homes.HOME_VARIABLE)
                    )
                )
            except (DiskFull, homes.Unusable) as error:
                failures.append(error)
            except OSError as error:
                failures.append(homes.storage_error(error, home))
            self._transport = None  # fetching that failed has stopped it
        raise failures[-1]


class Making:
    """Makes one environment in one home, or waits until another process has made it.

    Who waits has imported nothing of what making takes, which costs as much as all that it does itself.
    """

    def __init__(self, preparing: Preparing, target: Target, home: str) -> None:
        self._preparing = preparing
        self._manifest = preparing.manifest
        self._reporter = preparing.reporter
        self._environ = preparing.environ
        self._target = target
        self._home = home
        self._prefix = homes.prefix_in(home, target)
        self._known_filling: Filling | None = None
        self._entered: Entered | None = None
        self._claim: int | None = None
        self._waits_since: float | None = None

    def run(self) -> Entered:
        """The environment, made by this process or by another. Raises NodeError, InUse, OSError."""
        for _ in range(_ATTEMPTS):  # others may remove what was just made
            try:
                made = stage.make_once(
                    self._prefix,
                    is_whole=self._is_whole,
                    build=self._fill,
                    found=self._is_found,
                    seal=self._seal,
                    waiting=self._wait,
                    clear=stage.remove_in_background,
                )
            finally:
                if self._claim is not None:
                    os.close(self._claim)
                    self._claim = None
            if not made and self._entered is not None:
                return self._entered
            lock = homes.hold(self._prefix)
            if lock is not None:
                make_room(self._home, self._manifest.keep)
                if self._reporter.seconds > QUIET_SECONDS:
                    name = "%s/%s" % (self._manifest.flow, self._preparing.step)
                    self._reporter.said("the environment of %s is ready (%.1f s)" % (name, self._reporter.seconds))
                return Entered(self._prefix, os.path.join(self._prefix, "bin", "python"), self._target, lock)
        text = "%s was removed each time that it was made: set %s to another folder"
        raise NodeError(text % (self._prefix, homes.HOME_VARIABLE))

    @property
    def _filling(self) -> Filling:
        if self._known_filling is None:
            from .make import Filling

            self._known_filling = Filling(self._preparing, self._target, self._home)
        return self._known_filling

    def _planned(self) -> Plan:
        return self._filling.planned()

    def _fill(self, new: str) -> None:
        self._filling.fill(new)

    def _seal(self) -> None:
        self._filling.seal()

    def _wait(self) -> None:
        self._waits_since = time.time()
        self._reporter.said("waiting for another task that is making the environment")

    def _is_found(self) -> bool:
        self._entered = whole(self._home, self._target, self._manifest, self._environ)
        return self._entered is not None

    def _is_whole(self) -> bool:
        self._entered = whole(self._home, self._target, self._manifest, self._environ, self._reporter, self._planned)
        if self._entered is None:
            if self._waits_since is not None:
                reason = Kept(self._home, homes.place_of(self._target)).failure(self._waits_since)
                if reason:
                    raise NodeError("another task on this node could not make the environment either: %s" % reason)
            self._claim = homes.claim(self._prefix)  # what a task uses is not replaced
        return self._entered is not None


def _unfit(path: str) -> str:
    return homes.unfit_characters(path, conda=False) + homes.unquotable(path)


def whole(
    home: str,
    target: Target,
    manifest: Manifest,
    environ: Mapping[str, str],
    reporter: Reporter | None = None,
    plan: Callable[[], Plan] | None = None,
) -> Entered | None:
    """The environment that is kept in a home, with its lock; None if there is none, or it is not whole.

    If its interpreter was replaced by one of another version, `plan` tells whether that will do; without a plan it
    will not. `reporter` hears why one is not used. Raises Misconfigured if this image lacks what it requires.
    """
    prefix = homes.prefix_in(home, target)
    try:
        folders = home, os.path.dirname(prefix), prefix
        if homes.Receipt.read(prefix) is None or any(map(homes.distrust, folders)):
            return None
    except OSError:  # it was removed just now
        return None
    lock = homes.hold(prefix)
    if lock is None:
        return None
    try:
        check(Kept(home, homes.place_of(target)).summary().get("system", ()), target.arch)
        reason = _not_whole(home, prefix, target, environ, plan) or _made_otherwise(home, prefix, target, manifest)
    except BaseException:
        os.close(lock)
        raise
    if reason:
        os.close(lock)
        if reporter is not None:
            reporter.said("the environment in %s is made again: %s" % (prefix, reason))
        return None
    Kept(home, homes.place_of(target)).used()
    return Entered(prefix, os.path.join(prefix, "bin", "python"), target, lock)


def _not_whole(
    home: str, prefix: str, target: Target, environ: Mapping[str, str], plan: Callable[[], Plan] | None
) -> str:
    """Why a prefix whose lock is held is not whole; empty if it is."""
    receipt = homes.Receipt.read(prefix)
    if receipt is None or receipt.identity != target[:3]:
        return "it is not whole"
    if not receipt.is_unchanged:
        version = _version_of(receipt.python)
        serves = version == receipt.version or (plan is not None and _is_in_ranges(version, plan()))
        if not serves:
            return "its Python, %s, is gone or another one" % receipt.python
        with contextlib.suppress(OSError):
            homes.Receipt(target, receipt.python, version).write(prefix)
    if not os.access(os.path.join(prefix, "bin", "python"), os.X_OK):
        return "it has no bin/python"
    kept = Kept(home, homes.place_of(target))
    thorough = is_due(kept, environ)
    damaged = kept.damage(thorough)
    for place in kept.summary().get("uses", ()) if thorough else ():  # its Python
        damaged = damaged or Kept(home, place).damage(thorough=True)
    return "%s is not as it was installed" % damaged if damaged else ""


def _made_otherwise(home: str, prefix: str, target: Target, manifest: Manifest) -> str:
    """What the manifest says of nodes, and the ids do not, and was not so when a prefix was made; empty if all was."""
    summary = Kept(home, homes.place_of(target)).summary()
    if not summary:
        return ""
    scripts = summary.get("scripts")
    if scripts is None:  # the wheels' own Python
        is_of_image = manifest.python == "kit" and not summary["uses"]
        return "its Python is the image's, and the flow wants the kit's" if is_of_image else ""
    for name in manifest.link_scripts:
        if name not in scripts and os.path.exists(os.path.join(prefix, "bin", ".%s-post-link.sh" % name)):
            return "the link script of %s was not allowed when it was made" % name
    return ""


def _is_of(version: str, wanted: str) -> bool:
    """Whether a release is the wanted one, or of the wanted series, where an image's receipt tells no more."""
    return version == wanted or (wanted.count(".") == 1 and version.startswith("%s." % wanted))


def _version_of(python: str) -> str:
    from .pythons import version_of

    return version_of(python)


def _is_in_ranges(version: str, plan: Plan) -> bool:
    from .pythons import in_ranges

    return in_ranges(version, plan.python)
