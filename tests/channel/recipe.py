"""A conda package as a recipe: the same recipe makes the same bytes everywhere."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

PLACEHOLDER = "/placeholder" * 21 + "/xx"
"""255 bytes, as conda-build's: the longest prefix that a binary can be moved to."""

STUB = {"track_features": "stub"}
"""What the record of a package says that does not run on the machine it is for: a solver takes any other before it."""

MACHINES = {"64": "x86_64", "aarch64": "aarch64", "arm64": "arm64"}


@dataclass(frozen=True)
class File:
    """A file of a package, or a symbolic link where `target` is set."""

    data: bytes = b""
    executable: bool = False
    placeholder: str = ""
    """The prefix that the bytes name, to be replaced where the package is linked; empty where they name none."""
    mode: Literal["text", "binary"] = "text"
    """How `placeholder` is replaced."""
    target: str = ""


@dataclass(frozen=True)
class Package:
    """One build of one version of a package, for one subdir."""

    name: str
    version: str
    build: str = "0"
    subdir: str = "noarch"
    depends: tuple[str, ...] = ()
    constrains: tuple[str, ...] = ()
    files: Mapping[str, File] = field(default_factory=dict)
    noarch: Literal["python", "generic"] | None = None
    """What kind of noarch it is; `generic` where nothing is said and the subdir is `noarch`."""
    entry_points: tuple[str, ...] = ()
    """`command = module:function`, of noarch Python packages."""
    number: int = 0
    uploaded: str | None = "2023-01-01T00:00:00Z"
    """Becomes `timestamp`; None for a record that has none."""
    suffix: Literal[".conda", ".tar.bz2"] = ".conda"
    license: str = "MIT"
    extra: Mapping[str, object] = field(default_factory=dict)
    """Further fields of `index.json` and of the record."""
    patch: Mapping[str, object] = field(default_factory=dict)
    """What the record says otherwise than the archive's own `index.json`; None takes a field away. Channels mend so."""

    @property
    def stem(self) -> str:
        """`name-version-build`."""
        return f"{self.name}-{self.version}-{self.build}"

    @property
    def filename(self) -> str:
        """What the archive is called."""
        return self.stem + self.suffix

    def on(self, *subdirs: str) -> tuple[Package, ...]:
        """The same for each of these subdirs."""
        return tuple(replace(self, subdir=subdir) for subdir in subdirs)


@dataclass(frozen=True)
class Dist:
    """A Python distribution inside a package: what its dist-info says, and one module named after it."""

    name: str
    version: str
    requires: tuple[str, ...] = ()
    """Requires-Dist."""
    scripts: Mapping[str, str] = field(default_factory=dict)
    """Command to `module:function`; the module has a `main` that prints name and version."""

    @property
    def module(self) -> str:
        """What to import."""
        return re.sub(r"[-_.]+", "_", self.name).lower()

    def files(self, site_packages: str) -> dict[str, File]:
        """The files, below this site-packages folder."""
        info = f"{self.module}-{self.version}.dist-info"
        source = f'"""A package that exists to be locked."""\n\n__version__ = "{self.version}"\nFROM = "conda"\n'
        source += f'\n\ndef main():\n    print("{self.name} {self.version} from conda")\n'
        metadata = [f"Metadata-Version: 2.1\nName: {self.name}\nVersion: {self.version}"]
        metadata += [f"Requires-Dist: {requirement}" for requirement in self.requires]
        members = {
            f"{self.module}/__init__.py": source.encode(),
            f"{info}/METADATA": ("\n".join(metadata) + "\n").encode(),
            f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        if self.scripts:
            entries = "".join(f"{command} = {target}\n" for command, target in self.scripts.items())
            members[f"{info}/entry_points.txt"] = f"[console_scripts]\n{entries}".encode()
        files = {f"{site_packages}/{path}": File(data) for path, data in members.items()}
        return files | installed_by_conda(files, f"{site_packages}/{info}", site_packages)


def installed_by_conda(files: Mapping[str, File], dist_info: str, site_packages: str) -> dict[str, File]:
    """INSTALLER and RECORD of a dist-info folder whose distribution has these files."""
    installer = File(b"conda\n")
    rows = []
    for path, file in sorted({**files, f"{dist_info}/INSTALLER": installer}.items()):
        digest = base64.urlsafe_b64encode(hashlib.sha256(file.data).digest()).rstrip(b"=").decode()
        rows.append(f"{relative(path, site_packages)},sha256={digest},{len(file.data)}\n")
    rows.append(f"{relative(f'{dist_info}/RECORD', site_packages)},,\n")
    return {f"{dist_info}/INSTALLER": installer, f"{dist_info}/RECORD": File("".join(rows).encode())}


def relative(path: str, site_packages: str) -> str:
    """How RECORD names a file of the prefix.

    >>> relative("lib/python3.12/site-packages/a.py", "lib/python3.12/site-packages")
    'a.py'
    >>> relative("bin/a", "lib/python3.12/site-packages")
    '../../../bin/a'
    """
    if path.startswith(f"{site_packages}/"):
        return path[len(site_packages) + 1 :]
    return "../" * (site_packages.count("/") + 1) + path


def python_package(
    name: str,
    version: str,
    *more: Dist,
    dist: Dist | None = None,
    requires: Iterable[str] = (),
    depends: Iterable[str] = (),
    scripts: Mapping[str, str] | None = None,
    python: str = ">=3.8",
    **options: object,
) -> Package:
    """A noarch Python package with a distribution of the same name and version, or `dist`, and perhaps `more` of them.

    `requires` is what the distribution says it needs, `depends` what the conda package does (Python aside, which
    is always among it).
    """
    dist = dist or Dist(name, version, tuple(requires), scripts or {})
    files: dict[str, File] = {}
    for each in (dist, *more):
        files |= each.files("site-packages")
    entry_points = tuple(f"{command} = {target}" for each in (dist, *more) for command, target in each.scripts.items())
    package = Package(
        name,
        version,
        "py_0",
        depends=(f"python {python}".strip(), *depends),
        files=files,
        noarch="python",
        entry_points=entry_points,
    )
    return replace(package, **options)  # type: ignore[arg-type]


def compiled_package(
    name: str,
    version: str,
    series: str,
    *,
    requires: Iterable[str] = (),
    depends: Iterable[str] = (),
    **options: object,
) -> Package:
    """A package for one series of Python: its distribution lies below `lib/pythonX.Y`."""
    number = options.get("number", 0)
    package = Package(
        name,
        version,
        f"py{series.replace('.', '')}_{number}",
        depends=(*needs_series(series), *depends),
        files=Dist(name, version, tuple(requires)).files(f"lib/python{series}/site-packages"),
    )
    return replace(package, **options)  # type: ignore[arg-type]


def data_package(name: str, version: str, texts: Mapping[str, str] | None = None, **options: object) -> Package:
    """A package without Python; `texts` are its files. Shell scripts and what lies below bin can be executed."""
    texts = {f"share/{name}/version.txt": f"{version}\n"} if texts is None else texts
    files = {
        path: File(text.encode(), executable=path.startswith("bin/") or path.endswith(".sh"))
        for path, text in texts.items()
    }
    return replace(Package(name, version, files=files), **options)  # type: ignore[arg-type]


def needs_series(series: str) -> tuple[str, str]:
    """What a package for one series of Python depends on.

    >>> needs_series("3.12")
    ('python >=3.12,<3.13.0a0', 'python_abi 3.12.* *_cp312')
    """
    minor = int(series.partition(".")[2])
    return f"python >={series},<3.{minor + 1}.0a0", f"python_abi {series}.* *_cp3{minor}"
