"""A prefix on this machine: where it is, and its receipt, the file that makes it count as whole.

A prefix is `environments/metaflow_<req_id>_<full_id>` in a home. Its receipt is written last, so a prefix without one
is what a killed process left, and is made again.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from envlock import __version__
from envlock.activation import RECEIPT
from envlock.files import MEMO_BYTES, json_of, read_file, write_atomically
from envlock.interpreters import Interpreter
from envlock.places import trusted
from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envlock.model.lock import Lock


class Receipt(NamedTuple):
    """What a prefix was made from."""

    req_id: str
    full_id: str
    arch: str
    python: str
    """The absolute path of the interpreter."""
    python_version: str
    python_file: tuple[int, ...]
    """mtime, size and inode of the interpreter: while they stay the same, so does its version."""
    envlock: str = __version__

    @property
    def interpreter(self) -> Interpreter:
        """The interpreter that the prefix was made from."""
        return Interpreter(Path(self.python), self.python_version)

    def is_of(self, lock: Lock) -> bool:
        """Whether the prefix was made from this lock."""
        return (self.req_id, self.full_id, self.arch) == (lock.req_id, lock.full_id, lock.arch)

    @property
    def python_is_unchanged(self) -> bool:
        """Whether the interpreter is still the same file. Costs one `stat`."""
        return bool(self.python_file) and signature(Path(self.python)) == self.python_file


def prefix_of(lock: Lock, home: Path) -> Path:
    """Where the prefix of a lock belongs, whether or not it is there."""
    return home / "environments" / lock.prefix_name


def check_place(lock: Lock, prefix: Path) -> None:
    """Refuse a place where the environment of a lock would not work. Raises PrefixTooLong, UnfitPrefix."""
    from envlock.hydration.errors import PrefixTooLong, UnfitPrefix
    from metaflow_extensions.envlock.plugins.node.home import LONGEST_PREFIX, unfit_characters

    length = len(os.fsencode(prefix))
    if lock.conda_packages and length > LONGEST_PREFIX:
        raise PrefixTooLong(str(prefix), length, LONGEST_PREFIX)
    unfit = unfit_characters(str(prefix), conda=bool(lock.conda_packages))
    if unfit:
        raise UnfitPrefix(str(prefix), unfit)


def find_prefix(lock: Lock, home: Path) -> Path | None:
    """The prefix of a lock, if it is whole and its interpreter is unchanged; else None.

    Reads one small file and stats another. Never waits, never writes. Raises UntrustedHome if others may have written
    into the prefix.
    """
    prefix = prefix_of(lock, home)
    receipt = read_receipt(prefix)
    if receipt is None:
        return None
    trusted(prefix)
    return prefix if receipt.is_of(lock) and receipt.python_is_unchanged else None


def name_of(lock: Lock) -> str:
    """What messages call the environment of a lock: the first step or table that it was locked for."""
    return lock.asked_by[0] if lock.asked_by else lock.full_id


def signature(path: Path) -> tuple[int, ...]:
    """mtime, size and inode of a file; empty if there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116  pathlib's own raises for less
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_size, status.st_ino


def read_receipt(prefix: Path) -> Receipt | None:
    """The receipt of a prefix; None if there is none, or it is not valid."""
    try:
        found = json_of(read_file(prefix / RECEIPT, MEMO_BYTES))
        known = {name: found[name] for name in Receipt._fields}
        receipt = Receipt(**{**known, "python_file": tuple(found["python_file"])})
        texts = (value for name, value in known.items() if name != "python_file")
        is_valid = all(type(text) is str for text in texts) and all(type(part) is int for part in receipt.python_file)
        return receipt if is_valid and b"\0" not in os.fsencode(receipt.python) else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_receipt(prefix: Path, receipt: Receipt) -> None:
    """Declare the prefix whole. Raises OSError."""
    write_atomically(prefix / RECEIPT, (json.dumps(receipt._asdict(), indent=1) + "\n").encode())
