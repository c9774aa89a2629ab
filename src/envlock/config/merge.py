"""A step over its flow: what one environment asks in the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeVar

from envlock.config.level import Conflict, Level, normalize_python
from envlock.config.project import Environment, KeyPath
from envlock.model.arch import LINUX_64, LINUX_AARCH64, OSX_64, OSX_ARM64, Arch
from envlock.model.requirement import PypiRequirement
from envlock.model.requirements import Requirements
from envlock.model.url import strip_credentials

_Value = TypeVar("_Value")

DEFAULT_SYSTEM: dict[Arch, dict[str, str]] = {
    # glibc 2.28 is what current manylinux wheels are built for (RHEL 8, Debian 10, Ubuntu 20.04 and later have it);
    # macOS 13 is the oldest that current wheels of the large libraries still name.
    LINUX_64: {"__glibc": "2.28"},
    LINUX_AARCH64: {"__glibc": "2.28"},
    OSX_64: {"__osx": "13.0"},
    OSX_ARM64: {"__osx": "13.0"},
}


class Defaults(NamedTuple):
    """What the `[envlock]` table gives to every environment."""

    python_from: str
    exclude_newer: str
    index_url: str
    indexes: tuple[tuple[str, KeyPath], ...]
    metaflow: tuple[PypiRequirement, ...]
    system: Mapping[Arch, Mapping[str, str]]
    deferred: tuple[tuple[str, KeyPath], ...] = ()


def merge(name: str, flow: Level | None, own: Level, defaults: Defaults) -> Environment | None:
    """The environment of a step (or of a named environment, without a flow); None where it is disabled.

    The step wins key by key: a package's constraint is replaced whole, scalars win, indexes and channels are the step's
    first, then the flow's, then the project's. Raises Conflict.
    """
    base = flow if flow is not None else Level(())
    if _is_disabled(base, own):
        return None
    named = own.named or base.named
    if base.named and (base.pypi or base.conda or base.conda_only):
        raise Conflict("named-env-with-requirements-at-flow-level", base.named[2])
    pypi = {**base.pypi, **own.pypi}
    conda = {**base.conda, **own.conda}
    conda_only = {**base.conda_only, **own.conda_only}
    system = {**base.system, **own.system}
    python = own.python or base.python
    fetch = own.fetch_at_exec or base.fetch_at_exec
    if fetch is not None:
        _check_fetch(fetch, named, [*pypi.values(), *conda.values(), *conda_only.values()], python)
    indexes = _unique([*own.indexes, *base.indexes, *defaults.indexes])
    channels = _unique([*own.channels, *base.channels])
    floors = {(arch, key): value for arch, table in defaults.system.items() for key, value in table.items()}
    floors |= {(arch, key): value for arch in defaults.system for key, (value, _) in system.items()}
    requirements = Requirements(
        python=normalize_python(python[0]) if python else "",
        python_from=defaults.python_from,
        pypi=tuple(pypi[key][0] for key in sorted(pypi)),
        metaflow=defaults.metaflow,
        indexes=tuple(strip_credentials(url) for url, _ in indexes),
        default_index=strip_credentials(defaults.index_url),
        pip_flags=tuple(sorted({*base.pip_flags, *own.pip_flags})),
        exclude_newer=defaults.exclude_newer,
        conda=tuple(f"{key} {conda[key][0]}".strip() for key in sorted(conda)),
        conda_only=tuple(f"{key} {conda_only[key][0]}".strip() for key in sorted(conda_only)),
        channels=tuple(strip_credentials(url) for url, _ in channels),
        system=tuple((arch, key, floors[arch, key]) for arch, key in sorted(floors)),
        base=named[1] if named else "",
    )
    origins: list[tuple[str, KeyPath]] = [(key, pypi[key][1]) for key in sorted(pypi)]
    origins += [(strip_credentials(url), key) for url, key in indexes]
    if python:
        origins.append(("python", python[1]))
    return Environment(
        name=name,
        requirements=requirements,
        origins=tuple(origins),
        index_urls=tuple(url for url, _ in indexes),
        default_index_url=defaults.index_url,
        deferred=tuple(dict.fromkeys((*defaults.deferred, *base.deferred, *own.deferred))),
    )


def _is_disabled(flow: Level, step: Level) -> bool:
    if step.disabled is not None:
        return step.disabled[0]
    # A step that asks for something runs in an environment, whatever its flow says; a bare table does not count as
    # asking.
    return flow.disabled is not None and flow.disabled[0] and not step.asks


def _check_fetch(
    fetch: KeyPath,
    named: tuple[str, str, KeyPath] | None,
    asked: list[tuple[PypiRequirement, KeyPath] | tuple[str, KeyPath]],
    python: tuple[str, KeyPath] | None,
) -> None:
    if named is None:
        raise Conflict("fetch-at-exec-without-name", fetch)
    others = [key for _, key in asked] + ([python[1]] if python else [])
    if others:
        raise Conflict("fetch-at-exec-with-requirements", fetch, others[0])


def _unique(items: Iterable[tuple[str, _Value]]) -> list[tuple[str, _Value]]:
    first: dict[str, tuple[str, _Value]] = {}
    for url, key in items:
        first.setdefault(strip_credentials(url), (url, key))
    return list(first.values())
