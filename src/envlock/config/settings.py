"""The settings of `[envlock]` with their types and defaults, and the shape of envlock.toml.

Made from the models in `schema` by scripts/reference_pages.py: change those, and run `make docs-check`.
"""

from __future__ import annotations

from envlock.config import rules
from envlock.model.arch import ARCHS, Arch
from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

Shape: TypeAlias = "str | dict[str, Shape] | tuple[Any, ...]"
"""What a value may be: `string`, `boolean`, `date`; a dict of known keys with their shapes; or a tuple that begins with
a word: `choice` and the texts to choose from, `rule` and the rule that a text keeps, `list` or `filled list` and the
shape of an item, `table` and the shapes of its free keys and their values, `any` and several shapes."""


class CacheOptions(NamedTuple):
    """How to reach a cache in a bucket. Credentials come from the environment."""

    endpoint: str = ""
    """The URL of the service, if it is a server of your own with the API of S3, Google Cloud Storage or Azure."""
    region: str = ""
    """The region of an S3 bucket."""
    profile: str = ""
    """The profile in the AWS configuration to take credentials from."""
    account: str = ""
    """The storage account of an Azure container."""
    anonymous: bool = False
    """Send no credentials: for a bucket that everybody may read."""


class Resolvers(NamedTuple):
    """The resolver of each kind of package. Their locks have one format."""

    conda: str = "rattler"
    """The resolver of conda packages: `rattler`, which comes with envlock, or `conda-lock`, with the machine's conda,
    mamba or micromamba where it has one."""
    pypi: str = "uv"
    """The resolver of PyPI packages. `pip-tools` resolves only for the architecture of the machine that locks."""


class Settings(NamedTuple):
    """Settings of the whole project."""

    extends: str = ""
    """A team file: a TOML file of this repository whose `[envlock]` has the settings that are not here. It may extend
    another. The path is relative to this file."""
    archs: tuple[Arch, ...] = ARCHS
    """The architectures to lock for."""
    cache: str = "envlock-cache"
    """The team's cache of packages, locks and aliases: a folder relative to this file, or a bucket of S3 (`s3://`),
    Google Cloud Storage (`gs://`) or Azure (`az://`, `abfs://`). `metaflow` is the folder `envlock` in the datastore of
    Metaflow's profile."""
    cache_options: CacheOptions = CacheOptions()
    """How to reach a cache in a bucket. The options beside a `cache` go with that cache alone."""
    exclude_newer: str = ""
    """Ignore packages that were published later: an instant, a day (its end), or a span before now, such as `7d`, `2w`
    or `12h`."""
    python_from: str = "machine"
    """Where Python comes from. `machine`: any CPython of the locked minor version, such as 3.12, that a machine has.
    `uv`: one exact build for each architecture. `conda`: a conda channel, as for every environment with conda
    packages."""
    index_url: str = ""
    """The default package index, searched last. Without it, PyPI."""
    extra_indices: tuple[str, ...] = ()
    """Package indexes for every environment, searched after those of its step and flow, and before the default one."""
    indexes: tuple[tuple[str, str], ...] = ()
    """Package indexes by name, for the packages that have one as their `index`, and for no others. `${VARIABLE}` is
    read from the environment; credentials are never stored."""
    index_mirrors: tuple[tuple[str, str], ...] = ()
    """Mirrors of package indexes: the URL of each index, or of the folder of its files, with the URL to ask in its
    place. Locks still name the index. The mirror of PyPI is named by the URL of PyPI."""
    hosts: tuple[str, ...] = ()
    """The hosts that a lock may download from, and that may have images for steps; empty for any. `*.` matches
    subdomains."""
    allow_older: tuple[str, ...] = ()
    """PyPI packages that may fall back to an older major version if the newest one has no wheel. For others, that is an
    error."""
    build: bool | tuple[str, ...] = False
    """PyPI packages that may be built from their source distribution where no wheel fits; `true` for all. A build runs
    code of the package. Repositories, folders and files that you name yourself are always built."""
    datastore: str | tuple[str, ...] = "local"
    """Metaflow's datastore, or several. Steps need packages to reach it, which envlock adds."""
    metaflow_requirements: bool = True
    """Add the packages that Metaflow needs inside a step to every environment."""
    system_requirements: tuple[tuple[Arch, tuple[tuple[str, str], ...]], ...] = ()
    """The oldest system to support, for each architecture: `__glibc`, `__linux`, `__cuda` and `__archspec` on Linux,
    `__osx` and `__archspec` on macOS. Default: glibc 2.28 and macOS 13.0; for environments with conda packages also
    Linux 4.18 and the oldest microarchitecture (`x86_64`, `aarch64`, `m1`). There is no CUDA by default."""
    python_mirror: str = ""
    """A mirror to download Python builds from."""
    channels: tuple[str, ...] = ("conda-forge",)
    """Conda channels for every environment with conda packages, searched after those of its step and flow. Empty for
    none."""
    channel_priority: str = "strict"
    """`strict`: take each conda package from the first channel that has it. `disabled`: take the best version of all
    channels."""
    channel_mirrors: tuple[tuple[str, str], ...] = ()
    """Mirrors of conda channels: each channel with the URL to use in its place. Locks still name the channel."""
    link_scripts: tuple[str, ...] = ()
    """Conda packages whose link scripts may run when an environment is made. No other link scripts run."""
    compile_bytecode: bool = False
    """Compile Python files to bytecode when an environment is made: slower to make, faster to start."""
    resolver: Resolvers = Resolvers()
    """The resolver of each kind of package."""
    use_remote_latest: str | tuple[str, ...] = ":none:"
    """Instead of resolving a new environment, use the newest lock in the cache with the same requirements: nobody's
    (`:none:`), your own (`:username:`), anybody's (`:any:`), or that of the listed users."""
    remote: bool = True
    """Let `push` make a plan for each lock of a Linux arch, by which nodes make the environments of remote steps. For a
    cache in a folder, which nodes do not read, it does so only if this key is written."""
    remote_python: str = "image"
    """Where the Python of remote steps comes from with `python-from = "machine"`. `image`: the image's own Python,
    where it is of the locked version, else the kit's. `kit`: always one exact build, which `push` puts into the
    cache."""
    push_on_deploy: bool = False
    """Push what the cache lacks when a flow with remote steps is started or deployed. Otherwise, that is an error."""
    image: str = "default"
    """The image of remote steps whose decorator names none. `auto`: the one that `envlock image` pushed last with the
    step's environment. `default`: Metaflow's own choice."""
    keep_on_node: str = "20 GB"
    """How much a node keeps of environments that no task uses: those that were used last."""
    pack: bool | str = False
    """Let `push` also pack finished environments, which nodes unpack instead of installing the packages. `auto`: those
    where it pays."""
    written: tuple[str, ...] = ()
    """The keys that envlock.toml has: the others have their defaults."""


CACHE_OPTIONS: Shape = {
    "endpoint": ("rule", rules.endpoint),
    "region": "string",
    "profile": "string",
    "account": "string",
    "anonymous": "boolean",
}

RESOLVERS: Shape = {"conda": ("choice", "rattler", "conda-lock"), "pypi": ("choice", "uv", "pip-tools")}

PROJECT: Shape = {
    "extends": ("rule", rules.team_file),
    "archs": ("filled list", ("choice", "linux-64", "linux-aarch64", "osx-64", "osx-arm64")),
    "cache": ("rule", rules.cache),
    "cache-options": CACHE_OPTIONS,
    "exclude-newer": ("any", ("rule", rules.instant), "date"),
    "python-from": ("choice", "machine", "uv", "conda"),
    "index-url": ("rule", rules.index_url),
    "extra-indices": ("list", ("rule", rules.index_url)),
    "indexes": ("table", ("rule", rules.index_name), ("rule", rules.index_url)),
    "index-mirrors": ("table", ("rule", rules.index_url), ("rule", rules.index_url)),
    "hosts": ("list", ("rule", rules.host)),
    "allow-older": ("list", ("rule", rules.package)),
    "build": ("any", "boolean", ("list", ("rule", rules.package))),
    "datastore": ("any", ("choice", "local", "s3", "azure", "gs"), ("list", ("choice", "local", "s3", "azure", "gs"))),
    "metaflow-requirements": "boolean",
    "system-requirements": (
        "table",
        ("choice", "linux-64", "linux-aarch64", "osx-64", "osx-arm64"),
        ("table", ("choice", "__glibc", "__linux", "__osx", "__cuda", "__archspec"), "string"),
    ),
    "python-mirror": ("rule", rules.mirror),
    "channels": ("list", ("rule", rules.channel)),
    "channel-priority": ("choice", "strict", "disabled"),
    "channel-mirrors": ("table", ("rule", rules.channel), ("rule", rules.mirror)),
    "link-scripts": ("list", ("rule", rules.conda_package)),
    "compile-bytecode": "boolean",
    "resolver": RESOLVERS,
    "use-remote-latest": ("any", ("choice", ":none:", ":username:", ":any:"), ("list", ("rule", rules.user))),
    "remote": "boolean",
    "remote-python": ("choice", "image", "kit"),
    "push-on-deploy": "boolean",
    "image": ("choice", "default", "auto"),
    "keep-on-node": ("rule", rules.amount),
    "pack": ("any", "boolean", ("choice", "auto")),
}

PACKAGE: Shape = {
    "version": "string",
    "extras": ("list", ("rule", rules.extra)),
    "marker": "string",
    "index": ("rule", rules.index),
    "git": ("rule", rules.some_text),
    "rev": ("rule", rules.git_ref),
    "tag": ("rule", rules.git_ref),
    "branch": ("rule", rules.git_ref),
    "subdirectory": "string",
    "path": ("rule", rules.some_text),
}

PYPI: Shape = {
    "packages": ("table", "string", ("any", "string", PACKAGE, ("filled list", ("any", "string", PACKAGE)))),
    "constraints": ("table", "string", "string"),
    "overrides": ("table", "string", "string"),
    "extra_indices": ("list", ("rule", rules.index_url)),
    "find_links": ("list", ("rule", rules.some_text)),
    "extras": ("list", ("rule", rules.pip_flag)),
    "python": ("rule", rules.python),
    "conda_only": ("table", "string", "string"),
    "disabled": "boolean",
}

CONDA: Shape = {
    "libraries": ("table", "string", "string"),
    "channels": ("list", ("rule", rules.channel)),
    "python": ("rule", rules.conda_python),
    "disabled": "boolean",
}

NAMED_ENV: Shape = {
    "name": ("rule", rules.env_name),
    "pathspec": ("rule", rules.pathspec),
    "fetch_at_exec": "boolean",
    "disabled": "boolean",
}

SYS_PACKAGES: Shape = {
    "packages": ("table", ("choice", "__glibc", "__linux", "__osx", "__cuda", "__archspec"), "string"),
    "disabled": "boolean",
}

PYPROJECT: Shape = {
    "file": "string",
    "extras": ("list", ("rule", rules.extra)),
    "groups": ("list", ("rule", rules.extra)),
}

STEP: Shape = {
    "env": ("any", "string", ("list", "string")),
    "pypi": PYPI,
    "conda": CONDA,
    "named_env": NAMED_ENV,
    "sys_packages": SYS_PACKAGES,
    "requirements": ("any", "string", ("filled list", "string")),
    "environment-yml": ("any", "string", ("filled list", "string")),
    "pyproject": ("any", "string", PYPROJECT, ("filled list", ("any", "string", PYPROJECT))),
    "disabled": "boolean",
}

FLOW: Shape = {
    "env": ("any", "string", ("list", "string")),
    "pypi": PYPI,
    "conda": CONDA,
    "named_env": NAMED_ENV,
    "sys_packages": SYS_PACKAGES,
    "requirements": ("any", "string", ("filled list", "string")),
    "environment-yml": ("any", "string", ("filled list", "string")),
    "pyproject": ("any", "string", PYPROJECT, ("filled list", ("any", "string", PYPROJECT))),
    "file": "string",
    "steps": ("list", ("rule", rules.step)),
    "disabled": "boolean",
    "step": ("table", "string", STEP),
}

ENVIRONMENT: Shape = {
    "env": ("any", "string", ("list", "string")),
    "pypi": PYPI,
    "conda": CONDA,
    "named_env": NAMED_ENV,
    "sys_packages": SYS_PACKAGES,
    "requirements": ("any", "string", ("filled list", "string")),
    "environment-yml": ("any", "string", ("filled list", "string")),
    "pyproject": ("any", "string", PYPROJECT, ("filled list", ("any", "string", PYPROJECT))),
    "aliases": ("list", ("rule", rules.alias)),
}

DOCUMENT: Shape = {"envlock": PROJECT, "flow": ("table", "string", FLOW), "env": ("table", "string", ENVIRONMENT)}

PLACES = (
    "cache",
    "cache-options",
    "index-mirrors",
    "python-mirror",
    "channel-mirrors",
    "use-remote-latest",
    "push-on-deploy",
    "image",
    "keep-on-node",
    "pack",
)
"""The settings that a machine or a user may set: places and transports."""

MACHINE: Shape = {
    "cache": ("rule", rules.cache),
    "cache-options": CACHE_OPTIONS,
    "index-mirrors": ("table", ("rule", rules.index_url), ("rule", rules.index_url)),
    "python-mirror": ("rule", rules.mirror),
    "channel-mirrors": ("table", ("rule", rules.channel), ("rule", rules.mirror)),
    "use-remote-latest": ("any", ("choice", ":none:", ":username:", ":any:"), ("list", ("rule", rules.user))),
    "push-on-deploy": "boolean",
    "image": ("choice", "default", "auto"),
    "keep-on-node": ("rule", rules.amount),
    "pack": ("any", "boolean", ("choice", "auto")),
    "home": ("rule", rules.some_text),
}
