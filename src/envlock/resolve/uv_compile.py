"""Runs of uv for one request, in a folder of its own, with a generated configuration and nothing of the user's.

uv reads no configuration file but the one written here, sees no variable but the whitelisted ones, and gets credentials
through variables named after the generated indexes, so that none is ever in a file.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import tomli_w

from envlock.addresses import Address, address, at_mirror, hide
from envlock.credentials import credentials_for
from envlock.model.python_range import OLDEST
from envlock.model.requirements import Requirements
from envlock.model.url import direct_url_fault, is_local, strip_credentials
from envlock.resolve.conda_provided import INDEX_NAME, dependency_metadata, write_index
from envlock.resolve.errors import AmbiguousMirror, NoSolution
from envlock.resolve.platform_tags import Target, allowed_releases, truths
from envlock.resolve.port import Request
from envlock.resolve.processes import Processes
from envlock.uv_command import uv_environment, uv_executable

_MARKED = re.compile(r"(?<=[\w\]])\{[^{}]*\}")
"""What uv puts behind a name with a marker: `alpha{sys_platform == 'linux'}>=2`."""
_LOGGED = {"RUST_LOG": "uv_resolver::candidate_selector=trace"}
_LOG = re.compile(r"^TRACE .*$", re.MULTILINE)
_INPUT = "requirements.in"
_PYPROJECT = "pyproject.toml"
_CONSTRAINTS = "constraints.txt"
_OVERRIDES = "overrides.txt"
_EXCLUDES = "excludes.txt"
_BUILT = "built.toml"
_OUTPUT = "pylock.toml"
PROJECT = "envlock-request"
"""The project name in uv's own lock; no package of an index has it."""


@dataclass(frozen=True)
class Answer:
    """uv's output."""

    status: int
    output: str
    error: str
    log: str = ""
    """How uv chose versions, if it was asked for that."""


class Compilation:
    """The folder and the settings of one request, for several runs of uv."""

    def __init__(
        self, folder: Path, request: Request, target: Target, processes: Processes, provided_index: str = ""
    ) -> None:
        self.processes = processes
        self.folder = folder
        self.request = request
        self.target = target
        self.variables = dict(target.uv_environment)
        if request.provided and not provided_index:
            provided_index = write_index(folder / "provided", request.provided)
        self._provided_index = provided_index
        self._addresses = addresses_of(request)
        _refuse_ambiguous_mirrors(request)
        self.roots = [str(root) for root in request.requirements.roots()]
        """What the request asks of PyPI, as requirements."""
        self.limits = [str(each) for each in request.requirements.constraints]
        """The constraints of the request itself."""
        self.overrides = [str(each) for each in request.requirements.overrides]
        self._by_url = {
            str(each): str(each._replace(url=url))
            for root in request.requirements.all_pypi
            if (url := asked_url(request, root.url)) != root.url
            for each in (root, root._replace(marker=""))
        }
        """Requirements by URL, each with the same that has its variables filled in, or its mirror in its place."""
        self._wheels = tuple(f"{each.name} @ {each.path.as_uri()}" for each in request.wheels)
        """The wheels of this machine, as constraints: who needs such a package gets that wheel."""
        self.package_indexes = package_indexes(request, target)
        self._configuration = self._settings()
        (folder / "uv.toml").write_text(tomli_w.dumps(self._configuration), encoding="utf-8")

    def run(
        self,
        requirements: Iterable[str],
        *arguments: str,
        constraints: Iterable[str] = (),
        pins: str = "",
        wheels_only: bool = True,
        python: str = "",
        excludes: Iterable[str] = (),
        built: Sequence[tuple[str, str]] = (),
    ) -> Answer:
        """Run `uv pip compile`; `pins` is a pylock whose versions are kept if possible.

        What variables of a URL's path hold stands nowhere in the answer: they stand there as they are written.
        `python` stands in place of the target's; packages that are among `excludes` are taken for not needed, and
        `built`, names with a version or an empty text for any, for source distributions that need nothing.

        Without wheels only, nothing is built either: that is for runs with `--no-deps`, which read no metadata.
        """
        source = self._write_input(requirements)
        limits = (*self._filled_in(self.limits), *constraints, *self._wheels)
        (self.folder / _CONSTRAINTS).write_text("".join(f"{line}\n" for line in limits), encoding="utf-8")
        overrides = "".join(f"{line}\n" for line in self._filled_in(self.overrides))
        (self.folder / _OVERRIDES).write_text(overrides, encoding="utf-8")
        (self.folder / _EXCLUDES).write_text("".join(f"{line}\n" for line in excludes), encoding="utf-8")
        configuration = self._configuration
        if built:
            assumed = [
                {"name": name, **({"version": version} if version else {}), "requires-dist": []}
                for name, version in built
            ]
            known = configuration.get("dependency-metadata", [])
            assert isinstance(known, list)
            configuration = {**configuration, "dependency-metadata": [*known, *assumed]}
            (self.folder / _BUILT).write_text(tomli_w.dumps(configuration), encoding="utf-8")
        output: tuple[str, ...] = ()
        if pins:
            (self.folder / _OUTPUT).write_text(pins, encoding="utf-8")
            output = ("--output-file", _OUTPUT)
        completed = self.processes.run(
            [
                str(uv_executable()), "pip", "compile", source, "--constraints", _CONSTRAINTS,
                *(("--overrides", _OVERRIDES) if overrides else ()),
                *(("--excludes", _EXCLUDES) if excludes else ()),
                "--config-file", _BUILT if built else "uv.toml", "--directory", str(self.folder),
                "--python", sys.executable, "--python-version", python or self.target.python,
                *(() if "--universal" in arguments else ("--python-platform", self.target.uv_platform)),
                *(("--only-binary", ":all:") if wheels_only else ()),
                *(part for name, _ in built for part in ("--no-binary", name)),
                "--no-header", "--no-progress", "--color", "never", *output, *arguments,
                *(("--offline",) if self.request.offline and "--offline" not in arguments else ()),
            ],
            uv_environment({"UV_PYTHON_DOWNLOADS": "never", **_retries(), **self.variables}),
        )  # fmt: skip
        text = (
            (self.folder / _OUTPUT).read_text(encoding="utf-8")
            if pins and completed.returncode == 0
            else completed.stdout
        )
        error = self._told(completed.stderr).replace(f"{PROJECT} depends on ", "you require ")
        return Answer(completed.returncode, hide(text, self._addresses), error)

    def lock(
        self,
        environments: Sequence[str],
        *,
        constraints: Iterable[str] = (),
        offline: bool = False,
        fewest: bool = False,
        is_logged: bool = False,
    ) -> Answer:
        """Run `uv lock` on the request, for everything that some markers (`environments`) allow at once.

        Its output is uv's lock. Wheels are not chosen by it: a version may have none for the arch. With `fewest`, uv
        prefers an older version to several versions of one package. With `is_logged`, it warns, and logs its choices.
        """
        project = {
            "name": PROJECT,
            "version": "0",
            "requires-python": ">={}.{}".format(*OLDEST),
            "dependencies": self._filled_in(self.roots),
        }
        settings = {
            "package": False,
            "environments": list(environments),
            "constraint-dependencies": [*self._filled_in(self.limits), *constraints, *self._wheels],
            **({"override-dependencies": self._filled_in(self.overrides)} if self.overrides else {}),
            "workspace": {"members": []},  # so that no folder above is looked at
            **self._sources(),
        }
        (self.folder / _PYPROJECT).write_text(
            tomli_w.dumps({"project": project, "tool": {"uv": settings}}), encoding="utf-8"
        )
        found = self.folder / "uv.lock"
        found.unlink(missing_ok=True)  # which uv would keep to
        completed = self.processes.run(
            [
                str(uv_executable()), "lock", "--config-file", str(self.folder / "uv.toml"),
                "--directory", str(self.folder), "--python", sys.executable, "--no-build",
                *(("--fork-strategy", "fewest") if fewest else ()),
                "--no-progress", "--color", "never", *(() if is_logged else ("--quiet",)),
                *(("--offline",) if self.request.offline or offline else ()),
            ],
            uv_environment({
                "UV_PYTHON_DOWNLOADS": "never", **_retries(), **self.variables, **(_LOGGED if is_logged else {})
            }),
        )  # fmt: skip
        text = found.read_text(encoding="utf-8") if completed.returncode == 0 else ""
        log = "\n".join(_LOG.findall(completed.stderr))
        return Answer(
            completed.returncode, hide(text, self._addresses), self._told(_LOG.sub("", completed.stderr)), log
        )

    def _told(self, stderr: str) -> str:
        """The output of uv without secrets, without the markers behind names, and with sources in place of wheels."""
        text = hide(stderr, self._addresses)
        for each in self.request.wheels:
            text = text.replace(each.path.as_uri(), each.source.said)
        return _MARKED.sub("", text)

    def _filled_in(self, requirements: Iterable[str]) -> list[str]:
        return [self._by_url.get(line, line) for line in requirements]

    def beside(self, name: str, request: Request | None = None, target: Target | None = None) -> Compilation:
        """The same request, another one, or another target, in a folder of its own, for a run at the same time."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        if request is not None:
            return Compilation(folder, request, self.target, self.processes)
        return Compilation(folder, self.request, target or self.target, self.processes, self._provided_index)

    def _write_input(self, requirements: Iterable[str]) -> str:
        """Write the requirements, and return the file's name.

        Only a project's own file can say that a package comes from one index, which is then asked for nothing else.
        """
        if not self.package_indexes:
            (self.folder / _INPUT).write_text(
                "".join(f"{line}\n" for line in self._filled_in(requirements)), encoding="utf-8"
            )
            return _INPUT
        project = {"name": PROJECT, "version": "0", "dependencies": self._filled_in(requirements)}
        tool = {"uv": {"workspace": {"members": []}, **self._sources()}}
        (self.folder / _PYPROJECT).write_text(tomli_w.dumps({"project": project, "tool": tool}), encoding="utf-8")
        return _PYPROJECT

    def asked_indexes(self) -> dict[str, str]:
        """For each package that comes from a single index, the URL that uv gets."""
        written = self._written_indexes()
        return {name: address(written.get(url, url)).asked for name, url in self.package_indexes.items()}

    def _written_indexes(self) -> dict[str, str]:
        return {strip_credentials(url): url for url in self.request.package_index_urls}

    def _sources(self) -> dict[str, object]:
        """The table of a project that tells uv the indexes of single packages."""
        urls = sorted(set(self.package_indexes.values()))
        written = self._written_indexes()
        indexes = [
            {
                "name": f"package-{number}",
                "url": self._with_credentials(f"PACKAGE_{number}", written.get(url, url)),
                "explicit": True,
            }
            for number, url in enumerate(urls)
        ]
        sources = {name: {"index": f"package-{urls.index(url)}"} for name, url in self.package_indexes.items()}
        return {"index": indexes, "sources": sources} if indexes else {}

    def _settings(self) -> dict[str, object]:
        """The content of uv.toml."""
        request = self.request
        indexes: list[dict[str, str | bool]] = []
        if self._provided_index:
            indexes.append({"name": INDEX_NAME, "url": self._provided_index})
        for number, url in enumerate(request.index_urls):
            indexes.append({"name": f"extra-{number}", "url": self._with_credentials(f"EXTRA_{number}", url)})
        for number, url in enumerate(request.find_links_urls):
            place = self._with_credentials(f"LINKS_{number}", url)
            indexes.append({"name": f"links-{number}", "url": place, "format": "flat"})
        for number, folder in enumerate(request.link_folders):
            indexes.append({"name": f"folder-{number}", "url": folder.as_uri(), "format": "flat"})
        if "no-index" in request.requirements.pip_flags:
            # An empty one, for uv's own option would also exclude what conda packages provide.
            (nothing := self.folder / "nothing").mkdir(exist_ok=True)
            indexes.append({"name": "default", "url": nothing.as_uri(), "default": True})
        elif request.default_index_url:
            url = self._with_credentials("DEFAULT", request.default_index_url)
            indexes.append({"name": "default", "url": url, "default": True})
        configuration: dict[str, object] = {"index-strategy": "first-index", **({"index": indexes} if indexes else {})}
        if request.provided:
            configuration["dependency-metadata"] = dependency_metadata(request.provided)
        if request.exclude_newer:
            configuration["exclude-newer"] = request.exclude_newer
            if request.provided:  # which was published nowhere, so it has no date
                configuration["exclude-newer-package"] = {each.name: False for each in request.provided}
        return {**configuration, **_prereleases(request.requirements)}

    def _with_credentials(self, name: str, url: str) -> str:
        """The URL without its credentials, which uv gets by variables."""
        place = address(url)
        found = credentials_for(place.url)
        if found is not None:
            self.variables[f"UV_INDEX_{name}_USERNAME"], self.variables[f"UV_INDEX_{name}_PASSWORD"] = found
        return place.asked


def _prereleases(requirements: Requirements) -> dict[str, object]:
    """The settings that say of which packages uv takes pre-releases."""
    allowed, final = (requirements.flagged(flag) for flag in ("all-releases", "only-final"))
    choice = "allow" if "pre" in requirements.pip_flags else "disallow" if ":all:" in final else ""
    found: dict[str, object] = {"prerelease": choice} if choice else {}
    single = {**dict.fromkeys(sorted(allowed), "allow"), **dict.fromkeys(sorted(final - {":all:"}), "disallow")}
    return {**found, "prerelease-package": single} if single else found


def _retries() -> dict[str, str]:
    """How often uv asks an index again: once less than by default, because without a network each retry costs time."""
    return {} if os.environ.get("UV_HTTP_RETRIES", "").isdecimal() else {"UV_HTTP_RETRIES": "2"}


def addresses_of(request: Request) -> tuple[Address, ...]:
    """The addresses of a request's indexes and direct URLs. Raises UnsetVariable, BadVariable."""
    return (
        *map(address, request.every_index_url),
        *(wheel_address(each.url) for each in request.requirements.all_pypi if each.url and not is_local(each.url)),
    )


def _refuse_ambiguous_mirrors(request: Request) -> None:
    places = [address(url) for url in request.every_index_url]
    mirrors = dict(row for place in places for row in place.mirrors)
    for place in places:
        asked = place.asked.rstrip("/")
        begins = next((each for each in mirrors if asked == each or asked.startswith(f"{each}/")), "")
        if begins and not place.mirrors:
            raise AmbiguousMirror(
                request.name,
                request.arch,
                f"{place.kept} is an index of this environment, and the mirror of {mirrors[begins]}",
                details=("a lock could not say which of the two a package is from",),
                hint="give the mirror a URL of its own, or take it out of `index-mirrors`",
                packages=(strip_credentials(place.kept),),
            )


def asked_url(request: Request, url: str) -> str:
    """Where to get a file that a requirement names: from the mirror of its folder, if an index of the request has one.

    Raises UnsetVariable, BadVariable.
    """
    if not url or is_local(url):
        return url
    rows = next((place.mirrors for place in map(address, request.every_index_url) if place.mirrors), ())
    found = wheel_address(url).url
    return at_mirror(found, rows) or found


def wheel_address(url: str) -> Address:
    """The URL of a package as `address` has it: without credentials, with variables unfilled."""
    return address(
        url,
        fits=lambda found: not direct_url_fault(found),
        expected="the URL of a file on a web server, without credentials",
    )


def package_indexes(request: Request, target: Target) -> Mapping[str, str]:
    """For each package that comes from a single index on this target: that index, without credentials.

    One that only some of the allowed releases of Python ask of an index comes from there too. Raises NoSolution.
    """
    found: dict[str, str] = {}
    if not any(root.from_index for root in request.requirements.roots()):
        return found
    releases = allowed_releases(request)
    roots = [
        root for root in request.requirements.roots() if not root.marker or any(truths(root.marker, target, releases))
    ]
    for root in roots:
        if root.from_index and found.setdefault(root.name, root.from_index) != root.from_index:
            raise _several(request, root.name, sorted({each.from_index for each in roots if each.name == root.name}))
    for root in roots:
        if root.url and root.name in found:
            raise _several(request, root.name, [root.url, found[root.name]])
    return found


def _several(request: Request, package: str, places: Iterable[str]) -> NoSolution:
    return NoSolution(
        request.name,
        request.arch,
        f"{package} is to come from {' and from '.join(filter(None, places))}",
        hint="give the two markers that exclude each other, or keep one of them",
        packages=(package,),
    )
