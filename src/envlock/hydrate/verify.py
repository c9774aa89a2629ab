"""Proving a prefix: every file that a package brought is compared with what was installed.

What was installed is written down in the prefix itself, by those who installed it: for conda packages in `conda-meta`,
for wheels in each `RECORD`. That these are the packages that were locked is proved too. Bytecode is passed over: Python
writes it as it likes, and makes sure that it is of its source.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from envlock.files import sha256_of
from envlock.hydrate.installed import UNREADABLE, Claim, Package, installed
from envlock.hydrate.prefix import RECEIPT, Receipt, name_of, read_receipt
from envlock.interpreters import version_of
from envlock.reporter import Reporter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from envlock.hydrate.installed import Installed
    from envlock.model.lock import Lock

_MOST_THREADS = 8
_MODULES = (".py", ".pth", ".so", ".dylib", ".pyc")
_OF_ACTIVATION = "etc/conda/*.d/*"
_OF_NOBODY = Package("", "", "", "")
_OF_UV = ("_virtualenv.py", "_virtualenv.pth")  # in every virtual environment that uv makes


@dataclass(frozen=True)
class PrefixFinding:
    """One thing in a prefix that is not as it was installed."""

    verdict: str
    """Of a file: `changed`, `missing`, `unexpected`; of a package: `not-installed`, `not-locked`, `other-package`; of
    the whole: `interpreter`."""
    path: str
    """Below the prefix."""
    package: Package
    """The one that the file belongs to; without a name where it belongs to none."""
    reason: str


@dataclass(frozen=True)
class VerifiedPrefix:
    """What was compared in one prefix, and what is wrong with it."""

    prefix: Path
    files: int
    findings: tuple[PrefixFinding, ...]
    """By package, then by path."""


def verify_prefix(
    lock: Lock, prefix: Path, reporter: Reporter | None = None, *, unexpected: bool = False
) -> VerifiedPrefix:
    """Compare all of a whole prefix with what was installed, and that with the lock. Reads every file once.

    `unexpected` also finds modules and activation scripts that no package brought.
    """
    reporter = reporter or Reporter()
    found = installed(prefix)
    findings = [*_packages(lock, found), *_interpreter(lock, prefix)]
    findings += _files(prefix, found.claims, reporter, f"verify {name_of(lock)}")
    if unexpected:
        findings += _unexpected(prefix, found)
    findings.sort(key=lambda each: (each.package.name == "", each.package, each.path, each.verdict))
    return VerifiedPrefix(prefix, len(found.claims), tuple(findings))


def _packages(lock: Lock, found: Installed) -> Iterator[PrefixFinding]:
    """Whether the packages that say they are here are those that were locked."""
    locked = {(each.kind, each.name): each for each in lock.packages}
    for key, (package, record, sha256) in found.packages.items():
        wanted = locked.get(key)
        if wanted is None:
            yield PrefixFinding("not-locked", record, package, "it is not in the lock: it was put there since")
        elif not _is_same(package.version, wanted.version):
            reason = f"it is version {package.version}, and {wanted.version} is locked"
            yield PrefixFinding("other-package", record, package, reason)
        elif sha256 and sha256 != wanted.sha256:
            reason = f"it was linked from an archive with sha256 {sha256}, and {wanted.sha256} is locked"
            yield PrefixFinding("other-package", record, package, reason)
    for key, wanted in locked.items():
        if key not in found.packages:
            kind = "conda" if wanted.kind == "conda" else "wheel"
            package = Package(wanted.name, wanted.version, wanted.build, kind)
            yield PrefixFinding("not-installed", "", package, "nothing in the environment says that it is there")


def _is_same(one: str, other: str) -> bool:
    if one == other:
        return True
    from packaging.version import InvalidVersion, Version

    try:
        return Version(one) == Version(other)
    except InvalidVersion:
        return False


def _interpreter(lock: Lock, prefix: Path) -> Iterator[PrefixFinding]:
    receipt = read_receipt(prefix)
    if receipt is None or not receipt.is_of(lock):
        yield PrefixFinding("interpreter", RECEIPT, _OF_NOBODY, "its receipt is of another environment")
        return
    reason = _wrong_with_python(receipt, prefix)
    if reason:
        yield PrefixFinding("interpreter", "bin/python", _OF_NOBODY, reason)


def _wrong_with_python(receipt: Receipt, prefix: Path) -> str:
    python = receipt.interpreter.path
    if not python.exists():
        return f"the interpreter that it was made of is gone: {python}"
    if not receipt.python_is_unchanged:
        version = version_of(python)
        if version is None or version.split(".")[:2] != receipt.python_version.split(".")[:2]:
            return f"{python} was Python {receipt.python_version} when it was made, and is {version or 'none'} now"
    if not os.path.exists(prefix / "bin" / "python"):  # noqa: PTH110
        return "it is not there"
    own = os.path.realpath(prefix / "bin" / "python")
    if own != os.path.realpath(python):
        return f"it is {own}, and the environment was made of {python}"
    if not python.is_relative_to(prefix) and not (prefix / "pyvenv.cfg").is_file():
        return "pyvenv.cfg is missing, which makes it the environment's own"
    return ""


def _files(prefix: Path, claims: Mapping[str, Claim], reporter: Reporter, phase: str) -> Iterator[PrefixFinding]:
    reporter.began(phase, len(claims), "files")
    # More threads than processors wait for the disk; hashing lets the others run.
    with ThreadPoolExecutor(min(_MOST_THREADS, (os.cpu_count() or 1) * 2)) as pool:
        wrong = pool.map(lambda item: _wrong_with(f"{prefix}/{item[0]}", item[1]), claims.items(), chunksize=32)
        for (path, claim), reason in zip(claims.items(), wrong, strict=True):
            reporter.advanced(phase, path)
            if reason:
                verdict = "missing" if reason == _MISSING else "changed"
                yield PrefixFinding(verdict, path, claim.package, reason)
    reporter.ended(phase)


_MISSING = "it is not there"


def _wrong_with(path: str, claim: Claim) -> str:
    """What a file is not that its package says; empty where all is well."""
    try:
        if claim.sha256 == UNREADABLE:
            return "what was installed is no longer told: its RECORD is damaged"
        if claim.is_link:
            return _wrong_with_link(path, claim)
        if not claim.sha256:
            return "" if os.path.exists(path) else _MISSING  # noqa: PTH110
        found = _sha256(path)
    except (FileNotFoundError, NotADirectoryError):
        return _MISSING
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    except ValueError:
        return "no file can be called that"
    return "" if found == claim.sha256 else f"sha256 {found}, installed was {claim.sha256}"


def _wrong_with_link(path: str, claim: Claim) -> str:
    if not os.path.lexists(path):
        return _MISSING
    if not os.path.islink(path):  # noqa: PTH114
        return "it was a link, and is none now"
    target = os.readlink(path)  # noqa: PTH115
    if claim.sha256 and hashlib.sha256(os.fsencode(target)).hexdigest() != claim.sha256:
        return f"it leads to {target}, and did not when it was installed"
    return ""


def _sha256(path: str) -> str:
    from pathlib import Path

    return sha256_of(Path(path))


def _unexpected(prefix: Path, found: Installed) -> Iterator[PrefixFinding]:
    """What Python would import, or activation would read, and no package brought."""
    reason = "no package of the environment brought it"
    for site in prefix.glob("lib/python*"):
        for folder, folders, names in os.walk(site):
            folders[:] = [each for each in folders if each != "__pycache__"]
            for name in names:
                path = os.path.relpath(f"{folder}/{name}", prefix)
                if name.endswith(_MODULES) and path not in found.claims and not _is_uvs(path):
                    yield PrefixFinding("unexpected", path, _OF_NOBODY, reason)
    for script in sorted(prefix.glob(_OF_ACTIVATION)):
        path = os.path.relpath(script, prefix)
        if path not in found.claims:
            yield PrefixFinding("unexpected", path, _OF_NOBODY, reason)


def _is_uvs(path: str) -> bool:
    folder, name = os.path.split(path)
    return name in _OF_UV and os.path.basename(folder) == "site-packages"  # noqa: PTH119
