"""The id that the reference implementation would file a locked environment's requirements under."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from envlock.model.conda_requirement import parse_conda_requirement
from envlock.model.lock import Lock
from envlock.model.netflix import netflix_req_id
from envlock.model.requirement import PypiRequirement

_OPERATORS = (">=", ">", "~=", "===", "==", "!=", "<=", "<")
"""The order in which people write the clauses of a range; envlock sorts them, and the reference keeps them."""

_SYSTEM = ("__glibc", "__cuda")
"""The virtual packages that the reference knows."""


def reference_req_id(lock: Lock) -> str:
    """The `req_id` of metaflow-netflixext for what a lock asks, as far as it can be known from the lock alone.

    The reference mixes in facts of the machine that resolves (its glibc, its pip.conf, its default Python). Here stand
    the declared ones instead: so it is the same id where that machine had what envlock.toml declares.
    """
    asked = lock.requirements
    metaflow = () if asked.type == "pypi" else asked.metaflow
    python = [f"python=={_range(asked.python)}"] if asked.python else []
    dependencies = {
        "conda": [*_conda(asked.conda, metaflow), *python],
        "npconda": _conda(asked.conda_only),
        "pypi": _pypi(asked.roots()),
        "sys": [
            f"{name}=={version}=0" for arch, name, version in asked.system if arch == lock.arch and name in _SYSTEM
        ],
    }
    sources = {"conda": asked.channels or ("conda-forge",), "pypi": (*_default_index(lock), *asked.indexes)}
    return netflix_req_id(_present(dependencies), _present(sources), _present({"pypi": asked.pip_flags}))


def _conda(texts: Iterable[str], metaflow: Iterable[PypiRequirement] = ()) -> list[str]:
    """Conda packages as the reference holds them, with what Metaflow needs of them.

    >>> _conda(["conda-forge::ffmpeg", "numpy =1.26", "pandas ==1.4.0 py310*", "scipy >=1,<2"])
    ['conda-forge::ffmpeg', 'numpy===1.26', 'pandas==1.4.0=py310*', 'scipy==>=1,<2']
    """
    merged: dict[str, list[str]] = {}
    for text in texts:
        found = parse_conda_requirement(text)
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
    used = {package.index for package in lock.packages if package.index} - set(lock.requirements.indexes)
    return tuple(sorted(used))


def _present(groups: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    return {name: list(items) for name, items in groups.items() if items}
