"""Locks written, and read in full.

Design goals, in order: complete (nothing is decided when it is used), a valid PEP 751 file for its arch, verifiable
without a network, one line for a package, the same bytes wherever it is written.

`canonical_text` says what a file consists of. A reader that trusts nothing hashes the body as it stands, and only when
that does not fit (somebody added a comment or a space) parses it and hashes its canonical spelling: a change of layout
is no damage, and any change of content is.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import tomli

from envlock.errors import ConfigError
from envlock.files import toml_of
from envlock.lockfile.canonical_text import (
    BUILT_FORMAT,
    CONDA,
    REQUIREMENTS,
    STAMP,
    array,
    body_of,
    conflict_line,
    digest_of,
    ends_with_stamp,
    filename_of,
    format_of,
    head_of,
    quoted,
    table_lines,
    tail_of,
)
from envlock.lockfile.errors import ConflictMarkersInLock, DamagedLock, NewerLockFormat
from envlock.lockfile.summary import Summary, quick_summary, wheels_in
from envlock.model.arch import ARCHS, Arch
from envlock.model.lock import Lock, LockedPackage, LockedPython
from envlock.model.requirements import Requirements, requirements_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def render(lock: Lock) -> str:
    """The file's text. `parse` gives the lock back; rendering what was parsed changes no byte."""
    body = _body(lock)
    stamp = [
        f"digest = {quoted(digest_of(body))}",
        f"asked-by = {array(lock.asked_by)}",
        f"resolved-by = {quoted(lock.resolved_by)}",
        f"resolved-at = {quoted(lock.resolved_at)}",
    ]
    return _header(lock) + body + STAMP + "\n".join(stamp) + "\n"


def parse(data: bytes, path: str) -> Lock:
    """The lock in a file's bytes, verified: its digest and both its ids. `path` is how messages call the file.

    Raises DamagedLock, ConflictMarkersInLock, NewerLockFormat.
    """
    text, document = _parse_toml(data, path)
    try:
        lock, digest, req_id, found_full_id = _from_document(document)
        body = _body(lock)
        is_as_written = body_of(text) == body and ends_with_stamp(text)
        if not is_as_written or quick_summary(data) is None:  # what is rendered differs, or its digest is wrong
            _refuse_odd_values(lock)
        ids = (lock.req_id, lock.full_id)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, ConfigError) as error:
        raise DamagedLock(path, f"a part is missing or malformed: {error}") from None
    if digest_of(body) != digest and digest_of(body_of(text)) != digest:
        raise DamagedLock(path, "its content does not match its digest")
    if ids[0] != req_id:
        raise DamagedLock(path, "its requirements do not match its req-id")
    if ids[1] != found_full_id:
        raise DamagedLock(path, "its packages do not match its full-id")
    if digest_of(body) != digest or not (is_as_written or tomli.loads(render(lock)) == document):
        raise DamagedLock(path, "it holds something that envlock did not write")
    return lock


def summary_of(lock: Lock) -> Summary:
    """What `summarize` says of a lock's file. Raises DamagedLock where the lock holds what no file may hold."""
    summary = quick_summary(render(lock).encode())
    if summary is None:
        raise DamagedLock(lock.identity, "it holds a value that no lock may hold")
    return summary


def _parse_toml(data: bytes, path: str) -> tuple[str, Mapping[str, Any]]:
    """A lock file's text and its TOML, of a format that this envlock reads. Raises as `parse` does."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise DamagedLock(path, f"not UTF-8 at byte {error.start}") from None
    conflict = conflict_line(text)
    if conflict is not None:
        raise ConflictMarkersInLock(path, conflict)
    try:
        document = toml_of(text)
    except tomli.TOMLDecodeError as error:
        raise DamagedLock(path, f"not TOML: {error}", line=getattr(error, "lineno", None)) from None
    table = document.get("tool", {}).get("envlock", {}) if isinstance(document.get("tool"), dict) else {}
    found = table.get("format") if isinstance(table, dict) else None
    if isinstance(found, int) and found > BUILT_FORMAT:
        raise NewerLockFormat(path, found, BUILT_FORMAT)
    return text, document


def _header(lock: Lock) -> str:
    # Names may be quoted keys of envlock.toml and hold anything; a comment may not.
    names = "".join(each if each.isprintable() else "?" for each in ", ".join(lock.asked_by)) or "an environment"
    exact = "" if lock.python.source == "machine" else f", exactly {lock.python.version}"
    wheels = len(lock.pypi_packages)
    count, readers = str(wheels), "read it as PEP 751"
    if lock.conda_packages:
        count = f"{len(lock.conda_packages)} conda" + (f" and {wheels} PyPI" if wheels else "")
        readers = "install only its PyPI packages"
    return (
        f"# {names} on {lock.arch}: CPython {lock.python.series}{exact}, {count} packages.\n"
        f"# Written by `envlock lock`; do not edit, `envlock check` finds any change. pip and uv {readers}.\n"
    )


def _body(lock: Lock) -> str:
    conda = lock.conda_packages
    lines: list[str] = [f"    {package_line(package)}," for package in lock.packages if package.kind != "conda"]
    if conda:
        from envlock.lockfile.conda_packages import conda_line

        lines += [*CONDA.splitlines(), *(f"    {conda_line(package)}," for package in conda)]
    python = lock.python
    head = head_of(lock.arch, python.source, python.version)
    tail = tail_of(
        _format_of(lock),
        lock.arch,
        lock.requirements.type,
        (lock.req_id, lock.full_id),
        lock.exclude_newer,
        {"source": python.source, "version": python.version, **(_file_of(python) if python.url else {})},
    )
    return head + "".join(f"{line}\n" for line in lines) + "]\n" + tail + _requirements_of(lock.requirements)


def _format_of(lock: Lock) -> int:
    has_source = any(package.source is not None for package in lock.packages)
    document = lock.requirements.document()
    return format_of(has_conda=bool(lock.conda_packages), has_source=has_source, document=document)


def _file_of(python: LockedPython) -> dict[str, str]:
    return {"filename": python.filename, "url": python.url, "sha256": python.sha256}


def _requirements_of(requirements: Requirements) -> str:
    return REQUIREMENTS + "".join(f"{line}\n" for line in table_lines(requirements.document()))


def package_line(package: LockedPackage) -> str:
    """A package of a wheel as one line of TOML, in PEP 751's keys.

    >>> package_line(LockedPackage(  # doctest: +ELLIPSIS
    ...     name="demo", version="1.0", filename="demo-1.0-py3-none-any.whl", sha256="ab", dependencies=("rich",),
    ...     url="https://index.example/demo-1.0-py3-none-any.whl"))
    '{name = "demo", version = "1.0", dependencies = [{name = "rich"}], wheels = [...sha256 = "ab"}}]}'
    """
    if package.source is not None:
        from envlock.lockfile.built_packages import line_of

        return line_of(package).text
    fields = [f"name = {quoted(package.name)}", f"version = {quoted(package.version)}"]
    if package.dependencies:
        names = ", ".join(f"{{name = {quoted(name)}}}" for name in package.dependencies)
        fields.append(f"dependencies = [{names}]")
    if package.index:
        fields.append(f"index = {quoted(package.index)}")
    wheel = []
    if filename_of(package.url) != package.filename:
        wheel.append(f"name = {quoted(package.filename)}")
    if package.upload_time:
        wheel.append(f"upload-time = {package.upload_time}")
    wheel.append(f"url = {quoted(package.url)}")
    if package.size is not None:
        wheel.append(f"size = {package.size}")
    wheel.append(f"hashes = {{sha256 = {quoted(package.sha256)}}}")
    fields.append(f"wheels = [{{{', '.join(wheel)}}}]")
    return f"{{{', '.join(fields)}}}"


def lock_from(document: Mapping[str, Any]) -> Lock:
    """The lock that a file's TOML describes, not verified. Raises KeyError, TypeError, ... on other content."""
    lock = _from_document(document)[0]
    _refuse_odd_values(lock)
    return lock


def _from_document(document: Mapping[str, Any]) -> tuple[Lock, str, str, str]:
    table = document["tool"]["envlock"]
    stamp = table["stamp"]
    if table["arch"] not in ARCHS:
        raise ValueError(f"arch `{table['arch']}`")
    conda = _conda_from(table["conda"]) if "conda" in table else ()
    lock = Lock(
        arch=Arch(table["arch"]),
        requirements=requirements_from(table["requirements"]),
        python=python_from(table["python"]),
        packages=(*conda, *(_package_from(entry) for entry in document["packages"])),
        exclude_newer=table.get("exclude-newer", ""),
        asked_by=tuple(stamp["asked-by"]),
        resolved_by=stamp["resolved-by"],
        resolved_at=stamp["resolved-at"],
    )
    if table["format"] != _format_of(lock):
        raise ValueError(f"format {table['format']!r} {'with' if conda else 'without'} conda packages")
    return lock, stamp["digest"], table["req-id"], table["full-id"]


def _refuse_odd_values(lock: Lock) -> None:
    """Raise ValueError for a lock that the fast reader does not take, though it is spelt as envlock writes it."""
    if quick_summary(render(lock).encode()) is None:
        raise ValueError(f"{_odd_part(lock)} has a value that no lock may hold")


def _odd_part(lock: Lock) -> str:
    """What of a lock the fast reader does not take, though it is spelt as envlock writes it."""
    for package in lock.packages:
        if package.kind == "conda":
            from envlock.lockfile.conda_packages import is_lockable

            fits = is_lockable(package, lock.arch)
        else:
            wheels = wheels_in(f"    {package_line(package)},\n", 0, with_built=package.source is not None)
            fits = wheels is not None and bool(wheels.rows)
        if not fits:
            return f"package {package.name!r}"
    return "its Python, or another part,"


def python_from(table: Mapping[str, Any]) -> LockedPython:
    """The Python in a lock's `[tool.envlock.python]`. Raises KeyError on other content."""
    return LockedPython(
        source=table["source"],
        version=table["version"],
        url=table.get("url", ""),
        filename=table.get("filename", ""),
        sha256=table.get("sha256", ""),
    )


def _conda_from(table: Mapping[str, Any]) -> tuple[LockedPackage, ...]:
    from envlock.lockfile.conda_packages import conda_packages_from

    if set(table) != {"packages"}:
        raise ValueError("the conda part holds something else than packages")
    return conda_packages_from(table["packages"])


def _package_from(entry: Mapping[str, Any]) -> LockedPackage:
    if "tool" in entry or "path" in entry["wheels"][0]:
        from envlock.lockfile.built_packages import package_from

        return package_from(entry)
    (wheel,) = entry["wheels"]
    uploaded = wheel.get("upload-time")
    return LockedPackage(
        name=entry["name"],
        version=entry["version"],
        filename=wheel.get("name") or filename_of(wheel["url"]),
        url=wheel["url"],
        sha256=wheel["hashes"]["sha256"],
        size=wheel.get("size"),
        upload_time=format_upload_time(uploaded) if uploaded is not None else "",
        index=entry.get("index", ""),
        dependencies=tuple(dependency["name"] for dependency in entry.get("dependencies", ())),
    )


def format_upload_time(moment: datetime) -> str:
    """A TOML date-time in UTC: to the second, or to the microsecond where the index is that exact.

    >>> from datetime import timezone
    >>> format_upload_time(datetime(2026, 11, 1, 12, 0, 0, 500000, tzinfo=timezone.utc))
    '2026-11-01T12:00:00.500000Z'
    """
    return moment.isoformat().replace("+00:00", "Z")
