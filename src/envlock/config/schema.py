"""envlock.toml as pydantic models: every key with its type, default, choices, rule, meaning and an example.

A key is declared here and nowhere else. `scripts/reference_pages.py` makes the rest from these models: the JSON schema,
the reference page, the settings in envlock.toml.example, and `settings`, the plain tables of the light reader. Tests
hold them current. Reading a file that is right imports no pydantic: that would cost more than all of `envlock check`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from typing import Annotated, Any, Literal, TypeAlias, Union

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from envlock.config import rules

Schema: TypeAlias = dict[str, Any]

ArchName = Literal["linux-64", "linux-aarch64", "osx-64", "osx-arm64"]
DatastoreName = Literal["local", "s3", "azure", "gs"]
VirtualPackage = Literal["__glibc", "__linux", "__osx", "__cuda", "__archspec"]


@dataclass(frozen=True)
class Ruled:
    """Holds a text to a rule of `envlock.config.rules`, and says its fault in an error of the type `rule`."""

    rule: Callable[[str], str]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The schema of the text, with the rule after it."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def _check(self, value: str) -> str:
        if fault := self.rule(value):
            raise PydanticCustomError("rule", "{fault}", {"fault": fault, "rule": self.rule})
        return value


Channel = Annotated[str, Ruled(rules.channel)]
Index = Annotated[str, Ruled(rules.index_url)]
Instant = Annotated[str, Ruled(rules.instant)]
Mirror = Annotated[str, Ruled(rules.mirror)]


class Table(BaseModel):
    """A table whose keys are all known. Types are taken as TOML has them: nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


class PackageTable(Table):
    """One package of PyPI, where a version alone does not say enough."""

    version: str = Field(default="", examples=[">=2,<3"])
    """The version: `2.2.3`, `>=2,<3`, or empty for any."""
    extras: list[Annotated[str, Ruled(rules.extra)]] = Field(default=[], examples=[["socks"]])
    """Extras of the package, beside those that its name carries."""
    marker: str = Field(default="", examples=["sys_platform == 'linux'"])
    """The environment marker (PEP 508) under which it is asked for."""
    index: Annotated[str, Ruled(rules.index)] = Field(default="", examples=["pytorch"])
    """The one index that the package comes from: a name out of `[envlock.indexes]`, or a URL. Nothing else is asked of
    that index."""


Package: TypeAlias = Union[  # noqa: UP007
    str, PackageTable, Annotated[list[Union[str, PackageTable]], Field(min_length=1, examples=[[">=2", "<3"]])]  # noqa: UP007
]


class PypiTable(Table):
    """Packages from PyPI: `@pypi` of a step, `@pypi_base` of a flow."""

    packages: dict[str, Package] = Field(
        default={},
        examples=[{"pandas": "2.2.3", "requests[socks]": ">=2,<3"}],
    )
    """Package to version: `2.2.3`, `>=2,<3`, or empty for any; `; marker` may follow. The name may carry extras, or a
    URL: `name@https://...`. A table says more: `{ version, extras, marker, index }`. A list holds several of these: all
    of them count, each where its marker is true."""
    extra_indices: list[Index] = Field(default=[], examples=[["https://index.example/simple/"]])
    """More package indexes, asked in this order before the default one; the first that has a package is the only one
    asked for it. Credentials are used and never kept; `${VARIABLE}` is taken from the environment."""
    extras: list[Annotated[str, Ruled(rules.pip_flag)]] = Field(default=[], examples=[["pre"]])
    """Flags of pip, without dashes: `pre`, which allows pre-releases. No other means anything when locking."""
    python: Annotated[str, Ruled(rules.python)] | None = Field(default=None, examples=[">=3.11,<3.13"])
    """The Python to lock: a range, `3.12` for any 3.12, or one release."""
    conda_only: dict[str, str] = Field(default={}, examples=[{"ffmpeg": ">=6"}])
    """Conda packages that contain no Python, to go with the PyPI ones: package to constraint, as in `libraries` of
    `conda`. Python then comes from conda too."""
    disabled: bool | None = Field(default=None, examples=[True])
    """Whether this level has no environment: its steps run in the interpreter that started the flow."""


class CondaTable(Table):
    """Packages from conda channels: `@conda` of a step, `@conda_base` of a flow."""

    libraries: dict[str, str] = Field(default={}, examples=[{"conda-forge::ffmpeg": ">=6"}])
    """Package to constraint: `1.2.3` for that version, `=1.2` for any 1.2, `>=1,<2`, or empty for any; a build may
    follow, as in `1.4=py310*`. The name may begin with `channel::`: this package comes from that channel and, unless
    it is among `channels`, no other does. `python` means the Python of the environment."""
    channels: list[Channel] = Field(default=[], examples=[["conda-forge"]])
    """More channels, names or URLs, asked before those of the flow and the project; the first that has a package is the
    only one asked for it. Credentials are used and never kept;
    `${VARIABLE}` is taken from the environment."""
    python: Annotated[str, Ruled(rules.conda_python)] | None = Field(default=None, examples=["3.12"])
    """The Python to lock, a conda package: a range, `3.12` for any 3.12, or one release."""
    disabled: bool | None = Field(default=None, examples=[True])
    """Whether this level has no environment."""


class NamedEnvTable(Table):
    """An environment that was locked before: `@named_env` of a step, `@named_env_base` of a flow."""

    name: Annotated[str, Ruled(rules.env_name)] | None = Field(default=None, examples=["team/base:v1"])
    """The name of the environment, with its tag; or its `req_id:full_id`."""
    pathspec: Annotated[str, Ruled(rules.pathspec)] | None = Field(default=None, examples=["TrainFlow/142/train"])
    """The step of an earlier run whose environment is meant: `Flow/run/step`."""
    fetch_at_exec: bool | None = Field(default=None, examples=[True])
    """Whether the name is looked up when the step starts, not when the flow is locked."""
    disabled: bool | None = Field(default=None, examples=[True])
    """Whether this level has no environment."""


class SysPackagesTable(Table):
    """What the machine brings: `@sys_packages` of a step, `@sys_packages_base` of a flow."""

    packages: dict[VirtualPackage, str] = Field(default={}, examples=[{"__cuda": "12.4"}])
    """Virtual package to version: `__cuda`, the CUDA version that the driver supports (`12` or `12.4`); `__glibc`, the
    C library of Linux (`2.28`); `__linux`, its kernel (`4.18`); `__osx`, the release of macOS (`13.0`); `__archspec`,
    the processor's microarchitecture (`x86_64_v3`). Each holds for the architectures where it makes sense, over those
    of `system-requirements`. Nothing is taken from the machine that locks."""
    disabled: bool | None = Field(default=None, examples=[True])
    """Whether this level has no environment."""


class _Requirements(Table):
    pypi: PypiTable | None = Field(default=None, examples=[{"packages": {"pandas": "2.2.3"}}])
    """Packages from PyPI."""
    conda: CondaTable | None = Field(default=None, examples=[{"libraries": {"ffmpeg": ""}}])
    """Packages from conda channels."""
    named_env: NamedEnvTable | None = Field(default=None, examples=[{"name": "team/base:v1"}])
    """An environment that was locked before, as it is or to be extended."""
    sys_packages: SysPackagesTable | None = Field(default=None, examples=[{"packages": {"__cuda": "12.4"}}])
    """What the machine brings."""


class StepTable(_Requirements):
    """One step of a flow. What it says stands over what its flow says, key by key."""

    disabled: bool | None = Field(default=None, examples=[True])
    """Whether the step has no environment: it runs in the interpreter that started the flow."""


class FlowTable(_Requirements):
    """A flow, named after its class. What it says holds for each of its steps."""

    file: str = Field(examples=["train_flow.py"])
    """The file that defines the flow, relative to envlock.toml. It and the modules of the project that its classes come
    from are read for its steps, and never run."""
    steps: list[Annotated[str, Ruled(rules.step)]] | None = Field(default=None, examples=[["start", "train", "end"]])
    """The flow's steps, where they cannot all be read: with a base class of an installed package, for one. Those that
    can be read need not be named."""
    disabled: bool | None = Field(default=None, examples=[True])
    """Whether the flow's steps have no environment, those aside that ask for something."""
    step: dict[str, StepTable] = Field(default={}, examples=[{"train": {"pypi": {"packages": {"xgboost": ">=2,<3"}}}}])
    """Steps that ask for something of their own."""


class EnvironmentTable(_Requirements):
    """An environment of its own, not of a step: to be named, shared, or used in a notebook."""

    requirements: str | None = Field(default=None, examples=["requirements.txt"])
    """A requirements file whose packages are asked too, relative to envlock.toml."""
    environment_yml: str | None = Field(default=None, alias="environment-yml", examples=["environment.yml"])
    """A conda environment file whose packages are asked too, relative to envlock.toml."""
    aliases: list[Annotated[str, Ruled(rules.alias)]] = Field(default=[], examples=[["team/base:v1"]])
    """Names under which others find the environment."""


class ResolverTable(Table):
    """What solves the requirements, for each kind of package. Locks of all solvers have one form."""

    conda: Literal["rattler", "conda-lock"] = Field(default="rattler", examples=["conda-lock"])
    """What solves conda packages: `rattler` is a part of envlock; `conda-lock` is conda-lock, with the conda, mamba or
    micromamba of this machine where there is one."""
    pypi: Literal["uv", "pip-tools"] = Field(default="uv", examples=["pip-tools"])
    """What solves PyPI packages. `pip-tools` knows the architecture of the machine that locks, and no other."""


class CacheOptionsTable(Table):
    """How a cache in a bucket is reached; its credentials come from the environment."""

    endpoint: Annotated[str, Ruled(rules.endpoint)] = Field(default="", examples=["https://objects.example:9000"])
    """The URL of the service, for servers of your own that speak as S3, Google Cloud Storage or Azure do."""
    region: str = Field(default="", examples=["eu-central-1"])
    """The region of an S3 bucket."""
    profile: str = Field(default="", examples=["team"])
    """The profile of the AWS configuration whose credentials are used."""
    account: str = Field(default="", examples=["teamstorage"])
    """The storage account of an Azure container."""
    anonymous: bool = Field(default=False, examples=[True])
    """Whether the bucket is asked without credentials: for one that everybody may read."""


class ProjectTable(Table):
    """What holds for the whole project."""

    archs: list[ArchName] = Field(
        default=["linux-64", "linux-aarch64", "osx-64", "osx-arm64"], min_length=1, examples=[["linux-64", "osx-arm64"]]
    )
    """The architectures to lock for."""
    cache: Annotated[str, Ruled(rules.cache)] = Field(default="envlock-cache", examples=["s3://team/envlock"])
    """Where packages and locks are mirrored: a folder, relative to envlock.toml, or a bucket of S3 (`s3://`), Google
    Cloud Storage (`gs://`) or Azure (`az://`, `abfs://`)."""
    cache_options: CacheOptionsTable = Field(
        default_factory=CacheOptionsTable,
        alias="cache-options",
        examples=[{"endpoint": "https://objects.example:9000"}],
    )
    """How a cache in a bucket is reached."""
    exclude_newer: Union[Instant, datetime, date, None] = Field(  # noqa: UP007
        default=None, alias="exclude-newer", examples=["2026-11-01"]
    )
    """Nothing that was published later is locked: an instant, a day (its end), or a span such as `7d`, `2 weeks` or
    `12 hours` before the moment of locking."""
    python_from: Literal["machine", "uv", "conda"] = Field(default="machine", alias="python-from", examples=["uv"])
    """Where an environment's Python comes from: `machine` locks its minor series, which any fitting interpreter serves;
    `uv` locks one exact build per architecture; `conda` takes it from conda channels."""
    index_url: Index | None = Field(default=None, alias="index-url", examples=["https://index.example/simple/"])
    """The package index that is asked last, in place of PyPI."""
    extra_indices: list[Index] = Field(default=[], alias="extra-indices", examples=[["https://index.example/simple/"]])
    """More package indexes for every environment, asked after those of its step and flow."""
    indexes: dict[Annotated[str, Ruled(rules.index_name)], Index] = Field(
        default={}, examples=[{"pytorch": "https://index.example/cu121/"}]
    )
    """Package indexes by name, for packages that name one as their `index`. They are asked for those packages and for
    nothing else. Credentials are used and never kept; `${VARIABLE}` is taken from the environment."""
    hosts: list[Annotated[str, Ruled(rules.host)]] = Field(default=[], examples=[["index.example", "*.files.example"]])
    """The only hosts that a lock may name; empty for any. `*.` covers subdomains."""
    allow_older: list[Annotated[str, Ruled(rules.package)]] = Field(
        default=[], alias="allow-older", examples=[["hydra-core"]]
    )
    """PyPI packages that may be locked in an older major version where a newer one has no wheel; of any other, that is
    an error."""
    datastore: Union[DatastoreName, list[DatastoreName]] = Field(default="local", examples=["s3"])  # noqa: UP007
    """Metaflow's datastore, or several: each needs packages of its own inside of the steps."""
    metaflow_requirements: bool = Field(default=True, alias="metaflow-requirements", examples=[False])
    """Whether the packages that Metaflow needs inside of a step are added to each environment."""
    system_requirements: dict[ArchName, dict[VirtualPackage, str]] = Field(
        default={},
        alias="system-requirements",
        examples=[{"linux-64": {"__glibc": "2.28"}, "osx-arm64": {"__osx": "13.0"}}],
    )
    """The oldest system that an environment must run on, for each architecture: `__glibc`, `__linux`, `__cuda` and
    `__archspec` on Linux, `__osx` and `__archspec` on macOS. Without it, glibc is 2.28 and macOS 13.0; for environments
    with conda packages, Linux is 4.18, the microarchitecture is the oldest (`x86_64`, `aarch64`, `m1`), and there is no
    CUDA."""
    python_mirror: Mirror | None = Field(
        default=None, alias="python-mirror", examples=["https://mirror.example/python"]
    )
    """Where exact Python builds are fetched from, in place of their own host."""
    channels: list[Channel] = Field(default=["conda-forge"], examples=[["conda-forge"]])
    """Conda channels for every environment that has conda packages, asked after those of its step and flow. An empty
    list says none."""
    channel_priority: Literal["strict", "disabled"] = Field(
        default="strict", alias="channel-priority", examples=["disabled"]
    )
    """`strict`: a conda package comes from the first channel that has it. `disabled`: from whichever channel has the
    version that fits best."""
    channel_mirrors: dict[Channel, Mirror] = Field(
        default={}, alias="channel-mirrors", examples=[{"conda-forge": "https://mirror.example/conda-forge"}]
    )
    """Conda channels, each with the URL that is asked in its place. Locks name the channel itself."""
    link_scripts: list[Annotated[str, Ruled(rules.conda_package)]] = Field(
        default=[], alias="link-scripts", examples=[["font-ttf-ubuntu"]]
    )
    """Conda packages whose link scripts may run when an environment is made; those of any other do not."""
    compile_bytecode: bool = Field(default=False, alias="compile-bytecode", examples=[True])
    """Whether Python's bytecode is written when an environment is made: slower to make, faster to start."""
    resolver: ResolverTable = Field(default_factory=ResolverTable, examples=[{"conda": "conda-lock"}])
    """What solves the requirements."""
    use_remote_latest: Union[Literal[":none:", ":username:", ":any:"], list[Annotated[str, Ruled(rules.user)]]] = Field(  # noqa: UP007
        default=":none:", alias="use-remote-latest", examples=[["mia", "joe"]]
    )
    """Whose newest lock in the cache is taken for what is not locked here yet, in place of resolving: nobody's, your
    own, anybody's, or that of the users listed."""


class Document(Table):
    """envlock.toml: what the steps of Metaflow flows ask for."""

    envlock: ProjectTable = Field(default_factory=ProjectTable, examples=[{"archs": ["linux-64"]}])
    """What holds for the whole project."""
    flow: dict[str, FlowTable] = Field(default={}, examples=[{"TrainFlow": {"file": "train_flow.py"}}])
    """The flows, each under the name of its class."""
    env: dict[str, EnvironmentTable] = Field(default={}, examples=[{"base": {"requirements": "requirements.txt"}}])
    """Environments of their own."""


@cache
def json_schema() -> Schema:
    """The JSON schema of envlock.toml, for editors: draft 7, which all of them know."""
    made = Document.model_json_schema(by_alias=True, ref_template="#/definitions/{model}")
    definitions = made.pop("$defs")
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        **_for_editors(made),
        "title": "envlock.toml",
        "definitions": {name: _for_editors(table) for name, table in definitions.items()},
    }


def json_schema_text() -> str:
    """The JSON schema as `schemas/envlock.schema.json` holds it."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def node_at(path: tuple[str, ...]) -> Schema:
    """The part of the JSON schema that describes the value at `path`; empty where it describes none.

    >>> node_at(("flow", "Train", "conda", "libraries", "ffmpeg"))
    {'type': 'string'}
    >>> node_at(("flow", "Train", "pypi", "packages", "rich", "0", "version"))["examples"]
    ['>=2,<3']
    >>> node_at(("flow", "Train", "pypi", "python"))["examples"]
    ['>=3.11,<3.13']
    >>> node_at(("envlock", "nothing"))
    {}
    """
    node = json_schema()
    for part in path:
        ways = map(_resolved, node.get("anyOf", [node]))
        known = (way.get("properties", {}).get(part) or _free_child(way, part) for way in ways)
        node = _resolved(next((each for each in known if each), {}))
    return node


def ways_at(path: tuple[str, ...]) -> tuple[Schema, ...]:
    """Each of the schemas of which one describes the value at `path`: mostly a single one.

    >>> [way["type"] for way in ways_at(("flow", "Train", "pypi", "packages", "rich"))]
    ['string', 'object', 'array']
    """
    node = node_at(path)
    return tuple(_resolved(way) for way in node.get("anyOf", [node]))


def _free_child(node: Schema, part: str) -> Schema:
    """What a free key of a table, or an item of a list, is described by."""
    if part.isdecimal() and "items" in node:
        return dict(node["items"])
    free = node.get("additionalProperties")
    return dict(free) if isinstance(free, dict) else {}


def _resolved(node: Schema) -> Schema:
    reference = node.get("$ref") or next((way["$ref"] for way in node.get("allOf", ()) if "$ref" in way), None)
    if reference is None:
        return node
    return {**json_schema()["definitions"][reference.rpartition("/")[2]], **node}


def _for_editors(value: Any) -> Any:
    """A part of pydantic's schema without what TOML has not (null) and readers need not (titles, empty defaults).

    A `$ref` gets an `allOf` of its own where something stands beside it, which draft 7 would not read otherwise.
    """
    if isinstance(value, list):
        return [_for_editors(item) for item in value]
    if not isinstance(value, dict):
        return value
    node = dict(value)
    if isinstance(node.get("title"), str):
        del node["title"]
    if not node.get("default", True) and not isinstance(node["default"], bool):
        del node["default"]
    if "anyOf" in node:
        ways = [way for way in node.pop("anyOf") if way != {"type": "null"}]
        node = {**ways[0], **node} if len(ways) == 1 else {"anyOf": ways, **node}
    if isinstance(node.get("description"), str):
        node["description"] = " ".join(node["description"].split())
    if "$ref" in node and len(node) > 1:
        node = {"allOf": [{"$ref": node.pop("$ref")}], **node}
    kept = {"examples", "default"}
    return {key: inner if key in kept else _for_editors(inner) for key, inner in node.items()}
