"""The id that the reference implementation would file a locked environment's requirements under."""

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
"""The order in which people write the clauses of a range; envlock sorts them, and the reference keeps them."""

_SYSTEM = ("__glibc", "__cuda")
"""The virtual packages that the reference knows."""


class _Asked(NamedTuple):
    """What the reference hashes and a lock does not say: it is in envlock.toml."""

    is_step: bool = True
    """Whether a step asks: the reference leaves pip's flags out of the ids of steps."""
    python: str = ""
    """As written."""
    system: Mapping[str, str] | None = None
    """What its own `sys_packages` say, as written; None where that is not known."""


def reference_req_id(lock: Lock, project: Project | None = None) -> str:
    """The `req_id` of metaflow-netflixext for what a lock asks, as far as it can be known.

    The reference mixes in facts of the machine that resolves (its glibc, its pip.conf, its default Python). Here stand
    the declared and the locked ones instead: so it is the same id where that machine had those. What only envlock.toml
    says (which way a version is written, and whether a step asks) is taken from `project`, where that asks for the
    same; else a step is assumed to ask.
    """
    asked = lock.requirements
    said = _said(project, asked) if project is not None else _Asked()
    kind = _type_of(asked)
    dependencies = {
        "conda": [*_conda(asked.conda, () if kind == "pypi" else asked.metaflow), *_python(lock, said)],
        "npconda": _conda(asked.conda_only),
        "pypi": _pypi((*asked.pypi, *(asked.metaflow if kind == "pypi" else ()))),
        "sys": _system_of(lock, said.system),
    }
    indexes = (*_default_index(lock), *asked.indexes) if kind != "conda" else ()
    sources = {"conda": asked.channels or ("conda-forge",), "pypi": indexes}
    flags = () if said.is_step else [f"--{flag}" for flag in asked.pip_flags]
    return netflix_req_id(_present(dependencies), _present(sources), _present({"pypi": flags}))


def _said(project: Project, asked: Requirements) -> _Asked:
    """What the environment of a project that asks for the same says; a step's where one does."""
    steps = [step.environment for flow in project.flows for step in flow.steps]
    same = [each for each in (*steps, *project.named) if each and each.requirements.req_id == asked.req_id]
    if not same:
        return _Asked()
    environment = same[0]
    document = tomli.loads(project.text)
    own = {name: key for name, key in environment.origins if "sys_packages" in key}
    python = environment.origin("python")
    return _Asked(
        is_step=any(environment is each for each in steps),
        python=_at(document, python) if python else "",
        system={name: _at(document, key) for name, key in own.items()},
    )


def _at(document: Mapping[str, Any], key: KeyPath) -> str:
    """The text at a key; empty where it is none."""
    value: Any = document
    for part in key:
        value = value.get(part) if isinstance(value, dict) else None
    return value.strip() if isinstance(value, str) else ""


def _type_of(asked: Requirements) -> str:
    """The reference's type: what is asked decides, and an environment that asks for nothing is conda's.

    >>> ffmpeg = CondaRequirement("ffmpeg")
    >>> _type_of(Requirements()), _type_of(Requirements(pypi=(PypiRequirement("rich"),), conda_only=(ffmpeg,)))
    ('conda', 'pypi')
    """
    kinds = {kind for kind, packages in (("conda", asked.conda), ("pypi", asked.pypi)) if packages}
    kinds |= {asked.base.partition(":")[0]} & {*TYPES}
    return (kinds.pop() if kinds else "conda") if len(kinds) < 2 else "mixed"


def _python(lock: Lock, said: _Asked) -> list[str]:
    from packaging.utils import canonicalize_version

    asked = lock.requirements
    if asked.base:
        return []
    if said.python:
        return [f"python=={canonicalize_version(said.python)}"]
    return [f"python=={_range(asked.python) if asked.python else f'{lock.python.series}.*'}"]


def _system_of(lock: Lock, own: Mapping[str, str] | None) -> list[str]:
    """The virtual packages: what the user says as it is said, what comes by itself with the build that it has."""
    declared = {name: version for arch, name, version in lock.requirements.system if arch == lock.arch}
    if own is None:  # nothing but `sys_packages` is known to say what driver there is
        own = {name: version for name, version in declared.items() if name == "__cuda"}
    said = {name: own.get(name) or f"{version}=0" for name, version in {**declared, **own}.items() if name in _SYSTEM}
    return [f"{name}=={version}" for name, version in said.items()]


def _conda(packages: Iterable[CondaRequirement], metaflow: Iterable[PypiRequirement] = ()) -> list[str]:
    """Conda packages as the reference holds them, with what Metaflow needs of them.

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
    """A specifier as the reference holds it.

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
    asked = lock.requirements
    used = {package.index for package in lock.packages if package.index} - set(asked.indexes)
    return tuple(sorted(used - {root.from_index for root in asked.pypi}))


def _present(groups: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    return {name: list(items) for name, items in groups.items() if items}
