"""Trees as tests compare them, and the pieces that make them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from envlock.hydration.port import ArtifactSource, Pythons
from envlock.model.arch import Arch, host_arch
from envlock.model.artifact import Artifact, artifacts_of
from envlock.model.lock import Lock, LockedPackage, LockedPython
from envlock.model.requirements import Requirements
from envlock.pack.tree import PLACEHOLDER, Tree, tree_of
from tests.channel.archive import pack
from tests.channel.recipe import File, Package
from tests.hydration.conda_making import package_of
from tests.hydration.making import SERIES, Heard, MachinePythons
from tests.index import Release

LIBRARY = f"lib/python{SERIES}"
SITE = f"{LIBRARY}/site-packages"
TAG = f"cpython-{SERIES.replace('.', '')}"


class Content(NamedTuple):
    """What a pack has of a file: all but where its bytes are."""

    data: bytes
    link: str
    executable: bool
    prefix: str
    package: str


def contents(tree: Tree) -> dict[str, Content]:
    """Each file of a tree, in the order of the tree."""
    found = {}
    for file in tree.files:
        data = file.read()
        assert len(data) == file.size, f"{file.path} has another size"
        found[file.path] = Content(data, file.link, file.executable, file.prefix, file.package)
    assert len(found) == len(tree.files), "a path is there twice"
    return found


def tree_in(
    lock: Lock,
    source: ArtifactSource,
    scratch: Path,
    *,
    pythons: Pythons | None = None,
    compiler: str = "",
    compiles_tests: bool = False,
) -> tuple[Tree, dict[str, Content]]:
    """A tree, without the list of its files, and what these have. It is made in a folder, which is empty afterwards."""
    scratch.mkdir(exist_ok=True, parents=True)
    provider = pythons or MachinePythons()
    with tree_of(
        lock, source, scratch, Heard(), interpreters=provider, compiler=compiler, compiles_tests=compiles_tests
    ) as tree:
        found = contents(tree)
    assert not list(scratch.iterdir()), "the scratch folder is left clean"
    return tree._replace(files=()), found


def lay_out(found: Mapping[str, Content], place: Path) -> None:
    """Write the files of a tree into a folder, where each placeholder becomes the path of the folder."""
    old, new = PLACEHOLDER.encode(), str(place).encode()
    for path, content in found.items():
        file = place / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if content.link:
            file.symlink_to(content.link)
            continue
        data = content.data
        if content.prefix == "text":
            data = data.replace(old, new)
        elif content.prefix == "binary":
            data = re.sub(
                re.escape(old) + rb"[^\0]*", lambda match: match[0].replace(old, new).ljust(len(match[0]), b"\0"), data
            )
        file.write_bytes(data)
        file.chmod(0o755 if content.executable else 0o644)


@dataclass(frozen=True)
class Stubs:
    """A lock of conda packages of its own, of a Python that does not run, and of wheels: made in no time."""

    place: Path
    packages: tuple[Package, ...] = ()
    wheels: tuple[Release, ...] = ()
    arch: Arch = field(default_factory=host_arch)

    @cached_property
    def archives(self) -> dict[str, tuple[LockedPackage, bytes]]:
        """Each package as it is locked, and its bytes, by SHA-256."""
        files = {f"bin/python{SERIES}": File(b"\x7fELF no program\0", executable=True), f"{LIBRARY}/os.py": File(b"")}
        python = Package("python", f"{SERIES}.0", "0_cpython", self.arch, files=files)
        found = {}
        for package in (python, *self.packages):
            data, record = pack(package)
            found[record["sha256"]] = package_of(record, package.filename), data
        for release in self.wheels:
            artifact = next(release.artifacts())
            url = f"https://index.example/files/{artifact.filename}"
            locked = LockedPackage(release.normalized, release.version, artifact.filename, url, artifact.sha256)
            found[artifact.sha256] = locked, artifact.data
        return found

    @cached_property
    def lock(self) -> Lock:
        packages = [package for package, _ in self.archives.values()]
        return Lock(
            arch=self.arch,
            requirements=Requirements(python=f"=={SERIES}.*", python_from="conda"),
            python=LockedPython(source="conda", version=f"{SERIES}.0"),
            packages=tuple(sorted(packages, key=lambda package: (package.kind, package.name))),
            asked_by=("DemoFlow/train",),
        )

    def fetch(self, artifacts: Sequence[Artifact]) -> Mapping[str, Path]:
        found = {}
        for artifact in artifacts:
            path = found[artifact.sha256] = self.place / artifact.sha256 / artifact.filename
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.archives[artifact.sha256][1])
        return found

    def fetch_all(self) -> None:
        """Have all of its packages in its place, as `SHA-256/filename`."""
        self.fetch(artifacts_of(self.lock))

    def tree(self) -> dict[str, Content]:
        """What the files of its tree have."""
        return tree_in(self.lock, self, self.place / "scratch")[1]
