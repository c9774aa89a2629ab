"""What a `named_env` stood for when it was locked: enough to know the environment again without asking any cache."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import tomli

from envlock.errors import ConfigError
from envlock.files import PIN_BYTES, files_below, read_file, toml_of
from envlock.model.arch import ARCHS, Arch
from envlock.model.canonical import short_hash
from envlock.model.requirements import Requirements
from envlock.model.requirements_table import requirements_from
from envlock.named.errors import DamagedPin, NewerPinFormat

if TYPE_CHECKING:
    from collections.abc import Mapping

    from envlock.config.project import Project


class Pin(NamedTuple):
    """A name, or a pathspec, and the environment that it stood for."""

    kind: str
    """`name` or `pathspec`."""
    reference: str
    """The name with its tag, `req_id:full_id`, or the pathspec; no variables."""
    requirements: Requirements
    full_ids: tuple[tuple[Arch, str], ...]
    """The environment for each arch that it is there for, sorted by arch."""
    sequence: int = 0
    """Which move of the name it was; 0 for what is no name with a tag."""
    record: str = ""
    """The digest of that move's record; empty for what is no name with a tag."""

    @property
    def req_id(self) -> str:
        """The id of what was asked."""
        return self.requirements.req_id

    def full_id(self, arch: Arch) -> str | None:
        """The environment for an arch, where there is one."""
        return dict(self.full_ids).get(arch)

    @property
    def base(self) -> str:
        """What an environment that extends this one has as `Requirements.base`.

        The same for every name of one environment, and another one for each of its contents.

        >>> Pin("name", "team/base:v1", Requirements(), ((Arch("linux-64"), "0" * 40),)).base
        'pypi:bc8c701450110368df6913215c3f78f277d2bd81:fcdd5a86e1a3374b'
        """
        rows = [[arch, full_id] for arch, full_id in sorted(self.full_ids)]
        return f"{self.requirements.type}:{self.req_id}:{short_hash('base', 1, rows)[:16]}"


FOLDER = "aliases"
FORMAT = 1
STAMP = "\n[stamp]\ndigest = "
_ID = re.compile(r"[0-9a-f]{40}\Z")
_KEYS = ("format", "sequence", "record", "req-id", "full-ids", "requirements", "stamp")
_RECORD = re.compile(r"(?:[0-9a-f]{64})?\Z")
_CONFLICT = re.compile(r"^(<{7,} |={7,}$|>{7,} )", re.MULTILINE)  # git's are longer where two branches renamed a file


def pin_path(folder: Path, kind: str, reference: str) -> Path:
    """Where the pin of a name or a pathspec lies in a lock folder.

    >>> pin_path(Path("envlock.lock"), "name", "team/base:v1.2").as_posix()
    'envlock.lock/aliases/team/base/@tags/v1.2.toml'
    """
    if kind == "pathspec":
        return folder / FOLDER / "@pathspecs" / f"{reference}.toml"
    name, _, tag = reference.partition(":")
    if _ID.match(name) and _ID.match(tag):
        return folder / FOLDER / "@ids" / name / f"{tag}.toml"
    return folder / FOLDER / name / "@tags" / f"{tag}.toml"


def read_pin(folder: Path, kind: str, reference: str) -> Pin | None:
    """The pin of a name or a pathspec in a lock folder, proved whole; None where there is none.

    Raises DamagedPin, NewerPinFormat.
    """
    path = pin_path(folder, kind, reference)
    shown = f"{folder.name}/{path.relative_to(folder).as_posix()}"
    try:
        data = read_file(path, PIN_BYTES, within=folder.parent)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DamagedPin(shown, f"it cannot be read: {error.strerror}") from None
    return parse_pin(data, kind, reference, shown)


def parse_pin(data: bytes, kind: str, reference: str, shown: str) -> Pin:
    """The pin in a file's bytes, which is that of `reference`. Raises DamagedPin, NewerPinFormat."""
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
    if pin.reference != reference:
        raise DamagedPin(shown, f"it is the pin of `{pin.reference}`")
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
        reference=table[kind],
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


def render_pin(pin: Pin) -> str:
    """The text of a pin; the same for the same pin, wherever it is written."""
    from envlock.lockfile.canonical_text import quoted, table_lines

    move = [f"sequence = {pin.sequence}", f"record = {quoted(pin.record)}"] if pin.sequence else []
    lines = [
        f"# What {pin.reference} stood for when it was locked, so that `envlock check` needs no network.",
        "# Written by `envlock lock`; do not edit, `envlock check` finds any change.",
        f"format = {FORMAT}",
        f"{pin.kind} = {quoted(pin.reference)}",
        *move,
        f"req-id = {quoted(pin.req_id)}",
        "",
        "[full-ids]",
        *(f"{arch} = {quoted(full_id)}" for arch, full_id in sorted(pin.full_ids)),
        "",
        "[requirements]",
        *table_lines(pin.requirements.document()),
    ]
    body = "\n".join(lines) + "\n"
    return f"{body}{STAMP}{quoted(digest_of(body))}\n"


def write_pin(folder: Path, pin: Pin) -> Path:
    """Write a pin at its place in a lock folder and return that; one that says this already is not touched."""
    from envlock.files import holds, write_atomically

    path = pin_path(folder, pin.kind, pin.reference)
    data = render_pin(pin).encode()
    if not holds(path, data):
        write_atomically(path, data)
    return path


def unnamed_pins(project: Project) -> tuple[Path, ...]:
    """The pins that no environment of a project names, sorted; none where it cannot be known what is named."""
    bases = [each.base for each in project.environments() if each.base is not None and not each.base.fetch_at_exec]
    if not all(base.reference for base in bases):
        return ()
    named = {pin_path(project.lock_folder, base.kind, base.reference) for base in bases}
    found = {
        Path(parent, name)
        for parent, names in files_below(project.lock_folder / FOLDER)
        for name in names
        if name.endswith(".toml") and not name.startswith(".")
    }
    return tuple(sorted(found - named))


def pinned_by(paths: Iterable[Path]) -> frozenset[str]:
    """The full_ids that pins on disk name; none of what cannot be read."""
    found: set[str] = set()
    for path in paths:
        with suppress(OSError, ValueError, AttributeError):
            found.update(map(str, toml_of(read_file(path, PIN_BYTES).decode()).get("full-ids", {}).values()))
    return frozenset(found)
