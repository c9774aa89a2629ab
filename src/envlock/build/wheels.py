"""Makes a wheel of a source, once: the same recipe makes the same bytes on every machine of a kind.

The source is copied or unpacked into a folder of the build's own, its build requirements are resolved and installed
into an environment (`environments.py`), and there its hooks run (`hooks.py`).
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import zipfile
from base64 import urlsafe_b64encode
from email.parser import BytesHeaderParser
from pathlib import Path

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from envlock.build import git, sdists
from envlock.build.errors import BadBuiltWheel, BuildOfAnother, GitUnreachable, NotAProject, SourceChanged
from envlock.build.hooks import run_hooks, work_folder
from envlock.build.port import Built, Recipe
from envlock.files import MEMO_BYTES, METADATA_BYTES, json_of, read_file, sha256_of, toml_of, write_atomically
from envlock.model.url import direct_url_fault
from envlock.redaction import shown
from envlock.reporter import Reporter
from envlock.source_tree import EPOCH, copy_to
from envlock.stage import make_once

_BUILT = "built.json"
_PLACE = re.compile(rb"(?m)^(Requires-Dist:[ \t]*)([A-Za-z0-9._-]+(?:\[[^\]\n]*\])?)[ \t]*@[ \t]*file:[^;\s]*([^\n]*)$")
"""A requirement with a place on this machine: what stands before, its name with extras, and what follows."""
_NAME = re.compile(r"[^A-Za-z0-9._-]")
_METADATA_ROW = re.compile(rb"\.dist-info/METADATA,sha256=[^,\n]*,[0-9]*")
_GLIBC = re.compile(rb"\0GLIBC_(\d+)\.(\d+)(?=[.\0])")


def built_in(place: Path) -> Built | None:
    """The wheel that was built into a folder; None if there is none, or it is not whole. Starts no process."""
    try:
        found = json_of(read_file(place / _BUILT, MEMO_BYTES))
        path = place / found["filename"]
        if path.stat().st_size != found["size"]:
            return None
        lists = {key: tuple(found.get(key, ())) for key in ("requires", "tags", "from_folders")}
        return Built(**{**found, "path": path, **lists})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def build(recipe: Recipe, into: Path, reporter: Reporter | None = None) -> Built:
    """Build the wheel of a recipe into a folder of envlock's home, unless it is there.

    However many processes ask for it, it is built once, and a kill at any moment leaves nothing that counts. What a
    failed build printed is kept in the home. Costs no process for what is there; else what the build takes, some 100 ms
    for its environment, and 0.1 s for uv. Raises the errors of `envlock.build.errors`, NoUv, UntrustedHome, OSError.
    """
    found = built_in(into)
    if found is not None:
        return found
    told = reporter or Reporter()
    told.doing("building", recipe.said)
    make_once(
        into,
        is_whole=lambda: built_in(into) is not None,
        build=lambda stage: _build(recipe, stage),
        waiting=lambda: told.noted(f"another process builds {recipe.said}: waiting for it"),
    )
    made = built_in(into)
    if made is None:
        raise BadBuiltWheel(recipe.said, reason="it vanished after it was built")
    return made


def _build(recipe: Recipe, stage: Path) -> None:
    with work_folder(recipe.key) as work:
        for name in ("source", "home", "tmp", "wheels"):
            (work.folder / name).mkdir()
        project, epoch = _project(recipe, work.folder / "source")
        environment, filename = run_hooks(recipe, work, project, epoch)
        wheel = work.folder / "wheels" / filename
        from_folders = _without_places(wheel)
        if recipe.source.kind == "git":  # of a folder, the project knows them from the start
            from_folders = sorted({*from_folders, *_from_repository(project)})
        facts = _facts(recipe, wheel)
        facts |= {"requires": environment.requires, "from_folders": from_folders}
        shutil.copyfile(wheel, stage / filename)
        write_atomically(stage / _BUILT, json.dumps(facts, indent=1, sort_keys=True).encode())


def _project(recipe: Recipe, into: Path) -> tuple[Path, int]:
    """Bring the source into an empty folder: the folder of the project in it, and the time of what is in the wheel.

    That is when the commit was made, else the first that a zip file can tell.
    """
    source, epoch = recipe.source, EPOCH
    if source.kind == "git":
        if recipe.offline:
            raise GitUnreachable(recipe.said, url=source.url, details=("envlock is offline",))
        url = recipe.fetch_url or source.url
        epoch = max(EPOCH, git.checkout(url, source.commit, into, recipe.said, kept=source.url))
        top = into
    elif source.kind == "folder":
        assert recipe.place is not None
        if copy_to(recipe.place, into) != source.sha256:
            raise SourceChanged(recipe.said)
        top = into
    else:
        assert recipe.place is not None
        sdists.check_sha256(recipe.place, source.sha256, recipe.said)
        top = sdists.unpack(recipe.place, source.filename or recipe.place.name, into, recipe.said)
        _compare(recipe, *sdists.named_in(top), what="the archive, as its PKG-INFO says,")
    project = top / source.subdirectory
    where = source.subdirectory or ("the folder" if source.kind == "folder" else "its top folder")
    if not project.resolve().is_relative_to(into.resolve()) or not project.is_dir():
        raise NotAProject(recipe.said, place=f"{where}, which it does not have")
    if not any((project / name).is_file() for name in ("pyproject.toml", "setup.py")):
        raise NotAProject(recipe.said, place=where)
    if source.kind == "git" and git.reads_history(project):
        git.fetch_history(recipe.fetch_url or source.url, source.commit, into, recipe.said, kept=source.url)
    return project, epoch


def _without_places(wheel: Path) -> list[str]:
    """Make a wheel name what it needs without a place on this machine. The names of what had one.

    Poetry writes where the folders are that a project takes packages from: below the build's own folder, which is gone
    by now.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [(member, archive.read(member)) for member in archive.infolist()]
            metadata = _metadata(archive)
    except (zipfile.BadZipFile, KeyError, ValueError):
        return []  # `_facts` says what is wrong with it
    changed = _PLACE.sub(rb"\1\2\3", metadata)
    if changed == metadata:
        return []
    digest = urlsafe_b64encode(hashlib.sha256(changed).digest()).rstrip(b"=")
    row = b".dist-info/METADATA,sha256=" + digest + b",%d" % len(changed)
    with zipfile.ZipFile(wheel, "w") as archive:
        for member, data in members:
            _, _, name = member.filename.rpartition(".dist-info/")
            if name == "METADATA" and data == metadata:
                archive.writestr(member, changed)
            else:
                archive.writestr(member, _METADATA_ROW.sub(row, data) if name == "RECORD" else data)
    return sorted({canonicalize_name(each.partition(b"[")[0].decode()) for _, each, _ in _PLACE.findall(metadata)})


def _from_repository(project: Path) -> set[str]:
    """The dependencies of a project that uv takes from folders of its repository, which its wheel does not say."""
    try:
        document = toml_of(read_file(project / "pyproject.toml", METADATA_BYTES).decode())
        sources = document["tool"]["uv"]["sources"]
        listed = document["project"]["dependencies"]
        tables = {name: table if isinstance(table, list) else [table] for name, table in sources.items()}
        here = {
            canonicalize_name(name)
            for name, found in tables.items()
            if any({"path", "workspace"} & {*each} for each in found)
        }
        return {
            name for text in listed if (name := canonicalize_name(_NAME.split(text.strip(), maxsplit=1)[0])) in here
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()


def _facts(recipe: Recipe, wheel: Path) -> dict[str, object]:
    """What is known of a wheel. Raises BadBuiltWheel, BuildOfAnother."""
    try:
        name, version, _, tags = parse_wheel_filename(wheel.name)
        with zipfile.ZipFile(wheel) as archive:
            metadata = _metadata(archive)
            glibc = _glibc(archive) if any("linux" in tag.platform for tag in tags) else ""
    except (InvalidWheelFilename, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise BadBuiltWheel(recipe.said, reason=str(error)) from None
    said = BytesHeaderParser().parsebytes(metadata)
    told = (str(said.get("Name") or ""), str(said.get("Version") or ""))
    if canonicalize_name(told[0]) != name or not _is_same(told[1], str(version)):
        raise BadBuiltWheel(recipe.said, reason=f"{wheel.name} has the METADATA of {told[0]} {told[1]}")
    _compare(recipe, name, str(version))
    for needed in said.get_all("Requires-Dist") or ():
        url = re.sub(r"\s;.*", "", str(needed).partition("@")[2].strip(), flags=re.DOTALL)
        if url and direct_url_fault(url) == "secret":
            reason = f"its METADATA has a URL with credentials, or a query: `{shown(str(needed))}`"
            raise BadBuiltWheel(recipe.said, reason=reason)
    return {
        "filename": wheel.name,
        "name": name,
        "version": str(version),
        "sha256": sha256_of(wheel),
        "size": wheel.stat().st_size,
        "is_pure": all(tag.platform == "any" for tag in tags),
        "tags": sorted(map(str, tags)),
        "glibc": glibc,
    }


def _compare(recipe: Recipe, name: str, version: str, *, what: str = "the wheel that was built") -> None:
    """Raises BuildOfAnother if a name or a version is not the one that was asked for; empty ones are not compared."""
    is_other = bool(recipe.name and name and canonicalize_name(name) != canonicalize_name(recipe.name))
    if is_other or (recipe.version and version and not _is_same(version, recipe.version)):
        raise BuildOfAnother(recipe.said, what=what, made=f"{name} {version}".strip())


def _is_same(first: str, second: str) -> bool:
    try:
        return Version(first) == Version(second)
    except InvalidVersion:
        return first == second


def _metadata(archive: zipfile.ZipFile) -> bytes:
    for member in archive.infolist():
        folder, _, name = member.filename.partition("/")
        if name == "METADATA" and folder.endswith(".dist-info") and member.file_size <= METADATA_BYTES:
            return archive.read(member)
    raise KeyError("it has no METADATA")


def _glibc(archive: zipfile.ZipFile) -> str:
    """The newest version of glibc that a binary names among the symbols that it needs; empty if none does.

    A dynamic string table holds the names with a NUL on each side. What else looks so can only make it too strict.
    """
    found = (0, 0)
    for member in archive.infolist():
        with archive.open(member) as file:
            if file.read(4) != b"\x7fELF":
                continue
            for match in _GLIBC.finditer(file.read()):
                found = max(found, (int(match[1]), int(match[2])))
    return "{}.{}".format(*found) if found != (0, 0) else ""
