"""conda-lock.yml (CEP 37): conda and PyPI packages of several archs, one row for each package and arch.

A file states for each package its URL, its hashes, and what it needs, without builds. It does not say whether a package
is `noarch: python`, its size, or what it constrains: a channel does.
"""

from __future__ import annotations

import re

from envlock.conda.match_specs import name_in
from envlock.interchange.errors import BrokenImport, UnknownImportChoice, UnknownLockVersion
from envlock.interchange.exported import Export, Given, build_notes, channels_of, scalar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from envlock.conda.lock_files import PlatformPart
    from envlock.interchange.imported import Choice, Imported
    from envlock.lockfile.rows import LockRows, PackageRow

KIND = "conda-lock"
CHOICES = frozenset({"groups"})
"""What of a Choice has a meaning for it."""
MAIN = "main"
"""The category of what every environment has; others are for those who want them, such as `dev`."""

_VERSION = re.compile(r"^version: *['\"]?(\S+?)['\"]? *$", re.MULTILINE)
_LINE = re.compile(r"\bline (\d+)")
_ENTRY = re.compile(r"^ *- (?=[a-z_]+:)", re.MULTILINE)
_FIELD = re.compile(r"^ *(name|url|platform|category): (.+?) *$", re.MULTILINE)


def write(given: Given) -> Export:
    """The packages of all archs. `content_hash` is the `req_id`, so it changes when the requirements do."""
    lines = ["version: 1", "metadata:", "  content_hash:"]
    lines += [f"    {lock.arch}: {scalar(lock.req_id)}" for lock in given.locks]
    lines.append("  channels:")
    lines += [f"  - url: {scalar(name)}\n    used_env_vars: []" for name in channels_of(given).values()]
    lines += ["  platforms:", *(f"  - {arch}" for arch in given.archs), "  sources:", "  - envlock.toml", "package:"]
    rows = {(each.name, each.kind, place): each for place, lock in enumerate(given.locks) for each in given.files(lock)}
    without_md5 = [each.name for each in rows.values() if each.conda is not None and not each.conda.md5]
    if without_md5:
        raise given.cannot("conda packages without an MD5", sorted({*without_md5}), "use `--format pixi`")
    for row in sorted(rows):
        lines += _row(rows[row], given.locks[row[2]])
    return Export(given.header() + "\n".join(lines) + "\n", build_notes(given))


def _row(package: PackageRow, lock: LockRows) -> Iterator[str]:
    yield f"- name: {scalar(package.name)}"
    yield f"  version: {scalar(package.version)}"
    yield f"  manager: {'conda' if package.conda else 'pip'}"
    yield f"  platform: {lock.arch}"
    needed = _needed(package)
    if needed:
        yield "  dependencies:"
        yield from (f"    {scalar(name)}: {scalar(needed[name])}" for name in sorted(needed))
    else:
        yield "  dependencies: {}"
    yield f"  url: {scalar(package.url)}"
    yield "  hash:"
    if package.conda:
        yield f"    md5: {scalar(package.conda.md5)}"
    yield f"    sha256: {scalar(package.sha256)}"
    if package.conda:
        yield f"  build: {scalar(package.build)}"
    yield "  category: main"
    yield "  optional: false"


def _needed(package: PackageRow) -> dict[str, str]:
    """What a package needs, by name: of a conda package, the versions too, but nothing that the machine brings."""
    if package.conda is None:
        return dict.fromkeys(package.dependencies, "")  # py-rattler reads no `*` here
    found: dict[str, str] = {}
    for text in package.conda.depends:
        name, versions = name_in(text), text.partition(" ")[2].strip()
        before = found.get(name, "")
        if name in package.dependencies and (name not in found or versions != before):
            # What has a build beside its versions cannot be joined, and no installer looks at any of it.
            can_join = not set(before + versions) & set(" [")
            found[name] = ",".join(filter(None, [before, versions])) if can_join else before or versions
    return found


def read(text: str, path: Path, choice: Choice) -> Imported:
    """The environment in a conda-lock.yml. Raises what `conda_parts.environment` raises, and UnknownLockVersion."""
    from envlock.conda.lock_files import NotALock, read_lock_file
    from envlock.interchange.conda_parts import environment

    shown = path.name
    version = _VERSION.search(text)
    if version is None or version[1] != "1":
        raise UnknownLockVersion(shown, KIND, version[1] if version else "none", "1")
    try:
        (found,) = read_lock_file(path, is_bare=True).values()
    except NotALock as error:
        raise broken(shown, KIND, str(error)) from None
    parts, notes = _of_categories(text, shown, found.platforms, choice)
    return environment(KIND, shown, parts, found.channels, choice, has_conda_facts=False, notes=notes)


def broken(shown: str, kind: str, reason: str) -> BrokenImport:
    """The error of what py-rattler cannot read, with the line where it tells one."""
    line = _LINE.search(reason)
    return BrokenImport(shown, kind, " ".join(reason.split()), line=int(line[1]) if line else None)


def _of_categories(
    text: str, shown: str, parts: Mapping[str, PlatformPart], choice: Choice
) -> tuple[dict[str, PlatformPart], tuple[str, ...]]:
    """The platforms with the packages of `main`, and of the categories in `groups` of the choice."""
    from envlock.conda.channels import without_secrets

    if not choice.groups and text.count("\n  category: ") == text.count(f"\n  category: {MAIN}\n"):
        return dict(parts), ()
    rows = _rows(text)
    categories = {category for _, _, category in rows}
    for name in choice.groups:
        if name not in categories:
            raise UnknownImportChoice(shown, "category", name, categories)
    wanted = {MAIN, *choice.groups}
    left = sorted(categories - wanted)
    if not left:
        return dict(parts), ()
    urls = {(platform, without_secrets(url).partition("#")[0]) for platform, url, each in rows if each in wanted}
    chosen = {
        name: part._replace(
            conda=tuple(each for each in part.conda if (name, each.url) in urls),
            pypi=tuple(each for each in part.pypi if (name, without_secrets(each.location)) in urls),
        )
        for name, part in parts.items()
    }
    return chosen, (f"without the packages of the categories {', '.join(left)}: `--group` takes them too",)


def _rows(text: str) -> list[tuple[str, str, str]]:
    """The platform, URL and category of each package. py-rattler does not tell categories."""
    body = text[text.index("\npackage:") :] if "\npackage:" in text else text
    found = []
    for entry in _ENTRY.split(body)[1:]:
        fields = {name: value.strip("'\"") for name, value in _FIELD.findall(f"{entry}")}
        found.append((fields.get("platform", ""), fields.get("url", ""), fields.get("category", MAIN)))
    return found
