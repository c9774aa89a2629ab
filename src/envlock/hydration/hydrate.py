"""`hydrate(lock, source, home)`: make a prefix from a lock. This is the kernel, and it knows no project.

It stands on the lock, on an ArtifactSource, and on a folder: so a project's command, a remote node and any other host
can call it. What chooses the lock and the source is the caller's, such as `workflow/hydrate.py`.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress

from envlock.activation import RECEIPT
from envlock.errors import HydrateError
from envlock.files import sha256_of
from envlock.hydration.errors import (
    ChangedArtifact,
    ForeignArch,
    SystemNotMet,
    storage_error,
)
from envlock.hydration.machine_checks import unmet
from envlock.hydration.port import DEFAULT_OPTIONS, InstallOptions
from envlock.hydration.prefix import (
    Receipt,
    check_place,
    find_prefix,
    name_of,
    prefix_of,
    read_receipt,
    signature,
    write_receipt,
)
from envlock.interpreters import Interpreter
from envlock.model.arch import host_arch
from envlock.model.artifact import artifacts_of
from envlock.reporter import Reporter, watching
from envlock.stage import make_once
from metaflow_extensions.envlock.plugins.node.home import write_variables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from envlock.hydration.port import ArtifactSource, Installer, Pythons
    from envlock.model.lock import Lock, LockedPackage

_INSTALLING = "installing packages"
_FINISHING = "compiling bytecode and running link scripts"


def hydrate(
    lock: Lock,
    source: ArtifactSource,
    home: Path,
    *,
    pythons: Pythons | None = None,
    installer: Installer | None = None,
    options: InstallOptions = DEFAULT_OPTIONS,
    reporter: Reporter | None = None,
    force: bool = False,
    rebuild: bool = False,
) -> Path:
    """The prefix of a lock below `home`: the one that is there and whole, or one that is made now. Absolute.

    `pythons` and `installer` are by default envlock's own: LockedPythons, and what the lock needs of uv and py-rattler,
    with `options`. `force` goes on if the machine lacks what the lock requires; `rebuild` replaces a prefix that is
    whole, and unpacks its wheels again.

    Many processes and threads may call this at once: one makes the prefix, the others wait. A prefix whose interpreter
    is gone, or was replaced by a version that the lock does not allow, is made again. On failure nothing is left
    behind. Costs half a millisecond if the prefix is there. Raises HydrateError, DamageError if an artifact is not
    the one that was locked, UntrustedHome, and what `source` raises.
    """
    reporter = reporter or Reporter()
    if rebuild:
        from envlock.in_use import is_held

        if is_held(str(prefix_of(lock, home))):
            reporter.warned(f"{name_of(lock)} is in use, and its environment is replaced: restart what runs in it")
        _discard_receipt(prefix_of(lock, home))
    else:
        found = find_prefix(lock, home)
        if found is not None:
            return found
    check_machine(lock, home, reporter, force=force)
    if pythons is None:
        from envlock.hydration.pythons import LockedPythons

        pythons = LockedPythons(source, home, reporter)
    installer = installer or installer_for(lock, home, reporter, options._replace(unpack_again=rebuild))
    return _Hydration(lock, source, home, pythons, installer, reporter).run()


def installer_for(lock: Lock, home: Path, reporter: Reporter, options: InstallOptions) -> Installer:
    """py-rattler and uv if the lock's Python is a conda package, else uv alone."""
    if lock.python.source != "conda":
        from envlock.hydration.pypi_uv import UvInstaller

        return UvInstaller(reporter, options)
    from envlock.hydration.conda_rattler import CondaInstaller

    return CondaInstaller(home / "conda" / "packages", reporter, options)


def _discard_receipt(prefix: Path) -> None:
    """Make a prefix count as not whole, so that whoever needs it next replaces it. Raises HydrateError."""
    try:
        (prefix / RECEIPT).unlink(missing_ok=True)
    except NotADirectoryError:
        return
    except OSError as error:
        raise storage_error(error, prefix) from error


def check_machine(lock: Lock, home: Path, reporter: Reporter, *, force: bool) -> None:
    """Refuse a machine, or a home, that cannot have the environment of a lock. Warns of what `force` passes over.

    Raises ForeignArch, PrefixTooLong, UnfitPrefix, SystemNotMet.
    """
    host = host_arch()
    if lock.arch != host:
        raise ForeignArch(environment=name_of(lock), arch=lock.arch, host=host)
    check_place(lock, prefix_of(lock, home))
    lacking = unmet(lock)
    if lacking and not force:
        raise SystemNotMet(name_of(lock), lock.arch, lacking)
    for package, required, here in lacking:
        reporter.warned(f"{name_of(lock)} requires {package} {required}, and this machine has {here or 'none'}")


class _Hydration:
    """Makes one prefix that is not there, or not whole."""

    def __init__(
        self,
        lock: Lock,
        source: ArtifactSource,
        home: Path,
        pythons: Pythons,
        installer: Installer,
        reporter: Reporter,
    ) -> None:
        self.lock = lock
        self.source = source
        self.home = home
        self.pythons = pythons
        self.installer = installer
        self.reporter = reporter
        self.prefix = prefix_of(lock, home)
        self.files: Mapping[str, Path] = {}
        self.python: Interpreter | None = None
        self.came: set[str] = set()
        """The records of packages that were seen in the prefix."""

    def run(self) -> Path:
        self.reporter.began(self.phase, len(self.lock.packages), "packages")
        try:
            if make_once(self.prefix, is_whole=self.is_whole, build=self.build, seal=self.seal, waiting=self.waiting):
                self.reporter.advanced(self.phase, _FINISHING, len(self.lock.packages) - len(self.came))
        except OSError as error:
            raise storage_error(error, self.prefix.parent, self.files.values()) from error
        finally:
            self.reporter.ended(self.phase)
        return self.prefix

    @property
    def phase(self) -> str:
        """The name of this work in progress reports."""
        return f"hydrating {name_of(self.lock)}"

    def is_whole(self) -> bool:
        """Whether another process made the prefix meanwhile, or its interpreter is another one that the lock allows."""
        if find_prefix(self.lock, self.home) is not None:
            return True
        receipt = read_receipt(self.prefix)
        if receipt is None or not receipt.is_of(self.lock):
            return False
        python = self.pythons.still_serves(self.lock, receipt.interpreter.path)
        if python is None:
            self.reporter.noted(f"making {name_of(self.lock)} again: {receipt.python} is gone or no longer fits")
            return False
        write_receipt(self.prefix, self.receipt(python))
        return True

    def build(self, stage: Path) -> None:
        has_conda_python = self.lock.python.source == "conda"
        self.python = self.conda_python() if has_conda_python else self.pythons.provide(self.lock)
        packages = {package.sha256 for package in self.lock.packages}
        self.files = self.source.fetch([file for file in artifacts_of(self.lock) if file.sha256 in packages])
        with verified(self.lock, self.files), self.telling(stage):
            python = None if has_conda_python else self.python.path
            self.installer.install(self.lock, self.files, python, stage, self.prefix)

    @contextmanager
    def telling(self, stage: Path) -> Iterator[None]:
        """Report which packages are installed, while others are being installed."""
        records = dict(map(_record_of, self.lock.packages))

        def look() -> None:
            for record in _records_in(stage) & records.keys() - self.came:
                self.came.add(record)
                self.reporter.advanced(self.phase, records[record])

        self.reporter.doing(self.phase, _INSTALLING)
        with watching(look):
            yield
        look()
        self.reporter.advanced(self.phase, _INSTALLING, 0)
        self.reporter.doing(self.phase, _FINISHING)

    def conda_python(self) -> Interpreter:
        """The interpreter in the lock's own conda package, at its future path."""
        python = self.lock.python
        return Interpreter(self.prefix / "bin" / f"python{python.series}", python.version)

    def seal(self) -> None:
        assert self.python is not None
        self.installer.finish(self.lock, self.prefix)
        write_variables(str(self.prefix), self.lock.requirements.variables)
        write_receipt(self.prefix, self.receipt(self.python))

    def receipt(self, python: Interpreter) -> Receipt:
        return Receipt(
            req_id=self.lock.req_id,
            full_id=self.lock.full_id,
            arch=self.lock.arch,
            python=str(python.path),
            python_version=python.version,
            python_file=signature(python.path),
        )

    def waiting(self) -> None:
        self.reporter.noted(f"waiting for another process that is making the environment of {name_of(self.lock)}")


@contextmanager
def verified(lock: Lock, files: Mapping[str, Path]) -> Iterator[None]:
    """Say which package is not the one that was locked, if the body raises HydrateError because of that.

    The installers compare: uv each wheel when it unpacks it, and again after its file was changed; `envlock.conda` each
    conda package. Which of them was changed says more than what an installer makes of it, so all are hashed then.
    Raises ChangedArtifact for the first in the order of the lock.
    """
    try:
        yield
    except HydrateError:
        for package in lock.packages:
            path = files[package.sha256]
            found = _digest(path)
            if found != f"sha256 {package.sha256}":
                raise ChangedArtifact(
                    package.name, package.version, path, expected=package.sha256, found=found
                ) from None
        raise


def _digest(path: Path) -> str:
    try:
        return f"sha256 {sha256_of(path)}"
    except OSError as error:
        return f"nothing that can be read ({error.strerror})"


def _record_of(package: LockedPackage) -> tuple[str, str]:
    """The name of the record that an installer makes of a package once all of it is there, and what it is called."""
    called = f"{package.name} {package.version}"
    if package.kind == "conda":
        return f"{package.filename.removesuffix('.conda').removesuffix('.tar.bz2')}.json", called
    return f"{'-'.join(package.filename.split('-')[:2])}.dist-info", called


def _records_in(stage: Path) -> set[str]:
    """The names of the records that are in a prefix."""
    found: set[str] = set()
    for folder in (stage / "conda-meta", *stage.glob("lib/python*/site-packages")):
        with suppress(OSError):  # it comes later
            found.update(os.listdir(folder))  # noqa: PTH208  only names, and called often
    return found
