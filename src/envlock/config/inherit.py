"""A step inherits from its flow: the requirements of one environment."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations

from envlock.config.metaflow_needs import metaflow_requirements
from envlock.config.project import Base, Environment, KeyPath
from envlock.config.settings import Settings
from envlock.config.system_packages import packages_of, system_rows, system_version
from envlock.config.tables import Conflict, Level, PypiEntry
from envlock.model.arch import Arch
from envlock.model.python_range import is_too_old
from envlock.model.requirement import PypiRequirement, contradict, normalize_specifier
from envlock.model.requirements import Requirements
from envlock.model.url import is_links_of_folder, strip_channel_credentials, strip_credentials
from envlock.values import NamedTuple


class Defaults(NamedTuple):
    """What every environment has from `[envlock]`."""

    python_from: str
    exclude_newer: str
    index_url: str
    indexes: tuple[tuple[str, KeyPath], ...]
    metaflow: tuple[PypiRequirement, ...]
    system: Mapping[Arch, Mapping[str, str]]
    """`system-requirements`: the versions of system packages, by arch."""
    channels: tuple[tuple[str, KeyPath], ...] = ()
    channel_priority: str = ""


def defaults_of(settings: Settings) -> Defaults:
    """What every environment has from the settings.

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
    """The instant, or nothing for a span: `lock` works out when that begins, and it is no part of req_id."""
    from envlock.config.instants import absolute_instant, span_of

    return "" if span_of(newer) is not None else absolute_instant(newer)


def inherit(name: str, flow: Level | None, own: Level, defaults: Defaults) -> Environment | None:
    """The environment of a step, or of an `[env.*]` table, which has no flow; None if it is disabled.

    The step's values replace the flow's, key by key, and of one package all of the flow's requirements, except for its
    index. Indexes and channels add up: the step's, then the flow's, then the project's. Raises Conflict.
    """
    base = flow if flow is not None else Level(())
    if _is_disabled(base, own):
        return None
    named = own.named or base.named
    if base.named and (base.pypi or base.conda or base.conda_only):
        beside = [entry.key for entries in base.pypi.values() for entry in entries]
        beside += [entry.key for entry in (*base.conda.values(), *base.conda_only.values())]
        raise Conflict("named-env-with-requirements-at-flow-level", base.named[2], beside[0])
    indexed = _inherited_indexes(base, own)
    pypi = {**base.pypi, **own.pypi}
    pypi |= {name: _with_index_of(entry, own.pypi[name]) for name, entry in indexed.items()}
    packages = [entry for name in sorted(pypi) for entry in sorted(pypi[name], key=lambda each: str(each.requirement))]
    system = {**base.system, **own.system}
    variables = {**base.variables, **own.variables}
    python = _python(base, own)
    conda = _Conda(base, own, defaults)
    if python and not conda.is_there and is_too_old(python[0]):
        raise Conflict("python-too-old", python[1], values=(python[2],))
    limits = _Limits(base, own, packages)
    keys = [*(entry.key for entry in packages), *limits.keys(), *(key for _, key in system.values())]
    keys += [*conda.keys(), *([python[1]] if python else []), *(key for _, key in variables.values())]
    fetch = own.fetch_at_exec or base.fetch_at_exec
    if fetch is not None and fetch[0]:
        _check_fetch(fetch[1], named, keys)
    pip_flags = tuple(sorted({*base.pip_flags, *own.pip_flags}))
    default_index = own.default_index or base.default_index or (defaults.index_url, ("envlock", "index-url"))
    all_indexes = [*own.indexes, *base.indexes, *defaults.indexes]
    if "no-index" in pip_flags:
        default_index, all_indexes = ("", ()), []
    indexes = _first_of_each(all_indexes, strip_credentials)
    find_links = _first_of_each([*own.find_links, *base.find_links], strip_credentials)
    requirements = Requirements(
        python=python[0] if python else "",
        python_from="conda" if conda.is_there else defaults.python_from,
        pypi=tuple(entry.requirement for entry in packages),
        metaflow=defaults.metaflow,
        indexes=tuple(url for url, _, _ in indexes),
        default_index=strip_credentials(default_index[0]),
        pip_flags=pip_flags,
        exclude_newer=defaults.exclude_newer,
        conda=tuple(sorted((entry.requirement for entry in conda.libraries.values()), key=str)),
        conda_only=tuple(sorted((entry.requirement for entry in conda.only.values()), key=str)),
        channels=tuple(channel for channel, _, _ in conda.channels),
        channel_priority=defaults.channel_priority if conda.is_there else "",
        system=system_rows(
            defaults.system, {name: version for name, (version, _) in system.items()}, has_conda=conda.is_there
        ),
        constraints=limits.constraints,
        overrides=limits.overrides,
        hashes=limits.hashes,
        find_links=tuple(url for url, _, _ in find_links),
        variables=tuple(sorted((name, value) for name, (value, _) in variables.items())),
    )
    origins: list[tuple[str, KeyPath]] = [(name, key) for name, _, key in find_links]
    origins += [("find-links", key) for _, _, key in find_links[:1]]
    origins += [("extra_indices", key) for _, _, key in indexes[:1]]
    origins += [("index-url", default_index[1])] if default_index[0] else []
    origins += limits.origins()
    origins += [(f"variable:{name}", key) for name, (_, key) in sorted(variables.items())]
    origins += [(entry.requirement.name, entry.key) for entry in packages]
    origins += [(str(entry.requirement), entry.key) for entry in packages if len(pypi[entry.requirement.name]) > 1]
    origins += [(entry.requirement.from_index, entry.key) for entry in packages if entry.written]
    origins += [(entry.requirement.from_index, entry.key) for entry in indexed.values()]
    origins += [(url, key) for url, _, key in indexes]
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
    if default_index[0]:
        origins.append((strip_credentials(default_index[0]), default_index[1]))
    if named:
        origins.append(("named_env", named[2]))
    return Environment(
        name=name,
        key=own.key,
        requirements=requirements,
        origins=tuple(origins),
        index_urls=tuple(written for _, written, _ in indexes),
        default_index_url=default_index[0],
        package_index_urls=tuple(dict.fromkeys(entry.written for entry in packages if entry.written)),
        channel_urls=conda.channel_urls(),
        find_links_urls=tuple(written for url, written, _ in find_links if not is_links_of_folder(url)),
        local=_local(base, own, packages, [url for url, _, _ in find_links]),
        notes=tuple(dict.fromkeys((*base.notes, *own.notes))),
        base=Base(*named, requirements, bool(keys), fetch is not None and fetch[0]) if named else None,
    )


def _python(flow: Level, own: Level) -> tuple[str, KeyPath, str] | None:
    """The Python that is asked for, a step's before its flow's, within all ranges that files require."""
    found = own.python or flow.python
    ranges = dict(own.requires_python + flow.requires_python)
    if not ranges:
        return found
    asked = {found[0]: found[1], **ranges} if found else ranges
    for (one, key), (other, line) in combinations(asked.items(), 2):
        if contradict(_of_python(one), _of_python(other)):
            values = (found[2] if found and one == found[0] else one, other)
            raise Conflict("disagreeing-values", key, line, values=values)
    merged = normalize_specifier(",".join(filter(None, asked)))
    return (merged, next(iter(asked.values())), found[2] if found else merged) if merged else None


def _of_python(specifier: str) -> PypiRequirement:
    """A range of Pythons as a requirement, with `==3.12.*` as the range that it is."""
    plain = re.sub(
        r"==(\d+)\.(\d+)\.\*", lambda each: f">={each[1]}.{each[2]},<{each[1]}.{int(each[2]) + 1}", specifier
    )
    return PypiRequirement("python", specifier=plain)


def _inherited_indexes(flow: Level, own: Level) -> dict[str, PypiEntry]:
    """The packages of a step that come from the one index of the flow's entry, which is returned for each.

    An index says where a package comes from, not which version: without it, the step would take another index's package
    of the same name.
    """
    found: dict[str, PypiEntry] = {}
    for name in sorted(flow.pypi.keys() & own.pypi.keys()):
        indexes = {entry.requirement.from_index for entry in flow.pypi[name]}
        has_source = any(entry.requirement.from_index or entry.requirement.url for entry in own.pypi[name])
        if len(indexes) == 1 and "" not in indexes and not has_source:
            found[name] = flow.pypi[name][0]
    return found


def _with_index_of(source: PypiEntry, entries: Iterable[PypiEntry]) -> list[PypiEntry]:
    index = source.requirement.from_index
    return [
        entry._replace(requirement=entry.requirement._replace(from_index=index), written=source.written)
        for entry in entries
    ]


class _Limits:
    """What the PyPI packages of one environment must meet beside their requirements: constraints, overrides, hashes.

    Constraints add up. A step's overrides of a package replace the flow's, and so do the hashes of its own
    requirements. Raises Conflict.
    """

    def __init__(self, flow: Level, own: Level, packages: Iterable[PypiEntry]) -> None:
        found = {str(entry.requirement): entry for entry in (*flow.constraints, *own.constraints)}
        self._entries = [found[text] for text in sorted(found)]
        self._overrides = {**flow.overrides, **own.overrides}
        for package in packages:
            name = package.requirement.name
            for override in self._overrides.get(name, ()) if package.requirement.from_index else ():
                # uv takes what is overridden from any index, so another package of that name.
                values = (package.requirement.said, f"override {override.requirement}")
                raise Conflict("disagreeing-values", package.key, override.key, values=values)
        asked = [package for package in packages if package.requirement.name not in self._overrides]
        for package in (*asked, *(each for name in sorted(self._overrides) for each in self._overrides[name])):
            for limit in self._entries:
                if contradict(package.requirement, limit.requirement):
                    values = (package.requirement.said, str(limit.requirement))
                    raise Conflict("disagreeing-values", package.key, limit.key, values=values)
        kept = {name: entries for name, entries in flow.hashes.items() if name not in own.pypi}
        self._hashes = {**kept, **own.hashes}

    @property
    def constraints(self) -> tuple[PypiRequirement, ...]:
        return tuple(entry.requirement for entry in self._entries)

    @property
    def overrides(self) -> tuple[PypiRequirement, ...]:
        found = (entry.requirement for entries in self._overrides.values() for entry in entries)
        return tuple(sorted(found, key=str))

    @property
    def hashes(self) -> tuple[tuple[str, str], ...]:
        """`(name, hash)`: all of a package's, for which of several markers is true differs by arch."""
        rows = {(name, sha256) for name, each in self._hashes.items() for hashes in each for sha256 in hashes.sha256}
        return tuple(sorted(rows))

    def keys(self) -> list[KeyPath]:
        overrides = (entry for entries in self._overrides.values() for entry in entries)
        return [entry.key for entry in (*self._entries, *overrides)]

    def origins(self) -> list[tuple[str, KeyPath]]:
        """The keys of constraints and overrides, also as those of their packages, and of hashes."""
        found = [(f"constraint:{entry.requirement.name}", entry.key) for entry in self._entries]
        for name, entries in self._overrides.items():
            found += [(thing, entry.key) for thing in (f"override:{name}", name) for entry in entries]
        found += [(entry.requirement.name, entry.key) for entry in self._entries]
        return found + [(f"hash:{name}", self._hashes[name][0].key) for name in sorted(self._hashes)]


def _local(flow: Level, own: Level, packages: Iterable[PypiEntry], links: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The paths of the local sources that the packages come from, or may come from: folders with wheels."""
    paths = {**flow.local, **own.local}
    urls = {entry.requirement.url for entry in packages}
    urls |= {entry.requirement.url for level in (flow, own) for each in level.overrides.values() for entry in each}
    folders = tuple(f"{paths[url]}/" for url in links if url in paths)
    return tuple(
        (url, path)
        for url, path in sorted(paths.items())
        if url in urls or url in links or (folders and url.startswith("file+") and path.startswith(folders))
    )


class _Conda:
    """The conda part of one environment; empty if it has none."""

    def __init__(self, flow: Level, own: Level, defaults: Defaults) -> None:
        self.libraries = {**flow.conda, **own.conda}
        self.only = {**flow.conda_only, **own.conda_only}
        if own.python is not None:
            # A flow's build of Python goes with the flow's version.
            for packages, own_packages in ((self.libraries, own.conda), (self.only, own.conda_only)):
                if "python" not in own_packages:
                    packages.pop("python", None)
        for name in sorted(set(self.libraries) & set(self.only)):
            one, two = self.libraries[name], self.only[name]
            if one.requirement != two.requirement:
                values = (str(one.requirement), str(two.requirement))
                raise Conflict("disagreeing-values", one.key, two.key, values=values)
        tables = flow.conda_table or own.conda_table
        self.is_there = bool(self.libraries or self.only or tables) or defaults.python_from == "conda"
        of_project = () if own.own_channels or flow.own_channels else defaults.channels
        channels = [*own.channels, *flow.channels, *of_project] if self.is_there else []
        self.channels = _first_of_each(channels, strip_channel_credentials)

    def keys(self) -> list[KeyPath]:
        return [entry.key for entry in (*self.libraries.values(), *self.only.values())]

    def channel_urls(self) -> tuple[str, ...]:
        """The channels as written, and those of single packages."""
        named = (entry.channel for entry in (*self.libraries.values(), *self.only.values()) if entry.channel)
        return tuple(dict.fromkeys([*(written for _, written, _ in self.channels), *named]))

    def origins(self) -> list[tuple[str, KeyPath]]:
        """The key of each package, as `conda:<name>`, and of each channel."""
        packages = {**self.only, **self.libraries}
        found: list[tuple[str, KeyPath]] = [(f"conda:{name}", packages[name].key) for name in sorted(packages)]
        found += [(each.requirement.channel, each.key) for each in packages.values() if each.channel]
        return found + [(channel, key) for channel, _, key in self.channels if key]


def _is_disabled(flow: Level, step: Level) -> bool:
    if step.disabled is not None:
        return step.disabled[0]
    # A step with requirements has an environment, even in a flow that is disabled.
    return flow.disabled is not None and flow.disabled[0] and not step.has_requirements


def _check_fetch(fetch: KeyPath, named: tuple[str, str, KeyPath] | None, requirements: list[KeyPath]) -> None:
    if named is None:
        raise Conflict("fetch-at-exec-without-name", fetch)
    if requirements:
        raise Conflict("fetch-at-exec-with-requirements", fetch, requirements[0])


def _first_of_each(
    items: Iterable[tuple[str, KeyPath]], without_secrets: Callable[[str], str]
) -> tuple[tuple[str, str, KeyPath], ...]:
    """Each URL once, in order: without credentials, as written, and its key."""
    found: dict[str, tuple[str, str, KeyPath]] = {}
    for written, key in items:
        url = without_secrets(written)
        found.setdefault(url, (url, written, key))
    return tuple(found.values())
