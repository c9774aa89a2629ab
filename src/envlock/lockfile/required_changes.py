"""How the requirements of two environments differ, one by one: what was added, removed or changed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from envlock.model.url import is_links_of_folder
from envlock.values import NamedTuple
from envlock.words import limits_in_order

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class RequirementChange(NamedTuple):
    """One requirement that was added, removed or changed."""

    name: str
    """A package, `python`, or a setting, for a person."""
    before: str
    """What was required of it; empty if nothing was."""
    after: str
    thing: str
    """As `Environment.origins` calls it; empty for what those do not have."""

    def __str__(self) -> str:
        """`+rich >=13`, `-rich`, or `pandas >=2 -> >=2.2`."""
        if self.before and self.after:
            return f"{self.name} {self.before} -> {self.after}"
        said = self.after or self.before
        return f"{'+' if self.after else '-'}{self.name} {said if said != ANY else ''}".rstrip()


_SETTINGS = {
    "python-from": "python-from",
    "channels": "channels",
    "channel-priority": "channel-priority",
    "indexes": "extra_indices",
    "default-index": "index-url",
    "find-links": "find-links",
    "pip-flags": "extras",
    "exclude-newer": "exclude-newer",
    "base": "named_env",
}
"""What envlock.toml calls the keys of requirements that have one value, or a list whose order counts."""
ANY = "any version"
"""What is required of a package that has no limits."""
_LIMITS = (("constraints", "constraint:", "constraint {}"), ("overrides", "override:", "override {}"))
_METAFLOW = (("metaflow", "", "{} (for Metaflow)"),)


def requirement_changes(
    before: Mapping[str, Any], after: Mapping[str, Any], paths: Mapping[str, str] | None = None
) -> tuple[RequirementChange, ...]:
    """How the documents of two requirements differ, python first. An empty one requires nothing.

    `paths` has where the folders and files are whose URLs name their content. Values of variables are left out.
    """
    old, new = (_by_thing(each, paths or {}) for each in (before, after))
    if before and after:  # a lock leaves out a Python without limits
        old, new = ({("python", "python"): ANY, **each} for each in (old, new))
    found = [
        RequirementChange(name, old.get((name, thing), ""), new.get((name, thing), ""), thing)
        for name, thing in dict.fromkeys([*old, *new])
        if old.get((name, thing)) != new.get((name, thing))
    ]
    values, others = (dict(each.get("variables", ())) for each in (before, after))
    for name in sorted({*values, *others}):
        if values.get(name) != others.get(name):
            told = ("set" if name in values else "", "set" if name in others else "")
            told = ("set", "another value") if all(told) else told
            found.append(RequirementChange(f"variable {name}", *told, f"variable:{name}"))
    return tuple(found)


def _by_thing(document: Mapping[str, Any], paths: Mapping[str, str]) -> dict[tuple[str, str], str]:
    """What a document requires, by name and thing, as in `RequirementChange`."""
    found: dict[tuple[str, str], str] = {}

    def add(name: str, thing: str, said: str) -> None:
        known = found.get((name, thing))
        found[name, thing] = said if known is None or said == known else f"{known} and {said}"

    if "python" in document:
        add("python", "python", document["python"] or ANY)
    for kind, prefix, label in (("pypi", "", "{}"), *_LIMITS, *_METAFLOW):
        for text in document.get(kind, ()):
            match = _NAME.match(text)
            name = match[0] if match else text
            add(label.format(name), prefix + name, _limits(text[len(name) :], paths))
    for text in (*document.get("conda", ()), *document.get("conda-only", ())):
        channel, _, plain = text.rpartition("::")
        name = re.split(r"[\s<>=!~\[;]", plain, maxsplit=1)[0]
        of = f" from {channel}" if channel else ""
        add(f"{name} (conda)", f"conda:{name}", _limits(plain[len(name) :], {}) + of)
    for name, said in _system(document):
        add(name, name, said)
    for key, name in _SETTINGS.items():
        value = document.get(key)
        if value:
            values = [value] if isinstance(value, str) else value
            add(name, "", ", ".join(_limits(each, paths) if is_links_of_folder(each) else each for each in values))
    for text, index in document.get("package-indexes", ()):
        add(f"index of {text}", "", index)
    for name, sha256 in document.get("hashes", ()):
        add(f"hashes of {name}", f"hash:{name}", sha256[:12])
    return found


def _system(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    versions: dict[str, dict[str, list[str]]] = {}
    for arch, name, version in document.get("system", ()):
        versions.setdefault(name, {}).setdefault(version, []).append(arch)
    for name, archs_of in versions.items():
        for version, archs in archs_of.items():
            yield name, version if len(archs_of) == 1 else f"{version} on {', '.join(archs)}"


def _limits(text: str, paths: Mapping[str, str]) -> str:
    """What is required of a package, without its name; what lies at a path by that, and by its hash."""
    said = limits_in_order(text.strip())
    for url, path in paths.items():
        if url in said:
            return said.replace(url, f"{path} ({url.partition('sha256:')[2][:12]})")
    return said or ANY
