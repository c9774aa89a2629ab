"""What a base was when it was locked: the pin of a `named_env`, and what an environment gets from it.

```
envlock.lock/aliases/<name>/@tags/<tag>.toml                 an alias; `@` stands in no part of a name
envlock.lock/aliases/@ids/<req_id>/<full_id>.toml            ids
envlock.lock/aliases/@pathspecs/<Flow>/<run>/<step>.toml     a step of a run, or a task: <step>/<task>.toml
```

A pin holds the requirements of the environment, so that its req_id, and with that its lock, is known offline. It ends
with a digest of the text before it. Only projects that name an environment import this.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import tomli

from envlock.errors import ConfigError, EnvlockError, Location
from envlock.files import PIN_BYTES, read_file, toml_of
from envlock.lockfile.canonical_text import BUILT_FORMAT, conflict_line, digest_of, format_of
from envlock.model.arch import ARCHS, Arch
from envlock.model.identity import short_hash
from envlock.model.requirements import Requirements, requirements_from
from envlock.named.alias import EnvironmentIds, canonical_reference, filled_in, is_id
from envlock.named.errors import BadReference, DamagedPin, NewerPinFormat, UnsetNameVariable
from envlock.revisions import files_below

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from envlock.config.project import Base, Environment, Project

FOLDER = "aliases"
FORMAT = 2
"""The highest there is: of requirements that only lock format 3 can hold. All other pins have format 1."""
STAMP = "\n[stamp]\ndigest = "
_KEYS = ("format", "sequence", "record", "req-id", "full-ids", "requirements", "stamp")
_DIGEST = re.compile(r"(?:[0-9a-f]{64})?\Z")


class Pin(NamedTuple):
    """A reference, and the environment that it named when it was locked."""

    kind: str
    """`name` or `pathspec`."""
    reference: str
    """The alias with its tag, `req_id:full_id`, or the pathspec; no variables."""
    requirements: Requirements
    full_ids: tuple[tuple[Arch, str], ...]
    """Sorted by arch."""
    sequence: int = 0
    """The number of the alias's move; 0 for ids and pathspecs."""
    record: str = ""
    """The SHA-256 of that move; empty for ids and pathspecs."""

    @property
    def req_id(self) -> str:
        """The id of the environment's requirements."""
        return self.requirements.req_id

    @property
    def ids(self) -> EnvironmentIds:
        """The environment."""
        return EnvironmentIds(self.req_id, self.full_ids)

    def full_id(self, arch: Arch) -> str | None:
        """The environment on an arch; None if it is not locked for that."""
        return dict(self.full_ids).get(arch)

    @property
    def base(self) -> str:
        """What an environment that extends this one has as `Requirements.base`.

        The same for every alias of one environment, and another one for each of its contents.

        >>> Pin("name", "team/base:v1", Requirements(), ((Arch("linux-64"), "0" * 40),)).base
        'pypi:bc8c701450110368df6913215c3f78f277d2bd81:fcdd5a86e1a3374b'
        """
        rows = [[arch, full_id] for arch, full_id in sorted(self.full_ids)]
        return f"{self.requirements.type}:{self.req_id}:{short_hash('base', 1, rows)[:16]}"


def pin_path(folder: Path, kind: str, reference: str) -> Path:
    """The place of a pin in a lock folder. `reference` is in its one spelling.

    >>> pin_path(Path("envlock.lock"), "name", "team/base:v1.2").as_posix()
    'envlock.lock/aliases/team/base/@tags/v1.2.toml'
    """
    if kind == "pathspec":
        return folder / FOLDER / "@pathspecs" / f"{reference}.toml"
    name, _, tag = reference.partition(":")
    if is_id(name) and is_id(tag):
        return folder / FOLDER / "@ids" / name / f"{tag}.toml"
    return folder / FOLDER / name / "@tags" / f"{tag}.toml"


def pin_files(folder: Path) -> Iterator[Path]:
    """Every pin in a lock folder, in no order."""
    for where, names in files_below(folder / FOLDER):
        yield from (Path(where, name) for name in names if name.endswith(".toml") and not name.startswith("."))


def read_pin(folder: Path, kind: str, reference: str) -> Pin | None:
    """The pin of a reference in a lock folder, verified; None if there is none. Raises DamagedPin, NewerPinFormat."""
    path = pin_path(folder, kind, reference)
    shown = f"{folder.name}/{path.relative_to(folder).as_posix()}"
    try:
        data = read_file(path, PIN_BYTES, within=folder.parent)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DamagedPin(shown, f"it cannot be read: {error.strerror}") from None
    return parse_pin(data, kind, reference, shown)


def read_pin_file(path: Path, folder: Path, shown: str) -> Pin:
    """The pin in a file of a lock folder, whatever it is a pin of. Raises DamagedPin, NewerPinFormat."""
    try:
        data = read_file(path, PIN_BYTES, within=folder.parent)
    except OSError as error:
        raise DamagedPin(shown, f"it cannot be read: {error.strerror}") from None
    try:
        table = toml_of(data.decode())
    except ValueError:
        table = {}  # `parse_pin` says what is wrong
    kind = "pathspec" if "pathspec" in table else "name"
    return parse_pin(data, kind, str(table.get(kind, "")), shown)


def parse_pin(data: bytes, kind: str, reference: str, shown: str) -> Pin:
    """The pin of a reference in a file's bytes, verified. `shown` is how messages call the file.

    Raises DamagedPin, NewerPinFormat.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise DamagedPin(shown, f"not UTF-8 at byte {error.start}") from None
    if conflict_line(text) is not None:
        raise DamagedPin(shown, "it contains merge conflict markers", is_merge=True)
    try:
        table = toml_of(text)
    except tomli.TOMLDecodeError as error:
        raise DamagedPin(shown, f"not TOML: {error}") from None
    found = table.get("format")
    if type(found) is int and found > FORMAT:
        raise NewerPinFormat(locations=(Location(shown),), found=found, known=FORMAT)
    body, stamp, digest = text.rpartition(STAMP)
    if not stamp or digest != f'"{digest_of(body)}"\n':
        raise DamagedPin(shown, "its content does not match its digest")
    try:
        pin = _pin(table, kind)
        has_its_id = pin.req_id == table["req-id"]
    except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
        raise DamagedPin(shown, f"a part is missing or malformed: {error}") from None
    if pin.reference != reference:
        raise DamagedPin(shown, f"it is the pin of `{pin.reference}`")
    if not has_its_id:
        raise DamagedPin(shown, "its requirements do not match its req-id")
    return pin


def _pin(table: Mapping[str, Any], kind: str) -> Pin:
    if not set(table) <= {*_KEYS, kind}:
        raise ValueError("it contains something that envlock did not write")
    full_ids = table["full-ids"]
    pin = Pin(
        kind=kind,
        reference=table[kind],
        requirements=requirements_from(table["requirements"]),
        full_ids=tuple((Arch(arch), full_ids[arch]) for arch in sorted(full_ids)),
        sequence=table.get("sequence", 0),
        record=table.get("record", ""),
    )
    if table["format"] != _format_of(pin.requirements):
        raise ValueError(f"format {table['format']!r}")
    if not full_ids or not set(full_ids) <= set(ARCHS) or not all(map(is_id, full_ids.values())):
        raise ValueError("full-ids")
    if type(pin.sequence) is not int or pin.sequence < 0 or not _DIGEST.match(pin.record):
        raise ValueError("sequence, or record")
    return pin


def _format_of(requirements: Requirements) -> int:
    is_new = format_of(has_conda=False, has_source=False, document=requirements.document()) == BUILT_FORMAT
    return FORMAT if is_new else 1


def render_pin(pin: Pin) -> str:
    """The text of a pin; the same bytes for the same pin, wherever it is written."""
    from envlock.lockfile.canonical_text import quoted, table_lines

    move = [f"sequence = {pin.sequence}", f"record = {quoted(pin.record)}"] if pin.sequence else []
    lines = [
        f"# What {pin.reference} stood for when it was locked, so that `envlock check` needs no network.",
        "# Written by `envlock lock`; do not edit, `envlock check` finds any change.",
        f"format = {_format_of(pin.requirements)}",
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


def write_pin(folder: Path, pin: Pin, *, within: Path | None = None) -> Path:
    """Write a pin at its place in a lock folder, and return that. A file with the same bytes is not touched.

    Raises NotPlain where a link leads the place out of the project `within`.
    """
    from envlock.files import holds, write_atomically
    from envlock.lockfile.folder import refuse_leading_out

    path = pin_path(folder, pin.kind, pin.reference)
    if within is not None:
        refuse_leading_out(path.parent, within)
    data = render_pin(pin).encode()
    if not holds(path, data):
        write_atomically(path, data)
    return path


def unnamed_pins(project: Project) -> tuple[Path, ...]:
    """The pins that no environment of a project needs, sorted; none if a reference of the project cannot be read."""
    bases = [each.base for each in project.environments() if each.base is not None and not each.base.fetch_at_exec]
    if not all(base.reference for base in bases):
        return ()
    named = {pin_path(project.lock_folder, base.kind, base.reference) for base in bases}
    return tuple(sorted({*pin_files(project.lock_folder)} - named))


def full_ids_in(paths: Iterable[Path]) -> frozenset[str]:
    """The full_ids in the pins at some paths; none of a file that cannot be read."""
    found: set[str] = set()
    for path in paths:
        with suppress(OSError, ValueError, AttributeError):
            found.update(map(str, toml_of(read_file(path, PIN_BYTES).decode()).get("full-ids", {}).values()))
    return frozenset(found)


# What an environment gets from its base.


def reference_in(base: Base, variables: Mapping[str, str]) -> str:
    """What a `named_env` says, its variables filled in. Raises UnsetNameVariable, BadAlias, BadPathspec."""
    return canonical_reference(base.kind, filled_in(base.written, variables))


def with_base(environment: Environment, folder: Path) -> Environment:
    """An environment with the requirements that its base gives it, by the pin in the lock folder.

    Without a pin, the requirements are such as nothing is locked for, and `base_error` says what is wrong.
    """
    base = environment.base
    if base is None:
        return environment
    if base.fetch_at_exec:
        return environment._replace(requirements=Requirements(base=f"at-exec:{base.written}"))
    pin = None
    with suppress(EnvlockError):
        base = base._replace(reference=reference_in(base, os.environ))
        pin = read_pin(folder, base.kind, base.reference)
    unpinned = base.own._replace(base=f"unpinned:{base.kind}:{base.reference or base.written}")
    environment = environment._replace(base=base, requirements=unpinned)
    return with_pin(environment, pin) if pin is not None else environment


def base_error(project: Project, environment: Environment) -> EnvlockError | None:
    """Why the pin of an environment's base cannot be known; None if there may just be none.

    UnsetNameVariable, BadAlias or BadPathspec with the line of envlock.toml; DamagedPin or NewerPinFormat.
    """
    base = environment.base
    if base is None or base.fetch_at_exec or base.pin is not None:
        return None
    try:
        read_pin(project.lock_folder, base.kind, reference_in(base, os.environ))
    except (UnsetNameVariable, BadReference) as error:
        return error.at(project.locate(base.key))
    except EnvlockError as error:
        return error
    return None


def with_pin(environment: Environment, pin: Pin) -> Environment:
    """An environment, with the pin that its base has."""
    base = environment.base
    assert base is not None
    requirements = extended(base.own, pin) if base.extends else pin.requirements
    return environment._replace(base=base._replace(pin=pin), requirements=requirements)


def extended(own: Requirements, pin: Pin) -> Requirements:
    """The requirements of an environment that adds its own packages to a pinned base."""
    adds_conda = bool(own.all_conda)
    return own._replace(
        base=pin.base,
        python_from=pin.requirements.python_from,
        channels=own.channels if adds_conda else (),
        channel_priority=own.channel_priority if adds_conda else "",
        system=_greater(own, pin.requirements),
        variables=tuple(sorted({**dict(pin.requirements.variables), **dict(own.variables)}.items())),
    )


def _greater(own: Requirements, base: Requirements) -> tuple[tuple[Arch, str, str], ...]:
    """The system packages that serve both: the greater version of each."""
    rows = {(arch, name): version for arch, name, version in base.system}
    for arch, name, version in own.system:
        rows[arch, name] = max(rows.get((arch, name), version), version, key=_numbers)
    return tuple((arch, name, rows[arch, name]) for arch, name in sorted(rows))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))
