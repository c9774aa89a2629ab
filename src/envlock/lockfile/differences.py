"""How requirements differ from those that a lock was made for, and whether the lock serves them all the same.

The lock alone decides: its versions, its edges, its recorded requirements. No index is needed. `packaging` is imported
here, so this module is for the moment when ids differ, never for the moment when they agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from envlock.conda.match_specs import satisfies
from envlock.conda.names import conda_name
from envlock.lockfile.graph import edges_of, reachable
from envlock.model.lock import Lock, LockedPackage
from envlock.model.python_range import releases_of
from envlock.model.requirement import PypiRequirement
from envlock.model.requirements import Requirements
from envlock.words import limits_in_order, short_hashes


@dataclass(frozen=True)
class Difference:
    """One requirement, or setting, that is new or is gone."""

    thing: str
    """What differs, as `Environment.origins` calls it: `python`, a package, `conda:` and a package, a channel, or a
    system package; else a name in words."""
    sentence: str
    is_satisfied: bool
    """Whether the lock serves it all the same."""


def differences(lock: Lock, required: Requirements) -> tuple[Difference, ...]:
    """Everything in which `required` differs from what the lock was made for, each judged. Empty when nothing differs.

    When all are satisfied, the lock can be re-stamped: its content is what a resolution would be allowed to give.
    """
    return tuple(_differences(lock, required))


def _differences(lock: Lock, required: Requirements) -> Iterator[Difference]:
    before = lock.requirements
    if before.python != required.python:
        fits = lock.python.source == required.python_from and _python_serves(lock, required.python)
        yield Difference(
            "python",
            f"python {limits_in_order(required.python) or 'any'}, "
            f"locked for {limits_in_order(before.python) or 'any'}: {lock.python.version}",
            fits,
        )
    asks_no_index = not before.roots() and not required.roots()
    for thing, old, new, is_served in (
        ("python-from", before.python_from, required.python_from, False),
        ("extra_indices", before.indexes, required.indexes, asks_no_index),
        ("index-url", before.default_index, required.default_index, asks_no_index),
        ("find-links", before.find_links, required.find_links, asks_no_index),
        ("extras", before.pip_flags, required.pip_flags, asks_no_index),
        ("exclude-newer", before.exclude_newer, required.exclude_newer, False),
    ):
        if old != new:
            yield Difference(thing, f"{thing} {_words(new)}, locked with {short_hashes(_words(old))}", is_served)
    if before.base != required.base:
        yield Difference("named_env", _base_sentence(before.base, required.base), is_satisfied=False)
    if before.has_conda == required.has_conda:  # else `python-from` says it, and the rest follows from that
        yield from _system_differences(lock, required)
    yield from _channel_differences(lock.requirements, required)
    yield from _conda_differences(lock, required)
    yield from _pypi_differences(lock, required)
    yield from _limit_differences(lock, required)
    values, old_values = dict(required.variables), dict(before.variables)
    for name in sorted({*values, *old_values}):
        if values.get(name) != old_values.get(name):
            sentence = f"variable {name} is {'new' if name not in old_values else 'changed'}"
            yield Difference(
                f"variable:{name}", sentence if name in values else f"variable {name} is gone", is_satisfied=True
            )


def _limit_differences(lock: Lock, required: Requirements) -> Iterator[Difference]:
    """The constraints, hashes and overrides that differ. A constraint or a hash that is gone, the lock serves."""
    before = lock.requirements
    wheels = {package.name: package for package in lock.pypi_packages}
    for limit in sorted({*before.constraints, *required.constraints}, key=str):
        package = wheels.get(limit.name)
        if limit not in required.constraints:
            yield Difference(f"constraint:{limit.name}", f"constraint {limit.said} is gone", is_satisfied=True)
        elif limit not in before.constraints:
            locked = f"locked: {package.name} {package.version}" if package else "not locked"
            fits = package is None or (not limit.url and _allows(limit.specifier, package.version))
            yield Difference(f"constraint:{limit.name}", f"constraint {limit.said}, {locked}", fits)
    hashes, old_hashes = (_hashes_of(each) for each in (required, before))
    for name in sorted({*hashes, *old_hashes}):
        if hashes.get(name) != old_hashes.get(name):
            package = wheels.get(name)
            found = {package.sha256, package.source.sha256 if package.source else ""} if package else set()
            fits = package is None or name not in hashes or not found.isdisjoint(hashes[name])
            yield Difference(f"hash:{name}", f"the hashes of {name} changed", fits)
    for override in sorted(
        {*before.overrides, *required.overrides} - {*before.overrides} & {*required.overrides}, key=str
    ):
        is_new = override in required.overrides
        package = wheels.get(override.name)
        locked = f"locked: {package.name} {package.version}" if package else "not locked"
        sentence = f"override {override.said}, {locked}" if is_new else f"override {override.said} is gone"
        yield Difference(f"override:{override.name}", sentence, is_satisfied=False)


def _hashes_of(requirements: Requirements) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, sha256 in requirements.hashes:
        found.setdefault(name, set()).add(sha256)
    return found


def _python_serves(lock: Lock, required: str) -> bool:
    """Whether a lock's Python is in the range, and the range has no release that the lock was not made for.

    What only such a release needs would be missing: a lock holds what the releases need that it allows.
    """
    if not _allows(required, lock.python.version):
        return False
    oldest = lock.python.version
    return lock.python.source != "machine" or (
        set(releases_of(oldest, required)) <= set(releases_of(oldest, lock.requirements.python))
    )


def _base_sentence(before: str, now: str) -> str:
    if not now:
        return "it no longer extends a base"
    return "it extends another base" if before else "it extends a base, and did not"


def _system_differences(lock: Lock, required: Requirements) -> Iterator[Difference]:
    before = {(arch, name): version for arch, name, version in lock.requirements.system}
    now = {(arch, name): version for arch, name, version in required.system}
    for arch, name in sorted({*before, *now}):
        old, new = before.get((arch, name)), now.get((arch, name))
        if old != new:
            # What another arch brings has no part in this lock.
            yield Difference(
                name, f"{name} {new or 'none'} on {arch}, locked for {old or 'none'}", is_satisfied=arch != lock.arch
            )


def _pypi_differences(lock: Lock, required: Requirements) -> Iterator[Difference]:
    before, now = set(lock.requirements.roots()), set(required.roots())
    wheels = {package.name: package for package in lock.pypi_packages}
    versions = {**_provided(lock), **{package.name: package.version for package in lock.pypi_packages}}
    old_roots, new_roots = _by_name(before), _by_name(now)
    for root in dict.fromkeys(required.roots()):
        if root in before:
            continue
        version = versions.get(root.name)
        locked = f"locked: {root.name} {version}" if version else "not locked"
        index = wheels[root.name].index if root.name in wheels else ""
        if root.from_index and index:
            locked += f" from {index}"
        known = old_roots.get(root.name, ())
        moved = _changed_source(root, known, wheels[root.name]) if root.name in wheels else ""
        thing = root.name if len(new_roots[root.name]) == 1 else str(root)
        is_served = _serves(root, known, version, index)
        yield Difference(thing, moved or f"{root.said}, {locked}", is_served)
    reached = reachable(edges_of(lock.pypi_packages), new_roots)
    for name, roots in sorted(old_roots.items()):
        # What came with its extras, from its URL or from its own index is not known to be what the others would bring.
        own = [root for root in roots if root.extras or root.url or root.from_index]
        if name not in new_roots:
            is_kept = (not own and (name in reached or name not in wheels)) or name not in versions
            yield Difference(name, f"{name} is no longer required", is_kept)
        elif len(roots) > 1 or len(new_roots[name]) > 1:
            for root in sorted(set(roots) - now):
                is_kept = root not in own or name not in versions or _replaced(root, new_roots[name])
                yield Difference(name, f"{root.said} is no longer required", is_kept)


def _changed_source(root: PypiRequirement, before: Sequence[PypiRequirement], package: LockedPackage) -> str:
    """That a folder or a file of the project changed, in a sentence; empty if something else did."""
    here = ("folder+sha256:", "file+sha256:")
    if package.source is None or not root.url.startswith(here) or not any(each.url.startswith(here) for each in before):
        return ""
    return f"{package.source.path} changed since {root.name} {package.version} was built from it"


def _by_name(roots: Iterable[PypiRequirement]) -> dict[str, list[PypiRequirement]]:
    found: dict[str, list[PypiRequirement]] = {}
    for root in roots:
        found.setdefault(root.name, []).append(root)
    return found


def _replaced(before: PypiRequirement, now: Iterable[PypiRequirement]) -> bool:
    """Whether the new requirements have all that an old one brings beyond versions: then it is not missing."""
    return any(
        set(before.extras) <= set(each.extras)
        and (before.marker, before.url, before.from_index) == (each.marker, each.url, each.from_index)
        for each in now
    )


def _provided(lock: Lock) -> dict[str, str]:
    """The PyPI distributions that conda packages bring, with their versions."""
    return {name: version for p in lock.conda_packages if p.conda for name, version in p.conda.provides}


def _serves(root: PypiRequirement, before: Sequence[PypiRequirement], version: str | None, index: str) -> bool:
    """Whether a lock with that version, from that index, serves a requirement that is new.

    `before` are those of the same package that the lock was made for.
    """
    same_kind = any(
        (each.extras, each.marker, each.url, each.from_index) == (root.extras, root.marker, root.url, root.from_index)
        for each in before
    )
    plain = not (root.extras or root.marker or root.url)
    if root.from_index:
        plain = plain and index.rstrip("/") == root.from_index.rstrip("/")
    if any(each.extras or each.url for each in before) or any(
        each.from_index and not root.from_index for each in before
    ):
        plain = False  # what came with the extras is in the lock, and would not be in a new one
    if version is None:
        # A requirement whose marker is false for this arch has no package, then and now.
        return same_kind and bool(root.marker)
    return (same_kind or plain) and _allows(root.specifier, version)


def _allows(specifier: str, version: str) -> bool:
    return SpecifierSet(specifier).contains(Version(version), prereleases=True)


def _words(value: object) -> str:
    """A value of envlock.toml in a sentence."""
    if isinstance(value, tuple):
        return ", ".join(str(item) for item in value) or "none"
    return str(value) or "none"


def _channel_differences(before: Requirements, required: Requirements) -> Iterator[Difference]:
    if before.channels != required.channels and before.has_conda == required.has_conda:
        sentence = f"channels {_words(required.channels)}, locked with {_words(before.channels)}"
        # A channel after all others has no say in what is locked: the first that has a package gives it.
        is_first = bool(before.channels) and required.channels[: len(before.channels)] == before.channels
        is_later = is_first and not required.channel_priority
        yield Difference(_changed_channel(before.channels, required.channels), sentence, is_satisfied=is_later)
    if before.channel_priority != required.channel_priority:
        old, new = (each.channel_priority or "strict" for each in (before, required))
        yield Difference("channel-priority", f"channel-priority {new}, locked with {old}", is_satisfied=False)


def _conda_differences(lock: Lock, required: Requirements) -> Iterator[Difference]:
    packages = {package.name: package for package in lock.conda_packages}
    before, now = _conda_roots(lock.requirements, lock.arch), _conda_roots(required, lock.arch)
    for name in sorted(now):
        text, table = now[name]
        if before.get(name) == now[name]:
            continue
        if name in before and before[name][0] == text:
            moved = f"conda package {text} is in `{table}`, locked for `{before[name][1]}`"
            yield Difference(f"conda:{name}", moved, is_satisfied=True)
            continue
        package = packages.get(name)
        if package is None:
            yield Difference(f"conda:{name}", f"conda package {limits_in_order(text)}, not locked", is_satisfied=False)
            continue
        source = f" of {package.conda.channel}" if package.conda and "::" in text else ""
        locked = f"locked: {package.version} {package.build}{source}"
        yield Difference(f"conda:{name}", f"conda package {limits_in_order(text)}, {locked}", satisfies(package, text))
    reached = reachable(edges_of(lock.conda_packages), {*now, "python"})
    for name in sorted(set(before) - set(now)):
        yield Difference(f"conda:{name}", f"conda package {name} is no longer required", name in reached)


def _conda_roots(requirements: Requirements, arch: str) -> dict[str, tuple[str, str]]:
    """For each conda package that an arch has to have: its requirement, and which table has it."""
    roots: dict[str, tuple[str, str]] = {}
    for each in requirements.metaflow_of_conda:
        name = conda_name(each.name)
        roots[name] = (f"{name} {each.specifier}".strip(), "Metaflow")
    only = {each.name for each in requirements.conda_only} - {each.name for each in requirements.conda}
    for needed in requirements.conda_of(arch):
        roots[needed.name] = (str(needed), "conda_only" if needed.name in only else "libraries")
    return roots


def _changed_channel(before: tuple[str, ...], now: tuple[str, ...]) -> str:
    """The first channel that is new, else the first that has another place; else the word for all of them."""
    new = [channel for channel in now if channel not in before]
    moved = [channel for channel, old in zip(now, before, strict=False) if channel != old]
    return next(iter(new + moved), "channels")
