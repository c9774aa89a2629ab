"""The life of one prefix: found whole, or made beside its place and renamed in.

A prefix is `metaflow_<req_id>_<full_id>`. It counts only with its marker, which is written last.
"""

from __future__ import annotations

import os
import unicodedata
from typing import TYPE_CHECKING

from envlock.activation_errors import UnfitPrefix
from envlock.errors import HydrateError
from envlock.hydrate.errors import ForeignArch, PrefixTooLong, SystemNotMet, storage_error
from envlock.hydrate.marker import Marker, find, read_marker, signature, write_marker
from envlock.hydrate.proof import Proof
from envlock.hydrate.stage import make_once
from envlock.hydrate.system import unmet
from envlock.interpreters import Interpreter
from envlock.model.arch import host_arch
from envlock.model.artifact import artifacts_of
from envlock.reporter import Reporter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from envlock.hydrate.port import ArtifactSource, Installer, Pythons
    from envlock.model.lock import Lock


LONGEST_PREFIX = 255
"""Bytes: what binaries of conda packages have room for, where they name their own prefix."""

_UNFIT_FOR_CONDA = "\"'`$\\"
"""What ends a path too early in what conda packages write it into: shell scripts, and Python's own configuration."""


def ensure(
    lock: Lock,
    *,
    environments: Path,
    source: ArtifactSource,
    installer: Installer,
    pythons: Pythons,
    reporter: Reporter,
    force: bool = False,
) -> Path:
    """The prefix of a lock: the one that is there and whole, else made now. Absolute.

    Many processes may ask for it at once: one makes it, the others wait. A prefix whose interpreter is gone, or was
    replaced by one that the lock does not allow, is made anew. A machine that lacks what the lock asks for is refused
    before anything is done, unless `force`. Raises HydrateError, and DamageError where an artifact is not what was
    locked; nothing is left behind then.
    """
    found = find(lock, environments)
    if found is not None:
        return found
    host = host_arch()
    if lock.arch != host:
        raise ForeignArch(name_of(lock), lock.arch, host)
    _check_machine(lock, environments / lock.prefix_name, reporter, force=force)
    return _Making(lock, environments, source, installer, pythons, reporter).run()


def name_of(lock: Lock) -> str:
    """What a lock's environment is called in messages: the first step or table that asked for it."""
    return lock.asked_by[0] if lock.asked_by else lock.full_id


def _check_machine(lock: Lock, prefix: Path, reporter: Reporter, *, force: bool) -> None:
    """Whether the environment can be made here and will run, as far as can be told before the work."""
    length = len(os.fsencode(prefix))
    if lock.conda_packages and length > LONGEST_PREFIX:
        raise PrefixTooLong(str(prefix), length, LONGEST_PREFIX)
    unfit = _UNFIT_FOR_CONDA if lock.conda_packages else ""
    found = [
        each
        for each in dict.fromkeys(str(prefix))
        if each in unfit or each == ":" or unicodedata.category(each) == "Cc"
    ]
    if found:
        raise UnfitPrefix(str(prefix), "".join(found))
    lacking = unmet(lock)
    if lacking and not force:
        raise SystemNotMet(name_of(lock), lock.arch, lacking)
    for package, asked, here in lacking:
        reporter.warned(f"{name_of(lock)} is made though it asks for {package} {asked}; here: {here or 'none'}")


class _Making:
    """One call that found no whole prefix."""

    def __init__(
        self,
        lock: Lock,
        environments: Path,
        source: ArtifactSource,
        installer: Installer,
        pythons: Pythons,
        reporter: Reporter,
    ) -> None:
        self.lock = lock
        self.environments = environments
        self.prefix = environments / lock.prefix_name
        self.source = source
        self.installer = installer
        self.pythons = pythons
        self.reporter = reporter
        self.files: Mapping[str, Path] = {}
        self.python: Interpreter | None = None

    def run(self) -> Path:
        phase = f"hydrate {name_of(self.lock)}"
        self.reporter.began(phase, len(self.lock.packages), "packages")
        try:
            if make_once(self.prefix, is_whole=self.is_whole, build=self.build, seal=self.seal, waiting=self.waiting):
                self.reporter.advanced(phase, self.prefix.name, len(self.lock.packages))
        except OSError as error:
            raise storage_error(error, self.environments, self.files.values()) from error
        finally:
            self.reporter.ended(phase)
        return self.prefix

    def is_whole(self) -> bool:
        """Whether another process made it meanwhile, or its interpreter changed in a way that the lock allows."""
        if find(self.lock, self.environments) is not None:
            return True
        marker = read_marker(self.prefix)
        if marker is None or not marker.is_of(self.lock):
            return False
        python = self.pythons.still_serves(self.lock, marker.interpreter.path)
        if python is None:
            self.reporter.noted(f"{marker.python} is gone or no longer fits: {name_of(self.lock)} is made anew")
            return False
        write_marker(self.prefix, self.marker(python))
        return True

    def build(self, stage: Path) -> None:
        is_inside = self.lock.python.source == "conda"
        self.python = self.python_inside() if is_inside else self.pythons.provide(self.lock)
        packages = {package.sha256 for package in self.lock.packages}
        self.files = self.source.fetch([file for file in artifacts_of(self.lock) if file.sha256 in packages])
        proof = Proof(self.lock, self.files)
        try:
            python = None if is_inside else self.python.path
            self.installer.install(self.lock, self.files, python, stage, self.prefix)
        except HydrateError:
            proof.check()  # that a file was changed says more than what the installer makes of it
            raise
        proof.check()

    def python_inside(self) -> Interpreter:
        """The interpreter of a lock whose Python is one of its packages, where it will be."""
        python = self.lock.python
        return Interpreter(self.prefix / "bin" / f"python{python.series}", python.version)

    def seal(self) -> None:
        assert self.python is not None
        self.installer.finish(self.lock, self.prefix)
        write_marker(self.prefix, self.marker(self.python))

    def marker(self, python: Interpreter) -> Marker:
        return Marker(
            req_id=self.lock.req_id,
            full_id=self.lock.full_id,
            arch=self.lock.arch,
            python=str(python.path),
            python_version=python.version,
            python_file=signature(python.path),
        )

    def waiting(self) -> None:
        self.reporter.noted(f"waiting for another process, which makes the environment of {name_of(self.lock)}")
