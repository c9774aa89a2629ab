"""Archives of packages, `.conda` and `.tar.bz2`, and the folder of a channel with its repodata."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from tests.channel.recipe import MACHINES, File, Package

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SUBDIRS = ("linux-64", "linux-aarch64", "noarch", "osx-64", "osx-arm64")
_TIME = 1577836800
_ZIP_TIME = (2020, 1, 1, 0, 0, 0)

Record = dict[str, Any]


def pack(package: Package) -> tuple[bytes, Record]:
    """The archive, and its record for repodata."""
    index = _index(package)
    contents = [_member(path, file) for path, file in sorted(package.files.items())]
    info = [_member(f"info/{name}", File(data)) for name, data in sorted(_metadata(package, index).items())]
    if package.suffix == ".conda":
        data = _zipped(package.stem, contents, info)
    else:
        data = _tar([*info, *contents], "w:bz2", compresslevel=1)
    record = {
        **index,
        "md5": hashlib.md5(data, usedforsecurity=False).hexdigest(),
        "sha256": hashlib.sha256(data).hexdigest(),
        "size": len(data),
        **package.patch,
    }
    return data, {name: value for name, value in record.items() if name not in package.patch or value is not None}


def write_package(package: Package, channel: Path) -> Record:
    """Write the archive into `channel/<subdir>/`, as a new file; its record."""
    data, record = pack(package)
    path = channel / package.subdir / package.filename
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # it may be a link to a file of another channel
    path.write_bytes(data)
    return record


def read_records(channel: Path) -> dict[str, dict[str, Record]]:
    """Every record of a channel, by subdir and file name. The records are shared: nobody may change one."""
    records = {}
    for subdir in SUBDIRS:
        path = channel / subdir / "repodata.json"
        stat = path.stat()
        repodata = _repodata(path, stat.st_ino, stat.st_mtime_ns)
        records[subdir] = {**repodata["packages"], **repodata["packages.conda"]}
    return records


@lru_cache(64)
def _repodata(path: Path, inode: int, changed: int) -> dict[str, dict[str, Record]]:
    """What is in a file that is as it was: a large one takes longer to parse than most tests take."""
    parsed: dict[str, dict[str, Record]] = json.loads(path.read_bytes())
    return parsed


def write_repodata(channel: Path, records: dict[str, dict[str, Record]]) -> None:
    """Write `repodata.json` and `repodata.json.zst` of every subdir, as new files.

    There is no `indexed_timestamp` in them, so that `timestamp` decides what is too new.
    """
    for subdir in SUBDIRS:
        known = sorted(records.get(subdir, {}).items())
        repodata = {
            "info": {"subdir": subdir},
            "packages": {name: record for name, record in known if name.endswith(".tar.bz2")},
            "packages.conda": {name: record for name, record in known if name.endswith(".conda")},
            "removed": [],
            "repodata_version": 1,
        }
        text = json.dumps(repodata, sort_keys=True).encode()
        folder = channel / subdir
        folder.mkdir(parents=True, exist_ok=True)
        for path, data in ((folder / "repodata.json", text), (folder / "repodata.json.zst", zstd.compress(text))):
            path.unlink(missing_ok=True)
            path.write_bytes(data)


def _index(package: Package) -> Record:
    index: Record = {
        "name": package.name,
        "version": package.version,
        "build": package.build,
        "build_number": package.number,
        "subdir": package.subdir,
        "depends": list(package.depends),
        "constrains": list(package.constrains),
        "license": package.license,
    }
    if package.uploaded is not None:
        moment = datetime.fromisoformat(package.uploaded.replace("Z", "+00:00"))
        index["timestamp"] = int(moment.timestamp() * 1000)
    if package.subdir == "noarch":
        index |= {"noarch": package.noarch or "generic", "platform": None, "arch": None}
    else:
        platform, machine = package.subdir.split("-")
        index |= {"platform": platform, "arch": MACHINES[machine]}
    return index | dict(package.extra)


def _metadata(package: Package, index: Record) -> dict[str, bytes]:
    paths = []
    for path, file in sorted(package.files.items()):
        entry: Record = {
            "_path": path,
            "path_type": "softlink" if file.target else "hardlink",
            "sha256": hashlib.sha256(file.data).hexdigest(),
            "size_in_bytes": len(file.data),
        }
        if file.placeholder:
            entry |= {"prefix_placeholder": file.placeholder, "file_mode": file.mode}
        paths.append(entry)
    documents: dict[str, Record] = {
        "index.json": index,
        "paths.json": {"paths": paths, "paths_version": 1},
        "about.json": {"summary": f"{package.name}, to be locked", "license": package.license},
    }
    if package.noarch == "python":
        noarch = {"type": "python", "entry_points": list(package.entry_points)}
        documents["link.json"] = {"noarch": noarch, "package_metadata_version": 1}
    metadata = {name: json.dumps(document, indent=1).encode() for name, document in documents.items()}
    metadata["files"] = "".join(f"{path}\n" for path in sorted(package.files)).encode()
    placeheld = [
        (file.placeholder, file.mode, path) for path, file in sorted(package.files.items()) if file.placeholder
    ]
    if placeheld:
        metadata["has_prefix"] = "".join(f'"{old}" {mode} "{path}"\n' for old, mode, path in placeheld).encode()
    return metadata


def _member(path: str, file: File) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(path)
    member.mtime = _TIME
    if file.target:
        member.type, member.linkname = tarfile.SYMTYPE, file.target
        return member, b""
    member.size, member.mode = len(file.data), 0o755 if file.executable else 0o644
    return member, file.data


def _tar(members: Iterable[tuple[tarfile.TarInfo, bytes]], mode: str = "w", **options: Any) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, **options) as archive:
        for member, data in members:
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def _zipped(
    stem: str, contents: list[tuple[tarfile.TarInfo, bytes]], info: list[tuple[tarfile.TarInfo, bytes]]
) -> bytes:
    out = io.BytesIO()
    members = (
        ("metadata.json", b'{"conda_pkg_format_version": 2}'),
        (f"pkg-{stem}.tar.zst", zstd.compress(_tar(contents), 1)),
        (f"info-{stem}.tar.zst", zstd.compress(_tar(info), 1)),
    )
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members:
            member = zipfile.ZipInfo(name, date_time=_ZIP_TIME)
            member.external_attr = 0o100644 << 16
            archive.writestr(member, data)
    return out.getvalue()
