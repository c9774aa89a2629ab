"""requirements.txt with hashes, and constraints: what pip and uv install from, and what they hold other installs to."""

from __future__ import annotations

import re
from bisect import bisect_left
from itertools import count

from envlock.interchange.errors import BrokenImport
from envlock.interchange.exported import Export, Given, build_notes, override_notes, python_notes, requirement
from envlock.model.url import strip_credentials
from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from envlock.interchange.imported import Choice, Imported
    from envlock.model.arch import Arch
    from envlock.model.requirement import PypiRequirement

KIND = "requirements.txt"
CHOICES: frozenset[str] = frozenset()
"""What of a Choice has a meaning for it."""
_OPTION = re.compile(r"\s--[a-z-]+(?:=|\s+)\S+")
_SHA256 = re.compile(r"--hash(?:=|\s+)sha256:([0-9a-fA-F]{64})\b")
_NEEDED_BY = re.compile(r"\s+#(?: via\b)?(?P<names>.*)")
_PARENT = re.compile(r"(?<![\w./-])[a-z0-9]+(?:-[a-z0-9]+)*(?![\w./-])")
_PYTHON = re.compile(r"(?:with Python |CPython |--python-version[= ])(\d\.\d+)")


def write(given: Given) -> Export:
    """The PyPI packages with `==`, and the SHA-256 of each one's file; constraints are without hashes and indexes.

    What conda packages contain is in the constraints too: it is what pip would find in that environment.
    """
    notes = (*python_notes(given), *build_notes(given), *override_notes(given))
    if given.format == "constraints":
        merged: dict[tuple[str, str], list[Arch]] = {}  # whatever file an arch has of a version
        for package, archs in given.across_archs():
            merged.setdefault((package.name, requirement(package)), []).extend(archs)
        rows = [(name, _with_marker(given, text, archs)) for (name, text), archs in merged.items()]
        rows += _provided(given)
        return Export(given.header() + "".join(f"{line}\n" for _, line in sorted(rows)), notes)
    lines = [f"{line}\n" for line in index_lines(given)]
    for package, archs in given.across_archs():
        lines.append(f"{_with_marker(given, requirement(package), archs)} \\\n    --hash=sha256:{package.sha256}\n")
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


def _with_marker(given: Given, text: str, archs: Sequence[Arch]) -> str:
    marker = given.marker(archs)
    return text + (f" ; {marker}" if marker else "")


def _provided(given: Given) -> list[tuple[str, str]]:
    """What conda packages contain for pip, by name."""
    found: dict[tuple[str, str], list[Arch]] = {}
    for lock in given.locks:
        for package in lock.conda_packages:
            for provided in package.conda.provides if package.conda else ():
                found.setdefault(provided, []).append(lock.arch)
    return [(name, _with_marker(given, f"{name}=={version}", archs)) for (name, version), archs in found.items()]


def read(text: str, path: Path, choice: Choice) -> Imported:
    """The packages of a requirements.txt with hashes, as pip-compile, uv, poetry and envlock write it, for one Python.

    It names no files: a package's file is the best of those that its index has and the hashes allow. Raises what
    `universal.imported` raises, and BrokenImport.
    """
    from envlock.interchange.universal import ROOT, Candidate, Universal, imported, wheel_of
    from envlock.resolve.python_releases import Edge

    shown = path.name
    edges: list[Edge] = []
    candidates: dict[tuple[str, str], Candidate] = {}
    needs: dict[str, tuple[tuple[str, str], ...]] = {}
    hashes: dict[tuple[str, str], frozenset[str]] = {}
    indexes: list[str] = []
    for line in _lines_of(text):
        if line.text.startswith("-"):
            indexes += _index_of(line, shown)
            continue
        found = _pinned(line, shown)
        version = found.specifier.removeprefix("==").lstrip("=")
        allowed = frozenset(digest.lower() for digest in _SHA256.findall(line.text))
        if not allowed:
            raise BrokenImport(shown, KIND, f"{found.name} has no SHA-256", line=line.number)
        wheel = wheel_of(found.url, next(iter(allowed))) if found.url else None
        if wheel is not None:
            version = wheel.filename.split("-")[1]
        built_from = "sdist" if found.url else ""
        candidates[found.name, version] = Candidate(
            found.name, version, (wheel,) if wheel is not None else (), built_from=built_from
        )
        hashes[found.name, version] = hashes.get((found.name, version), frozenset()) | allowed
        edges.append(Edge(found.name, version, (), found.marker))
        for parent in line.needed_by:
            needs[parent] = (*needs.get(parent, ()), (found.name, ""))
    names = {name for name, _ in candidates}
    return imported(
        Universal(
            kind=KIND,
            requires_python=_python_of(text),
            edges={ROOT: tuple(edges), **{(*key, ""): () for key in candidates}},
            candidates=candidates,
            needs={parent: needed for parent, needed in needs.items() if parent in names},
            indexes=tuple(dict.fromkeys(indexes)),
            hashes=hashes,
        ),
        shown,
        choice,
    )


class _Line(NamedTuple):
    """A requirement or an option, with all that belongs to it."""

    text: str
    number: int
    needed_by: tuple[str, ...] = ()
    """Who needs the package, as the comments of pip-compile and uv say it."""


def _lines_of(text: str) -> list[_Line]:
    """The lines, continued ones put together, each with who needs its package by the comments below it."""
    from envlock.config.requirement_files.pip_requirement import logical_lines

    written = text.splitlines()
    found = [_Line(line.text, line.number) for line in logical_lines(zip(written, count(1)))]
    starts = [line.number for line in found]
    for number, raw in enumerate(written, start=1):
        comment = _NEEDED_BY.match(raw)
        at = bisect_left(starts, number) - 1
        if comment is not None and at >= 0:
            parents = (*found[at].needed_by, *(each for each in _PARENT.findall(comment["names"])))
            found[at] = found[at]._replace(needed_by=parents)
    return found


def _index_of(line: _Line, shown: str) -> list[str]:
    option, _, value = line.text.replace("=", " ", 1).partition(" ")
    if option in {"-i", "--index-url", "--extra-index-url"}:
        return [strip_credentials(value.strip())]
    if option in {"-r", "--requirement", "-c", "--constraint", "-e", "--editable", "-f", "--find-links", "--no-index"}:
        reason = f"`{option}` is not in a lock: let pip-compile, or uv, put it all into one file"
        raise BrokenImport(shown, KIND, reason, line=line.number)
    return []


def _pinned(line: _Line, shown: str) -> PypiRequirement:
    from envlock.errors import ConfigError
    from envlock.model.requirement import parse_requirement

    try:
        found = parse_requirement(_OPTION.sub("", line.text).strip())
    except ConfigError as error:
        raise BrokenImport(shown, KIND, error.message, line=line.number) from None
    if not found.url and (not found.specifier.startswith("==") or "*" in found.specifier or "," in found.specifier):
        raise BrokenImport(shown, KIND, f"{found.name} is not pinned with `==`", line=line.number)
    return found


def _python_of(text: str) -> str:
    """The series that the first lines say it was made for; empty where they do not."""
    match = _PYTHON.search("\n".join(line for line in text.splitlines()[:12] if line.startswith("#")))
    return f"=={match[1]}.*" if match is not None else ""
