"""The settings of `[envlock]` with their types and defaults, and the shape of envlock.toml.

Made from the models in `schema` by scripts/reference_pages.py: change those, and run `make docs-check`.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from envlock.config import rules
from envlock.model.arch import ARCHS, Arch

Shape: TypeAlias = "str | dict[str, Shape] | tuple[Any, ...]"
"""What a value may be: `string`, `boolean`, `date`; a dict of known keys with their shapes; or a tuple that begins with
a word: `choice` and the texts to choose from, `rule` and the rule that a text keeps, `list` or `filled list` and the
shape of an item, `table` and the shapes of its free keys and their values, `any` and several shapes."""


class CacheOptions(NamedTuple):
    """How a cache in a bucket is reached; its credentials come from the environment."""

    endpoint: str = ""
    """The URL of the service, for servers of your own that speak as S3, Google Cloud Storage or Azure do."""
    region: str = ""
    """The region of an S3 bucket."""
    profile: str = ""
    """The profile of the AWS configuration whose credentials are used."""
    account: str = ""
    """The storage account of an Azure container."""
    anonymous: bool = False
    """Whether the bucket is asked without credentials: for one that everybody may read."""


class Resolver(NamedTuple):
    """What solves the requirements, for each kind of package. Locks of all solvers have one form."""

    conda: str = "rattler"
    """What solves conda packages: `rattler` is a part of envlock; `conda-lock` is conda-lock, with the conda, mamba or
    micromamba of this machine where there is one."""
    pypi: str = "uv"
    """What solves PyPI packages. `pip-tools` knows the architecture of the machine that locks, and no other."""


class Settings(NamedTuple):
    """What holds for the whole project."""

    archs: tuple[Arch, ...] = ARCHS
    """The architectures to lock for."""
    cache: str = "envlock-cache"
    """Where packages and locks are mirrored: a folder, relative to envlock.toml, or a bucket of S3 (`s3://`), Google
    Cloud Storage (`gs://`) or Azure (`az://`, `abfs://`)."""
    cache_options: CacheOptions = CacheOptions()
    """How a cache in a bucket is reached."""
    exclude_newer: str = ""
    """Nothing that was published later is locked: an instant, a day (its end), or a span such as `7d`, `2 weeks` or `12
    hours` before the moment of locking."""
    python_from: str = "machine"
    """Where an environment's Python comes from: `machine` locks its minor series, which any fitting interpreter serves;
    `uv` locks one exact build per architecture; `conda` takes it from conda channels."""
    index_url: str = ""
    """The package index that is asked last, in place of PyPI."""
    extra_indices: tuple[str, ...] = ()
    """More package indexes for every environment, asked after those of its step and flow."""
    indexes: tuple[tuple[str, str], ...] = ()
    """Package indexes by name, for packages that name one as their `index`. They are asked for those packages and for
    nothing else. Credentials are used and never kept; `${VARIABLE}` is taken from the environment."""
    hosts: tuple[str, ...] = ()
    """The only hosts that a lock may name; empty for any. `*.` covers subdomains."""
    allow_older: tuple[str, ...] = ()
    """PyPI packages that may be locked in an older major version where a newer one has no wheel; of any other, that is
    an error."""
    datastore: str | tuple[str, ...] = "local"
    """Metaflow's datastore, or several: each needs packages of its own inside of the steps."""
    metaflow_requirements: bool = True
    """Whether the packages that Metaflow needs inside of a step are added to each environment."""
    system_requirements: tuple[tuple[Arch, tuple[tuple[str, str], ...]], ...] = ()
    """The oldest system that an environment must run on, for each architecture: `__glibc`, `__linux`, `__cuda` and
    `__archspec` on Linux, `__osx` and `__archspec` on macOS. Without it, glibc is 2.28 and macOS 13.0; for environments
    with conda packages, Linux is 4.18, the microarchitecture is the oldest (`x86_64`, `aarch64`, `m1`), and there is no
    CUDA."""
    python_mirror: str = ""
    """Where exact Python builds are fetched from, in place of their own host."""
    channels: tuple[str, ...] = ("conda-forge",)
    """Conda channels for every environment that has conda packages, asked after those of its step and flow. An empty
    list says none."""
    channel_priority: str = "strict"
    """`strict`: a conda package comes from the first channel that has it. `disabled`: from whichever channel has the
    version that fits best."""
    channel_mirrors: tuple[tuple[str, str], ...] = ()
    """Conda channels, each with the URL that is asked in its place. Locks name the channel itself."""
    link_scripts: tuple[str, ...] = ()
    """Conda packages whose link scripts may run when an environment is made; those of any other do not."""
    compile_bytecode: bool = False
    """Whether Python's bytecode is written when an environment is made: slower to make, faster to start."""
    resolver: Resolver = Resolver()
    """What solves the requirements."""
    use_remote_latest: str | tuple[str, ...] = ":none:"
    """Whose newest lock in the cache is taken for what is not locked here yet, in place of resolving: nobody's, your
    own, anybody's, or that of the users listed."""
    written: tuple[str, ...] = ()
    """The keys that envlock.toml has: the others have their defaults."""


CACHE_OPTIONS: Shape = {
    "endpoint": ("rule", rules.endpoint),
    "region": "string",
    "profile": "string",
    "account": "string",
    "anonymous": "boolean",
}

RESOLVER: Shape = {"conda": ("choice", "rattler", "conda-lock"), "pypi": ("choice", "uv", "pip-tools")}

PROJECT: Shape = {
    "archs": ("filled list", ("choice", "linux-64", "linux-aarch64", "osx-64", "osx-arm64")),
    "cache": ("rule", rules.cache),
    "cache-options": CACHE_OPTIONS,
    "exclude-newer": ("any", ("rule", rules.instant), "date"),
    "python-from": ("choice", "machine", "uv", "conda"),
    "index-url": ("rule", rules.index_url),
    "extra-indices": ("list", ("rule", rules.index_url)),
    "indexes": ("table", ("rule", rules.index_name), ("rule", rules.index_url)),
    "hosts": ("list", ("rule", rules.host)),
    "allow-older": ("list", ("rule", rules.package)),
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
    "resolver": RESOLVER,
    "use-remote-latest": ("any", ("choice", ":none:", ":username:", ":any:"), ("list", ("rule", rules.user))),
}

PACKAGE: Shape = {
    "version": "string",
    "extras": ("list", ("rule", rules.extra)),
    "marker": "string",
    "index": ("rule", rules.index),
}

PYPI: Shape = {
    "packages": ("table", "string", ("any", "string", PACKAGE, ("filled list", ("any", "string", PACKAGE)))),
    "extra_indices": ("list", ("rule", rules.index_url)),
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

STEP: Shape = {
    "pypi": PYPI,
    "conda": CONDA,
    "named_env": NAMED_ENV,
    "sys_packages": SYS_PACKAGES,
    "disabled": "boolean",
}

FLOW: Shape = {
    "pypi": PYPI,
    "conda": CONDA,
    "named_env": NAMED_ENV,
    "sys_packages": SYS_PACKAGES,
    "file": "string",
    "steps": ("list", ("rule", rules.step)),
    "disabled": "boolean",
    "step": ("table", "string", STEP),
}

ENVIRONMENT: Shape = {
    "pypi": PYPI,
    "conda": CONDA,
    "named_env": NAMED_ENV,
    "sys_packages": SYS_PACKAGES,
    "requirements": "string",
    "environment-yml": "string",
    "aliases": ("list", ("rule", rules.alias)),
}

DOCUMENT: Shape = {"envlock": PROJECT, "flow": ("table", "string", FLOW), "env": ("table", "string", ENVIRONMENT)}
