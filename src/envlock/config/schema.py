"""envlock.toml as pydantic models: every key with its type, default, choices, rule, meaning and an example.

A key is declared here and nowhere else. `scripts/reference_pages.py` makes the rest from these models: the JSON schema,
the reference page, the settings in envlock.toml.example, and `settings`, the plain tables of the light reader. Tests
hold them current. Reading a file that is right imports no pydantic: that would cost more than all of `envlock check`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Literal, TypeAlias, Union

from pydantic import BaseModel, ConfigDict, Field

from envlock.config import rules

ArchName = Literal["linux-64", "linux-aarch64", "osx-64", "osx-arm64"]
DatastoreName = Literal["local", "s3", "azure", "gs"]
VirtualPackage = Literal["__glibc", "__linux", "__osx", "__cuda", "__archspec"]


@dataclass(frozen=True)
class Ruled:
    """A text that keeps a rule of `envlock.config.rules`. A rule is no part of the JSON schema."""

    rule: Callable[[str], str]


@dataclass(frozen=True)
class Place:
    """Marks a setting that says where things are or how to get them. It is in no id, and decides no lock.

    So a machine or a user may set it, in a settings file or by its variable. All other settings are the repository's.
    """


PLACE = Place()
Channel = Annotated[str, Ruled(rules.channel)]
Index = Annotated[str, Ruled(rules.index_url)]
Instant = Annotated[str, Ruled(rules.instant)]
Mirror = Annotated[str, Ruled(rules.mirror)]


class Table(BaseModel):
    """A table whose keys are all known."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class PackageTable(Table):
    """One PyPI package that needs more than a version."""

    version: str = Field(default="", examples=[">=2,<3"])
    """The version: `2.2.3`, `>=2,<3`, or empty for any version."""
    extras: list[Annotated[str, Ruled(rules.extra)]] = Field(default=[], examples=[["socks"]])
    """Extras of the package, added to those in its name."""
    marker: str = Field(default="", examples=["sys_platform == 'linux'"])
    """The environment marker (PEP 508) under which the package is required."""
    index: Annotated[str, Ruled(rules.index)] = Field(default="", examples=["pytorch"])
    """The index to take the package from: a name from `[envlock.indexes]`, or a URL. No other package is taken from
    that index, and this package from no other."""
    git: Annotated[str, Ruled(rules.some_text)] = Field(default="", examples=["https://code.example/team/tool"])
    """The git repository to build the package from: an `https://` or `ssh://` URL. The lock has the commit."""
    rev: Annotated[str, Ruled(rules.git_ref)] = Field(default="", examples=["3f2a9c1d"])
    """The commit of the repository, with all of its digits, or any other name that git knows."""
    tag: Annotated[str, Ruled(rules.git_ref)] = Field(default="", examples=["v1.2.0"])
    """The tag of the repository."""
    branch: Annotated[str, Ruled(rules.git_ref)] = Field(default="", examples=["main"])
    """The branch of the repository. Its commit is locked, and stays until you upgrade the package."""
    subdirectory: str = Field(default="", examples=["python"])
    """The folder of the project in the repository, or in what `path` names."""
    path: Annotated[str, Ruled(rules.some_text)] = Field(default="", examples=["libs/common"])
    """The folder to build the package from, or a wheel or an sdist, relative to envlock.toml. It is locked by its
    content: a change makes the locks stale."""


Package: TypeAlias = Union[  # noqa: UP007
    str, PackageTable, Annotated[list[Union[str, PackageTable]], Field(min_length=1, examples=[[">=2", "<3"]])]  # noqa: UP007
]


class PypiTable(Table):
    """Packages from PyPI: `@pypi` of a step, `@pypi_base` of a flow."""

    packages: dict[str, Package] = Field(default={}, examples=[{"pandas": "2.2.3", "requests[socks]": ">=2,<3"}])
    """Packages with their versions: `2.2.3`, `>=2,<3`, or empty for any version; `; marker` may follow. A name may have
    extras, or a URL: `name@https://...`. Use a table for more: `{ version, extras, marker, index }`. A list has several
    requirements of one package, each of which applies where its marker is true."""
    constraints: dict[str, str] = Field(default={}, examples=[{"numpy": "<2"}])
    """Versions that packages must have where they are needed at all. A constraint requires no package; constraints of
    one package add up."""
    overrides: dict[str, str] = Field(
        default={}, examples=[{"protobuf": ">=5", "dataclasses": "; python_version < '3.7'"}]
    )
    """Versions that packages get, whatever other packages require of them: for a package that forbids a version which
    works. `; marker` may follow: where it is false, the package is left out."""
    extra_indices: list[Index] = Field(default=[], examples=[["https://index.example/simple/"]])
    """Package indexes to search before the default one, in this order. A package comes from the first index that has
    it. `${VARIABLE}` is read from the environment; credentials are never stored."""
    find_links: list[Annotated[str, Ruled(rules.some_text)]] = Field(
        default=[], examples=[["wheels", "https://links.example/wheels.html"]]
    )
    """Where to find files beside those of the indexes: folders with wheels, relative to envlock.toml, and pages
    with links. A folder is locked by its content: a new wheel in it makes the locks stale."""
    extras: list[Annotated[str, Ruled(rules.pip_flag)]] = Field(default=[], examples=[["pre"]])
    """pip's flags, without dashes. `pre` allows pre-releases, `all-releases=PACKAGE` those of one package, and
    `only-final=PACKAGE` none of it. `no-binary=PACKAGE` builds a package from its sdist, even if it has a wheel.
    `:all:` stands for every package. `no-index` leaves out all indexes."""
    python: Annotated[str, Ruled(rules.python)] | None = Field(default=None, examples=[">=3.11,<3.13"])
    """The Python version: a range, `3.12` for any 3.12, or one release."""
    conda_only: dict[str, str] = Field(default={}, examples=[{"ffmpeg": ">=6"}])
    """Conda packages without Python code, such as libraries and tools, with versions as in `libraries` of `conda`.
    Python then comes from conda too."""
    disabled: bool | None = Field(default=None, examples=[True])
    """Use no environment: run in the interpreter that started the flow."""


class CondaTable(Table):
    """Packages from conda channels: `@conda` of a step, `@conda_base` of a flow."""

    libraries: dict[str, str] = Field(default={}, examples=[{"conda-forge::ffmpeg": ">=6"}])
    """Packages with their versions: `1.2.3` for that version, `=1.2` for any 1.2, `>=1,<2`, or empty for any version; a
    build may follow, as in `1.4=py310*`. `; linux`, `; osx` or the names of archs after it say which archs need the
    package. A name may begin with `channel::` to take this one package from that channel. `python` is the environment's
    Python."""
    channels: list[Channel] = Field(default=[], examples=[["conda-forge"]])
    """Channels, by name or URL, to search before those of the flow and the project. A package comes from the first
    channel that has it. `${VARIABLE}` is read from the environment; credentials are never stored."""
    python: Annotated[str, Ruled(rules.conda_python)] | None = Field(default=None, examples=["3.12"])
    """The version of conda's Python: a range, `3.12` for any 3.12, or one release."""
    disabled: bool | None = Field(default=None, examples=[True])
    """Use no environment."""


class NamedEnvTable(Table):
    """An environment that is locked already: `@named_env` of a step, `@named_env_base` of a flow."""

    name: Annotated[str, Ruled(rules.env_name)] | None = Field(default=None, examples=["team/base:v1"])
    """The alias of the environment, as `name:tag`, or its ids, as `req_id:full_id`."""
    pathspec: Annotated[str, Ruled(rules.pathspec)] | None = Field(default=None, examples=["TrainFlow/142/train"])
    """A step of an earlier run, as `Flow/run/step`: use the environment that it ran in."""
    fetch_at_exec: bool | None = Field(default=None, examples=[True])
    """Look up the name when the step starts, not when the flow is locked."""
    disabled: bool | None = Field(default=None, examples=[True])
    """Use no environment."""


class SysPackagesTable(Table):
    """System packages: `@sys_packages` of a step, `@sys_packages_base` of a flow."""

    packages: dict[VirtualPackage, str] = Field(default={}, examples=[{"__cuda": "12.4"}])
    """System packages with their versions: `__cuda`, the CUDA version that the driver supports (`12` or `12.4`);
    `__glibc`, the C library of Linux (`2.28`); `__linux`, its kernel (`4.18`); `__osx`, the release of macOS (`13.0`);
    `__archspec`, the processor's microarchitecture (`x86_64_v3`). Each applies to the architectures that can have it,
    and replaces the version in `system-requirements`. The machine that locks does not matter."""
    disabled: bool | None = Field(default=None, examples=[True])
    """Use no environment."""


class PyprojectTable(Table):
    """A pyproject.toml, with what to take of it beside its dependencies."""

    file: str = Field(examples=["pyproject.toml"])
    """The path of the file, relative to envlock.toml."""
    extras: list[Annotated[str, Ruled(rules.extra)]] = Field(default=[], examples=[["gpu"]])
    """The extras (`[project.optional-dependencies]`) to take."""
    groups: list[Annotated[str, Ruled(rules.extra)]] = Field(default=[], examples=[["train"]])
    """The dependency groups (`[dependency-groups]`) to take."""


Requirements: TypeAlias = Union[str, Annotated[list[str], Field(min_length=1, examples=[["requirements.txt"]])]]  # noqa: UP007
EnvironmentYml: TypeAlias = Union[str, Annotated[list[str], Field(min_length=1, examples=[["environment.yml"]])]]  # noqa: UP007
Pyprojects: TypeAlias = Union[  # noqa: UP007
    str,
    PyprojectTable,
    Annotated[list[Union[str, PyprojectTable]], Field(min_length=1, examples=[["pyproject.toml"]])],  # noqa: UP007
]


class _RequirementsTable(Table):
    env: Union[str, list[str]] | None = Field(default=None, examples=["base"])  # noqa: UP007
    """An `[env.*]` table of this file, or a list of them, whose requirements are added here, as if they stood here. Its
    aliases are not."""
    pypi: PypiTable | None = Field(default=None, examples=[{"packages": {"pandas": "2.2.3"}}])
    """Packages from PyPI."""
    conda: CondaTable | None = Field(default=None, examples=[{"libraries": {"ffmpeg": ""}}])
    """Packages from conda channels."""
    named_env: NamedEnvTable | None = Field(default=None, examples=[{"name": "team/base:v1"}])
    """An environment that is locked already, to use or to extend."""
    sys_packages: SysPackagesTable | None = Field(default=None, examples=[{"packages": {"__cuda": "12.4"}}])
    """What the machine must have."""
    requirements: Requirements | None = Field(default=None, examples=["requirements.txt"])
    """A requirements.txt to take more requirements from, or a list of them, relative to envlock.toml."""
    environment_yml: EnvironmentYml | None = Field(default=None, alias="environment-yml", examples=["environment.yml"])
    """A conda environment file to take more requirements from, or a list of them, relative to envlock.toml."""
    pyproject: Pyprojects | None = Field(
        default=None, examples=[{"file": "pyproject.toml", "extras": ["gpu"], "groups": ["train"]}]
    )
    """A pyproject.toml to take the dependencies from: its path, relative to envlock.toml; a table that names extras and
    groups, too; or a list of both."""


class StepTable(_RequirementsTable):
    """One step of a flow. It inherits the requirements of its flow, and replaces them key by key."""

    disabled: bool | None = Field(default=None, examples=[True])
    """Use no environment: run the step in the interpreter that started the flow."""


class FlowTable(_RequirementsTable):
    """A flow, named after its class. Its steps inherit its requirements."""

    file: str = Field(examples=["train_flow.py"])
    """The Python file or notebook (`.ipynb`) that defines the flow, relative to envlock.toml. envlock reads its steps
    from this file and from the project's modules that it imports classes from, and never runs them."""
    steps: list[Annotated[str, Ruled(rules.step)]] | None = Field(default=None, examples=[["start", "train", "end"]])
    """Steps that envlock cannot read from the file, such as those of a base class in an installed package."""
    disabled: bool | None = Field(default=None, examples=[True])
    """Use no environment for the flow's steps, except for those that have requirements of their own."""
    step: dict[str, StepTable] = Field(default={}, examples=[{"train": {"pypi": {"packages": {"xgboost": ">=2,<3"}}}}])
    """Steps with requirements of their own."""


class EnvironmentTable(_RequirementsTable):
    """An environment that belongs to no step: to share under a name, or to use in a notebook."""

    aliases: list[Annotated[str, Ruled(rules.alias)]] = Field(default=[], examples=[["team/base:v1"]])
    """Aliases to give to the environment once it is locked."""


class ResolversTable(Table):
    """The resolver of each kind of package. Their locks have one format."""

    conda: Literal["rattler", "conda-lock"] = Field(default="rattler", examples=["conda-lock"])
    """The resolver of conda packages: `rattler`, which comes with envlock, or `conda-lock`, with the machine's conda,
    mamba or micromamba where it has one."""
    pypi: Literal["uv", "pip-tools"] = Field(default="uv", examples=["pip-tools"])
    """The resolver of PyPI packages. `pip-tools` resolves only for the architecture of the machine that locks."""


class CacheOptionsTable(Table):
    """How to reach a cache in a bucket. Credentials come from the environment."""

    endpoint: Annotated[str, Ruled(rules.endpoint)] = Field(default="", examples=["https://objects.example:9000"])
    """The URL of the service, if it is a server of your own with the API of S3, Google Cloud Storage or Azure."""
    region: str = Field(default="", examples=["eu-central-1"])
    """The region of an S3 bucket."""
    profile: str = Field(default="", examples=["team"])
    """The profile in the AWS configuration to take credentials from."""
    account: str = Field(default="", examples=["teamstorage"])
    """The storage account of an Azure container."""
    anonymous: bool = Field(default=False, examples=[True])
    """Send no credentials: for a bucket that everybody may read."""


class ProjectTable(Table):
    """Settings of the whole project."""

    model_config = ConfigDict(alias_generator=lambda name: name.replace("_", "-"))

    extends: Annotated[str, Ruled(rules.team_file)] | None = Field(default=None, examples=["team.toml"])
    """A team file: a TOML file of this repository whose `[envlock]` has the settings that are not here. It may extend
    another. The path is relative to this file."""
    archs: list[ArchName] = Field(
        default=["linux-64", "linux-aarch64", "osx-64", "osx-arm64"], min_length=1, examples=[["linux-64", "osx-arm64"]]
    )
    """The architectures to lock for."""
    cache: Annotated[str, Ruled(rules.cache), PLACE] = Field(default="envlock-cache", examples=["s3://team/envlock"])
    """The team's cache of packages, locks and aliases: a folder relative to this file, or a bucket of S3 (`s3://`),
    Google Cloud Storage (`gs://`) or Azure (`az://`, `abfs://`). `metaflow` is the folder `envlock` in the datastore of
    Metaflow's profile."""
    cache_options: Annotated[CacheOptionsTable, PLACE] = Field(
        default_factory=CacheOptionsTable, examples=[{"endpoint": "https://objects.example:9000"}]
    )
    """How to reach a cache in a bucket. The options beside a `cache` go with that cache alone."""
    exclude_newer: Union[Instant, datetime, date, None] = Field(default=None, examples=["7d"])  # noqa: UP007
    """Ignore packages that were published later: an instant, a day (its end), or a span before now, such as `7d`, `2w`
    or `12h`."""
    python_from: Literal["machine", "uv", "conda"] = Field(default="machine", examples=["uv"])
    """Where Python comes from. `machine`: any CPython of the locked minor version, such as 3.12, that a machine has.
    `uv`: one exact build for each architecture. `conda`: a conda channel, as for every environment with conda packages.
    """
    index_url: Index | None = Field(default=None, examples=["https://index.example/simple/"])
    """The default package index, searched last. Without it, PyPI."""
    extra_indices: list[Index] = Field(default=[], examples=[["https://index.example/simple/"]])
    """Package indexes for every environment, searched after those of its step and flow, and before the default one."""
    indexes: dict[Annotated[str, Ruled(rules.index_name)], Index] = Field(
        default={}, examples=[{"pytorch": "https://index.example/cu121/"}]
    )
    """Package indexes by name, for the packages that have one as their `index`, and for no others. `${VARIABLE}` is
    read from the environment; credentials are never stored."""
    index_mirrors: Annotated[dict[Index, Index], PLACE] = Field(
        default={}, examples=[{"https://index.example/simple": "https://mirror.example/simple"}]
    )
    """Mirrors of package indexes: the URL of each index, or of the folder of its files, with the URL to ask in its
    place. Locks still name the index. The mirror of PyPI is named by the URL of PyPI."""
    hosts: list[Annotated[str, Ruled(rules.host)]] = Field(default=[], examples=[["index.example", "*.files.example"]])
    """The hosts that a lock may download from, and that may have images for steps; empty for any. `*.` matches
    subdomains."""
    allow_older: list[Annotated[str, Ruled(rules.package)]] = Field(default=[], examples=[["hydra-core"]])
    """PyPI packages that may fall back to an older major version if the newest one has no wheel. For others, that is an
    error."""
    build: Union[bool, list[Annotated[str, Ruled(rules.package)]]] = Field(default=False, examples=[["docopt"]])  # noqa: UP007
    """PyPI packages that may be built from their source distribution where no wheel fits; `true` for all. A build runs
    code of the package. Repositories, folders and files that you name yourself are always built."""
    datastore: Union[DatastoreName, list[DatastoreName]] = Field(default="local", examples=["s3"])  # noqa: UP007
    """Metaflow's datastore, or several. Steps need packages to reach it, which envlock adds."""
    metaflow_requirements: bool = Field(default=True, examples=[False])
    """Add the packages that Metaflow needs inside a step to every environment."""
    system_requirements: dict[ArchName, dict[VirtualPackage, str]] = Field(
        default={}, examples=[{"linux-64": {"__glibc": "2.28"}, "osx-arm64": {"__osx": "13.0"}}]
    )
    """The oldest system to support, for each architecture: `__glibc`, `__linux`, `__cuda` and `__archspec` on Linux,
    `__osx` and `__archspec` on macOS. Default: glibc 2.28 and macOS 13.0; for environments with conda packages also
    Linux 4.18 and the oldest microarchitecture (`x86_64`, `aarch64`, `m1`). There is no CUDA by default."""
    python_mirror: Annotated[Mirror | None, PLACE] = Field(default=None, examples=["https://mirror.example/python"])
    """A mirror to download Python builds from."""
    channels: list[Channel] = Field(default=["conda-forge"], examples=[["conda-forge"]])
    """Conda channels for every environment with conda packages, searched after those of its step and flow. Empty for
    none."""
    channel_priority: Literal["strict", "disabled"] = Field(default="strict", examples=["disabled"])
    """`strict`: take each conda package from the first channel that has it. `disabled`: take the best version of all
    channels."""
    channel_mirrors: Annotated[dict[Channel, Mirror], PLACE] = Field(
        default={}, examples=[{"conda-forge": "https://mirror.example/conda-forge"}]
    )
    """Mirrors of conda channels: each channel with the URL to use in its place. Locks still name the channel."""
    link_scripts: list[Annotated[str, Ruled(rules.conda_package)]] = Field(default=[], examples=[["font-ttf-ubuntu"]])
    """Conda packages whose link scripts may run when an environment is made. No other link scripts run."""
    compile_bytecode: bool = Field(default=False, examples=[True])
    """Compile Python files to bytecode when an environment is made: slower to make, faster to start."""
    resolver: ResolversTable = Field(default_factory=ResolversTable, examples=[{"conda": "conda-lock"}])
    """The resolver of each kind of package."""
    use_remote_latest: Annotated[
        Union[Literal[":none:", ":username:", ":any:"], list[Annotated[str, Ruled(rules.user)]]],  # noqa: UP007
        PLACE,
    ] = Field(default=":none:", examples=[["mia", "joe"]])
    """Instead of resolving a new environment, use the newest lock in the cache with the same requirements: nobody's
    (`:none:`), your own (`:username:`), anybody's (`:any:`), or that of the listed users."""
    remote: bool = Field(default=True, examples=[False])
    """Let `push` make a plan for each lock of a Linux arch, by which nodes make the environments of remote steps. For a
    cache in a folder, which nodes do not read, it does so only if this key is written."""
    remote_python: Literal["image", "kit"] = Field(default="image", examples=["kit"])
    """Where the Python of remote steps comes from with `python-from = "machine"`. `image`: the image's own Python,
    where it is of the locked version, else the kit's. `kit`: always one exact build, which `push` puts into the cache.
    """
    push_on_deploy: Annotated[bool, PLACE] = Field(default=False, examples=[True])
    """Push what the cache lacks when a flow with remote steps is started or deployed. Otherwise, that is an error."""
    image: Annotated[Literal["default", "auto"], PLACE] = Field(default="default", examples=["auto"])
    """The image of remote steps whose decorator names none. `auto`: the one that `envlock image` pushed last with the
    step's environment. `default`: Metaflow's own choice."""
    keep_on_node: Annotated[str, Ruled(rules.amount), PLACE] = Field(default="20 GB", examples=["50 GB"])
    """How much a node keeps of environments that no task uses: those that were used last."""
    pack: Annotated[Union[bool, Literal["auto"]], PLACE] = Field(default=False, examples=["auto"])  # noqa: UP007
    """Let `push` also pack finished environments, which nodes unpack instead of installing the packages. `auto`: those
    where it pays."""


class MachineTable(Table):
    """Settings of a machine or a user: places and transports alone."""

    home: Annotated[str, Ruled(rules.some_text)] = Field(default="~/.envlock", examples=["/data/${USER}/envlock"])
    """envlock's folder on this machine, with environments and packages. The variable ENVLOCK_HOME wins."""


class Document(Table):
    """envlock.toml: the requirements of the steps of Metaflow flows."""

    envlock: ProjectTable = Field(default_factory=ProjectTable, examples=[{"archs": ["linux-64"]}])
    """Settings of the whole project."""
    flow: dict[str, FlowTable] = Field(default={}, examples=[{"TrainFlow": {"file": "train_flow.py"}}])
    """Flows, by the name of their class."""
    env: dict[str, EnvironmentTable] = Field(default={}, examples=[{"base": {"requirements": "requirements.txt"}}])
    """Environments that belong to no step."""
