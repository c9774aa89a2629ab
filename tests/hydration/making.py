"""Locks of tiny real wheels, made by hand, and the pieces that hydrate them; run as a program it hydrates one of them.

`python -m tests.hydration.making PLACE COUNT FILES` makes the environment below PLACE as `Making(PLACE, COUNT, FILES)`
does, in a process that can be killed. It prints `began` and, once the environment is there, its path. While the file
`PLACE/gate` is there, it stands still where it would install.
"""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from envlock.hydration.hydrate import hydrate
from envlock.hydration.port import Installer, Pythons
from envlock.hydration.prefix import find_prefix
from envlock.hydration.pypi_uv import UvInstaller
from envlock.interpreters import Interpreter, find_interpreter
from envlock.model.arch import host_arch
from envlock.model.artifact import Artifact
from envlock.model.lock import Lock, LockedPackage, LockedPython
from envlock.model.requirements import Requirements
from envlock.reporter import Reporter
from tests.index import Release

SERIES = "{}.{}".format(*sys.version_info[:2])


class Heard(Reporter):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.totals: dict[str, int] = {}
        self.done: list[tuple[str, str, int]] = []

    def began(self, phase: str, total: int, unit: str) -> None:
        self.totals[phase.split()[0]] = total

    def advanced(self, phase: str, item: str, amount: int = 1) -> None:
        self.done.append((phase.split()[0], item, amount))

    def done_of(self, phase: str) -> dict[str, int]:
        """How much of a phase was done, by what it was done to."""
        found: dict[str, int] = {}
        for of, item, amount in self.done:
            if of == phase:
                found[item] = found.get(item, 0) + amount
        return found

    def noted(self, message: str) -> None:
        self.notes.append(message)

    def warned(self, message: str) -> None:
        self.warnings.append(message)


class MachinePythons(Pythons):
    """Any CPython of this machine that is of the lock's series."""

    def provide(self, lock: Lock) -> Interpreter:
        return find_interpreter(lock.python.series, lambda version: True)

    def still_serves(self, lock: Lock, path: Path) -> Interpreter | None:
        from envlock.interpreters import version_of

        version = version_of(path)
        return Interpreter(path, version) if version and version.startswith(lock.python.series) else None


class CountingInstaller(UvInstaller):
    """Writes down each time that it is called, in a file that many processes share."""

    def __init__(self, log: Path) -> None:
        super().__init__()
        self.log = log

    def install(self, lock: Lock, files: Mapping[str, Path], python: Path | None, stage: Path, place: Path) -> None:
        with self.log.open("a") as file:
            file.write(f"{stage}\n")
        while self.log.with_name("gate").exists():
            time.sleep(0.005)
        super().install(lock, files, python, stage, place)


@dataclass(frozen=True)
class Making:
    """A lock of `count` packages with `files` modules each, its artifacts in a folder, and a place for its prefix."""

    place: Path
    count: int = 3
    files: int = 3
    padding: int = 0
    """Bytes that each module takes."""
    tag: str = "py3-none-any"
    own: tuple[Release, ...] = ()
    """Further releases."""

    @cached_property
    def releases(self) -> tuple[Release, ...]:
        text = "#" * self.padding
        return (
            tuple(
                Release(
                    f"package-{number}",
                    "1.0",
                    tags=(self.tag,),
                    scripts={f"command-{number}": f"package_{number}:main"},
                    files={
                        f"package_{number}/part_{part}.py": f"{text}\nPART = {part}\n" for part in range(self.files)
                    },
                )
                for number in range(self.count)
            )
            + self.own
        )

    @cached_property
    def lock(self) -> Lock:
        artifacts = [next(release.artifacts()) for release in self.releases]
        packages = [
            LockedPackage(
                name=artifact.release.normalized,
                version=artifact.release.version,
                filename=artifact.filename,
                url=f"https://index.example/files/{artifact.filename}",
                sha256=artifact.sha256,
                size=len(artifact.data),
            )
            for artifact in artifacts
        ]
        return Lock(
            arch=host_arch(),
            requirements=Requirements(python=f"=={SERIES}.*"),
            python=LockedPython(source="machine", version=f"{SERIES}.0"),
            packages=tuple(sorted(packages, key=lambda package: package.name)),
            asked_by=("DemoFlow/train",),
        )

    @property
    def environments(self) -> Path:
        return self.place / "environments"

    @property
    def prefix(self) -> Path:
        return self.environments / self.lock.prefix_name

    @property
    def gate(self) -> Path:
        """A file that holds up whoever would install."""
        return self.place / "gate"

    @property
    def installs(self) -> Path:
        """Where processes write down that they install."""
        return self.place / "installs"

    def file_of(self, package: LockedPackage) -> Path:
        return self.place / "packages" / package.sha256 / package.filename

    def write_artifacts(self) -> None:
        for release in self.releases:
            artifact = next(release.artifacts())
            path = self.place / "packages" / artifact.sha256 / artifact.filename
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(artifact.data)

    def fetch(self, artifacts: Sequence[Artifact]) -> Mapping[str, Path]:
        return {file.sha256: self.place / "packages" / file.sha256 / file.filename for file in artifacts}

    def hydrate(
        self,
        *,
        lock: Lock | None = None,
        home: Path | None = None,
        installer: Installer | None = None,
        pythons: Pythons | None = None,
        reporter: Reporter | None = None,
    ) -> Path:
        return hydrate(
            lock or self.lock,
            self,
            home or self.place,
            installer=installer or UvInstaller(),
            pythons=pythons or MachinePythons(),
            reporter=reporter or Reporter(),
        )

    def find(self) -> Path | None:
        return find_prefix(self.lock, self.place)

    def for_arch(self, arch: str) -> Lock:
        return replace(self.lock, arch=arch)  # type: ignore[arg-type]


def missing_files(prefix: Path) -> list[str]:
    """The files that some RECORD in the prefix names and that are not there."""
    site = prefix / "lib" / f"python{SERIES}" / "site-packages"
    records = sorted(site.glob("*.dist-info/RECORD"))
    assert records, "there is not even one RECORD"
    return [
        f"{record.parent.name}: {row[0]}"
        for record in records
        for row in csv.reader(record.read_text().splitlines())
        if not (site / row[0]).exists()
    ]


def remains(environments: Path) -> list[str]:
    """What lies beside whole prefixes and should not."""
    if not environments.is_dir():
        return []
    whole = [path for path in environments.iterdir() if (path / ".envlock.json").is_file()]
    rest = [path for path in environments.iterdir() if path not in whole and path.name != ".stages"]
    return sorted(path.name for path in [*rest, *(environments / ".stages").glob("*")])


def main() -> None:
    place, count, files = sys.argv[1:]
    making = Making(Path(place), int(count), int(files))
    heard = Heard()
    assert making.lock
    print("began", flush=True)
    installer = CountingInstaller(making.installs)
    print(making.hydrate(installer=installer, reporter=heard), flush=True)
    print("\n".join(heard.notes), file=sys.stderr)


if __name__ == "__main__":
    main()
