"""Whether an older lock's conda packages still serve what is asked of conda now, and if not, why."""

from __future__ import annotations

from collections.abc import Iterator

from envlock.conda.matching import name_in, satisfies
from envlock.conda.names import conda_name
from envlock.lockfile.satisfaction import Difference, reachable, words
from envlock.model.lock import Lock
from envlock.model.requirements import Requirements


def conda_differences(lock: Lock, asked: Requirements) -> Iterator[Difference]:
    """Everything in which `asked` differs from what the lock's conda part was made for, each judged."""
    before = lock.requirements
    if before.channels != asked.channels and before.has_conda == asked.has_conda:
        sentence = f"channels {words(asked.channels)}, locked with {words(before.channels)}"
        # A channel after all others has no say in what is locked: the first that has a package gives it.
        is_first = bool(before.channels) and asked.channels[: len(before.channels)] == before.channels
        is_later = is_first and not asked.channel_priority
        yield Difference(_changed_channel(before.channels, asked.channels), sentence, is_satisfied=is_later)
    if before.channel_priority != asked.channel_priority:
        old, new = (each.channel_priority or "strict" for each in (before, asked))
        yield Difference("channel-priority", f"channel-priority {new}, locked with {old}", is_satisfied=False)
    yield from _package_differences(lock, asked)


def _package_differences(lock: Lock, asked: Requirements) -> Iterator[Difference]:
    packages = {package.name: package for package in lock.conda_packages}
    before, now = _roots(lock.requirements), _roots(asked)
    for name in sorted(now):
        text, table = now[name]
        if before.get(name) == now[name]:
            continue
        if name in before and before[name][0] == text:
            moved = f"conda package {text} is asked for by `{table}`, locked for `{before[name][1]}`"
            yield Difference(f"conda:{name}", moved, is_satisfied=True)
            continue
        package = packages.get(name)
        if package is None:
            yield Difference(f"conda:{name}", f"conda package {text}, not locked", is_satisfied=False)
            continue
        source = f" of {package.conda.channel}" if package.conda and "::" in text else ""
        locked = f"locked: {package.version} {package.build}{source}"
        yield Difference(f"conda:{name}", f"conda package {text}, {locked}", satisfies(package, text))
    reached = reachable(lock.conda_packages, {*now, "python"})
    for name in sorted(set(before) - set(now)):
        yield Difference(f"conda:{name}", f"conda package {name} is asked for no more", name in reached)


def _roots(requirements: Requirements) -> dict[str, tuple[str, str]]:
    """For each conda package that is asked for: how, and by which table."""
    roots: dict[str, tuple[str, str]] = {}
    for each in requirements.metaflow_of_conda:
        name = conda_name(each.name)
        roots[name] = (f"{name} {each.specifier}".strip(), "Metaflow")
    for table, texts in (("conda_only", requirements.conda_only), ("libraries", requirements.conda)):
        roots |= {name_in(text): (text, table) for text in texts}
    return roots


def _changed_channel(before: tuple[str, ...], now: tuple[str, ...]) -> str:
    """The first channel that is new, else the first that has another place; else the word for all of them."""
    new = [channel for channel in now if channel not in before]
    moved = [channel for channel, old in zip(now, before, strict=False) if channel != old]
    return next(iter(new + moved), "channels")
