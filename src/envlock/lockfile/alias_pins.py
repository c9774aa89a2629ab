"""Pins of named environments, written: the other half of `config.pins`, which reads them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from envlock.config.pins import FOLDER, FORMAT, STAMP, digest_of, pin_path
from envlock.files import PIN_BYTES, files_below, read_file, toml_of
from envlock.lockfile.document import requirement_lines
from envlock.lockfile.quoting import quoted

if TYPE_CHECKING:
    from envlock.config.project import Project
    from envlock.model.pin import Pin


def render_pin(pin: Pin) -> str:
    """The text of a pin; the same for the same pin, wherever it is written."""
    move = [f"sequence = {pin.sequence}", f"record = {quoted(pin.record)}"] if pin.sequence else []
    lines = [
        f"# What {pin.meant} stood for when it was locked, so that `envlock check` needs no network.",
        "# Written by `envlock lock`; do not edit, `envlock check` finds any change.",
        f"format = {FORMAT}",
        f"{pin.kind} = {quoted(pin.meant)}",
        *move,
        f"req-id = {quoted(pin.req_id)}",
        "",
        "[full-ids]",
        *(f"{arch} = {quoted(full_id)}" for arch, full_id in sorted(pin.full_ids)),
        "",
        "[requirements]",
        *requirement_lines(pin.requirements),
    ]
    body = "\n".join(lines) + "\n"
    return f"{body}{STAMP}{quoted(digest_of(body))}\n"


def write_pin(folder: Path, pin: Pin) -> Path:
    """Write a pin at its place in a lock folder and return that; one that says this already is not touched."""
    from envlock.files import holds, write_atomically

    path = pin_path(folder, pin.kind, pin.meant)
    data = render_pin(pin).encode()
    if not holds(path, data):
        write_atomically(path, data)
    return path


def unnamed_pins(project: Project) -> tuple[Path, ...]:
    """The pins that no environment of a project names, sorted; none where it cannot be known what is named."""
    bases = [each.base for each in project.environments() if each.base is not None and not each.base.fetch_at_exec]
    if not all(base.meant for base in bases):
        return ()
    named = {pin_path(project.lock_folder, base.kind, base.meant) for base in bases}
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
