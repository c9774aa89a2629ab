"""The `req_id` of metaflow-netflixext for a locked environment's requirements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import tomli

from envlock.model.conda_requirement import CondaRequirement
from envlock.model.identity import netflix_req_id
from envlock.model.lock import Lock
from envlock.model.requirement import PypiRequirement
from envlock.model.requirements import TYPES, Requirements

if TYPE_CHECKING:
    from envlock.config.project import KeyPath, Project

_OPERATORS = (">=", ">", "~=", "===", "==", "!=", "<=", "<")
"""The order in which people write the clauses of a range; envlock sorts them, and metaflow-netflixext keeps them."""

_SYSTEM = ("__glibc", "__cuda")
"""The system packages that metaflow-netflixext knows."""


class _Written(NamedTuple):
    """What metaflow-netflixext hashes and a lock does not hold: it is in envlock.toml."""

    is_step: bool = True
    """Whether it is a step's: metaflow-netflixext leaves pip's flags out of the ids of steps."""
    python: str = ""
    """As written."""
    system: Mapping[str, str] | None = None
    """Its own `sys_packages`, as written; None where they are not known."""


def netflix_id_of(lock: Lock, project: Project | None = None) -> str:
    """The `req_id` of metaflow-netflixext for a lock's requirements, as far as it can be known.

    metaflow-netflixext mixes in facts of the machine that resolves (its glibc, its pip.conf, its default Python). The
    declared and the locked ones stand here instead: the id is the same where that machine had those. What only
    envlock.toml says (how a version is written, and whether it is a step's) is taken from `project`, where that has the
    same requirements; else it is taken for a step's.
    """
    required = lock.requirements
    written = _written_in(project, required) if project is not None else _Written()
    kind = _type_of(required)
    dependencies = {
        "conda": [*_conda(required.conda, () if kind == "pypi" else required.metaflow), *_python(lock, written)],
        "npconda": _conda(required.conda_only),
        "pypi": _pypi((*required.pypi, *(required.metaflow if kind == "pypi" else ()))),
        "sys": _system_of(lock, written.system),
    }
    indexes = (*_default_index(lock), *required.indexes) if kind != "conda" else ()
    sources = {"conda": required.channels or ("conda-forge",), "pypi": indexes}
    flags = () if written.is_step else [f"--{flag}" for flag in required.pip_flags]
    return netflix_req_id(_present(dependencies), _present(sources), _present({"pypi": flags}))


def _written_in(project: Project, required: Requirements) -> _Written:
    """What the environment of a project with these requirements writes; a step's if one has them."""
    same = [each for each in project.environments() if each.requirements.req_id == required.req_id]
    if not same:
        return _Written()
    environment = same[0]
    document = tomli.loads(project.text)
    own = {name: key for name, key in environment.origins if "sys_packages" in key}
    python = environment.origin("python")
    return _Written(
        is_step=environment.is_step,
        python=_at(document, python) if python else "",
        system={name: _at(document, key) for name, key in own.items()},
    )


def _at(document: Mapping[str, Any], key: KeyPath) -> str:
    """The text at a key; empty where it is none."""
    value: Any = document
    for part in key:
        value = value.get(part) if isinstance(value, dict) else None
    return value.strip() if isinstance(value, str) else ""


def _type_of(required: Requirements) -> str:
    """Netflix's type: the requirements decide, and an environment without any is conda's.

    >>> ffmpeg = CondaRequirement("ffmpeg")
    >>> _type_of(Requirements()), _type_of(Requirements(pypi=(PypiRequirement("rich"),), conda_only=(ffmpeg,)))
    ('conda', 'pypi')
    """
    kinds = {kind for kind, packages in (("conda", required.conda), ("pypi", required.pypi)) if packages}
    kinds |= {required.base.partition(":")[0]} & {*TYPES}
    return (kinds.pop() if kinds else "conda") if len(kinds) < 2 else "mixed"


def _python(lock: Lock, written: _Written) -> list[str]:
    from packaging.utils import canonicalize_version

    required = lock.requirements
    if required.base:
        return []
    if written.python:
        return [f"python=={canonicalize_version(written.python)}"]
    return [f"python=={_range(required.python) if required.python else f'{lock.python.series}.*'}"]


def _system_of(lock: Lock, own: Mapping[str, str] | None) -> list[str]:
    """The system packages: declared ones as they are written, others with the build that they have."""
    declared = {name: version for arch, name, version in lock.requirements.system if arch == lock.arch}
    if own is None:  # nothing but `sys_packages` is known to say what driver there is
        own = {name: version for name, version in declared.items() if name == "__cuda"}
    shown = {name: own.get(name) or f"{version}=0" for name, version in {**declared, **own}.items() if name in _SYSTEM}
    return [f"{name}=={version}" for name, version in shown.items()]


def _conda(packages: Iterable[CondaRequirement], metaflow: Iterable[PypiRequirement] = ()) -> list[str]:
    """Conda packages as metaflow-netflixext holds them, with what Metaflow needs of them.

    >>> _conda([CondaRequirement("ffmpeg", channel="conda-forge"), CondaRequirement("pandas", "==1.4.0", "py310*")])
    ['conda-forge::ffmpeg', 'pandas==1.4.0=py310*']
    >>> _conda([CondaRequirement("numpy", "=1.26"), CondaRequirement("scipy", ">=1,<2")])
    ['numpy===1.26', 'scipy==>=1,<2']
    """
    merged: dict[str, list[str]] = {}
    for found in packages:
        name = f"{found.channel}::{found.name}" if found.channel else found.name
        version = found.version.removeprefix("==")
        merged.setdefault(name, []).append(f"{version or '*'}={found.build}" if found.build else version)
    for requirement in metaflow:
        merged.setdefault(requirement.name, []).append(_range(requirement.specifier))
    return [
        f"{name}=={constraint}" if (constraint := ",".join(filter(None, constraints))) else name
        for name, constraints in merged.items()
    ]


def _pypi(requirements: Iterable[PypiRequirement]) -> list[str]:
    merged: dict[str, list[str]] = {}
    for requirement in requirements:
        extras = f"[{','.join(requirement.extras)}]" if requirement.extras else ""
        name = f"{requirement.name}{extras}" + (f"@{requirement.url}" if requirement.url else "")
        merged.setdefault(name + (f";{requirement.marker}" if requirement.marker else ""), []).append(
            requirement.specifier
        )
    return [
        f"{name}=={constraint}" if (constraint := ",".join(filter(None, map(_range, specifiers)))) else name
        for name, specifiers in merged.items()
    ]


def _range(specifier: str) -> str:
    """A specifier as metaflow-netflixext holds it.

    >>> _range("==1.20.0"), _range("<2,>=1"), _range("==3.11.*")
    ('1.20', '>=1,<2', '3.11.*')
    """
    from packaging.utils import canonicalize_version

    clauses = [clause for clause in specifier.split(",") if clause]
    clauses.sort(key=lambda clause: next(n for n, operator in enumerate(_OPERATORS) if clause.startswith(operator)))
    if len(clauses) == 1 and clauses[0].startswith("==") and not clauses[0].startswith("==="):
        pin = clauses[0][2:]
        return pin if pin.endswith("*") else canonicalize_version(pin)
    return ",".join(clauses)


def _default_index(lock: Lock) -> tuple[str, ...]:
    if lock.requirements.default_index:
        return (lock.requirements.default_index,)
    required = lock.requirements
    used = {package.index for package in lock.packages if package.index} - set(required.indexes)
    return tuple(sorted(used - {root.from_index for root in required.pypi}))


def _present(groups: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    return {name: list(items) for name, items in groups.items() if items}
