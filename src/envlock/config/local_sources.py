"""Packages that come from a git repository, or from a folder or a file of the project, as tables name them.

A repository is named by its URL. What is in the project is named by its content, which is hashed here: the path is in
no id, so a change in a folder is seen, and a checkout at another place is the same.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from envlock.config.errors import BadSource
from envlock.files import is_of
from envlock.model.requirement import PypiRequirement, normalize_name, normalized, parse_requirement
from envlock.model.url import SDISTS
from envlock.revisions import digest_of, is_file, mode_and_size, names_in, real
from envlock.source_tree import UnusableSource, content_hash
from envlock.words import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

REFERENCES = ("rev", "tag", "branch")
_LARGEST = 8 << 30
_LINKS = "name a folder of the project that has wheels, relative to this file"
_SCP = re.compile(r"(?:(?P<user>[\w.-]+)@)?(?P<host>[\w.-]{2,}):(?!//)(?P<path>[^\s:@]+)", re.ASCII)
"""How ssh and git write a place: `git@code.example:team/tool.git`."""


def source_requirement(
    name: str, table: Mapping[str, Any], *, folder: Path, project: Path
) -> tuple[PypiRequirement, tuple[str, str] | None]:
    """The requirement of a package that a table takes from `git` or `path`; and of a path its `(url, path)`.

    The table may have `rev`, `tag` or `branch`, `subdirectory`, `extras` and `marker` beside it; `editable` has no
    meaning, because an environment is made of wheels. A path is relative to `folder`; the returned one is relative to
    `project`, the folder of envlock.toml, with `/`. `name` may have extras. Hashes what lies at a path. Raises
    BadSource, and what parse_requirement raises.
    """
    package, bracket, inside = name.partition("[")
    extras = [*inside.rstrip("] ").split(","), *table.get("extras", ())] if bracket else [*table.get("extras", ())]
    known = sorted({normalize_name(extra.strip()) for extra in extras if extra.strip()})
    local = None
    if "git" not in table and "path" not in table:
        key = next((key for key in table if key in {*REFERENCES, "subdirectory"}), "git")
        raise BadSource(package, key, str(table.get(key, "")), "there is no `git` beside it")
    if "git" in table:
        url = repository_url(package, table)
    else:
        url, path = _local_url(package, table, folder, project)
        local = (url, path)
    marker = table.get("marker", "")
    asked = f"{package.strip()}[{','.join(known)}]" if known else package.strip()
    return parse_requirement(f"{asked} @ {url}" + (f" ; {marker}" if marker else "")), local


class NotALinkFolder(ValueError):
    """A folder whose wheels cannot be searched. `reason` and `hint` are those of an error."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


def link_folder(written: str, *, folder: Path, project: Path) -> tuple[str, tuple[tuple[str, str], ...]]:
    """What `--find-links` with a folder names: a URL by the content of its wheels, and the paths of what is there.

    These are `(url, path)` of the folder and of each wheel, relative to `project`; the written path is relative to
    `folder`. Hashes every wheel. Raises NotALinkFolder.
    """
    from hashlib import sha256

    if not written.isprintable() or "\\" in written or written.startswith(("/", "~", "file:")):
        raise NotALinkFolder("the path of a folder with wheels is absolute, and other machines do not have it", _LINKS)
    place = os.path.normpath(folder.absolute() / written)
    path = os.path.relpath(place, project.absolute()).replace(os.sep, "/")
    try:
        names = sorted(name for name in names_in(place) if name.endswith(".whl"))
        if not is_in(place, project):
            raise NotALinkFolder(
                "the folder is outside the project, which is that of envlock.toml, or its git work tree", _LINKS
            )
        found = [(f"file+sha256:{digest_of(f'{place}/{name}', _LARGEST)}/{name}", f"{path}/{name}") for name in names]
    except OSError as error:
        raise NotALinkFolder(f"the folder cannot be read: {_reason(error)}", _LINKS) from None
    if not found:
        raise NotALinkFolder(
            "the folder has no wheels", "put wheels (`.whl`) into it; sdists are named by `{ path = ... }`"
        )
    content = sha256("".join(f"{url}\n" for url, _ in found).encode()).hexdigest()
    return f"wheels+sha256:{content}", ((f"wheels+sha256:{content}", path), *found)


def is_in(path: Path | str, project: Path) -> bool:
    """Whether a path is the folder of a project, or of that project."""
    return real(path) == real(project) or is_of(path, project)


def repository_url(name: str, table: Mapping[str, Any]) -> str:
    """The URL of a requirement whose table has `git`.

    >>> repository_url("tool", {"git": "git@code.example:team/tool.git", "tag": "v1", "subdirectory": "python"})
    'git+ssh://git@code.example/team/tool.git@v1#subdirectory=python'

    Raises BadSource.
    """
    url = str(table["git"]).strip().removeprefix("git+")
    url = ssh_url(url) or url
    given = [key for key in REFERENCES if table.get(key)]
    if len(given) > 1:
        raise BadSource(name, given[1], str(table[given[1]]), f"`{given[0]}` names the commit already")
    for key in ("path", "version", "index"):
        if table.get(key):
            raise BadSource(name, key, str(table[key]), "the package comes from `git`, so that it has one version")
    ref = f"@{table[given[0]]}" if given else ""
    return f"git+{url}{ref}{_subdirectory(name, table)}"


def ssh_url(written: str) -> str:
    """The URL of a place that is written as ssh and git also do; empty for any other text.

    >>> ssh_url("git@code.example:team/tool.git"), ssh_url("/srv/tool"), ssh_url("https://code.example/tool")
    ('ssh://git@code.example/team/tool.git', '', '')
    """
    found = None if "://" in written else _SCP.fullmatch(written)
    return f"ssh://{found['user'] or 'git'}@{found['host']}/{found['path'].lstrip('/')}" if found is not None else ""


def _subdirectory(name: str, table: Mapping[str, Any]) -> str:
    below = str(table.get("subdirectory") or "")
    if not below:
        return ""
    clean = os.path.normpath(below)
    if clean.startswith(("/", "..")) or re.fullmatch(r"[\w./-]+", clean, re.ASCII) is None:
        raise BadSource(name, "subdirectory", below, "it takes a folder in the source, such as `libs/common`")
    return f"#subdirectory={clean}" if clean != "." else ""


def _local_url(name: str, table: Mapping[str, Any], folder: Path, project: Path) -> tuple[str, str]:
    """The URL of what lies at a path, by its content; and the path, relative to the project."""
    written = str(table["path"])

    def bad(reason: str, *, hint: str | None = None) -> BadSource:
        return BadSource(name, "path", written, reason, hint=hint)

    for key in (*REFERENCES, "version", "index"):
        if table.get(key):
            raise BadSource(name, key, str(table[key]), "the package comes from `path`, so that it has one version")
    if not written.isprintable() or "\\" in written or written.startswith(("/", "~")):
        raise bad("it takes a path that other machines have too: relative to the file that has it, with `/`")
    place = os.path.normpath(folder.absolute() / written)
    path = os.path.relpath(place, project.absolute()).replace(os.sep, "/")
    try:
        mode, size = mode_and_size(place)
    except (OSError, ValueError) as error:
        raise bad(_reason(error), hint=_beside(place, written, project)) from None
    if not is_in(place, project):
        raise bad("it is outside the project: the folder of envlock.toml, and the git work tree around it")
    below = _subdirectory(name, table)
    try:
        if stat.S_ISDIR(mode):
            return f"folder+sha256:{_hash_of_folder(Path(place), str(table.get('subdirectory') or ''))}{below}", path
        if not stat.S_ISREG(mode) or size > _LARGEST:
            raise bad("it is neither a folder nor a file")
        filename = Path(place).name
        fault = _fault_of_file(name, filename, below)
        if fault:
            raise bad(fault)
        return f"file+sha256:{digest_of(place, _LARGEST)}/{filename}{below}", path
    except UnusableSource as error:
        raise bad(error.reason, hint=error.hint) from None
    except OSError as error:
        raise bad(_reason(error)) from None


def _beside(place: str, written: str, project: Path) -> str | None:
    """The hint for a path where nothing is: what the same folder of the project has of a similar name, if anything."""
    folder = Path(place).parent
    try:
        there = sorted(names_in(folder)) if is_in(str(folder), project) else []
    except (OSError, ValueError):
        return None
    alike = nearest(Path(place).name, there)
    return f"did you mean `{Path(written).parent / alike}`?" if alike else None


def _fault_of_file(name: str, filename: str, below: str) -> str:
    """Why a package cannot come from a file of this name; empty if it can."""
    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._+!~@=,%-]{0,199}", filename) is None:
        return "no lock can hold a file of this name"
    if not filename.endswith(".whl"):
        right = ", ".join(f"`{each}`" for each in SDISTS)
        return "" if filename.endswith(SDISTS) else f"a file is a wheel (`.whl`) or an sdist ({right})"
    of = normalized(filename.partition("-")[0])
    if of != normalize_name(name.strip()):
        return f"it is a wheel of {of}"
    return "a wheel has no `subdirectory`" if below else ""


def _hash_of_folder(place: Path, below: str) -> str:
    """The content hash of the folder of a project. Raises UnusableSource, OSError."""
    top = place / below
    if not any(is_file(top / file) for file in ("pyproject.toml", "setup.py")):
        raise UnusableSource(str(top), "it is no Python project: it has neither a pyproject.toml nor a setup.py")
    return content_hash(place)


def _reason(error: OSError | ValueError) -> str:
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return f"{reason[:1].lower()}{reason[1:]}"
