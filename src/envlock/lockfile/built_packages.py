"""The wheels of a lock that no upstream has: their lines, in PEP 751's keys, and how both readers read them.

A line says what the wheel was built from as PEP 751 does (`sdist`, `vcs`, `directory`, `archive`), and has the wheel
itself under `tool.envlock`. A local wheel is one of `wheels`, with a path. Paths are relative to the lock file, three
folders below that of envlock.toml. Only locks with such packages import this module.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from envlock.files import toml_of
from envlock.lockfile.allowed_values import INDEX, NAME, SHA256, UPLOAD_TIME, URL, VERSION, is_wheel
from envlock.lockfile.canonical_text import array, filename_of, quoted
from envlock.model.url import COMMIT
from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:  # defining a dataclass takes longer than reading the lines
    from typing import Any

    from envlock.model.lock import LockedPackage

UP = "../../../"
_UNSAFE = r"\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\"\\"
_SEGMENT = rf"(?!\.{{1,2}}(?:/|\Z))[^/{_UNSAFE}]+"
_PATH = re.compile(rf"\.|\.\.(?:/\.\.)*|(?:\.\./)*{_SEGMENT}(?:/{_SEGMENT})*")
_SUBDIRECTORY = re.compile(rf"(?:{_SEGMENT}(?:/{_SEGMENT})*)?")
_REPOSITORY = re.compile(
    r"(?:https?://|ssh://(?:[A-Za-z0-9._-]+@)?)(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?"
    r"/[^\x00-\x20\x7f\"\\?#@]*"
)
_ARCHIVE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+!~@=,%-]{0,199}")
_MOST_BYTES = 10**15


class BuiltLine(NamedTuple):
    """The line of a wheel that no upstream has; the fields mean what they mean in LockedPackage and Source."""

    name: str
    version: str
    filename: str
    sha256: str
    size: int
    kind: str
    dependencies: tuple[str, ...] = ()
    from_index: str = ""
    upload_time: str = ""
    url: str = ""
    commit: str = ""
    content: str = ""
    """The SHA-256 of the archive, or the content hash of the folder."""
    archive: str = ""
    """The file name of the sdist."""
    subdirectory: str = ""
    path: str = ""
    requires: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The inline table.

        >>> print(BuiltLine("demo", "1.0", "demo-1.0-py3-none-any.whl", "ab", 7, "folder", content="cd", path="libs/a",
        ...     requires=("setuptools==80.9.0",)).text)  # doctest: +NORMALIZE_WHITESPACE
        {name = "demo", version = "1.0", directory = {path = "../../../libs/a"}, tool = {envlock = {wheel =
        {name = "demo-1.0-py3-none-any.whl", size = 7, hashes = {sha256 = "ab"}}, built-with = ["setuptools==80.9.0"],
        content = "cd"}}}
        """
        fields = [f"name = {quoted(self.name)}", f"version = {quoted(self.version)}"]
        if self.dependencies:
            names = ", ".join(f"{{name = {quoted(name)}}}" for name in self.dependencies)
            fields.append(f"dependencies = [{names}]")
        if self.from_index:
            fields.append(f"index = {quoted(self.from_index)}")
        path = f"path = {quoted(UP + self.path)}"
        wheel = f"size = {self.size}, hashes = {{sha256 = {quoted(self.sha256)}}}"
        if self.kind == "wheel":
            return f"{{{', '.join(fields)}, wheels = [{{name = {quoted(self.filename)}, {path}, {wheel}}}]}}"
        below = f", subdirectory = {quoted(self.subdirectory)}" if self.subdirectory else ""
        hashes = f", hashes = {{sha256 = {quoted(self.content)}}}"
        own = [f"wheel = {{name = {quoted(self.filename)}, {wheel}}}"]
        if self.requires:
            own.append(f"built-with = {array(self.requires)}")
        if self.kind == "git":
            commit = f"commit-id = {quoted(self.commit)}"
            fields.append(f'vcs = {{type = "git", url = {quoted(self.url)}, {commit}{below}}}')
        elif self.kind == "folder":
            fields.append(f"directory = {{{path}{below}}}")
            own.append(f"content = {quoted(self.content)}")
        elif self.from_index:
            named = f"name = {quoted(self.archive)}, " if filename_of(self.url) != self.archive else ""
            uploaded = f"upload-time = {self.upload_time}, " if self.upload_time else ""
            fields.append(f"sdist = {{{named}{uploaded}url = {quoted(self.url)}{hashes}}}")
        else:
            place = f"url = {quoted(self.url)}" if self.url else path
            fields.append(f"archive = {{{place}{hashes}{below}}}")
        return f"{{{', '.join(fields)}, tool = {{envlock = {{{', '.join(own)}}}}}}}"

    @property
    def is_allowed(self) -> bool:
        """Whether a lock may hold these values; a text that cannot be of its kind may lead somebody astray."""
        is_named = re.fullmatch(NAME, self.name) is not None and re.fullmatch(VERSION, self.version) is not None
        has_wheel = is_wheel(self.filename) and _is_hash(self.sha256) and type(self.size) is int
        if not (is_named and has_wheel and 0 <= self.size < _MOST_BYTES and self._is_source()):
            return False
        names = (*self.dependencies, *(text.partition("==")[0] for text in self.requires))
        versions = (text.partition("==")[2] for text in self.requires)
        return (
            all(re.fullmatch(NAME, name) for name in names)
            and all(re.fullmatch(VERSION, version) for version in versions)
            and list(self.requires) == sorted(set(self.requires))
            and _SUBDIRECTORY.fullmatch(self.subdirectory) is not None
        )

    def _is_source(self) -> bool:
        of_web = self.url != ""
        if self.from_index and (self.kind != "sdist" or re.fullmatch(INDEX, self.from_index) is None or not of_web):
            return False
        if self.upload_time and (not self.from_index or re.fullmatch(UPLOAD_TIME, self.upload_time) is None):
            return False
        if self.kind == "git":
            return _REPOSITORY.fullmatch(self.url) is not None and re.fullmatch(COMMIT, self.commit) is not None
        is_here = not of_web and _PATH.fullmatch(self.path) is not None
        if self.kind == "wheel":
            return is_here and self.path.rpartition("/")[2] == self.filename
        if self.kind == "folder":
            return is_here and _is_hash(self.content)
        is_place = re.fullmatch(URL, self.url) is not None and not self.path if of_web else is_here
        return is_place and _is_hash(self.content) and _ARCHIVE.fullmatch(self.archive) is not None


def _is_hash(text: object) -> bool:
    return isinstance(text, str) and re.fullmatch(SHA256, text) is not None


def built_line(entry: Mapping[str, Any]) -> BuiltLine:
    """The facts of an entry of `packages`. Raises KeyError, TypeError, ValueError on other content."""
    facts: dict[str, Any] = {
        "name": entry["name"],
        "version": entry["version"],
        "dependencies": tuple(each["name"] for each in entry.get("dependencies", ())),
        "from_index": entry.get("index", ""),
    }
    if "wheels" in entry:
        (wheel,) = entry["wheels"]
        return BuiltLine(**facts, **_wheel(wheel), kind="wheel", path=_path(wheel))
    own = entry["tool"]["envlock"]
    facts |= {**_wheel(own["wheel"]), "requires": tuple(own.get("built-with", ()))}
    kinds = [key for key in ("sdist", "vcs", "directory", "archive") if key in entry]
    if len(kinds) != 1:
        raise ValueError(f"package {entry['name']!r} has {len(kinds)} sources")
    source = entry[kinds[0]]
    facts["subdirectory"] = source.get("subdirectory", "")
    if kinds[0] == "vcs":
        return BuiltLine(**facts, kind="git", url=source["url"], commit=source["commit-id"])
    if kinds[0] == "directory":
        return BuiltLine(**facts, kind="folder", path=_path(source), content=own["content"])
    url, path = source.get("url", ""), _path(source) if "url" not in source else ""
    uploaded = source.get("upload-time")
    return BuiltLine(
        **facts,
        kind="sdist",
        url=url,
        path=path,
        content=source["hashes"]["sha256"],
        archive=source.get("name") or filename_of(url or path),
        upload_time=uploaded.isoformat().replace("+00:00", "Z") if uploaded is not None else "",
    )


def _wheel(table: Mapping[str, Any]) -> dict[str, Any]:
    return {"filename": table["name"], "size": table["size"], "sha256": table["hashes"]["sha256"]}


def _path(table: Mapping[str, Any]) -> str:
    path = table["path"]
    if not path.startswith(UP):
        raise ValueError(f"the path {path!r} does not begin at the folder of envlock.toml")
    return str(path[len(UP) :])


def line_at(body: str, position: int) -> tuple[BuiltLine, int] | None:
    """The built package in the line at `position`, and where the line ends; None if it is none as envlock writes it."""
    end = body.find("\n", position)
    text = body[position:end]
    if end < 0 or not text.startswith("    {name = ") or not text.endswith("},"):
        return None
    line = built_line(toml_of(f"package = {text[4:-1]}\n")["package"])
    return (line, end + 1) if line.is_allowed and text == f"    {line.text}," else None


def line_of(package: LockedPackage) -> BuiltLine:
    """The line of a package that has a source."""
    source = package.source
    assert source is not None, "only a package with a source has such a line"
    return BuiltLine(
        name=package.name,
        version=package.version,
        filename=package.filename,
        sha256=package.sha256,
        size=-1 if package.size is None else package.size,
        kind=source.kind,
        dependencies=package.dependencies,
        from_index=package.index,
        upload_time=package.upload_time,
        url=source.url,
        commit=source.commit,
        content=source.sha256,
        archive=source.filename,
        subdirectory=source.subdirectory,
        path=source.path,
        requires=source.requires,
    )


def package_from(entry: Mapping[str, Any]) -> LockedPackage:
    """The package of an entry of `packages`. Raises KeyError, TypeError, ValueError on other content."""
    from envlock.model.lock import LockedPackage, Source

    line = built_line(entry)
    return LockedPackage(
        name=line.name,
        version=line.version,
        filename=line.filename,
        url="",
        sha256=line.sha256,
        size=line.size,
        upload_time=line.upload_time,
        index=line.from_index,
        dependencies=line.dependencies,
        source=Source(
            kind=line.kind,
            url=line.url,
            commit=line.commit,
            sha256=line.content,
            filename=line.archive,
            subdirectory=line.subdirectory,
            path=line.path,
            requires=line.requires,
        ),
    )
