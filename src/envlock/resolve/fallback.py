"""Whether taking wheels only made the solver go back to an older release: then the user is told.

Everything here is asked of uv's cache, without network and without building anything: which release of a package would
be chosen on its own, with and without wheels. Packages whose version was kept from an older lock are not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from envlock.model.lock import LockedPackage
from envlock.resolve.compilation import Compilation
from envlock.resolve.explanation import culprit

_PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==(\S+)", re.MULTILINE)
_NO_WHEEL = re.compile(r"no usable wheels|no wheels with a matching|Wheels are required")


def fallback_notes(compilation: Compilation, packages: Iterable[LockedPackage]) -> tuple[str, ...]:
    """A sentence for each package that is older than it would be if packages could be built."""
    request = compilation.request
    locked = {p.name: p.version for p in packages if request.pins.get(p.name) != p.version}
    roots = {root.name: str(root) for root in request.requirements.roots() if root.name in locked and not root.url}
    direct = {root.name for root in request.requirements.roots() if root.url}
    asked = [roots.get(name, name) for name in locked if name not in direct]
    if not asked:
        return ()
    with_sources = _alone(compilation, asked, wheels_only=False)
    newer = [name for name, version in locked.items() if with_sources.get(name, version) != version]
    if not newer:
        return ()
    with_wheels = _alone(compilation, [roots.get(name, name) for name in newer], wheels_only=True)
    notes = []
    for name, version in sorted((name, locked[name]) for name in newer):
        newest, wheel = with_sources.get(name, version), with_wheels.get(name, version)
        if wheel == version and newest != version:
            notes.append(f"{name} {newest} has no usable wheel for {request.arch}; {version} was locked")
        elif name in roots and wheel != version:
            culprit = _culprit(compilation, f"{name}=={wheel}")
            if culprit is not None:
                notes.append(
                    f"{name} {wheel} needs {culprit}, which has no wheel for {request.arch}; {version} was locked"
                )
    return tuple(notes)


def _alone(compilation: Compilation, asked: Iterable[str], *, wheels_only: bool) -> dict[str, str]:
    answer = compilation.run(asked, "--no-deps", "--offline", "--no-annotate", "--quiet", wheels_only=wheels_only)
    return dict(_PINNED.findall(answer.output)) if answer.status == 0 else {}


def _culprit(compilation: Compilation, requirement: str) -> str | None:
    """The package whose missing wheel rules a release out; None when something else does."""
    answer = compilation.run([requirement], "--offline", "--no-annotate", "--quiet")
    if answer.status == 0 or _NO_WHEEL.search(answer.error) is None:
        return None
    return culprit(answer.error) or "something"
