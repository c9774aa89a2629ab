"""Turn a failure of the conda solver into one of our errors: short, with what helps, and without secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from envlock.conda.channels import channel_address, mirrors_in_force, without_secrets
from envlock.conda.errors import ChannelFailure
from envlock.conda.event_loop import Ended
from envlock.conda.fetch import clean
from envlock.conda.names import conda_name
from envlock.conda.solve import Solving
from envlock.conda.solve_request import BadSpecification, Offer, SolveRequest, TookTooLong, Unlockable, Unsolvable
from envlock.config.system_packages import packages_of
from envlock.model.arch import ARCHS
from envlock.resolve.errors import (
    BadMatchSpec,
    ChannelNotFound,
    ChannelUnauthorized,
    ChannelUnreachable,
    CondaConflict,
    NoCondaBuild,
    NoSuchCondaPackage,
    OfOneEnvironment,
    SolveTimeout,
    UnlockableCondaPackage,
    UnmetSystemRequirement,
)
from envlock.resolve.port import Request
from envlock.words import did_you_mean

_LINES = 25
_WIDTH = 160
_OFFERS = 8

_NONE = re.compile(r"No candidates were found for (\S+?)(?: (.*))?\.$", re.MULTILINE)
_DEAD_END = re.compile(r"for which no candidates were found|is excluded because|which conflicts with|is locked, but")
_VIRTUAL = re.compile(r"(__[a-z0-9]+)(?: ([^,\n]*(?:,[<>=!~][^,\n]*)*))?, for which no candidates were found")
_MISSING = re.compile(r"[─ ]([a-z0-9_.-]+)(?: [^\n]*)?, for which no candidates were found")
_PARENT = re.compile(r"^\W*(.+?) would require")
_PREAMBLE = "The following packages are incompatible"
_CHANNEL = re.compile(r'\[channel="[^"]*"\]')
_ALTERNATIVES = re.compile(r"[^\s|,]+(?: \| [^\s|,]+){4,}")
_SYSTEM = {"__glibc": "glibc", "__osx": "macOS", "__cuda": "CUDA", "__linux": "Linux", "__archspec": "the processor"}

_NEEDED = "Metaflow needs {} in every step"
_CREDENTIALS = (
    "add credentials to ~/.netrc, to RATTLER_AUTH_FILE or to the channel's URL (https://${USER}:${TOKEN}@... or "
    "https://host/t/${TOKEN}/...), or set ENVLOCK_INDEX_<HOST>_USERNAME and ENVLOCK_INDEX_<HOST>_PASSWORD"
)
_DEFAULTS = (
    "`defaults` is conda's word for several channels: write `main` and `r`, or the URLs that "
    "`conda config --show default_channels` lists"
)


def of_channel(request: Request, failure: ChannelFailure) -> OfOneEnvironment:
    """The error of a channel that did not deliver."""
    named = failure.url or "a channel"
    asked = request.requirements
    named_by = {each.name: each.channel for each in asked.all_conda}
    packages = tuple(name for name in asked.channels if channel_address(name).kept == failure.url)
    single = tuple(
        _key(name) for name, channel in named_by.items() if channel and channel_address(channel).kept == failure.url
    )
    error: type[OfOneEnvironment] = ChannelUnreachable
    message, hint = f"{named} did not answer", "check the network and the channel's URL, then run `envlock lock` again"
    if failure.kind == "unauthorized":
        message = f"{named} denied access: the credentials are missing or wrong"
        error, hint = ChannelUnauthorized, _CREDENTIALS
    elif failure.kind in {"missing", "unreadable"}:
        error, message, hint = (
            ChannelNotFound,
            f"there is no conda channel at {named}",
            "fix `channels` in envlock.toml",
        )
        if single and not packages:
            hint = "fix the channel before `::`"
        if failure.url == channel_address("defaults").kept:
            hint = _DEFAULTS
    elif failure.kind == "uncached":
        message, hint = f"{named} has no cached data to use offline", "run `envlock lock` once without `--offline`"
    mirror = mirrors_in_force(request.channel_mirrors).get(failure.url, "")
    if mirror and error is ChannelNotFound:
        hint = "fix its mirror in `channel-mirrors` or in the variable ENVLOCK_CHANNEL_MIRRORS"
    details = (failure.reason, *((f"mirror: {without_secrets(mirror)}",) if mirror else ()))
    return error(request.name, request.arch, message, details=details, hint=hint, packages=packages or single)


def of_specification(request: Request, error: BadSpecification) -> OfOneEnvironment:
    """The error of a requirement that is not a valid match specification."""
    return BadMatchSpec(
        request.name,
        request.arch,
        f"`{error.requirement}` is not a valid conda requirement",
        details=(clean(error.reason),),
        hint='write the version as "1.26.4", "=1.26", ">=1.26,<2" or "1.26.*"; add a build as "1.26.4=py312*"',
        packages=(_key(error.requirement.name),),
    )


def of_timeout(request: Request, error: TookTooLong) -> OfOneEnvironment:
    """The error of a solve that took too long."""
    return SolveTimeout(
        request.name,
        request.arch,
        f"the solver found no solution within {error.seconds:g} seconds",
        hint="narrow the versions: of Python first, then of the packages with the most releases",
    )


def of_unlockable(request: Request, error: Unlockable) -> OfOneEnvironment:
    """The error of a package that cannot be locked."""
    return UnlockableCondaPackage(
        request.name,
        request.arch,
        f"{error.package} cannot be locked: {error.reason}",
        hint="choose another version of it, or another channel",
        packages=(_key(error.package.partition(" ")[0]),),
    )


def of_conflict(request: Request, solve_request: SolveRequest, error: Unsolvable, solving: Solving) -> OfOneEnvironment:
    """The error of requirements that cannot be met. Asks the channels again for what they have."""
    text = clean(error.text)
    none = _NONE.search(text)
    if none is not None and none[1].startswith("__"):
        return _of_system(request, solve_request, _Unmet("", none[1], none[2] or ""))
    if none is not None:
        offers = _offers(none[1], solve_request, solving)
        return _no_build(request, solve_request, none[1], none[2] or "", offers, solving)
    unmet = _unmet(text)
    if unmet is not None:
        return _of_system(request, solve_request, unmet)
    about = f"{text} {' '.join(error.shadowed)}" if not shorten(text) else text
    own = _of_metaflow(request)
    asked = tuple(dict.fromkeys(each.name for each in solve_request.wanted if each.name not in own))
    named = tuple(_key(name) for name in asked if _mentions(about, name)) or tuple(map(_key, asked))
    needs = tuple(_NEEDED.format(name) for name in own if _mentions(about, name))
    shadows = tuple(
        f"{name} is taken only from {source}, the first channel that has it"
        for name, source in sorted(error.shadowed.items())
        if _mentions(about, name)
    )
    return CondaConflict(
        request.name,
        request.arch,
        "no solution found for the conda requirements",
        details=(*shorten(text), *needs, *shadows),
        hint=_way_out(text, bool(shadows), solve_request, solving),
        packages=named,
    )


def shorten(text: str) -> tuple[str, ...]:
    r"""The solver's explanation without its preamble, with long lists of versions cut, and at most a screen long.

    >>> shorten("Cannot solve the request because of: b * cannot be:\n└─ a 1 | 2 | 3 | 4 | 5 | 6\n")
    ('b cannot be:', '└─ a 1 | 2 | ... | 6')
    """
    text = text.removeprefix("Cannot solve the request because of: ")
    lines = [_shortened(line) for line in text.splitlines() if line.strip() not in {"", _PREAMBLE}]
    if len(lines) > _LINES:
        lines = [*lines[: _LINES - 1], f"... and {len(lines) - _LINES + 1} more lines"]
    return tuple(lines)


class _Unmet(NamedTuple):
    """A system package that a package needs."""

    package: str
    name: str
    version: str


def _unmet(text: str) -> _Unmet | None:
    """The system package that the machine lacks, if nothing else prevents a solution."""
    lines = text.splitlines()
    ends = [number for number, line in enumerate(lines) if _DEAD_END.search(line)]
    virtual = [(number, match) for number in ends if (match := _VIRTUAL.search(lines[number])) is not None]
    if not ends or len(virtual) != len(ends):
        return None
    number, match = virtual[0]
    above = _PARENT.match(lines[number - 1]) if number else None
    return _Unmet(_shortened(above[1]) if above is not None else "a package", match[1], match[2] or "")


def _of_system(request: Request, solve_request: SolveRequest, unmet: _Unmet) -> UnmetSystemRequirement:
    system = dict(solve_request.system)
    label = _SYSTEM.get(unmet.name, unmet.name)
    keys = (
        unmet.name,
        *(_key(e.name) for e in solve_request.wanted if _mentions(unmet.package or unmet.name, e.name)),
    )
    if unmet.name not in packages_of(request.arch):
        return UnmetSystemRequirement(
            request.name,
            request.arch,
            f"{unmet.package or 'the environment'} needs {label}, which this arch does not have",
            hint="remove it from the environment, or the arch from `archs`",
            packages=keys,
        )
    has = f"{label} {system[unmet.name]}" if unmet.name in system else f"machines without {label}"
    version = unmet.version.rpartition(" ")[2] if unmet.name == "__archspec" else unmet.version
    lower = re.search(r">=?\s*([0-9.]*[0-9])", version) or re.search(r"([0-9.]*[0-9])", version)
    needed = lower[1] if lower is not None else system.get(unmet.name, "...")
    if unmet.name == "__archspec":
        needed = version
    if unmet.name in {"__glibc", "__osx", "__cuda"} and "." not in needed:
        needed += ".0"
    asks = f"{unmet.package} needs {label} {version}".rstrip()
    if not unmet.package:
        asks = f"`{f'{unmet.name} {version}'.rstrip()}` is required"
    return UnmetSystemRequirement(
        request.name,
        request.arch,
        f"{asks}, but the environment is locked for {has}",
        hint=f'if every machine has it, set `sys_packages = {{ packages = {{ {unmet.name} = "{needed}" }} }}`; '
        "otherwise choose another version",
        packages=keys,
    )


def _no_build(
    request: Request, solve_request: SolveRequest, name: str, version: str, offers: Sequence[Offer], solving: Solving
) -> OfOneEnvironment:
    is_asked = request.requirements.python if name == "python" else name not in _of_metaflow(request)
    keys = (_key(name),) if is_asked else request.requirements.channels
    version = _CHANNEL.sub("", version)
    if not offers:
        return _no_such(request, solve_request, name, solving)
    here = [offer for offer in offers if offer.subdir in solve_request.subdirs]
    if not here:
        archs = [arch for arch in ARCHS if any(offer.subdir == arch for offer in offers)]
        return NoCondaBuild(
            request.name,
            request.arch,
            f"`{name}` has no build for this arch",
            details=tuple(f"{arch} has {_versions(o for o in offers if o.subdir == arch)}" for arch in archs),
            hint="remove it from the environment, or the arch from `archs`",
            packages=keys,
        )
    asked = f"{name} {version}".removesuffix(" *")
    return NoCondaBuild(
        request.name,
        request.arch,
        f"no build of `{name}` matches `{asked}`",
        details=(f"available: {_versions(here, builds=' ' in version)}",),
        hint="choose one of these" + (", or choose a later `exclude-newer`" if solve_request.exclude_newer else ""),
        packages=keys,
    )


def _no_such(request: Request, solve_request: SolveRequest, name: str, solving: Solving) -> NoSuchCondaPackage:
    channels = request.requirements.channels
    packages: tuple[str, ...] = (_key(name),)
    details: tuple[str, ...] = (f"channels: {', '.join(place.base for place in solve_request.places)}",)
    if name == "python":
        details += ("an environment with conda packages needs a Python from a channel",)
        hint, packages = "add a channel with Python to `channels`, such as `conda-forge`", (*packages, *channels)
    elif name in _of_metaflow(request):
        details += (_NEEDED.format(name),)
        hint, packages = "add the channel that has it to `channels`", channels
    else:
        near = did_you_mean(name, _names(solve_request, solving), cutoff=0.75)
        hint = near or "check the name, or add the channel that has it to `channels`"
    sentence = f"no channel has `{name}`"
    return NoSuchCondaPackage(request.name, request.arch, sentence, details=details, hint=hint, packages=packages)


def _of_metaflow(request: Request) -> tuple[str, ...]:
    """The conda packages that only Metaflow needs."""
    requirements = request.requirements
    asked = {each.name for each in requirements.all_conda}
    needed = (conda_name(each.name) for each in requirements.metaflow_of_conda)
    return tuple(name for name in needed if name not in asked)


def _way_out(text: str, is_shadowed: bool, solve_request: SolveRequest, solving: Solving) -> str:
    if is_shadowed:
        return "reorder `channels`, or name the channel: `channel::package`"
    if "uploaded after the cutoff" in text:
        return "choose a later `exclude-newer`, or change one of the lines above"
    if "not in requested channel" in text:
        return "that channel does not have it: name another channel, or none"
    for name in _MISSING.findall(text):
        if not name.startswith("__") and not _offers(name, solve_request, solving):
            only = _only_there(name, solve_request, solving)
            if only:
                single = _single(only, solve_request)
                return f"`{name}` is in {only}, which is used for {single} only: add that channel to `channels`"
            return f"no channel has `{name}`: add the one that has it to `channels`"
    return "change one of the lines above"


def _only_there(name: str, solve_request: SolveRequest, solving: Solving) -> str:
    """A channel that has a package but is only asked for others; empty if there is none."""
    for place in solve_request.places:
        if place.base in solve_request.single and _offers(
            name, replace(solve_request, places=(place,), single={}), solving
        ):
            return place.base
    return ""


def _single(base: str, solve_request: SolveRequest) -> str:
    return ", ".join(sorted(solve_request.single[base]))


def _offers(name: str, solve_request: SolveRequest, solving: Solving) -> tuple[Offer, ...]:
    """The builds of a package, for this arch and every other; empty if a channel does not answer now."""
    try:
        return solving.offers(name, solve_request, (*ARCHS, "noarch"))
    except (ChannelFailure, Ended):
        return ()


def _names(solve_request: SolveRequest, solving: Solving) -> tuple[str, ...]:
    try:
        return solving.names(solve_request)
    except (ChannelFailure, Ended):
        return ()


def _versions(offers: Iterator[Offer] | Sequence[Offer], *, builds: bool = False) -> str:
    texts = list(dict.fromkeys(f"{o.version} {o.build}" if builds else o.version for o in offers))
    return ", ".join(texts if len(texts) <= _OFFERS else [*texts[:2], "...", *texts[2 - _OFFERS :]])


def _shortened(line: str) -> str:
    line = _ALTERNATIVES.sub(_first_and_last, line.replace(" * ", " ").replace(" *,", ","))
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH - 4]} ..."


def _first_and_last(match: re.Match[str]) -> str:
    versions = match[0].split(" | ")
    return " | ".join([*versions[:2], "...", versions[-1]])


def _mentions(text: str, name: str) -> bool:
    return re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-]|\.\w)", text) is not None


def _key(name: str) -> str:
    """The key by which `lock` finds the line of a requirement."""
    return "python" if name == "python" else f"conda:{name}"
