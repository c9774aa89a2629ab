"""The resolver that uses pip-tools: pip chooses the versions, and uv finds the wheel of each.

pip looks at the machine that it runs on. So this locks for the arch of this machine, and for the Python series that
runs envlock; anything else is refused. pip-compile runs in a process and a folder of its own and sees no configuration
and no variable of the user's. It is told the indexes by variables, so no credential is on a command line or in a file.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from envlock.addresses import address, hide
from envlock.credentials import credentials_for
from envlock.model.arch import host_arch
from envlock.model.requirement import normalize_name
from envlock.model.url import host
from envlock.places import folder_in_home
from envlock.redaction import redact
from envlock.resolve.choose_resolver import require_pip_tools
from envlock.resolve.conda_provided import write_stub_wheels
from envlock.resolve.errors import (
    NoSolution,
    NoSuchPackage,
    NoWheel,
    ResolverCannot,
    ResolversDisagree,
    UnexpectedAnswer,
)
from envlock.resolve.platform_tags import Target, target_of
from envlock.resolve.port import Request, Resolution
from envlock.resolve.processes import Processes
from envlock.resolve.pypi_uv import UvResolver
from envlock.resolve.uv_compile import addresses_of, asked_url
from envlock.stage import temporary_folder
from envlock.uv_command import uv_environment

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_INPUT = "requirements.in"
_CONSTRAINTS = "constraints.txt"
_OUTPUT = "requirements.txt"
_USE_UV = 'set `resolver.pypi = "uv"`'
_PIP_THAT_KNOWS_TIME = (26, 0)
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


class PipToolsResolver:
    """Implements the Resolver port with `pip-compile`, for this machine's arch. Any thread may call it."""

    def __init__(self) -> None:
        require_pip_tools()
        self._processes = Processes()
        self._uv = UvResolver()

    def stop(self) -> None:
        """End the running processes, and start no more."""
        self._processes.end()
        self._uv.stop()

    def resolve(self, request: Request) -> Resolution:
        """One wheel for each package, in the versions that pip chooses.

        Costs a run of pip-compile, many times as long as one of uv, and three of uv. Raises ResolveError.
        """
        _refuse_what_it_cannot(request)
        if not request.requirements.roots():
            return self._uv.resolve(request)
        versions = self._versions(request)
        try:
            found = self._uv.wheels_of(request, {name: version for name, version in versions.items() if version})
        except (NoSolution, NoSuchPackage, NoWheel) as error:
            raise _disagree(request, versions, (error.sentence, *error.details)) from None
        wheels = {package.name: package.version for package in found.packages}
        surplus = sorted((set(wheels) ^ set(versions)) - found.not_of_oldest)
        if surplus:
            raise _disagree(request, versions, (f"only one of them locks {', '.join(surplus)}",))
        return found

    def _versions(self, request: Request) -> dict[str, str]:
        """The version of each package that pip-compile chooses; empty for a direct URL."""
        from packaging.requirements import Requirement

        with temporary_folder() as folder:
            written = self._compile(folder, request)
        pinned: dict[str, str] = {}
        provided = {each.name for each in request.provided}
        for line in written.splitlines():
            if line.strip() and not line.startswith(("#", " ", "-")):
                requirement = Requirement(line)
                name = normalize_name(requirement.name)
                if name not in provided:
                    pinned[name] = _version(requirement)
        return pinned

    def _compile(self, folder: Path, request: Request) -> str:
        """pip-compile's output. If it fails, uv resolves the same request, because its explanation is the best."""
        target = target_of(request.requirements, request.arch, request.python)
        _write_input(folder, request)
        command = [
            sys.executable, "-m", "envlock.resolve.pip_compile_process", *_as_of(target),
            _INPUT, "--output-file", _OUTPUT, "--constraint", _CONSTRAINTS,
            "--resolver", "backtracking", "--no-config", "--allow-unsafe", "--no-strip-extras", "--no-header",
            "--no-annotate", "--no-emit-index-url", "--no-emit-trusted-host", "--no-emit-options",
            "--no-emit-find-links", "--no-color", "--quiet", "--cache-dir", str(folder_in_home("pip-tools")),
            "--pip-args", "--only-binary :all: --no-input --keyring-provider disabled",
        ]  # fmt: skip
        if "pre" in request.requirements.pip_flags:
            command.append("--pre")
        if request.exclude_newer:
            command += ["--uploaded-prior-to", request.exclude_newer]
        done = self._processes.run(command, _environment(folder, request), folder=folder)
        if done.returncode == 0:
            return (folder / _OUTPUT).read_text(encoding="utf-8")
        self._uv.resolve(request)
        raise UnexpectedAnswer(
            request.name,
            request.arch,
            "pip-tools found no solution, but uv does",
            details=_reason(hide(done.stderr, addresses_of(request))),
            hint=_USE_UV,
        )


def _refuse_what_it_cannot(request: Request) -> None:
    here = host_arch()
    if request.arch != here:
        raise ResolverCannot(
            request.name,
            request.arch,
            f"pip-tools locks only for the arch of this machine, {here}",
            hint=f'set `archs = ["{here}"]` in [envlock], or {_USE_UV}',
        )
    running = ".".join(str(number) for number in sys.version_info[:2])
    if request.series != running:
        raise ResolverCannot(
            request.name,
            request.arch,
            f"pip-tools locks only for the Python that runs envlock, {running}; the environment has {request.series}",
            hint=f'set `python = "{running}"`, run envlock with Python {request.series}, or {_USE_UV}',
            packages=("python",),
        )
    pinned = next((root for root in request.requirements.roots() if root.from_index), None)
    if pinned is not None:
        raise ResolverCannot(
            request.name,
            request.arch,
            f"pip-tools cannot take {pinned.name} from one index only",
            details=(f"required: {pinned.said}",),
            hint=f"remove its `index`, or {_USE_UV}",
            packages=(pinned.name,),
        )
    unknown = sorted(
        flag for flag in request.requirements.pip_flags if flag.startswith(("all-releases=", "only-final="))
    )
    if unknown:
        raise ResolverCannot(
            request.name,
            request.arch,
            f"pip-tools does not support `{unknown[0]}`",
            hint=f"remove it from `extras`, or {_USE_UV}",
            packages=("extras",),
        )
    if request.requirements.overrides:
        override = request.requirements.overrides[0]
        raise ResolverCannot(
            request.name,
            request.arch,
            "pip-tools does not support overrides",
            details=(f"override: {override}",),
            hint=f"remove it, or {_USE_UV}",
            packages=(f"override:{override.name}",),
        )
    if request.offline:
        raise ResolverCannot(
            request.name,
            request.arch,
            "pip-tools cannot lock offline",
            hint=f"run `envlock lock` without `--offline`, or {_USE_UV}",
        )
    if request.exclude_newer and pip_version() < _PIP_THAT_KNOWS_TIME:
        raise ResolverCannot(
            request.name,
            request.arch,
            "this pip does not support `exclude-newer`",
            details=(
                f"found pip {'.'.join(str(number) for number in pip_version())}; 26.0 is the first that supports it",
            ),
            hint=f"python -m pip install --upgrade pip, or {_USE_UV}",
        )


def pip_version() -> tuple[int, int]:
    """The first two numbers of the pip version that pip-tools uses."""
    from importlib.metadata import version

    major, minor = [*version("pip").split("."), "0"][:2]
    return int(major), int(re.match(r"\d+", minor)[0])  # type: ignore[index]


def _as_of(target: Target) -> tuple[str, str, str]:
    """What the process should report as its own: Python, glibc, macOS."""
    return target.python, "{}.{}".format(*target.glibc), "{}.{}".format(*target.macos)


def _write_input(folder: Path, request: Request) -> None:
    """The files that pip-compile reads: requirements, what conda provides, and the versions to keep."""
    roots = (root._replace(url=asked_url(request, root.url)) for root in request.requirements.roots())
    (folder / _INPUT).write_text("".join(f"{root}\n" for root in roots), encoding="utf-8")
    provided = write_stub_wheels(folder / "provided", request.provided)
    limits = (each._replace(url=asked_url(request, each.url)) for each in request.requirements.constraints)
    built = (f"{each.name} @ {each.path.as_uri()}" for each in request.wheels)
    (folder / _CONSTRAINTS).write_text("".join(f"{line}\n" for line in (*provided, *limits, *built)), encoding="utf-8")
    names = {each.name for each in request.provided}
    if request.pins:
        pins = (f"{name}=={version}\n" for name, version in sorted(request.pins.items()) if name not in names)
        (folder / _OUTPUT).write_text("".join(pins), encoding="utf-8")


def _environment(folder: Path, request: Request) -> dict[str, str]:
    indexes = [_with_credentials(url) for url in request.index_urls]
    default = _with_credentials(request.default_index_url) if request.default_index_url else ""
    links = [_with_credentials(url) for url in request.find_links_urls]
    plain = [url for url in (*indexes, *links, default) if url.lower().startswith("http://")]
    variables = {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_EXTRA_INDEX_URL": " ".join(indexes),
        "PIP_INDEX_URL": default,
        "PIP_FIND_LINKS": " ".join([*links, *(each.as_uri() for each in request.link_folders)]),
        "PIP_NO_INDEX": "1" if "no-index" in request.requirements.pip_flags else "",
        # uv takes an index that is configured with http at its word; pip wants it said again.
        "PIP_TRUSTED_HOST": " ".join(sorted({host(url) for url in plain} - _LOOPBACK)),
        "PIP_CERT": os.environ.get("SSL_CERT_FILE") or os.environ.get("PIP_CERT", ""),
        "PIP_DEFAULT_TIMEOUT": os.environ.get("UV_HTTP_TIMEOUT", ""),
        "PIP_RETRIES": os.environ.get("UV_HTTP_RETRIES", ""),
        "TMPDIR": str(folder),
    }
    return uv_environment({name: value for name, value in variables.items() if value})


def _with_credentials(url: str) -> str:
    """The URL with its credentials, for a variable of the process."""
    place = address(url)
    found = credentials_for(place.url)
    scheme, _, rest = place.asked.partition("://")
    who = f"{quote(found.username, safe='')}:{quote(found.password, safe='')}@" if found is not None else ""
    return f"{scheme}://{who}{rest}"


def _version(requirement: Requirement) -> str:
    """The version that a line pins; empty for a URL."""
    return "" if requirement.url else next(iter(requirement.specifier)).version


def _disagree(request: Request, versions: Mapping[str, str], reason: Sequence[str]) -> ResolversDisagree:
    said = "\n".join(reason)
    named = [f"{name} {version}" for name, version in sorted(versions.items()) if f"{name}=={version}" in said]
    return ResolversDisagree(
        request.name,
        request.arch,
        "uv found no wheels for the versions that pip-tools chose",
        details=(*((f"pip-tools chose {', '.join(named)}",) if named else ()), *reason),
        hint=f"constrain the package above in envlock.toml, or {_USE_UV}",
    )


def _reason(stderr: str) -> tuple[str, ...]:
    """The last output of pip before it failed, without secrets."""
    said, separator, traceback = redact(stderr).partition("Traceback (most recent call last)")
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return tuple(lines[-8:]) + tuple(traceback.strip().splitlines()[-1:] if separator else ())
