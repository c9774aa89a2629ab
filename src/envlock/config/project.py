"""What envlock.toml says, merged: the environments of a project and the steps that use them.

Values on the way of `check` are named tuples: a frozen dataclass takes up to a millisecond to define, and `dataclasses`
seven to import.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple, TypeAlias

from envlock.config.settings import CacheOptions, Settings
from envlock.errors import ConfigError, Location
from envlock.model.arch import Arch
from envlock.model.requirements import Requirements
from envlock.model.url import is_endpoint, is_mirror
from envlock.places import expanded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from envlock.config.flows.flow_reader import Doubt
    from envlock.named.pin import Pin

CONFIG_NAME = "envlock.toml"
DEFAULT_CHANNEL = Settings().channels[0]
"""The project's channel where `[envlock]` says nothing of any."""
LOCK_FOLDER_NAME = "envlock.lock"

KeyPath: TypeAlias = tuple[str, ...]
"""Where a value stands in envlock.toml, such as `("flow", "Train", "pypi", "packages", "rich")`."""


class LineOfFile(tuple[str, ...]):
    """The key of a file's name, with the line of that file that asks for something: a KeyPath, and more exact."""

    file: str
    line: int

    def __new__(cls, key: KeyPath, file: str, line: int) -> LineOfFile:
        """The line of the file that is named at `key`, as it is named there."""
        made = super().__new__(cls, key)
        made.file = file
        made.line = line
        return made


class Base(NamedTuple):
    """The `named_env` of an environment: what it says, and what it stood for when it was locked."""

    kind: str
    """`name` or `pathspec`."""
    written: str
    """As in envlock.toml, `@{VARIABLE}`s included."""
    key: KeyPath
    own: Requirements
    """What is asked beside it, as if there were no base."""
    extends: bool = False
    """Whether anything is asked beside it; else the environment is the named one itself."""
    fetch_at_exec: bool = False
    """Whether it is looked up when the step starts, and never locked."""
    reference: str = ""
    """The name with its tag, `req_id:full_id`, or the pathspec; empty where it cannot be known, or only later."""
    pin: Pin | None = None
    """What it stood for when it was locked; None where it was not, or the pin cannot be read."""

    def full_id(self, arch: Arch) -> str | None:
        """The locked environment that this one has to be, for an arch; None where it may be another."""
        return None if self.extends or self.pin is None else self.pin.full_id(arch)


class Environment(NamedTuple):
    """One environment of the project: what it asks for, and where in envlock.toml it says so."""

    name: str
    """`Flow/step`, or the name of an `[env.*]` table."""
    requirements: Requirements
    origins: tuple[tuple[str, KeyPath], ...] = ()
    """For each thing asked, the key that asks: `python`, a normalised package name (where that is asked for more than
    once, each requirement too), `conda:` and the name of a conda package, an index or a channel without credentials, a
    virtual package."""
    index_urls: tuple[str, ...] = ()
    """`requirements.indexes` as written, credentials and `${VARIABLE}`s included: for fetching only."""
    default_index_url: str = ""
    package_index_urls: tuple[str, ...] = ()
    """The indexes that single packages name, as written: for fetching only."""
    channel_urls: tuple[str, ...] = ()
    """`requirements.channels`, and those that single packages name, as written: credentials and `${VARIABLE}`s are
    included, for fetching only."""
    deferred: tuple[tuple[str, KeyPath], ...] = ()
    """Tables that this version of envlock reads but cannot resolve yet, each with its key."""
    key: KeyPath = ()
    """The table that it comes from: `("flow", "Train", "step", "start")`, whether or not that is written, or
    `("env", "base")`. A name says nothing of its kind: `[env."Train/start"]` is no step."""

    base: Base | None = None
    """The named environment that it is, or extends. Its requirements are made of that one's."""
    aliases: tuple[tuple[str, KeyPath], ...] = ()
    """The names that it is given once it is locked, each with its key."""

    @property
    def every_index_url(self) -> tuple[str, ...]:
        """All indexes that may be asked, as written: those of single packages, the others in order, the default."""
        urls = (*self.package_index_urls, *self.index_urls, self.default_index_url)
        return tuple(url for url in urls if url)

    @property
    def is_step(self) -> bool:
        """Whether it is that of a flow's step, not an `[env.*]` table."""
        return self.key[:1] == ("flow",)

    @property
    def is_fetched(self) -> bool:
        """Whether it is only known when its step starts: then there is nothing to lock."""
        return self.base is not None and self.base.fetch_at_exec

    def origin(self, thing: str) -> KeyPath | None:
        """The key in envlock.toml that asked for `thing`, if one did."""
        return dict(self.origins).get(thing)

    def all_origins(self, thing: str) -> tuple[KeyPath, ...]:
        """Every key in envlock.toml that asked for `thing`: a package may be asked for in several places."""
        return tuple(key for each, key in self.origins if each == thing)


class Step(NamedTuple):
    """A step of a flow; without an environment where it is disabled (the outer interpreter runs it)."""

    name: str
    environment: Environment | None


class Flow(NamedTuple):
    """A flow of the project, with every step that its classes declare, in the file's order."""

    name: str
    file: Path
    steps: tuple[Step, ...]
    modules: tuple[Path, ...] = ()
    """The other files of the project that its classes come from."""
    doubts: tuple[Doubt, ...] = ()
    """Why it may have other steps, where that is not ruled out: what cannot be read, and may bring them."""
    missing: tuple[str, ...] = ()
    """Steps that it surely has in that case, and that are not among its steps."""

    def step(self, name: str) -> Step | None:
        """The step of that name, if there is one."""
        return next((step for step in self.steps if step.name == name), None)


class Project(NamedTuple):
    """A read and merged envlock.toml."""

    path: Path
    """envlock.toml itself, absolute."""
    text: str
    settings: Settings
    flows: tuple[Flow, ...]
    named: tuple[Environment, ...]
    """The `[env.*]` tables."""

    @property
    def folder(self) -> Path:
        """The folder that envlock.toml lies in."""
        return self.path.parent

    @property
    def lock_folder(self) -> Path:
        """Where the locks lie, beside envlock.toml."""
        return self.folder / LOCK_FOLDER_NAME

    @property
    def cache_url(self) -> str:
        """The cache, as fsspec understands it: a URL, or an absolute folder. Raises UnsetVariable."""
        cache = self._filled("cache", self.settings.cache or Settings().cache)
        return cache if "://" in cache else str((self.folder / expanded(cache)).absolute())

    @property
    def cache_options(self) -> CacheOptions:
        """How the cache is reached, variables filled in. Raises UnsetVariable, BadVariable."""
        options = self.settings.cache_options
        endpoint = self._filled("cache-options.endpoint", options.endpoint, is_endpoint, "the URL of a web server")
        return options._replace(endpoint=endpoint)

    @property
    def python_mirror(self) -> str:
        """Where exact Python builds are fetched from, variables filled in. Raises UnsetVariable, BadVariable."""
        return self._filled("python-mirror", self.settings.python_mirror, is_mirror, "the URL of a mirror")

    def _filled(
        self, key: str, written: str, fits: Callable[[str], bool] | None = None, expected: str = "the place of a cache"
    ) -> str:
        """The value of a key of `[envlock]` with its variables filled in. Where that fails, the error has the line."""
        if "${" not in written:
            return written
        from envlock.credentials import address, with_variables

        try:
            # A cache may be a folder, or a bucket, in whose names no sign stands for another.
            return address(written, fits=fits, expected=expected).url if fits else with_variables(written)
        except ConfigError as error:
            raise error.at(self.locate(("envlock", *key.split(".")))) from None

    def flow(self, name: str) -> Flow | None:
        """The flow of that name, if there is one."""
        return next((flow for flow in self.flows if flow.name == name), None)

    def environments(self) -> tuple[Environment, ...]:
        """Every environment: those of the flows' steps that are not disabled, then the named ones."""
        steps = (step.environment for flow in self.flows for step in flow.steps)
        return tuple(environment for environment in (*steps, *self.named) if environment is not None)

    def with_environments(self, change: Callable[[Environment], Environment]) -> Project:
        """The project with `change` of each environment in its place."""
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
        """The file and line of a key. Reads the text again, so it is for error messages."""
        from envlock.config.toml_source import location

        return location(self.text, self.path.name, key)
