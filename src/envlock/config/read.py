"""The light reader of envlock.toml: it imports nothing heavy while the file is right.

If anything is wrong, it hands the file to the full reader (`validate`), which says what and where.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import tomli

from envlock.config.inherit import Defaults, defaults_of, inherit
from envlock.config.layers import TEAM_FILE, Layers, layers_of
from envlock.config.project import CONFIG_NAME, Environment, Flow, KeyPath, Project, Step
from envlock.config.settings import Settings
from envlock.config.shape import fits
from envlock.config.tables import FILE_KEYS, AtKey, Conflict, Level, read_level, refuse_disabled_with_requirements
from envlock.errors import ConfigError, Location
from envlock.files import CONFIG_BYTES, read_file, toml_of
from envlock.model.arch import ARCHS
from envlock.model.requirement import normalize_name
from envlock.model.url import strip_channel_credentials, strip_credentials

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from envlock.config.flows.flow_reader import FlowSource


def find_config(start: Path) -> Path:
    """The envlock.toml in `start` (a folder) or the nearest folder above. Raises NoConfig."""
    start = start.absolute()
    for folder in (start, *start.parents):
        place = folder / CONFIG_NAME
        # What is no file is an error, and no reason to look further up.
        if place.is_file() or (place.exists() and not place.is_dir()):
            return place
    from envlock.config.errors import NoConfig

    raise NoConfig(str(start))


def load_project(path: Path | str | None = None) -> Project:
    """The project of an envlock.toml: of this one, else of the one in the working folder or the nearest above it.

    Reads the file, the flow files that it names (as text: they are never imported) and requirements files. Takes a few
    milliseconds. Raises ConfigError, or ManyErrors if several things are wrong.
    """
    path = find_config(Path.cwd()) if path is None else Path(path).absolute()
    return project_of(path, _text_of(path))


def load_project_if_any(written: str = "") -> Project:
    """As `load_project`; where an envlock.toml is looked for in vain, a project of this folder that has nothing.

    `written` names it, as `--config` does. That project has the settings of the machine and the user: enough to look up
    what a cache has.
    """
    from envlock.config.errors import NoConfig

    try:
        path = find_config(Path.cwd()) if not written else Path(written)
    except NoConfig:
        return project_of(Path.cwd() / CONFIG_NAME, "")
    return load_project(path)


def load_layers(path: Path) -> Layers:
    """The settings of an envlock.toml, each with where it was written. Reads no flow, and no requirement file.

    Raises as `load_project`.
    """
    text = _text_of(path)
    return layers_of(path, text, _document_of(path, text).get("envlock", {}))


def _text_of(path: Path) -> str:
    try:
        source = read_file(path, CONFIG_BYTES, within=path.parent if path.name == CONFIG_NAME else None)
        return source.decode()
    except FileNotFoundError:
        from envlock.config.errors import NoConfig

        raise NoConfig(str(path)) from None
    except OSError as error:
        from envlock.places import UnreadableConfig

        raise UnreadableConfig(str(path), error.strerror or str(error)) from None
    except UnicodeDecodeError:
        raise _explained(source, path) from None


def _document_of(path: Path, text: str) -> Mapping[str, Any]:
    try:
        document = toml_of(text)
    except tomli.TOMLDecodeError:
        raise _explained(text, path) from None
    if not fits(document):
        raise _explained(text, path)
    return document


def project_of(path: Path, text: str) -> Project:
    """The project of an envlock.toml at `path` with this text; the file itself is not read.

    Reads the other files that `load_project` reads, and raises the same errors.
    """
    path = path.absolute()
    document = _document_of(path, text)
    reading = _Reading(path, text, document, layers_of(path, text, document.get("envlock", {})))
    try:
        return reading.project()
    except Conflict as conflict:
        if conflict.rule == "unknown-index" and (explained := _explained(text, path)).code == "dotted-name":
            raise explained from None
        raise _conflict_error(conflict, reading) from None
    except AtKey as bad:
        place = _location(reading, bad.key)
        raise bad.error.adding(locations=(place,)) from None
    except (ValueError, ConfigError) as error:
        explained = _explained(text, path)
        if isinstance(error, ConfigError) and (error.locations or explained.code == "unexplained"):
            raise error from None
        if explained.code == "unexplained":
            _explain_team_files(reading.layers)
        raise explained from None


def _explain_team_files(layers: Layers) -> None:
    from envlock.config.validate import explain_settings

    for layer in layers.every:
        if layer.kind == TEAM_FILE:
            explain_settings(layer.text, layer.name, is_machine=False)


def levels_of(project: Project, flow: str) -> tuple[Level, Mapping[str, Level]]:
    """What the tables of a flow say, and those of its steps that have some."""
    layers = project.layers or layers_of(project.path, project.text, toml_of(project.text).get("envlock", {}))
    reading = _Reading(project.path, project.text, toml_of(project.text), layers)
    reading.read_envs()
    table = reading.document.get("flow", {}).get(flow, {})
    key: KeyPath = ("flow", flow)
    steps = {name: reading.level(own, (*key, "step", name)) for name, own in table.get("step", {}).items()}
    return reading.level(table, key), steps


def _explained(source: str | bytes, path: Path) -> ConfigError:
    from envlock.config.errors import NotToml, Unexplained
    from envlock.config.validate import explain
    from envlock.errors import EnvlockError

    try:
        explain(source, path)
    except NotToml as error:
        if path.is_symlink():  # it may lead to a file that whoever reads the message may not read
            return error.unquoted()
        return error
    except EnvlockError as error:
        return error  # type: ignore[return-value]
    return Unexplained(path.name)


def _conflict_error(conflict: Conflict, reading: _Reading) -> ConfigError:
    from envlock.config.contradictions import from_conflict

    return from_conflict(conflict.rule, conflict.values, tuple(_location(reading, key) for key in conflict.keys))


def _location(reading: _Reading, key: KeyPath) -> Location:
    from envlock.config.toml_source import location

    return reading.layers.locate(key) or location(reading.text, reading.path.name, key)


def _asking_mirrors(project: Project) -> Project:
    """The project, with the mirrors of its indexes."""
    own = project.settings

    def change(each: Environment) -> Environment:
        return each._replace(
            index_urls=tuple(map(project.mirrored, each.index_urls)),
            default_index_url=project.mirrored(each.default_index_url),
            package_index_urls=tuple(map(project.mirrored, each.package_index_urls)),
            find_links_urls=tuple(map(project.mirrored, each.find_links_urls)),
        )

    settings = own._replace(
        index_url=project.mirrored(own.index_url), extra_indices=tuple(map(project.mirrored, own.extra_indices))
    )
    return project.with_environments(change)._replace(settings=settings)


class _Reading:
    """Makes the project of a parsed document that has the right shape."""

    def __init__(self, path: Path, text: str, document: Mapping[str, Any], layers: Layers) -> None:
        self.path = path
        self.text = text
        self.document = document
        self.layers = layers
        self.table: Mapping[str, Any] = layers.table
        self.env_levels: dict[str, Level] = {}
        self.files: list[Path] = []

    def project(self) -> Project:
        settings = self.settings()
        defaults = defaults_of(settings)
        self.read_envs()
        flows = tuple(self.flow(name, table, defaults) for name, table in self.document.get("flow", {}).items())
        named = tuple(self.named(name, table, defaults) for name, table in self.document.get("env", {}).items())
        steps = {
            f"{flow.name}/{step.name}": ("flow", flow.name, "step", step.name) for flow in flows for step in flow.steps
        }
        for each in named:
            if each.name in steps:
                raise Conflict("named-like-a-step", each.key, steps[each.name], values=(each.name,))
        files = tuple(dict.fromkeys(self.files))
        project = Project(
            path=self.path,
            text=self.text,
            settings=settings,
            flows=flows,
            named=named,
            files=files,
            layers=self.layers,
        )
        if settings.index_mirrors:
            project = _asking_mirrors(project)
        if not any(each.base for each in project.environments()):
            return project
        from envlock.named.pin import with_base

        folder = project.lock_folder
        return project.with_environments(lambda each: with_base(each, folder))

    def settings(self) -> Settings:
        found = settings_of(self.table)
        mirrors = tuple((strip_channel_credentials(channel), url) for channel, url in found.channel_mirrors)
        return found._replace(
            archs=tuple(arch for arch in ARCHS if arch in found.archs),
            allow_older=tuple(map(normalize_name, found.allow_older)),
            build=found.build if isinstance(found.build, bool) else tuple(map(normalize_name, found.build)),
            channel_mirrors=mirrors,
            index_mirrors=tuple({_place(url): (url, mirror) for url, mirror in found.index_mirrors}.values()),
            link_scripts=tuple(name.lower() for name in found.link_scripts),
        )

    def flow(self, name: str, table: Mapping[str, Any], defaults: Defaults) -> Flow:
        key: KeyPath = ("flow", name)
        if "file" not in table:
            raise Conflict("flow-without-file", key, values=(name,))
        from envlock.config.flows.flow_reader import read_flows  # not for projects of `[env.*]` tables alone

        file = self.path.parent / table["file"]
        project = self.path.parent
        sources = read_flows(file, named_by=lambda: _location(self, (*key, "file")), project=project, wanted=name)
        source = self.flow_source(name, sources)
        level = self.level(table, key)
        step_tables, given = table.get("step", {}), table.get("steps")
        steps = tuple(dict.fromkeys((*source.step_names(), *(given or ()))))
        unknown = [step for step in step_tables if step not in steps]
        if unknown and (source.complete or given is not None):
            raise Conflict("unknown-step", (*key, "step", unknown[0]), values=(unknown[0], name, *steps))
        # A step with a table in envlock.toml does not mean that there are no others.
        is_whole = source.complete or (given is not None and not source.missing(given))
        return Flow(
            name=name,
            file=file,
            modules=source.files,
            doubts=() if is_whole else source.doubts,
            missing=() if is_whole else source.missing((*steps, *unknown)),
            steps=tuple(
                Step(
                    step,
                    inherit(
                        f"{name}/{step}", level, self.step_level(step_tables.get(step), (*key, "step", step)), defaults
                    ),
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
        """The level of a table: what it, its files and the `[env.*]` tables that its `env` names say."""
        level = read_level(table, key, self.table.get("indexes", {}), self.path.parent)
        if any(kind in table for kind in FILE_KEYS):
            self.add_files(level, table, key)
        if level.local:
            from envlock.config.requirement_files.contents import add_needs_of_folders

            self.files += add_needs_of_folders(level, self.path.parent, lambda place: _location(self, place))
        for name, at in self.envs_of(table, key):
            level.add(self.env_levels[name], at)
        refuse_disabled_with_requirements(level)
        return level

    def envs_of(self, table: Mapping[str, Any], key: KeyPath) -> list[tuple[str, KeyPath]]:
        """The `[env.*]` tables that the `env` of a table names, each with its key."""
        known, written = self.document.get("env", {}), table.get("env", [])
        own = (*key, "env")
        found: list[tuple[str, KeyPath]] = [(written, own)] if isinstance(written, str) else []
        found = found or [(name, (*own, str(number))) for number, name in enumerate(written)]
        for name, at in found:
            if name not in known:
                raise Conflict("unknown-env", at, values=(name, *known))
        return found

    def read_envs(self) -> None:
        """Read the level of each `[env.*]` table once, those that others name before these."""
        tables = self.document.get("env", {})
        named = {name: dict(self.envs_of(table, ("env", name))) for name, table in tables.items()}
        for name in _first_to_last(named) if any(named.values()) else tables:
            self.env_levels[name] = self.level(tables[name], ("env", name))

    def named(self, name: str, table: Mapping[str, Any], defaults: Defaults) -> Environment:
        key: KeyPath = ("env", name)
        environment = inherit(name, None, self.env_levels[name], defaults)
        if environment is None:
            raise Conflict("named-env-disabled", key)
        if table.get("aliases"):
            aliases = tuple((alias, (*key, "aliases", str(n))) for n, alias in enumerate(table["aliases"]))
            environment = environment._replace(aliases=aliases)
        return environment

    def add_files(self, level: Level, table: Mapping[str, Any], key: KeyPath) -> None:
        from envlock.config.requirement_files.contents import add_contents, contents_of

        def locate(place: KeyPath) -> Location:
            return _location(self, place)

        for kind in FILE_KEYS:
            written = table.get(kind, [])
            for number, each in enumerate(written if isinstance(written, list) else [written]):
                place = (*key, kind, str(number)) if isinstance(written, list) else (*key, kind)
                contents = contents_of(kind, each, place, project=self.path.parent, locate=locate)
                add_contents(level, contents, locate)
                self.files += contents.files


def _place(url: str) -> str:
    return strip_credentials(url).rstrip("/")


def _first_to_last(named: Mapping[str, Mapping[str, KeyPath]]) -> tuple[str, ...]:
    """The tables, each after those that it names, which are given with the keys that name them. Raises Conflict."""
    from graphlib import CycleError, TopologicalSorter

    try:
        return tuple(TopologicalSorter(named).static_order())
    except CycleError as error:
        cycle: list[str] = error.args[1][:0:-1]
        first = min(cycle, key=list(named).index)
        cycle = cycle[cycle.index(first) :] + cycle[: cycle.index(first)]
        keys = (named[name][after] for name, after in zip(cycle, [*cycle[1:], first], strict=True))
        raise Conflict("env-cycle", *keys, values=tuple(cycle)) from None


def settings_of(table: Mapping[str, Any]) -> Settings:
    """The settings of an `[envlock]` table that has the right shape, with defaults for the rest.

    >>> settings_of({"cache": "s3://team/envlock", "resolver": {"pypi": "pip-tools"}}).resolver
    Resolvers(conda='rattler', pypi='pip-tools')
    """
    return Settings(written=tuple(table), **_fields(table, Settings._field_defaults))


def _fields(table: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    names = {key: key.replace("-", "_") for key in table}
    return {names[key]: _plain(value, defaults[names[key]]) for key, value in table.items()}


def _plain(value: Any, default: Any = None) -> Any:
    """A value of TOML as a setting: lists and tables of free keys become tuples, dates text."""
    if isinstance(value, dict):
        if hasattr(default, "_field_defaults"):
            return type(default)(**_fields(value, default._field_defaults))
        return tuple((key, _plain(item)) for key, item in value.items())
    if isinstance(value, list):
        return tuple(map(_plain, value))
    return value.isoformat() if hasattr(value, "isoformat") else value
