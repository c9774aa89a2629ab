"""Locks of conda packages out of the test channels, and of wheels on top, and the pieces that hydrate them.

`python -m tests.hydration.conda_making PLACE COUNT NAME...` makes the environment below PLACE of packages with these
names and COUNT wheels, in a process that can be killed. It prints `began`, and the prefix's path once it is there.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from envlock.conda.channels import channel_base
from envlock.hydration.conda_rattler import CondaInstaller
from envlock.hydration.hydrate import hydrate
from envlock.hydration.port import Installer, InstallOptions
from envlock.hydration.prefix import find_prefix
from envlock.interpreters import Interpreter
from envlock.model.arch import Arch, host_arch
from envlock.model.artifact import Artifact
from envlock.model.lock import CondaFacts, Lock, LockedPackage, LockedPython
from envlock.model.requirements import Requirements
from tests.channel import Package, built_channels
from tests.channel.archive import pack, read_records
from tests.hydration.making import Heard
from tests.index import Release

CHANNEL = channel_base("conda-forge")


class NoPythons:
    """Must not be asked for a Python: it is a package of the lock."""

    def provide(self, lock: Lock) -> Interpreter:
        raise AssertionError("a conda lock brings its own Python")

    def still_serves(self, lock: Lock, path: Path) -> Interpreter | None:
        from envlock.interpreters import version_of

        version = version_of(path)
        return Interpreter(path, version) if version == lock.python.version else None


def package_of(record: Mapping[str, Any], filename: str, channel: str = CHANNEL) -> LockedPackage:
    """The locked package of a record of repodata."""
    return LockedPackage(
        kind="conda",
        name=record["name"],
        version=record["version"],
        build=record["build"],
        filename=filename,
        url=f"{channel}/{record['subdir']}/{filename}",
        sha256=record["sha256"],
        size=record["size"],
        dependencies=tuple(sorted(text.split()[0] for text in record["depends"] if not text.startswith("__"))),
        conda=CondaFacts(
            channel=channel,
            subdir=record["subdir"],
            build_number=record["build_number"],
            depends=tuple(record["depends"]),
            constrains=tuple(record["constrains"]),
            noarch=record.get("noarch", ""),
            md5=record["md5"],
            license=record.get("license", ""),
            site_packages=record.get("python_site_packages_path", ""),
        ),
    )


@dataclass(frozen=True)
class CondaMaking:
    """A lock of packages of the channel, of packages of its own, and of wheels; and a place for its prefix."""

    place: Path
    names: tuple[str, ...] = ()
    """Packages of the channel `main`: of each its newest build for this machine's Python, which is one of them."""
    own: tuple[Package, ...] = ()
    wheels: tuple[Release, ...] = ()
    store: Path | None = None
    """Where archives lie, by SHA-256, and what was unpacked of them; shared by tests that change nothing there."""
    system: tuple[tuple[Arch, str, str], ...] = ()
    link_scripts: tuple[str, ...] = ()
    compile_bytecode: bool = False
    reporter: Heard = field(default_factory=Heard)

    @cached_property
    def archives(self) -> Mapping[str, bytes | Path]:
        """Every artifact, by SHA-256."""
        found: dict[str, bytes | Path] = {}
        for package, archive in self._conda:
            found[package.sha256] = archive
        for release in self.wheels:
            artifact = next(release.artifacts())
            found[artifact.sha256] = artifact.data
        return found

    @cached_property
    def _conda(self) -> tuple[tuple[LockedPackage, bytes | Path], ...]:
        main = built_channels() / "main"
        known = {
            (subdir, filename): record
            for subdir, records in read_records(main).items()
            if subdir in {host_arch(), "noarch"}
            for filename, record in records.items()
        }
        pythons = {key: each for key, each in known.items() if each["name"] == "python"}
        runs = [each for each in pythons.values() if not each.get("track_features")]
        if not runs:
            pytest.skip("no Python of this machine can be made into a conda package")
        series = max((each["version"] for each in runs), key=Version).rpartition(".")[0]
        known = {key: each for key, each in known.items() if key not in pythons or each["version"].startswith(series)}
        chosen: list[tuple[LockedPackage, bytes | Path]] = []
        for name in ("python", *self.names):
            (subdir, filename), record = max(
                (key, each) for key, each in known.items() if each["name"] == name and _fits(each, series)
            )
            chosen.append((package_of(record, filename), main / subdir / filename))
        for package in self.own:
            data, record = pack(package)
            chosen.append((package_of(record, package.filename), data))
        return tuple(chosen)

    @cached_property
    def lock(self) -> Lock:
        conda = [package for package, _ in self._conda]
        python = next(package for package in conda if package.name == "python")
        wheels = [
            LockedPackage(
                name=release.normalized,
                version=release.version,
                filename=artifact.filename,
                url=f"https://index.example/files/{artifact.filename}",
                sha256=artifact.sha256,
                size=len(artifact.data),
            )
            for release in self.wheels
            for artifact in [next(release.artifacts())]
        ]
        return Lock(
            arch=host_arch(),
            requirements=Requirements(python_from="conda", channels=("conda-forge",), system=self.system),
            python=LockedPython(source="conda", version=python.version),
            packages=tuple(sorted([*conda, *wheels], key=lambda package: (package.kind, package.name))),
            asked_by=("DemoFlow/train",),
        )

    @property
    def series(self) -> str:
        return self.lock.python.series

    @property
    def environments(self) -> Path:
        return self.place / "environments"

    @property
    def prefix(self) -> Path:
        return self.environments / self.lock.prefix_name

    @property
    def site_packages(self) -> Path:
        return self.prefix / "lib" / f"python{self.series}" / "site-packages"

    @property
    def unpacked(self) -> Path:
        return (self.store or self.place / "conda") / "unpacked"

    def named(self, name: str) -> LockedPackage:
        return next(package for package in self.lock.packages if package.name == name)

    def file_of(self, package: LockedPackage) -> Path:
        return (self.store or self.place / "packages") / package.sha256 / package.filename

    def fetch(self, artifacts: Sequence[Artifact]) -> Mapping[str, Path]:
        root = self.store or self.place / "packages"
        for artifact in artifacts:
            path = root / artifact.sha256 / artifact.filename
            if path.exists():
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            source = self.archives[artifact.sha256]
            stage = path.with_name(f"{path.name}.{id(self)}")
            stage.write_bytes(source if isinstance(source, bytes) else source.read_bytes())
            stage.replace(path)
        return {each.sha256: root / each.sha256 / each.filename for each in artifacts}

    def installer(self) -> CondaInstaller:
        options = InstallOptions(self.compile_bytecode, self.link_scripts)
        return CondaInstaller(self.unpacked, self.reporter, options)

    def hydrate(self, *, installer: Installer | None = None, lock: Lock | None = None, force: bool = False) -> Path:
        return hydrate(
            lock or self.lock,
            self,
            self.place,
            installer=installer or self.installer(),
            pythons=NoPythons(),
            reporter=self.reporter,
            force=force,
        )

    def find(self) -> Path | None:
        return find_prefix(self.lock, self.place)


def _fits(record: Mapping[str, Any], series: str) -> bool:
    build = re.match(r"py(\d)(\d+)", record["build"])
    return not (build and record["subdir"] != "noarch") or f"{build[1]}.{build[2]}" == series


def wheels(count: int, **options: Any) -> tuple[Release, ...]:
    """Wheels with a command each."""
    return tuple(
        Release(f"wheel-{number}", "1.0", scripts={f"wheel-{number}": f"wheel_{number}:main"}, **options)
        for number in range(count)
    )


def wrong_files(prefix: Path) -> list[str]:
    """What the records of a prefix name and is not there as they have it: of conda packages by hash, of wheels too."""
    import base64
    import csv
    import hashlib

    wrong = []
    for path in sorted((prefix / "conda-meta").glob("*.json")):
        for entry in json.loads(path.read_text())["paths_data"]["paths"]:
            file = prefix / entry["_path"]
            digest = entry.get("sha256_in_prefix") or entry.get("sha256")
            if entry["path_type"] == "softlink":
                wrong += [] if file.is_symlink() else [f"{path.stem}: {entry['_path']}"]
            elif not file.is_file() or (digest and hashlib.sha256(file.read_bytes()).hexdigest() != digest):
                wrong.append(f"{path.stem}: {entry['_path']}")
    for record in sorted(prefix.glob("lib/python3*/site-packages/*.dist-info/RECORD")):
        site = record.parent.parent
        if record.with_name("INSTALLER").read_text().strip() != "uv":
            continue
        for name, digest, size in csv.reader(record.read_text().splitlines()):
            data = (site / name).read_bytes() if (site / name).is_file() else b""
            found = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            if not (site / name).is_file() or (digest and (digest, size) != (f"sha256={found}", str(len(data)))):
                wrong.append(f"{record.parent.name}: {name}")
    return wrong


def files_naming(folder: Path, text: str) -> list[str]:
    """The files below a folder whose bytes, or whose link, hold a text."""
    found = []
    for path in folder.rglob("*"):
        data = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        if text.encode() in data:
            found.append(str(path.relative_to(folder)))
    return found


def main() -> None:
    place, count, *names = sys.argv[1:]
    making = making_of(Path(place), int(count), names)
    assert making.lock
    print("began", flush=True)
    print(making.hydrate(), flush=True)


def making_of(place: Path, count: int, names: Iterable[str]) -> CondaMaking:
    """What a process that can be killed makes."""
    return CondaMaking(place, tuple(names), wheels=wheels(count))


def changed(lock: Lock, package: LockedPackage, **facts: Any) -> Lock:
    """The lock with other facts of one package."""
    return replace(lock, packages=tuple(replace(each, **facts) if each is package else each for each in lock.packages))


if __name__ == "__main__":
    main()
