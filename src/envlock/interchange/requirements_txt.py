"""requirements.txt with hashes, and constraints: what pip and uv install from, and what they hold other installs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envlock.interchange.exported import Export, Given, build_notes, python_notes, requirement

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envlock.lockfile.rows import PackageRow
    from envlock.model.arch import Arch


def write(given: Given) -> Export:
    """The PyPI packages with `==`, and the SHA-256 of each one's file; constraints are without hashes and indexes.

    What conda packages contain is in the constraints too: it is what pip would find in that environment.
    """
    notes = (*python_notes(given), *build_notes(given))
    if given.format == "constraints":
        rows = [(package.name, _line(given, package, archs)) for package, archs in given.across_archs()]
        rows += _provided(given)
        return Export(
            given.header() + "".join(f"{line}\n" for _, line in sorted(rows)),
            (*python_notes(given), *build_notes(given)),
        )
    lines = [f"{line}\n" for line in index_lines(given)]
    for package, archs in given.across_archs():
        lines.append(f"{_line(given, package, archs)} \\\n    --hash=sha256:{package.sha256}\n")
    return Export(given.header() + "".join(lines), (*notes, *without_conda(given)))


def index_lines(given: Given) -> Iterator[str]:
    """The options that name the indexes, as envlock.toml does, without credentials."""
    default, extra, of_packages = "", dict[str, str](), dict[str, str]()
    for lock in given.locks:
        required = lock.requirements
        default = required.get("default-index", default)
        for index in (*required.get("indexes", ()), *(index for _, index in required.get("package-indexes", ()))):
            extra.setdefault(index.rstrip("/"), index)
        of_packages.update({each.from_index.rstrip("/"): each.from_index for each in given.packages(lock)})
    extra.pop("", None)
    unnamed = [index for key, index in of_packages.items() if key and key not in extra and key != default.rstrip("/")]
    if default:
        yield f"--index-url {default}"
    for place in dict.fromkeys(each for lock in given.locks for each in lock.requirements.get("find-links", ())):
        yield f"--find-links {place}"
    for index in extra.values():
        yield f"--extra-index-url {index}"
    if default or len(unnamed) > 1:  # one that envlock.toml does not name is the tools' own default
        for index in unnamed:
            yield f"--extra-index-url {index}"


def without_conda(given: Given) -> tuple[str, ...]:
    """How PyPI packages of a mixed environment are installed, where its conda packages are left out."""
    if not any(lock.conda_packages for lock in given.locks):
        return ()
    return ("the conda packages are left out: install these with `--no-deps` into an environment that has them",)


def _line(given: Given, package: PackageRow, archs: tuple[Arch, ...]) -> str:
    marker = given.marker(archs)
    return requirement(package) + (f" ; {marker}" if marker else "")


def _provided(given: Given) -> list[tuple[str, str]]:
    """What conda packages contain for pip, by name."""
    found: dict[tuple[str, str], list[Arch]] = {}
    for lock in given.locks:
        for package in lock.conda_packages:
            for provided in package.conda.provides if package.conda else ():
                found.setdefault(provided, []).append(lock.arch)
    rows = []
    for (name, version), archs in found.items():
        marker = given.marker(archs)
        rows.append((name, f"{name}=={version}{f' ; {marker}' if marker else ''}"))
    return rows
