"""The first lines of the scripts that uv writes for wheels, changed to the interpreter at the prefix's final place.

uv knows only the folder that it fills and the interpreter that it is given: its scripts begin with the path of that.
"""

from __future__ import annotations

import base64
import os
import re
import sys
from functools import cache
from typing import TYPE_CHECKING

from envlock.files import RECORD_BYTES, read_file
from envlock.model.identity import sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

_LONGEST_SHEBANG = 127 if sys.platform == "linux" else 511
"""How many bytes of a script's first line the kernel reads."""

_LONGEST_BEGINNING = 1 << 16

_SCRIPT = re.compile(rb'^"?((?:\.\./)+bin/[^,"\r\n]+)"?,([^,\r\n]*),([^,\r\n]*)(\r?)$', re.MULTILINE)
_TRAMPOLINE = re.compile(rb"#!/bin/sh\n'''exec' .*\n' '''\n")
_SHEBANG = re.compile(rb"#!.*\n")
_QUOTED = re.compile(rb"""#!/bin/sh\n'''exec' '(.*)' "\$0" "\$@"\n' '''\n""")
_QUOTE = b"""'"'"'"""
"""A quote in the path of a trampoline."""
_RELOCATABLE = b"""#!/bin/sh
'''exec' "$(dirname -- "$(realpath -- "$0")")"/'python' "$0" "$@"
' '''
"""
"""The start of a script in a relocatable virtual environment, as uv writes it."""


def move_scripts(records: Iterable[Path], site_packages: Path, stage: Path, place: Path) -> None:
    """Make each script that uv wrote in `stage` begin with the interpreter of `place`, and update the RECORDs.

    `records` are the RECORDs of the wheels that uv installed. Raises OSError.
    """
    old = str(stage).encode(errors="surrogateescape")
    beginning = _beginning(place / "bin" / "python")
    # uv writes a path with a quote in another form, which only uv uses.
    _change(records, site_packages, lambda match: old in match[0] or match.re is _TRAMPOLINE, beginning)


def make_scripts_relocatable(records: Iterable[Path], site_packages: Path, python: Path) -> None:
    """Make each script that uv wrote for an interpreter look for the one that is beside it; update the RECORDs.

    `records` are the RECORDs of the wheels that uv installed. Raises OSError.
    """

    @cache
    def is_python(path: bytes) -> bool:
        try:
            return path.startswith(b"/") and python.samefile(os.fsdecode(path))
        except (OSError, ValueError):
            return False

    def is_of_uv(match: re.Match[bytes]) -> bool:
        quoted = _QUOTED.match(match[0])
        return is_python(quoted[1].replace(_QUOTE, b"'") if quoted else match[0][2:].strip())

    _change(records, site_packages, is_of_uv, _RELOCATABLE)


def _change(
    records: Iterable[Path], site_packages: Path, is_of_uv: Callable[[re.Match[bytes]], bool], beginning: bytes
) -> None:
    """Replace the beginning of the scripts that uv wrote, and update the RECORDs of their wheels."""
    changed_files: dict[Path, bytes] = {}
    for record in records:
        text = read_file(record, RECORD_BYTES)
        if b"../bin/" in text:  # few have any, and the pattern takes its time
            changed = _SCRIPT.sub(
                lambda row: _changed_row(row, site_packages, is_of_uv, beginning, changed_files), text
            )
            if changed != text:
                _replace(record, changed)


def _changed_row(
    row: re.Match[bytes],
    site_packages: Path,
    is_of_uv: Callable[[re.Match[bytes]], bool],
    beginning: bytes,
    changed: dict[Path, bytes],
) -> bytes:
    """The row of a script in a RECORD, after the script is changed; `changed` has the hash and size of those that were.

    Several wheels may have one script.
    """
    path = site_packages / row[1].decode(errors="surrogateescape")
    if path not in changed:
        with path.open("rb") as file:  # it may be a large binary
            data = file.read(_LONGEST_BEGINNING)
            match = _TRAMPOLINE.match(data) or _SHEBANG.match(data)
            if match is None or not is_of_uv(match):
                return row[0]
            data += file.read()
        data = beginning + data[match.end() :]
        _replace(path, data)
        digest = base64.urlsafe_b64encode(bytes.fromhex(sha256(data))).rstrip(b"=")
        changed[path] = b"sha256=%s,%d" % (digest, len(data))
    return b"%s,%s%s" % (row[0].split(b",")[0], changed[path], row[4])


def _beginning(python: Path) -> bytes:
    r"""The start of a script for this interpreter: for a shell, if the kernel would not read the whole first line.

    >>> from pathlib import Path
    >>> _beginning(Path("/envs/a/bin/python"))
    b'#!/envs/a/bin/python\n'
    >>> print(_beginning(Path("/my envs/a/bin/python")).decode(), end="")
    #!/bin/sh
    '''exec' '/my envs/a/bin/python' "$0" "$@"
    ' '''
    """
    path = str(python).encode(errors="surrogateescape")
    if len(path) + 2 <= _LONGEST_SHEBANG and not re.search(rb"\s", path):
        return b"#!%s\n" % path
    quoted = path.replace(b"'", _QUOTE)
    return b"#!/bin/sh\n'''exec' '%s' \"$0\" \"$@\"\n' '''\n" % quoted


def _replace(path: Path, data: bytes) -> None:
    """Put a new file in place of one in a stage; other hard links of the old one keep their bytes."""
    mode = path.stat().st_mode
    path.unlink()
    with path.open("xb", buffering=0) as file:
        os.fchmod(file.fileno(), mode & 0o7777)
        file.write(data)
