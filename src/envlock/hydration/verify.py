"""Verifying a prefix: each file is compared with what its installer recorded, and the packages with the lock.

The records are in the prefix itself: `conda-meta` for conda packages, a `RECORD` for each wheel. Bytecode is skipped:
Python writes it at any time, and itself makes sure that it belongs to its source.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from envlock.activation import RECEIPT
from envlock.files import MEMO_BYTES, json_of, read_file, sha256_of
from envlock.hydration.installed import UNREADABLE, Claim, Package, installed, is_same_version
from envlock.hydration.prefix import Receipt, name_of, read_receipt
from envlock.interpreters import version_of
from envlock.reporter import Reporter
from metaflow_extensions.envlock.plugins.node.home import variables_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from envlock.hydration.installed import Installed
    from envlock.model.lock import Lock

_MOST_THREADS = 8
_MODULES = (".py", ".pth", ".so", ".dylib", ".pyc")
_OF_ACTIVATION = "etc/conda/*.d/*"
_MISSING = "it is not there"
_NO_PACKAGE = Package("", "", "", "")
_OF_UV = ("_virtualenv.py", "_virtualenv.pth")  # in every virtual environment that uv makes


@dataclass(frozen=True)
class PrefixFinding:
    """One difference between a prefix and what was installed."""

    verdict: str
    """For a file: `changed`, `missing`, `unexpected`; for a package: `not-installed`, `not-locked`, `other-package`;
    for the prefix: `interpreter`."""
    path: str
    """Below the prefix."""
    package: Package
    """The one that the file belongs to; without a name if there is none."""
    reason: str


@dataclass(frozen=True)
class VerifiedPrefix:
    """What was verified in one prefix, and what differs."""

    prefix: Path
    files: int
    findings: tuple[PrefixFinding, ...]
    """By package, then by path."""


def verify_prefix(
    lock: Lock, prefix: Path, reporter: Reporter | None = None, *, unexpected: bool = False
) -> VerifiedPrefix:
    """Compare a prefix with what was installed, and that with the lock. Reads every file once.

    `unexpected` also finds modules and activation scripts that belong to no package.
    """
    reporter = reporter or Reporter()
    found = installed(prefix)
    findings = [*_packages(lock, found), *_interpreter(lock, prefix), *_variables(lock, prefix)]
    findings += _files(prefix, found.claims, reporter, f"verifying {name_of(lock)}")
    if unexpected:
        findings += _unexpected(prefix, found)
    findings.sort(key=lambda each: (each.package.name == "", each.package, each.path, each.verdict))
    return VerifiedPrefix(prefix, len(found.claims), tuple(findings))


def _packages(lock: Lock, found: Installed) -> Iterator[PrefixFinding]:
    """Compare the installed packages with the locked ones."""
    locked = {(each.kind, each.name): each for each in lock.packages}
    for key, (package, record, sha256) in found.packages.items():
        wanted = locked.get(key)
        if wanted is None:
            yield PrefixFinding("not-locked", record, package, "it is not in the lock: somebody installed it later")
        elif not is_same_version(package.version, wanted.version):
            reason = f"it is version {package.version}, and {wanted.version} is locked"
            yield PrefixFinding("other-package", record, package, reason)
        elif sha256 and sha256 != wanted.sha256:
            reason = f"it was linked from an archive with sha256 {sha256}, and {wanted.sha256} is locked"
            yield PrefixFinding("other-package", record, package, reason)
    for key, wanted in locked.items():
        if key not in found.packages:
            kind = "conda" if wanted.kind == "conda" else "wheel"
            package = Package(wanted.name, wanted.version, wanted.build, kind)
            yield PrefixFinding("not-installed", "", package, "the environment has no record of it")


def _interpreter(lock: Lock, prefix: Path) -> Iterator[PrefixFinding]:
    receipt = read_receipt(prefix)
    if receipt is None or not receipt.is_of(lock):
        yield PrefixFinding("interpreter", RECEIPT, _NO_PACKAGE, "its receipt is of another environment")
        return
    reason = _wrong_with_python(receipt, prefix)
    if reason:
        yield PrefixFinding("interpreter", "bin/python", _NO_PACKAGE, reason)


def _variables(lock: Lock, prefix: Path) -> Iterator[PrefixFinding]:
    path = variables_file(str(prefix))
    verdict, found = "changed", None
    try:
        found = json_of(read_file(path, MEMO_BYTES))["env_vars"]
    except FileNotFoundError:
        verdict, found = "missing", {}
    except (OSError, ValueError, TypeError, KeyError):
        pass  # it is no file of variables
    if found != dict(lock.requirements.variables):
        reason = "it does not set the variables that are locked"
        yield PrefixFinding(verdict, os.path.relpath(path, prefix), _NO_PACKAGE, reason)


def _wrong_with_python(receipt: Receipt, prefix: Path) -> str:
    python = receipt.interpreter.path
    if not python.exists():
        return f"the interpreter that it was made from is gone: {python}"
    if not receipt.python_is_unchanged:
        version = version_of(python)
        if version is None or version.split(".")[:2] != receipt.python_version.split(".")[:2]:
            return f"{python} was Python {receipt.python_version} when it was made, and is {version or 'none'} now"
    if not os.path.exists(prefix / "bin" / "python"):  # noqa: PTH110
        return _MISSING
    own = os.path.realpath(prefix / "bin" / "python")
    if own != os.path.realpath(python):
        return f"it is {own}, and the environment was made from {python}"
    if not python.is_relative_to(prefix) and not (prefix / "pyvenv.cfg").is_file():
        return "pyvenv.cfg is missing, so this Python does not use the environment"
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


def _wrong_with(path: str, claim: Claim) -> str:
    """How a file differs from its package's record; empty if it does not."""
    try:
        if claim.sha256 == UNREADABLE:
            return "nobody can tell what was installed: its RECORD is damaged"
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
        return "no file can have this name"
    return "" if found == claim.sha256 else f"sha256 {found}, installed was {claim.sha256}"


def _wrong_with_link(path: str, claim: Claim) -> str:
    if not os.path.lexists(path):
        return _MISSING
    if not os.path.islink(path):  # noqa: PTH114
        return "it was a link, and is not one now"
    target = os.readlink(path)  # noqa: PTH115
    if claim.sha256 and hashlib.sha256(os.fsencode(target)).hexdigest() != claim.sha256:
        return f"it leads to {target}, and led elsewhere when it was installed"
    return ""


def _sha256(path: str) -> str:
    from pathlib import Path

    return sha256_of(Path(path))


def _unexpected(prefix: Path, found: Installed) -> Iterator[PrefixFinding]:
    """Files that Python would import, or activation would run, and that belong to no package."""
    reason = "it belongs to no package of the environment"
    for site in prefix.glob("lib/python*"):
        for folder, folders, names in os.walk(site):
            folders[:] = [each for each in folders if each != "__pycache__"]
            for name in names:
                path = os.path.relpath(f"{folder}/{name}", prefix)
                if name.endswith(_MODULES) and path not in found.claims and not _is_uvs(path):
                    yield PrefixFinding("unexpected", path, _NO_PACKAGE, reason)
    for script in sorted(prefix.glob(_OF_ACTIVATION)):
        path = os.path.relpath(script, prefix)
        if path not in found.claims:
            yield PrefixFinding("unexpected", path, _NO_PACKAGE, reason)


def _is_uvs(path: str) -> bool:
    folder, name = os.path.split(path)
    return name in _OF_UV and os.path.basename(folder) == "site-packages"  # noqa: PTH119
