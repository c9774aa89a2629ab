"""envlock.toml, read lightly: nothing heavy is imported while the file is right.

At the first thing that is not as expected the file is handed to the full reader, which says what is wrong, and where.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tomli

from envlock.config.flows.flow_reader import FlowSource, read_flows
from envlock.config.inherit import Defaults, inherit
from envlock.config.metaflow_needs import NEEDS, metaflow_requirements
from envlock.config.project import (
    CONFIG_NAME,
    DEFAULT_CHANNEL,
    CacheOptions,
    Environment,
    Flow,
    KeyPath,
    LineOfFile,
    Project,
    Settings,
    Step,
)
from envlock.config.shape import fits
from envlock.config.system_packages import VIRTUAL_PACKAGES, packages_of, system_version
from envlock.config.tables import Conflict, Level, add_pypi, is_index_name, read_level
from envlock.errors import ConfigError, Location
from envlock.files import CONFIG_BYTES, read_file, toml_of
from envlock.model.arch import ARCHS, Arch
from envlock.model.requirement import normalize_name
from envlock.model.url import (
    is_channel,
    is_endpoint,
    is_host_pattern,
    is_mirror,
    is_web,
    strip_channel_credentials,
    variable_fault,
)

PYTHON_SOURCES = ("machine", "uv", "conda")
CHANNEL_PRIORITIES = ("strict", "disabled")
CONDA_RESOLVERS = ("rattler", "conda-lock")
PYPI_RESOLVERS = ("uv", "pip-tools")
REMOTE_LATEST = (":none:", ":username:", ":any:")


def find_config(start: Path) -> Path:
    """The envlock.toml in `start` (a folder) or the nearest folder above. Raises NoConfig."""
    start = start.absolute()
    for folder in (start, *start.parents):
        place = folder / CONFIG_NAME
        if place.is_file() or (place.exists() and not place.is_dir()):  # what is no file is told, never passed over
            return place
    from envlock.config.errors import NoConfig

    raise NoConfig(str(start))


def load_project(path: Path) -> Project:
    """The project that an envlock.toml describes: read, checked and merged.

    Reads the file, the flow files it names (statically, never importing them) and requirements files. Costs a few
    milliseconds. Raises ConfigError, or ManyErrors when several things are wrong.
    """
    path = path.absolute()
    try:
        source = read_file(path, CONFIG_BYTES, within=path.parent if path.name == CONFIG_NAME else None)
        text = source.decode()
    except FileNotFoundError:
        from envlock.config.errors import NoConfig

        raise NoConfig(str(path)) from None
    except OSError as error:
        from envlock.config.errors import UnreadableConfig

        raise UnreadableConfig(str(path), error.strerror or str(error)) from None
    except UnicodeDecodeError:
        raise _explained(source, path) from None
    return project_of(path, text)


def project_of(path: Path, text: str) -> Project:
    """The project that an envlock.toml at `path` describes when it holds `text`; the file itself is not read.

    Reads the other files that `load_project` reads, and raises what it raises.
    """
    path = path.absolute()
    try:
        document = toml_of(text)
    except tomli.TOMLDecodeError:
        raise _explained(text, path) from None
    if not fits(document):
        raise _explained(text, path)
    reading = _Reading(path, text, document)
    try:
        return reading.project()
    except Conflict as conflict:
        if conflict.rule == "unknown-index" and (explained := _explained(text, path)).code == "dotted-name":
            raise explained from None
        raise _conflict_error(conflict, reading) from None
    except (ValueError, ConfigError) as error:
        explained = _explained(text, path)
        if isinstance(error, ConfigError) and (error.locations or explained.code == "unexplained"):
            raise error from None
        raise explained from None


class Unexplained(ConfigError):
    """The light reader refuses what the full one accepts: a defect of envlock, said plainly."""

    code = "unexplained"

    def __init__(self, path: str) -> None:
        super().__init__(
            "envlock cannot read this file and cannot say why",
            locations=(Location(path),),
            hint="this is a defect of envlock; please report it with the file",
        )


def _explained(source: str | bytes, path: Path) -> ConfigError:
    from envlock.config.errors import NotToml
    from envlock.config.validate import explain
    from envlock.errors import EnvlockError

    try:
        explain(source, path)
    except NotToml as error:
        if path.is_symlink():  # what it leads to may be a file that the reader of the message must not see
            return error.unquoted()
        return error
    except EnvlockError as error:
        return error  # type: ignore[return-value]
    return Unexplained(path.name)


def _conflict_error(conflict: Conflict, reading: _Reading) -> ConfigError:
    from envlock.config.errors import from_conflict

    return from_conflict(conflict.rule, conflict.values, tuple(_location(reading, key) for key in conflict.keys))


def _location(reading: _Reading, key: KeyPath) -> Location:
    from envlock.config.toml_source import location

    return location(reading.text, reading.path.name, key)


class _Reading:
    """One pass over a parsed document whose shape is known to be right."""

    def __init__(self, path: Path, text: str, document: Mapping[str, Any]) -> None:
        self.path = path
        self.text = text
        self.document = document
        self.table: Mapping[str, Any] = document.get("envlock", {})

    def project(self) -> Project:
        settings = self.settings()
        defaults = self.defaults(settings)
        flows = tuple(self.flow(name, table, defaults) for name, table in self.document.get("flow", {}).items())
        named = tuple(self.named(name, table, defaults) for name, table in self.document.get("env", {}).items())
        steps = {
            f"{flow.name}/{step.name}": ("flow", flow.name, "step", step.name) for flow in flows for step in flow.steps
        }
        for each in named:
            if each.name in steps:
                raise Conflict("named-like-a-step", each.key, steps[each.name], values=(each.name,))
        project = Project(path=self.path, text=self.text, settings=settings, flows=flows, named=named)
        if not any(each.base for each in project.environments()):
            return project
        from envlock.named.base import attached

        folder = project.lock_folder
        return project.with_environments(lambda each: attached(each, folder))

    def settings(self) -> Settings:
        table = self.table
        archs = tuple(table.get("archs", ARCHS))
        hosts = tuple(table.get("hosts", ()))
        known(archs, ARCHS)
        if not archs or not all(is_host_pattern(host) for host in hosts):
            raise ValueError(hosts)
        python_from = table.get("python-from", "machine")
        known((python_from,), PYTHON_SOURCES)
        mirrors = table.get("channel-mirrors", {})
        scripts = tuple(name.lower() for name in table.get("link-scripts", ()))
        if not all(map(is_channel, mirrors)) or not all(map(is_mirror, mirrors.values())):
            raise ValueError(mirrors)
        cache = table.get("cache", "")
        if "\0" in cache or variable_fault(cache):
            raise ValueError(cache)
        if "python-mirror" in table and not is_mirror(table["python-mirror"]):
            raise ValueError(table["python-mirror"])
        if not all(map(is_conda_name, scripts)):
            raise ValueError(scripts)
        options = CacheOptions(**table.get("cache-options", {}))
        if options.endpoint and not is_endpoint(options.endpoint):
            raise ValueError(options.endpoint)
        resolver = table.get("resolver", {})
        conda, pypi = resolver.get("conda", "rattler"), resolver.get("pypi", "uv")
        known((conda,), CONDA_RESOLVERS)
        known((pypi,), PYPI_RESOLVERS)
        latest = table.get("use-remote-latest", ":none:")
        if isinstance(latest, str):
            known((latest,), REMOTE_LATEST)
        elif not all(map(is_user, latest)):
            raise ValueError(latest)
        return Settings(
            archs=tuple(Arch(arch) for arch in ARCHS if arch in archs),
            cache=cache,
            cache_options=options,
            exclude_newer=_instant_text(table.get("exclude-newer", "")),
            python_from=python_from,
            hosts=hosts,
            allow_older=tuple(map(normalize_name, table.get("allow-older", ()))),
            python_mirror=table.get("python-mirror", ""),
            channel_mirrors=tuple((strip_channel_credentials(channel), url) for channel, url in mirrors.items()),
            link_scripts=scripts,
            compile_bytecode=table.get("compile-bytecode", False),
            conda_resolver=conda,
            pypi_resolver=pypi,
            use_remote_latest=latest if isinstance(latest, str) else tuple(latest),
        )

    def defaults(self, settings: Settings) -> Defaults:
        table = self.table
        datastore = table.get("datastore", "local")
        datastores = (datastore,) if isinstance(datastore, str) else tuple(datastore)
        known(datastores, tuple(NEEDS))
        floors = table.get("system-requirements", {})
        known(tuple(floors), ARCHS)
        for arch, packages in floors.items():
            known(tuple(packages), packages_of(arch))
        newer = settings.exclude_newer
        _all_web([*table.get("extra-indices", ()), *(url for url in [table.get("index-url")] if url is not None)])
        _all_web(table.get("indexes", {}).values())
        if not all(map(is_index_name, table.get("indexes", {}))):
            raise ValueError("indexes")
        _all_channels(table.get("channels", ()))
        priority = table.get("channel-priority", "strict")
        known((priority,), CHANNEL_PRIORITIES)
        return Defaults(
            python_from=settings.python_from,
            exclude_newer=_absolute(newer) if newer else "",
            index_url=table.get("index-url", ""),
            indexes=tuple(
                (url, ("envlock", "extra-indices", str(n))) for n, url in enumerate(table.get("extra-indices", ()))
            ),
            metaflow=metaflow_requirements(datastores) if table.get("metaflow-requirements", True) else (),
            system={
                Arch(arch): {package: system_version(package, version) for package, version in packages.items()}
                for arch, packages in floors.items()
            },
            channels=tuple((channel, ("envlock", "channels", str(n))) for n, channel in enumerate(table["channels"]))
            if "channels" in table
            else ((DEFAULT_CHANNEL, ()),),
            channel_priority="" if priority == "strict" else priority,
        )

    def flow(self, name: str, table: Mapping[str, Any], defaults: Defaults) -> Flow:
        key: KeyPath = ("flow", name)
        if "file" not in table:
            raise Conflict("flow-without-file", key)
        file = self.path.parent / table["file"]
        project = self.path.parent
        sources = read_flows(file, named_by=lambda: _location(self, (*key, "file")), project=project, wanted=name)
        source = self.flow_source(name, sources)
        level = self.level(table, key)
        asked, told = table.get("step", {}), table.get("steps")
        if not all(map(str.isidentifier, told or ())):
            raise ValueError(told)
        steps = tuple(dict.fromkeys((*source.step_names(), *(told or ()))))
        unknown = [step for step in asked if step not in steps]
        if unknown and (source.complete or told is not None):
            raise Conflict("unknown-step", (*key, "step", unknown[0]), values=(unknown[0], name, *steps))
        # That envlock.toml has a table for a step does not say that there is no other.
        is_whole = source.complete or (told is not None and not source.missing(told))
        return Flow(
            name=name,
            file=file,
            modules=source.files,
            doubts=() if is_whole else source.doubts,
            missing=() if is_whole else source.missing((*steps, *unknown)),
            steps=tuple(
                Step(
                    step,
                    inherit(f"{name}/{step}", level, self.step_level(asked.get(step), (*key, "step", step)), defaults),
                )
                for step in (*steps, *unknown)
            ),
        )

    def flow_source(self, name: str, sources: tuple[FlowSource, ...]) -> FlowSource:
        for source in sources:
            if source.name == name:
                return source
        raise Conflict("unknown-flow", ("flow", name), values=(name, *(source.name for source in sources)))

    def step_level(self, table: Mapping[str, Any] | None, key: KeyPath) -> Level:
        return Level(key) if table is None else self.level(table, key)

    def level(self, table: Mapping[str, Any], key: KeyPath) -> Level:
        _all_web(table.get("pypi", {}).get("extra_indices", ()))
        _all_channels(table.get("conda", {}).get("channels", ()))
        known(tuple(table.get("sys_packages", {}).get("packages", ())), tuple(VIRTUAL_PACKAGES))
        return read_level(table, key, self.table.get("indexes", {}))

    def named(self, name: str, table: Mapping[str, Any], defaults: Defaults) -> Environment:
        key: KeyPath = ("env", name)
        level = self.level(table, key)
        if "requirements" in table:
            self.add_requirements_file(level, table["requirements"], (*key, "requirements"))
        if table.get("environment-yml"):
            level.deferred.append(("environment-yml", (*key, "environment-yml")))
        environment = inherit(name, None, level, defaults)
        if environment is None:
            raise Conflict("named-env-disabled", key)
        if table.get("aliases"):
            from envlock.named.base import check_named

            for alias in table["aliases"]:
                check_named("aliases", alias)
            aliases = tuple((alias, (*key, "aliases", str(n))) for n, alias in enumerate(table["aliases"]))
            environment = environment._replace(aliases=aliases)
        return environment

    def add_requirements_file(self, level: Level, file: str, key: KeyPath) -> None:
        from envlock.config.requirements_file import read_requirements

        project = self.path.parent
        asked = read_requirements(project / file, name=file, named_by=_location(self, key), project=project)
        for requirement, line in asked.packages:
            add_pypi(level, requirement, LineOfFile(key, file, line))
        level.indexes += [(url, LineOfFile(key, file, line)) for url, line in asked.indexes]
        level.pip_flags += asked.pip_flags


def known(found: tuple[str, ...], right: tuple[str, ...]) -> None:
    """Raises ValueError when something is not among the right values; the full reader then says which."""
    if not set(found) <= set(right):
        raise ValueError(found)


def is_user(name: str) -> bool:
    """Whether somebody can be called that, in a list where `:any:` would look like a name.

    >>> is_user("mia"), is_user(":any:"), is_user(" ")
    (True, False, False)
    """
    return bool(name.strip()) and not name.startswith(":")


def is_conda_name(text: str) -> bool:
    """Whether a conda package can be called that.

    >>> is_conda_name("nvidia-nccl"), is_conda_name("numpy >=1")
    (True, False)
    """
    from envlock.model.conda_requirement import BadCondaRequirement, conda_requirement

    try:
        return str(conda_requirement(text)) == text.lower() and "::" not in text
    except BadCondaRequirement:
        return False


def _all_channels(channels: Iterable[str]) -> None:
    """Raises ValueError when one is no conda channel."""
    if not all(map(is_channel, channels)):
        raise ValueError(channels)


def _all_web(urls: Iterable[str]) -> None:
    """Raises ValueError when one is no URL of a package index."""
    if not all(is_web(url) for url in urls):
        raise ValueError(urls)


def _absolute(newer: str) -> str:
    """The instant, or nothing for a span: that is made absolute when locking, and stays out of req_id."""
    from envlock.config.instants import absolute_instant, span_of

    return "" if span_of(newer) is not None else absolute_instant(newer)


def _instant_text(value: Any) -> str:
    return value if isinstance(value, str) else str(value.isoformat())
