"""Match specifications as conda-lock takes and gives them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from envlock.model.conda_requirement import CondaRequirement, conda_requirement

_TEXT = re.compile(r"(?:(?P<channel>[^\s\[]+)::)?(?P<name>[^\s<>=!~\[]+)(?P<rest>.*)", re.DOTALL)
_FIELD = re.compile(r"(version|build)='?([^',\]]*(?:,[^'=\]]+)*)'?")


class CannotMerge(Exception):
    """Two requirements of one package that no one specification can mean."""

    def __init__(self, name: str, texts: tuple[str, ...]) -> None:
        super().__init__(f"{name}: {texts}")
        self.name = name
        self.texts = texts


def merged(requirements: Iterable[CondaRequirement]) -> tuple[CondaRequirement, ...]:
    """One requirement for each package, which means all that are given: of two, conda-lock would heed the last.

    >>> first, second = conda_requirement("python", ">=3.11"), conda_requirement("python", "=3.12|=3.13")
    >>> str(merged([first, second])[0])
    'python >=3.11,=3.12|>=3.11,=3.13'

    Raises CannotMerge.
    """
    by_name: dict[str, list[CondaRequirement]] = {}
    for requirement in requirements:
        by_name.setdefault(requirement.name, []).append(requirement)
    return tuple(_one(name, group) for name, group in by_name.items())


def _one(name: str, group: list[CondaRequirement]) -> CondaRequirement:
    channels = {each.channel for each in group} - {""}
    builds = {each.build for each in group} - {""}
    if len(channels) > 1 or len(builds) > 1 or (len(group) > 1 and any("(" in each.version for each in group)):
        raise CannotMerge(name, tuple(map(str, group)))
    alternatives = [""]
    for version in dict.fromkeys(each.version for each in group if each.version not in {"", "*"}):
        alternatives = [f"{one},{other}".strip(",") for one in alternatives for other in version.split("|")]
    return CondaRequirement(name, "|".join(alternatives), "".join(builds), "".join(channels))


def read_back(text: str) -> CondaRequirement:
    """The requirement that a specification of conda-lock's means.

    >>> str(read_back("numpy ==1.26.4 py312*")), str(read_back("numpy 1.26.*")), str(read_back("lower"))
    ('numpy ==1.26.4 py312*', 'numpy 1.26.*', 'lower')
    >>> str(read_back("other::lower[version='>=1,<2',build='h0*']")), str(read_back("other::lower==3"))
    ('other::lower >=1,<2 h0*', 'other::lower ==3')

    Raises BadCondaRequirement.
    """
    match = _TEXT.fullmatch(text.strip())
    assert match is not None, text
    name = f"{match['channel']}::{match['name']}" if match["channel"] else match["name"]
    rest = match["rest"].strip()
    if not rest.startswith("["):
        return conda_requirement(name, rest)
    fields = dict(_FIELD.findall(rest))
    return conda_requirement(name, f"{fields.get('version', '*')} {fields.get('build', '')}".strip())
