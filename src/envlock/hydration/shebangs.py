"""The first lines of the scripts that uv writes for wheels, changed to the interpreter at the prefix's final place.

uv knows only the folder that it fills, so its scripts begin with the path of the interpreter in there.
"""

from __future__ import annotations

import base64
import hashlib
import re
import sys
from typing import TYPE_CHECKING

from envlock.files import RECORD_BYTES, read_file
from envlock.hydration.installed import records_of_uv

if TYPE_CHECKING:
    from pathlib import Path

_LONGEST_SHEBANG = 127 if sys.platform == "linux" else 511
"""How many bytes of a script's first line the kernel reads."""

_LONGEST_BEGINNING = 1 << 16

_SCRIPT = re.compile(rb'^"?((?:\.\./)+bin/[^,"\r\n]+)"?,([^,\r\n]*),([^,\r\n]*)(\r?)$', re.MULTILINE)
_TRAMPOLINE = re.compile(rb"#!/bin/sh\n'''exec' .*\n' '''\n")
_SHEBANG = re.compile(rb"#!.*\n")


def move_scripts(site_packages: Path, stage: Path, place: Path) -> None:
    """Make each script that uv wrote in `stage` begin with the interpreter of `place`, and update the RECORDs.

    Leaves alone what others installed. Raises OSError.
    """
    old = str(stage).encode(errors="surrogateescape")
    for record in records_of_uv(site_packages).values():
        text = read_file(record, RECORD_BYTES)
        moved = _SCRIPT.sub(lambda row: _moved_row(row, site_packages, old, place), text)
        if moved != text:
            _replace(record, moved)


def _moved_row(row: re.Match[bytes], site_packages: Path, stage: bytes, place: Path) -> bytes:
    path = site_packages / row[1].decode(errors="surrogateescape")
    with path.open("rb") as file:  # it may be a large binary
        data = file.read(_LONGEST_BEGINNING)
        match = _TRAMPOLINE.match(data) or _SHEBANG.match(data)
        # uv writes a path with a quote in another form, which only uv uses.
        if match is None or not (stage in match[0] or match.re is _TRAMPOLINE):
            return row[0]
        data += file.read()
    data = _beginning(place / "bin" / "python") + data[match.end() :]
    _replace(path, data)
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
    return b"%s,sha256=%s,%d%s" % (row[0].split(b",")[0], digest, len(data), row[4])


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
    quoted = path.replace(b"'", b"""'"'"'""")
    return b"#!/bin/sh\n'''exec' '%s' \"$0\" \"$@\"\n' '''\n" % quoted


def _replace(path: Path, data: bytes) -> None:
    """Replace a file, without writing into its other hard links."""
    mode = path.stat().st_mode
    new = path.with_name(f".{path.name}.moved")
    new.write_bytes(data)
    new.chmod(mode & 0o7777)
    new.replace(path)
