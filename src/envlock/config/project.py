"""A project as read from envlock.toml: its flows, steps and environments.

What `check` uses are named tuples: a frozen dataclass takes up to a millisecond to define, and `dataclasses` seven to
import.
"""

from __future__ import annotations

import os
from pathlib import Path

from envlock.config.settings import CacheOptions, Settings
from envlock.errors import ConfigError, Location
from envlock.model.arch import Arch
from envlock.model.requirements import Requirements
from envlock.model.url import is_endpoint, is_mirror
from envlock.places import expanded
from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeAlias

    from envlock.config.flows.flow_reader import Doubt
    from envlock.config.layers import Layers
    from envlock.config.metaflow_datastore import Datastore
    from envlock.named.pin import Pin

CONFIG_NAME = "envlock.toml"
DEFAULT_CHANNEL = Settings().channels[0]
"""The channel of a project without `channels`."""
OF_METAFLOW = "metaflow"
"""The `cache` that is in Metaflow's datastore."""
LOCK_FOLDER_NAME = "envlock.lock"

KeyPath: TypeAlias = tuple[str, ...]
"""The key of a value in envlock.toml, such as `("flow", "Train", "pypi", "packages", "rich")`."""


class LineOfFile(tuple[str, ...]):
    """The key that names a file, with a line of that file: a more exact KeyPath."""

    file: str
    line: int

    def __new__(cls, key: KeyPath, file: str, line: int) -> LineOfFile:
        """A line of the file that is named at `key`."""
        made = super().__new__(cls, key)
        made.file = file
        made.line = line
        return made


class Base(NamedTuple):
    """The `named_env` of an environment, and the environment that it named when it was locked."""

    kind: str
    """`name` or `pathspec`."""
    written: str
    """As in envlock.toml, with its `@{VARIABLE}`s."""
    key: KeyPath
    own: Requirements
    """The environment's own requirements, as if there were no base."""
    extends: bool = False
    """Whether the environment has requirements of its own; else it is the base itself."""
    fetch_at_exec: bool = False
    """Whether the base is looked up when the step starts, and never locked."""
    reference: str = ""
    """The name with its tag, `req_id:full_id`, or the pathspec; empty if it is not known now."""
    pin: Pin | None = None
    """The environment that the base named when it was locked; None if it was not, or if the pin cannot be read."""

    def full_id(self, arch: Arch) -> str | None:
        """The locked environment that this one has to be, for an arch; None if it may be another."""
        return None if self.extends or self.pin is None else self.pin.full_id(arch)


class Environment(NamedTuple):
    """One environment of the project: its requirements, and where envlock.toml has them."""

    name: str
    """`Flow/step`, or the name of an `[env.*]` table."""
    requirements: Requirements
    origins: tuple[tuple[str, KeyPath], ...] = ()
    """The key of each requirement. Requirements are named by `python`, a normalised package name (if it has several
    requirements, also by each of them), `conda:` and the name of a conda package, the URL of an index or a channel
    without credentials, or a system package; `constraint:`, `override:`, `hash:` and the name of a PyPI package;
    `variable:` and the name of a variable."""
    index_urls: tuple[str, ...] = ()
    """`requirements.indexes` as written, with credentials and `${VARIABLE}`s: for fetching only."""
    default_index_url: str = ""
    package_index_urls: tuple[str, ...] = ()
    """The indexes of single packages, as written: for fetching only."""
    channel_urls: tuple[str, ...] = ()
    """`requirements.channels`, and those of single packages, as written, with credentials and `${VARIABLE}`s: for
    fetching only."""
    find_links_urls: tuple[str, ...] = ()
    """`requirements.find_links` as written, with credentials and `${VARIABLE}`s: for fetching only."""
    local: tuple[tuple[str, str], ...] = ()
    """`(url, path)` of what comes from this machine: a requirement's URL, which names its content, and where it is,
    relative to envlock.toml. For building only."""
    notes: tuple[tuple[str, KeyPath], ...] = ()
    """What its requirement files say without any effect: a sentence for each, with its line."""
    key: KeyPath = ()
    """Its table: `("flow", "Train", "step", "start")`, written or not, or `("env", "base")`. The name does not tell the
    kind: `[env."Train/start"]` is no step."""
    base: Base | None = None
    """The environment that it is, or extends. Its requirements include those of its base."""
    aliases: tuple[tuple[str, KeyPath], ...] = ()
    """The aliases to give to it once it is locked, each with its key."""

    @property
    def every_index_url(self) -> tuple[str, ...]:
        """All indexes, as written: those of single packages, pages of links, the others in order, the default one."""
        urls = (*self.package_index_urls, *self.find_links_urls, *self.index_urls, self.default_index_url)
        return tuple(url for url in urls if url)

    @property
    def is_step(self) -> bool:
        """Whether it belongs to a step, and is no `[env.*]` table."""
        return self.key[:1] == ("flow",)

    @property
    def is_fetched(self) -> bool:
        """Whether it is looked up when its step starts: then there is nothing to lock."""
        return self.base is not None and self.base.fetch_at_exec

    def link_folders(self, project: Path) -> tuple[Path, ...]:
        """The folders with wheels that are searched; `project` is the folder of envlock.toml."""
        return tuple(project / path for url, path in self.local if url.startswith("wheels+"))

    def origin(self, thing: str) -> KeyPath | None:
        """The key of one requirement in envlock.toml, if it has one."""
        return dict(self.origins).get(thing)

    def all_origins(self, thing: str) -> tuple[KeyPath, ...]:
        """Every key of a requirement in envlock.toml: a package may have several."""
        return tuple(key for each, key in self.origins if each == thing)


class Step(NamedTuple):
    """A step of a flow. If it is disabled, it has no environment, and runs in the interpreter of the flow."""

    name: str
    environment: Environment | None


class Flow(NamedTuple):
    """A flow of the project, with all steps of its classes, in the order of the file."""

    name: str
    file: Path
    steps: tuple[Step, ...]
    modules: tuple[Path, ...] = ()
    """Other files of the project that its classes come from."""
    doubts: tuple[Doubt, ...] = ()
    """Why it may have more steps: what envlock cannot read, and what may add steps."""
    missing: tuple[str, ...] = ()
    """Steps that it has in that case, and that are not among its steps."""

    def step(self, name: str) -> Step | None:
        """The step with this name, if there is one."""
        return next((step for step in self.steps if step.name == name), None)


class Project(NamedTuple):
    """A project: envlock.toml, read."""

    path: Path
    """envlock.toml itself, absolute."""
    text: str
    settings: Settings
    flows: tuple[Flow, ...]
    named: tuple[Environment, ...]
    """The `[env.*]` tables."""
    files: tuple[Path, ...] = ()
    """The requirement files that were read, with those that they include."""
    locks: Path | None = None
    """The lock folder of a project of requirement files alone: then there is no envlock.toml."""
    layers: Layers | None = None
    """The settings files and variables that its settings come from, envlock.toml among them."""

    @property
    def folder(self) -> Path:
        """The folder of envlock.toml."""
        return self.path.parent

    @property
    def lock_folder(self) -> Path:
        """The lock folder, beside envlock.toml."""
        return self.folder / LOCK_FOLDER_NAME if self.locks is None else self.locks

    @property
    def written_cache(self) -> str:
        """The cache as it is written, and if it is a folder, from where it is meant. Raises NoMetaflowDatastore."""
        if self.settings.cache == OF_METAFLOW:
            return self.cache_url
        cache = self.settings.cache
        return cache if "://" in cache or "${" in cache else str((self.folder / expanded(cache)).absolute())

    @property
    def cache_url(self) -> str:
        """The cache: a URL that fsspec knows, or an absolute folder. Raises UnsetVariable, NoMetaflowDatastore."""
        if self.settings.cache == OF_METAFLOW:
            return self._datastore().cache
        cache = self._filled("cache", self.settings.cache or Settings().cache)
        return cache if "://" in cache else str((self.folder / expanded(cache)).absolute())

    @property
    def cache_options(self) -> CacheOptions:
        """How to reach the cache, with variables filled in. Raises as `cache_url`, and BadVariable."""
        options = self.settings.cache_options
        endpoint = self._filled("cache-options.endpoint", options.endpoint, is_endpoint, "the URL of a web server")
        options = options._replace(endpoint=endpoint)
        if self.settings.cache == OF_METAFLOW:
            store = self._datastore()
            options = options._replace(
                endpoint=options.endpoint or store.endpoint,
                region=options.region or store.region,
                account=options.account or store.account,
            )
        return options

    def _datastore(self) -> Datastore:
        """Metaflow's datastore. The error has the line of `cache` if there is none."""
        from envlock.config.metaflow_datastore import datastore

        try:
            return datastore(str(self.folder))
        except ConfigError as error:
            raise error.at(self.locate(("envlock", "cache"))) from None

    @property
    def python_mirror(self) -> str:
        """The mirror of Python builds, with variables filled in. Raises UnsetVariable, BadVariable."""
        return self._filled("python-mirror", self.settings.python_mirror, is_mirror, "the URL of a mirror")

    def _filled(
        self, key: str, written: str, fits: Callable[[str], bool] | None = None, expected: str = "the place of a cache"
    ) -> str:
        """A setting with its variables filled in. The error has its line if that fails."""
        if "${" not in written:
            return written
        from envlock.addresses import address, with_variables

        try:
            # A cache may be a folder or a bucket: in their names, nothing is percent-encoded.
            return address(written, fits=fits, expected=expected).url if fits else with_variables(written)
        except ConfigError as error:
            raise error.at(self.locate(("envlock", *key.split(".")))) from None

    def flow(self, name: str) -> Flow | None:
        """The flow with this name, if there is one."""
        return next((flow for flow in self.flows if flow.name == name), None)

    def environments(self) -> tuple[Environment, ...]:
        """Every environment: those of the steps that are not disabled, then the `[env.*]` tables."""
        steps = (step.environment for flow in self.flows for step in flow.steps)
        return tuple(environment for environment in (*steps, *self.named) if environment is not None)

    def with_environments(self, change: Callable[[Environment], Environment]) -> Project:
        """The project with each environment replaced by `change` of it."""
        flows = tuple(
            flow._replace(
                steps=tuple(
                    step._replace(environment=change(step.environment) if step.environment else None)
                    for step in flow.steps
                )
            )
            for flow in self.flows
        )
        return self._replace(flows=flows, named=tuple(map(change, self.named)))

    def shown(self, path: Path) -> str:
        """The path as messages name it: relative to the folder of envlock.toml."""
        return os.path.relpath(path, self.folder)

    def locate(self, key: KeyPath) -> Location:
        """The file and line of a key, or the variable that set it. Scans each text once."""
        from envlock.config.toml_source import location

        found = self.layers.locate(key) if self.layers is not None else None
        return found or location(self.text, self.path.name, key)

    def place_of(self, key: KeyPath) -> Location:
        """As `locate`, without the key: the file and the line."""
        return self.locate(key)._replace(key=None)

    @property
    def table(self) -> Mapping[str, Any]:
        """The `[envlock]` that counts, of all layers, as TOML has it."""
        return {} if self.layers is None else self.layers.table

    def mirrored(self, url: str) -> str:
        """The URL of an index as it is written; if it has a mirror, as one that `address` knows to ask by that."""
        if not self.settings.index_mirrors:
            return url
        from envlock.addresses import mirrored

        return mirrored(url, self.settings.index_mirrors)

    def asked_default(self, written: str) -> str:
        """The default index as it is written; where none is, the mirror of the tools' own, if that has one.

        Starts uv where there are mirrors and no `index-url`. Raises NoUv.
        """
        if written or not self.settings.index_mirrors:
            return written
        from envlock.addresses import MirroredUrl
        from envlock.uv_command import default_index

        found = self.mirrored(default_index())
        return found if isinstance(found, MirroredUrl) else ""

    def is_said_here(self, key: str) -> bool:
        """Whether the repository sets a setting, in envlock.toml or a team file, whatever a machine says."""
        return self.layers is not None and self.layers.is_of_repository(key)

    @property
    def team_files(self) -> tuple[Path, ...]:
        """The team files that envlock.toml extends, itself and by each other."""
        return tuple(map(Path, self.layers.team_files)) if self.layers is not None else ()
