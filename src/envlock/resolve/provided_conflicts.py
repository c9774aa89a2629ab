"""Errors where PyPI requirements contradict what is already there, with both sides named.

It is conda that provides it, or the environment that is extended.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from envlock.resolve.errors import ConflictWithBase, ConflictWithConda, ExtraOfCondaPackage
from envlock.resolve.port import Provided, Request

# uv says so where a package has no other version than its one: of those that conda provides, there is no other.
_NO_OTHER = re.compile(r"(?:only|there (?:is|are) no versions? of) ([a-z0-9][a-z0-9-]*)")
_WANTS = re.compile(r"(?:^|\s)([a-z0-9][a-z0-9.-]*(?:\[[^\]]*\])?)(?:[<>=!~]\S+)? depends? on ([a-z0-9][a-z0-9.-]*\S*)")
_REQUIREMENT = re.compile(
    r"(?P<name>[a-z0-9]+(?:[.-][a-z0-9]+)*)(?:\[[^\]]*\])?(?P<specifier>(?:[<>=!~]+[A-Za-z0-9.*+!]+,?)*)(?<!,)"
)
_HINT = "make the two agree; or remove the conda package, and those that depend on it, to take it from PyPI"
HINT_OF_BASE = "choose a version that works with the base, or extend another environment: a base never changes"


def contradicted(request: Request, text: str) -> tuple[Provided, ...]:
    """What conda provides in a version that uv's text rejects."""
    named = set(_NO_OTHER.findall(text))
    return tuple(each for each in request.provided if each.name in named)


def explain_contradiction(
    request: Request, text: str, contradicted: Iterable[Provided], reason: tuple[str, ...], roots: tuple[str, ...]
) -> ConflictWithConda:
    """The error of requirements that have no solution with conda's versions.

    `text` is uv's own, `reason` what is shown of it, and `roots` the PyPI requirements that take part.
    """
    contradicted = tuple(contradicted)
    limited = {limit.name for limit in request.requirements.constraints} & {each.name for each in contradicted}
    sides = [f"{_wanted(request, text, each)}, but {_shown(each)}" for each in contradicted]
    lines = [] if limited else [_as_provided(line, contradicted) for line in reason]
    return _conflict(request, contradicted, sides, lines, roots)


def contested(request: Request, found: Iterable[Provided]) -> ConflictWithConda:
    """The error of PyPI requirements that would replace what conda provides."""
    found = tuple(found)
    urls = {root.name: root.url for root in request.requirements.roots() if root.url}
    sides = [
        f"{each.name} is required from {'a direct URL' if each.name in urls else 'PyPI'}, but {_shown(each)}"
        for each in found
    ]
    return _conflict(request, found, sides, (), tuple(each.name for each in found if each.name in urls))


def refuse_hashes(request: Request) -> None:
    """Refuse hashes of what conda provides, which has no file of PyPI. Raises ConflictWithConda."""
    hashed = {name for name, _ in request.requirements.hashes}
    found = tuple(each for each in request.provided if each.name in hashed and each.package)
    if found:
        sides = [f"{each.name} is required with hashes, but {_shown(each)}" for each in found]
        raise _conflict(request, found, sides, (), tuple(f"hash:{each.name}" for each in found))


def _conflict(
    request: Request, found: Iterable[Provided], sides: Iterable[str], reason: Iterable[str], roots: tuple[str, ...]
) -> ConflictWithConda:
    found = tuple(found)
    of_base = any(each.base for each in found)
    return (ConflictWithBase if of_base else ConflictWithConda)(
        request.name,
        request.arch,
        "; ".join(sides),
        details=tuple(reason),
        hint=HINT_OF_BASE if of_base else _HINT,
        packages=_requirement_keys(found, roots),
    )


def extras_unknown(request: Request, wanted: Iterable[tuple[str, str]]) -> ExtraOfCondaPackage | None:
    """The error of extras, `(package, extra)`, of conda's packages whose own requirements are unknown."""
    unknown = {each.name: each for each in request.provided if each.extras is None}
    asked = [(unknown[name], extra) for name, extra in wanted if name in unknown]
    if not asked:
        return None
    texts = ", ".join(f"{each.name}[{extra}]" for each, extra in asked)
    error = ExtraOfCondaPackage(
        request.name,
        request.arch,
        f"{texts} is required from PyPI, but {', '.join(dict.fromkeys(_shown(each) for each, _ in asked))}",
        details=("envlock cannot read the metadata of that package, so the packages of the extra are unknown",),
        hint=f"list the packages of the extra yourself, and `{asked[0][0].name}` without it",
        packages=_requirement_keys((each for each, _ in asked), tuple(each.name for each, _ in asked)),
    )
    error.wanted = tuple(dict.fromkeys(each.name for each, _ in asked))
    return error


def _wanted(request: Request, text: str, provided: Provided) -> str:
    """Who wants another version than the provided one, and which, as far as uv's text says."""
    # The constraints first: uv's text has them as what those require who need the package.
    limits = [("a constraint", each) for each in request.requirements.constraints]
    limits += [("an override", each) for each in request.requirements.overrides]
    asked = [
        (f"{kind} is {limit.name}{limit.specifier}", limit.specifier)
        for kind, limit in limits
        if limit.name == provided.name
    ]
    asked += [
        (f"{root.name}{root.specifier} is required from PyPI", root.specifier)
        for root in request.requirements.roots()
        if root.name == provided.name
    ]
    for who, what in _WANTS.findall(" ".join(text.split())):
        match = _REQUIREMENT.match(what)
        if match is not None and match["name"] == provided.name:
            asked.append((f"{who} requires {match[0]}", match["specifier"]))
    refusing = [sentence for sentence, specifier in asked if not _allows(specifier, provided.version)]
    return next(iter(refusing), f"PyPI packages require another version of {provided.name}")


def _as_provided(line: str, provided: Iterable[Provided]) -> str:
    """A sentence of uv, about what is already there instead of what is published."""
    for each in provided:
        name = rf"{re.escape(each.name)}(?![\w.-]*[\w-])[^\s:]*"
        line = re.sub(rf"there (?:is|are) no versions? of {name}|only {name} is available", _shown(each), line)
    return line


def _allows(specifier: str, version: str) -> bool:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        return SpecifierSet(specifier).contains(version, prereleases=True)
    except InvalidSpecifier:
        return True


def _shown(provided: Provided) -> str:
    """The provider, and its conda package: `conda provides torch 2.5.1 (conda package pytorch 2.5.1)`."""
    package = f" (conda package {provided.package})" if provided.package else ""
    who = f"`{provided.base}` has" if provided.base else "conda provides"
    return f"{who} {provided.name} {provided.version}{package}"


def _requirement_keys(provided: Iterable[Provided], roots: tuple[str, ...]) -> tuple[str, ...]:
    """The lines of envlock.toml to point at: PyPI's side, then conda's."""
    packages = ("named_env" if each.base else f"conda:{each.package.partition(' ')[0]}" for each in provided)
    return tuple(dict.fromkeys((*roots, *packages)))
