"""A Dockerfile of an image with the locked environment, and without envlock.

A first stage has envlock, and makes the environment as a machine does: each file by its hash, from the cache, else from
upstream. The image itself gets what that made. Credentials are secrets of the build, and stay in no layer.
"""

from __future__ import annotations

import json
from pathlib import PurePosixPath

from envlock import __version__
from envlock.interchange.exported import Export, Given
from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

HOME = "/opt/envlock"
PREFIX = "/opt/environment"
_ENVLOCK_PYTHON = "python:3.12-slim"
_DEBIAN = "debian:12-slim"
_OLDEST_SERIES = 10
_EXTRAS = {"s3": "s3", "gs": "gcs", "gcs": "gcs", "az": "azure", "abfs": "azure", "abfss": "azure", "all": "all"}
_AWS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_AZURE = ("AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_TOKEN")
_SECRETS = "/run/secrets"
"""Where a builder mounts a secret that is not said to be elsewhere."""
_ROOT_HOME = "/root"
"""Root's home in the images that the file begins from: where a build secret that is a file is mounted."""
_FILES = {"google": ".config/gcloud/application_default_credentials.json", "netrc": ".netrc"}
"""The files that may be build secrets, by id, relative to a home folder."""


class BuildContext(NamedTuple):
    """What of a project the build of an image needs. Paths are relative to the folder of envlock.toml, with `/`."""

    choice: str
    """The options that choose the environment: `--env base`."""
    files: tuple[str, ...]
    folders: tuple[str, ...]
    bucket: str = ""
    """The scheme of a cache in a bucket; empty for a folder."""
    has_cache: bool = True
    """Whether the build can reach the cache: a bucket, or one of the folders."""
    variables: tuple[str, ...] = ()
    """The `${VARIABLES}` of envlock.toml."""
    has_own_hosts: bool = False
    """Whether it names indexes or channels by URL, which may want credentials."""
    outside: tuple[str, ...] = ()
    """What the project needs and no build has: files outside of its folder."""
    settings: tuple[tuple[str, str], ...] = ()
    """Variables of envlock, for settings that are not in the project's files."""


def write(given: Given) -> Export:
    """A Dockerfile to build in the folder of envlock.toml, on the archs of the locks."""
    context = given.context
    assert context is not None, "a Dockerfile is of a project"
    if given.only:
        hint = "leave `--only` out: the image has the whole environment"
        raise given.cannot("one kind of packages alone", [given.only], hint)
    if not context.choice.isprintable():
        raise given.cannot("a name with control characters", [given.environment], "give the environment another name")
    if context.outside:
        hint = "put them below the folder of envlock.toml: a build sees nothing else"
        raise given.cannot("files outside of the project", context.outside, hint)
    foreign = [arch for arch in given.archs if not arch.startswith("linux-")]
    if foreign:
        raise given.cannot("an arch that no container has", foreign, "choose Linux: `--arch linux-64`")
    bases = dict.fromkeys(_base(given, lock.python.source, lock.python.series) for lock in given.locks)
    if len(bases) > 1:
        raise given.cannot("several Pythons", list(bases), f"choose one arch: `--arch {given.archs[0]}`")
    (base,) = bases
    lines = ["# An image with a locked environment."]  # after it, no comment is taken for a directive
    lines += [*given.header().splitlines(), *_how(given, context), ""]
    lines += [f"FROM {_ENVLOCK_PYTHON if base == _DEBIAN else base} AS environment"]
    extra = f"[{_EXTRAS[context.bucket]}]" if context.bucket else ""
    lines += [f"RUN pip install --no-cache-dir 'envlock{extra}=={__version__}'", "WORKDIR /project", *_copies(context)]
    lines += [f"ENV {name}={_quoted(value)}" for name, value in context.settings]
    needs_gpu = any(name == "__cuda" for lock in given.locks for _, name, _ in lock.requirements.get("system", ()))
    command = f"envlock create {context.choice} --into {HOME}{' --force' if needs_gpu else ''}"
    parts = [
        *(f"--mount={secret}" for secret in _secrets(context)),
        *_reading(context),
        f'ln -s "$({command})" {PREFIX}',
    ]
    run = " \\\n    ".join(["RUN", *parts])
    lines += [run.replace("RUN \\\n    ", "RUN ", 1), "", f"FROM {base}", f"COPY --from=environment {HOME} {HOME}"]
    lines += [f"COPY --from=environment {PREFIX} {PREFIX}", *_variables(given), ""]
    return Export("\n".join(lines), tuple(_notes(context, needs_gpu=needs_gpu)))


def _base(given: Given, source: str, series: str) -> str:
    """The image that the environment runs on: with the Python that it needs, or without any."""
    if source != "machine":
        return _DEBIAN
    if int(series.split(".")[1]) < _OLDEST_SERIES:
        hint = '`python-from = "uv"` locks a build of Python that is in the environment itself'
        raise given.cannot(f"a Python of the image on which envlock does not run: {series}", [series], hint)
    return f"python:{series}-slim"


def _how(given: Given, context: BuildContext) -> Iterator[str]:
    """How the image is built, with each secret that there may be."""
    secrets = [f"--secret id={name},env={name}" for name in _of_environment(context)]
    secrets += [f"--secret id={name},src=$HOME/{file}" for name, file in _of_files(context).items()]
    yield f"# docker build {' '.join([*secrets, f'--tag {given.name}'])} ."


def _of_environment(context: BuildContext) -> tuple[str, ...]:
    extra = _EXTRAS.get(context.bucket, "")
    return tuple(
        dict.fromkeys([*context.variables, *{"s3": _AWS, "azure": _AZURE, "all": (*_AWS, *_AZURE)}.get(extra, ())])
    )


def _of_files(context: BuildContext) -> dict[str, str]:
    is_needed = {"google": _EXTRAS.get(context.bucket) in {"gcs", "all"}, "netrc": context.has_own_hosts}
    return {name: file for name, file in _FILES.items() if is_needed[name]}


def _reading(context: BuildContext) -> Iterator[str]:
    """What sets the variables that are secrets. Builders before Docker 27 mount secrets as files alone."""
    if names := _of_environment(context):
        yield f"for name in {' '.join(names)}; do"
        yield f'    if [ -s {_SECRETS}/$name ]; then export "$name=$(cat {_SECRETS}/$name)"; fi;'
        yield "done;"


def _secrets(context: BuildContext) -> list[str]:
    found = [f"type=secret,id={name}" for name in _of_environment(context)]
    return found + [f"type=secret,id={name},target={_ROOT_HOME}/{file}" for name, file in _of_files(context).items()]


def _copies(context: BuildContext) -> Iterator[str]:
    """One COPY for each folder, because it keeps no folders of the files that it copies."""
    folders: dict[str, list[str]] = {}
    for file in sorted(context.files):
        folders.setdefault(str(PurePosixPath(file).parent), []).append(file)
    for folder, files in sorted(folders.items()):
        yield _copy(files, "./" if folder == "." else f"{folder}/")
    for folder in sorted(context.folders):
        yield _copy([folder], f"{folder}/")


def _copy(sources: Sequence[str], target: str) -> str:
    words = [*sources, target]
    if any(set(word) & set(" '\"\\$") for word in words):
        return f"COPY {json.dumps([word.replace('$', chr(92) + '$') for word in words])}"
    return f"COPY {' '.join(words)}"


def _variables(given: Given) -> Iterator[str]:
    lock = given.locks[0]
    own = "CONDA_PREFIX" if lock.python.source == "conda" else "VIRTUAL_ENV"
    yield f"ENV PATH={PREFIX}/bin:$PATH {own}={PREFIX} ENVLOCK_PREBUILT={HOME}"
    said: Mapping[str, str] = dict(lock.requirements.get("variables", ()))
    for name, value in said.items():
        if not value.isprintable():
            raise given.cannot("a variable with control characters", [name], "set it when a container is started")
        yield f"ENV {name}={_quoted(value)}"


def _quoted(value: str) -> str:
    r"""A value as ENV takes it: nothing in it is filled in.

    >>> print(_quoted('a "b" $C'))
    "a \"b\" \$C"
    """
    for each in ("\\", '"', "$"):
        value = value.replace(each, f"\\{each}")
    return f'"{value}"'


def _notes(context: BuildContext, *, needs_gpu: bool) -> Iterator[str]:
    yield "build the image in the folder of envlock.toml"
    if needs_gpu:
        yield "a build has no GPU, so `--force` makes the environment without looking for one"
    if not context.has_cache:
        yield "the cache is a folder that no build sees: packages come from upstream"
