"""The resolver that uses py-rattler: exact conda builds for any arch, on any machine."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from envlock.conda.channels import channel_address, mirrors_in_force
from envlock.conda.client import places_of
from envlock.conda.errors import ChannelFailure
from envlock.conda.event_loop import Ended
from envlock.conda.names import conda_name
from envlock.conda.solve import SECONDS, Solving
from envlock.conda.solve_request import BadSpecification, SolveRequest, TookTooLong, Unlockable, Unsolvable
from envlock.lockfile.conda_packages import is_lockable
from envlock.model.arch import Arch
from envlock.model.conda_requirement import CondaRequirement
from envlock.model.lock import LockedPackage, LockedPython, Newer
from envlock.model.requirements import Requirements
from envlock.resolve import conda_failures
from envlock.resolve.errors import UnexpectedAnswer
from envlock.resolve.port import Request, Resolution

_CLAUSE = re.compile(r"(===|==|!=|~=|<=|>=|<|>)(.*)")


class CondaResolver:
    """Implements the Resolver port for the conda part of environments. Any thread may call it.

    Its repodata is read once, whatever number of environments and archs is solved for. Offline, nothing is asked of any
    host: what earlier locks have left of the channels on this machine is all there is.
    """

    def __init__(self, *, offline: bool = False, seconds: float = SECONDS) -> None:
        self._solving = Solving(offline=offline, seconds=seconds)

    def stop(self) -> None:
        """End the running solves, and start no more."""
        self._solving.stop()

    def resolve(self, request: Request) -> Resolution:
        """The conda packages, Python among them, each with its exact build. Downloads repodata only.

        Raises ResolveError, and ConfigError for credentials and mirrors that cannot be read.
        """
        solve_request = solve_request_of(request)
        try:
            solved = self._solving.solve(solve_request)
            _refuse_unlockable(solved.packages, request.arch)
        except Unsolvable as error:
            raise conda_failures.of_conflict(request, solve_request, error, self._solving) from None
        except ChannelFailure as error:
            raise conda_failures.of_channel(request, error) from None
        except BadSpecification as error:
            raise conda_failures.of_specification(request, error) from None
        except TookTooLong as error:
            raise conda_failures.of_timeout(request, error) from None
        except Unlockable as error:
            raise conda_failures.of_unlockable(request, error) from None
        except Ended:
            raise UnexpectedAnswer(request.name, request.arch, "solving was interrupted") from None
        return Resolution(solved.packages, tuple(map(_gone, solved.gone)), _python(solved.packages))

    def newer(
        self, request: Request, locked: Sequence[LockedPackage], limits: Mapping[str, Sequence[str]]
    ) -> Mapping[str, Newer]:
        """As `Solving.newer`, by the name of the package.

        Raises ResolveError, and ConfigError for credentials and mirrors that cannot be read.
        """
        solve_request = solve_request_of(request)
        try:
            return self._solving.newer(solve_request, {each.name: each for each in locked}, limits)
        except ChannelFailure as error:
            raise conda_failures.of_channel(request, error) from None
        except BadSpecification as error:
            raise conda_failures.of_specification(request, error) from None
        except Ended:
            raise UnexpectedAnswer(request.name, request.arch, "asking was interrupted") from None


def solve_request_of(request: Request) -> SolveRequest:
    """The request to py-rattler. Raises UnsetVariable, BadVariable, BadNetrc and BadChannelMirror."""
    requirements = request.requirements
    bases = dict.fromkeys(channel_address(channel).kept for channel in requirements.channels)
    wanted = (*_series(request), *wanted_of(requirements, request.arch))
    single: dict[str, frozenset[str]] = {}
    for each in wanted:
        base = channel_address(each.channel).kept if each.channel else ""
        if base and base not in bases:
            single[base] = single.get(base, frozenset()) | {each.name}
    urls = (*(request.channel_urls or requirements.channels), *(each.channel for each in wanted if each.channel))
    places = {place.base: place for place in places_of(urls, mirrors_in_force(request.channel_mirrors))}
    return SolveRequest(
        arch=request.arch,
        places=tuple(places[base] for base in (*bases, *single)),
        single=single,
        wanted=wanted,
        system=tuple((name, version) for arch, name, version in requirements.system if arch == request.arch),
        keep=request.conda_pins,
        fixed=request.fixed,
        is_strict=requirements.channel_priority != "disabled",
        exclude_newer=request.exclude_newer or requirements.exclude_newer,
    )


def _series(request: Request) -> Iterator[CondaRequirement]:
    """The series that Python must be of, because another arch has no newer one."""
    if request.python and request.requirements.has_conda:
        yield CondaRequirement("python", f"{request.python}.*")


def wanted_of(requirements: Requirements, arch: str) -> Iterator[CondaRequirement]:
    """The requirements of the channels, for an arch: Python, the user's packages, and Metaflow's that conda brings.

    >>> numpy = CondaRequirement("numpy", "=1.26")
    >>> asked = Requirements(python=">=3.11,<3.13", conda=(numpy,), python_from="conda")
    >>> list(map(str, wanted_of(asked, "linux-64")))
    ['python >=3.11,<3.13a0', 'numpy =1.26']
    """
    if not requirements.base:  # which brings its own
        yield CondaRequirement("python", conda_version(requirements.python))
    yield from requirements.conda_of(arch)
    for needed in requirements.metaflow_of_conda:
        yield CondaRequirement(conda_name(needed.name), conda_version(needed.specifier))


def conda_version(specifier: str) -> str:
    """A PEP 440 specifier in conda's language: the same clauses, but an upper bound also excludes pre-releases.

    >>> conda_version("<3.13,>=3.11"), conda_version("==3.12.*"), conda_version("===3.12.1"), conda_version("")
    ('<3.13a0,>=3.11', '3.12.*', '==3.12.1', '')
    """
    return ",".join(_clause(clause) for clause in specifier.split(",") if clause)


def _clause(clause: str) -> str:
    match = _CLAUSE.fullmatch(clause.strip())
    assert match is not None, f"{clause} is no clause of a specifier"
    operator, version = match.groups()
    if operator in {"==", "==="}:
        return version if version.endswith(".*") else f"=={version}"
    # To conda, 3.13.0rc1 is less than 3.13.
    return f"<{version}a0" if operator == "<" and re.fullmatch(r"[0-9.]+", version) else clause.strip()


def _gone(package: LockedPackage) -> str:
    return f"{package.name} {package.version} {package.build} is no longer in its channel: another one was chosen"


def _refuse_unlockable(packages: Sequence[LockedPackage], arch: Arch) -> None:
    """Raise Unlockable for a package whose metadata no lock may hold: nobody could read such a lock."""
    for package in packages:
        if not is_lockable(package, arch):
            raise Unlockable(f"{package.name} {package.version}", "its metadata has a value that no lock may hold")


def _python(packages: Sequence[LockedPackage]) -> LockedPython | None:
    version = next((package.version for package in packages if package.name == "python"), None)
    return LockedPython(source="conda", version=version) if version is not None else None
