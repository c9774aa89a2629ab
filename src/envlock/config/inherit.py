"""A step over its flow: what one environment asks in the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeVar

from envlock.config.metaflow_needs import metaflow_requirements
from envlock.config.project import Base, Environment, KeyPath
from envlock.config.settings import Settings
from envlock.config.system_packages import packages_of, system_rows, system_version
from envlock.config.tables import Conflict, Level, PypiEntry
from envlock.model.arch import Arch
from envlock.model.requirement import PypiRequirement
from envlock.model.requirements import Requirements
from envlock.model.url import strip_credentials

_Value = TypeVar("_Value")


class Defaults(NamedTuple):
    """What the `[envlock]` table gives to every environment."""

    python_from: str
    exclude_newer: str
    index_url: str
    indexes: tuple[tuple[str, KeyPath], ...]
    metaflow: tuple[PypiRequirement, ...]
    system: Mapping[Arch, Mapping[str, str]]
    """What the project says that each arch brings; its keys are those of envlock.toml."""
    channels: tuple[tuple[str, KeyPath], ...] = ()
    channel_priority: str = ""


def defaults_of(settings: Settings) -> Defaults:
    """What the settings give to every environment.

    Raises BadSystemVersion, and ValueError for a virtual package that an arch does not have.
    """
    for arch, packages in settings.system_requirements:
        if not {package for package, _ in packages} <= set(packages_of(arch)):
            raise ValueError(packages)
    stores = settings.datastore
    has_channels = "channels" in settings.written
    return Defaults(
        python_from=settings.python_from,
        exclude_newer=_absolute(settings.exclude_newer) if settings.exclude_newer else "",
        index_url=settings.index_url,
        indexes=_with_keys("extra-indices", settings.extra_indices),
        metaflow=metaflow_requirements((stores,) if isinstance(stores, str) else stores)
        if settings.metaflow_requirements
        else (),
        system={
            arch: {package: system_version(package, version) for package, version in packages}
            for arch, packages in settings.system_requirements
        },
        channels=_with_keys("channels", settings.channels)
        if has_channels
        else tuple((channel, ()) for channel in settings.channels),
        channel_priority="" if settings.channel_priority == "strict" else settings.channel_priority,
    )


def _with_keys(setting: str, values: Iterable[str]) -> tuple[tuple[str, KeyPath], ...]:
    return tuple((value, ("envlock", setting, str(number))) for number, value in enumerate(values))


def _absolute(newer: str) -> str:
    """The instant, or nothing for a span: that is made absolute when locking, and stays out of req_id."""
    from envlock.config.instants import absolute_instant, span_of

    return "" if span_of(newer) is not None else absolute_instant(newer)


def inherit(name: str, flow: Level | None, own: Level, defaults: Defaults) -> Environment | None:
    """The environment of a step (or of a named environment, without a flow); None where it is disabled.

    The step wins key by key: a package's constraint is replaced whole, but for the index that it comes from; scalars
    win; indexes and channels are the step's first, then the flow's, then the project's. Raises Conflict.
    """
    base = flow if flow is not None else Level(())
    if _is_disabled(base, own):
        return None
    named = own.named or base.named
    if base.named and (base.pypi or base.conda or base.conda_only):
        raise Conflict("named-env-with-requirements-at-flow-level", base.named[2])
    pins = _pins(base, own)
    pypi = {**base.pypi, **own.pypi, **{name: _from(own.pypi[name], pin) for name, pin in pins.items()}}
    asked = [entry for name in sorted(pypi) for entry in sorted(pypi[name], key=lambda each: str(each.requirement))]
    system = {**base.system, **own.system}
    python = own.python or base.python
    conda = _Conda(base, own, defaults)
    keys = [*(entry.key for entry in asked), *(key for _, key in system.values())]
    keys += [*conda.keys(), *([python[1]] if python else [])]
    fetch = own.fetch_at_exec or base.fetch_at_exec
    if fetch is not None and fetch[0]:
        _check_fetch(fetch[1], named, keys)
    indexes = _unique([*own.indexes, *base.indexes, *defaults.indexes])
    requirements = Requirements(
        python=python[0] if python else "",
        python_from="conda" if conda.is_there else defaults.python_from,
        pypi=tuple(entry.requirement for entry in asked),
        metaflow=defaults.metaflow,
        indexes=tuple(strip_credentials(url) for url, _ in indexes),
        default_index=strip_credentials(defaults.index_url),
        pip_flags=tuple(sorted({*base.pip_flags, *own.pip_flags})),
        exclude_newer=defaults.exclude_newer,
        conda=tuple(sorted((entry.requirement for entry in conda.libraries.values()), key=str)),
        conda_only=tuple(sorted((entry.requirement for entry in conda.only.values()), key=str)),
        channels=tuple(channel for channel, _, _ in conda.channels),
        channel_priority=defaults.channel_priority if conda.is_there else "",
        system=system_rows(
            defaults.system, {name: version for name, (version, _) in system.items()}, has_conda=conda.is_there
        ),
    )
    origins: list[tuple[str, KeyPath]] = [(entry.requirement.name, entry.key) for entry in asked]
    origins += [(str(entry.requirement), entry.key) for entry in asked if len(pypi[entry.requirement.name]) > 1]
    origins += [(entry.requirement.from_index, entry.key) for entry in asked if entry.written]
    origins += [(pin.requirement.from_index, pin.key) for pin in pins.values()]
    origins += [(strip_credentials(url), key) for url, key in indexes]
    origins += conda.origins()
    origins += [
        (name, ("envlock", "system-requirements", arch, name))
        for arch, floors in defaults.system.items()
        for name in floors
        if name not in system
    ]
    origins += [(name, system[name][1]) for name in sorted(system)]
    if python:
        origins.append(("python", python[1]))
    if named:
        origins.append(("named_env", named[2]))
    return Environment(
        name=name,
        key=own.key,
        requirements=requirements,
        origins=tuple(origins),
        index_urls=tuple(url for url, _ in indexes),
        default_index_url=defaults.index_url,
        package_index_urls=tuple(dict.fromkeys(entry.written for entry in asked if entry.written)),
        channel_urls=conda.channel_urls(),
        deferred=tuple(dict.fromkeys((*base.deferred, *own.deferred))),
        base=Base(*named, requirements, bool(keys), fetch is not None and fetch[0]) if named else None,
    )


def _pins(flow: Level, own: Level) -> dict[str, PypiEntry]:
    """What of the flow names the one index of a package that the step asks for, and does not say where it is from.

    An index is where a package comes from, no constraint: without it, another index would be asked for that name.
    """
    found: dict[str, PypiEntry] = {}
    for name in sorted(flow.pypi.keys() & own.pypi.keys()):
        pins = {entry.requirement.from_index for entry in flow.pypi[name]}
        is_said = any(entry.requirement.from_index or entry.requirement.url for entry in own.pypi[name])
        if len(pins) == 1 and "" not in pins and not is_said:
            found[name] = flow.pypi[name][0]
    return found


def _from(entries: Iterable[PypiEntry], pin: PypiEntry) -> list[PypiEntry]:
    index = pin.requirement.from_index
    return [
        entry._replace(requirement=entry.requirement._replace(from_index=index), written=pin.written)
        for entry in entries
    ]


class _Conda:
    """The conda part of one environment; empty where it has none."""

    def __init__(self, flow: Level, own: Level, defaults: Defaults) -> None:
        self.libraries = {**flow.conda, **own.conda}
        self.only = {**flow.conda_only, **own.conda_only}
        if own.python is not None:
            # A flow's build of Python goes with the flow's version.
            for packages, asked in ((self.libraries, own.conda), (self.only, own.conda_only)):
                if "python" not in asked:
                    packages.pop("python", None)
        for name in sorted(set(self.libraries) & set(self.only)):
            one, two = self.libraries[name], self.only[name]
            if one.requirement != two.requirement:
                values = (str(one.requirement), str(two.requirement))
                raise Conflict("disagreeing-values", one.key, two.key, values=values)
        tables = flow.conda_table or own.conda_table
        self.is_there = bool(self.libraries or self.only or tables) or defaults.python_from == "conda"
        self.channels: tuple[tuple[str, str, KeyPath], ...] = ()
        if self.is_there:
            from envlock.config.conda_tables import channels_of

            self.channels = channels_of([*own.channels, *flow.channels, *defaults.channels])

    def keys(self) -> list[KeyPath]:
        return [entry.key for entry in (*self.libraries.values(), *self.only.values())]

    def channel_urls(self) -> tuple[str, ...]:
        """The channels as written, with those that are asked for one package alone."""
        named = (entry.channel for entry in (*self.libraries.values(), *self.only.values()) if entry.channel)
        return tuple(dict.fromkeys([*(written for _, written, _ in self.channels), *named]))

    def origins(self) -> list[tuple[str, KeyPath]]:
        """Who asks for each package, as `conda:<name>`, and for each channel."""
        packages = {**self.only, **self.libraries}
        asked: list[tuple[str, KeyPath]] = [(f"conda:{name}", packages[name].key) for name in sorted(packages)]
        asked += [(each.requirement.channel, each.key) for each in packages.values() if each.channel]
        return asked + [(channel, key) for channel, _, key in self.channels if key]


def _is_disabled(flow: Level, step: Level) -> bool:
    if step.disabled is not None:
        return step.disabled[0]
    # A step that asks for something runs in an environment, whatever its flow says; a bare table does not count as
    # asking.
    return flow.disabled is not None and flow.disabled[0] and not step.asks


def _check_fetch(fetch: KeyPath, named: tuple[str, str, KeyPath] | None, asked: list[KeyPath]) -> None:
    if named is None:
        raise Conflict("fetch-at-exec-without-name", fetch)
    if asked:
        raise Conflict("fetch-at-exec-with-requirements", fetch, asked[0])


def _unique(items: Iterable[tuple[str, _Value]]) -> list[tuple[str, _Value]]:
    first: dict[str, tuple[str, _Value]] = {}
    for url, key in items:
        first.setdefault(strip_credentials(url), (url, key))
    return list(first.values())
