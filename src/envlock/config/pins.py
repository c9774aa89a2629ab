"""What names were locked to: `envlock.lock/aliases/`, a small file for each name and tag, or pathspec.

```
aliases/<name>/@tags/<tag>.toml                 a name and its tag; `@` stands in no part of a name
aliases/@ids/<req_id>/<full_id>.toml            an environment by its ids
aliases/@pathspecs/<Flow>/<run>/<step>.toml     a step of a run, or a task: <step>/<task>.toml
```

A pin ends with a digest over the text before it. The environment's requirements are in it, so that its req_id, and with
that its lock, is known offline; `lockfile.alias_pins` writes it.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli

from envlock.config.base_errors import DamagedPin, NewerPinFormat
from envlock.errors import ConfigError
from envlock.files import PIN_BYTES, read_file, toml_of
from envlock.model.arch import ARCHS, Arch
from envlock.model.pin import Pin
from envlock.model.requirements_table import requirements_from

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = "aliases"
FORMAT = 1
STAMP = "\n[stamp]\ndigest = "
_ID = re.compile(r"[0-9a-f]{40}\Z")
_KEYS = ("format", "sequence", "record", "req-id", "full-ids", "requirements", "stamp")
_RECORD = re.compile(r"(?:[0-9a-f]{64})?\Z")
_CONFLICT = re.compile(r"^(<{7,} |={7,}$|>{7,} )", re.MULTILINE)  # git's are longer where two branches renamed a file


def pin_path(folder: Path, kind: str, meant: str) -> Path:
    """Where the pin of a name or a pathspec lies in a lock folder.

    >>> pin_path(Path("envlock.lock"), "name", "team/base:v1.2").as_posix()
    'envlock.lock/aliases/team/base/@tags/v1.2.toml'
    """
    if kind == "pathspec":
        return folder / FOLDER / "@pathspecs" / f"{meant}.toml"
    name, _, tag = meant.partition(":")
    if _ID.match(name) and _ID.match(tag):
        return folder / FOLDER / "@ids" / name / f"{tag}.toml"
    return folder / FOLDER / name / "@tags" / f"{tag}.toml"


def read_pin(folder: Path, kind: str, meant: str) -> Pin | None:
    """The pin of a name or a pathspec in a lock folder, proved whole; None where there is none.

    Raises DamagedPin, NewerPinFormat.
    """
    path = pin_path(folder, kind, meant)
    shown = f"{folder.name}/{path.relative_to(folder).as_posix()}"
    try:
        data = read_file(path, PIN_BYTES, within=folder.parent)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DamagedPin(shown, f"it cannot be read: {error.strerror}") from None
    return parse_pin(data, kind, meant, shown)


def parse_pin(data: bytes, kind: str, meant: str, shown: str) -> Pin:
    """The pin in a file's bytes, which is that of `meant`. Raises DamagedPin, NewerPinFormat."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise DamagedPin(shown, f"not UTF-8 at byte {error.start}") from None
    if _CONFLICT.search(text) is not None:
        raise DamagedPin(shown, "it holds the markers of a merge conflict", is_merge=True)
    try:
        table = toml_of(text)
    except tomli.TOMLDecodeError as error:
        raise DamagedPin(shown, f"not TOML: {error}") from None
    found = table.get("format")
    if type(found) is int and found > FORMAT:
        raise NewerPinFormat(shown, found, FORMAT)
    body, stamp, digest = text.rpartition(STAMP)
    if not stamp or digest != f'"{digest_of(body)}"\n':
        raise DamagedPin(shown, "its content does not hash to its digest")
    try:
        pin = _pin(table, kind)
        is_of_id = pin.req_id == table["req-id"]
    except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
        raise DamagedPin(shown, f"a part is missing or malformed: {error}") from None
    if pin.meant != meant:
        raise DamagedPin(shown, f"it is the pin of `{pin.meant}`")
    if not is_of_id:
        raise DamagedPin(shown, "its requirements do not hash to its req-id")
    return pin


def digest_of(body: str) -> str:
    """The SHA-256 of the text before the stamp, 64 hex digits."""
    return hashlib.sha256(body.encode()).hexdigest()


def _pin(table: Mapping[str, Any], kind: str) -> Pin:
    if not set(table) <= {*_KEYS, kind}:
        raise ValueError("it holds something that envlock did not write")
    full_ids = table["full-ids"]
    pin = Pin(
        kind=kind,
        meant=table[kind],
        requirements=requirements_from(table["requirements"]),
        full_ids=tuple((Arch(arch), full_ids[arch]) for arch in sorted(full_ids)),
        sequence=table.get("sequence", 0),
        record=table.get("record", ""),
    )
    if not full_ids or not set(full_ids) <= set(ARCHS) or not all(map(_ID.match, full_ids.values())):
        raise ValueError("full-ids")
    if type(pin.sequence) is not int or pin.sequence < 0 or not _RECORD.match(pin.record):
        raise ValueError("sequence, or record")
    return pin
