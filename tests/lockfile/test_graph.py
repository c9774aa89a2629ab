"""Why each package of a lock is there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from envlock.lockfile.graph import FOR_METAFLOW, REQUIRED, UNNEEDED, graph_of, reachable, reasons_of
from envlock.lockfile.rows import verified_rows
from envlock.model.lock import LockedPackage
from envlock.model.requirement import parse_requirement
from envlock.model.requirements import requirements_from
from tests.lockfile.conda_locks import MIXED, WHEEL, conda_package
from tests.support import conda_requirements

LOCKS = sorted((Path(__file__).parent.parent / "formats").glob("v*/**/*.toml"))


def wheel(name: str, *dependencies: str) -> LockedPackage:
    return replace(WHEEL, name=name, dependencies=dependencies)


def test_of_a_mixed_lock() -> None:
    requests = conda_package("requests", "2.32.3", "0", depends=("tool",), dependencies=("tool",))
    found = reasons_of(replace(MIXED, packages=(*MIXED.conda_packages, requests, wheel("demo", "tool"), wheel("tool"))))
    assert found["conda", "numpy"] == (REQUIRED,)
    assert found["conda", "libzlib"] == ("numpy", "python")
    assert found["conda", "python"] == (REQUIRED, "numpy")
    assert found["conda", "requests"] == (FOR_METAFLOW,)
    assert found["conda", "tool"] == (REQUIRED, "requests")
    assert found["pypi", "tool"] == ("demo",), "a wheel is no conda package of that name"
    assert found["conda", "_openmp_mutex"] == ()


def test_what_metaflow_needs_are_wheels_where_no_conda_package_is_required() -> None:
    asked = MIXED.requirements._replace(conda=(), pypi=(parse_requirement("demo"),))
    packages = (*MIXED.conda_packages, wheel("demo", "requests"), wheel("requests"))
    found = reasons_of(replace(MIXED, requirements=asked, packages=packages))
    assert found["pypi", "requests"] == (FOR_METAFLOW, "demo")
    assert found["pypi", "demo"] == (REQUIRED,)


def test_the_python_that_is_required_by_its_build_is_required_once() -> None:
    asked = MIXED.requirements._replace(conda=conda_requirements("python 3.13.* *_cp313"))
    assert reasons_of(replace(MIXED, requirements=asked))["conda", "python"] == (REQUIRED, "numpy")


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_package_of_the_locks_of_each_format_is_reached(path: Path) -> None:
    rows = verified_rows(path.read_bytes(), path.name)
    graph = graph_of(rows.arch, rows.packages, requirements_from(rows.requirements))
    edges = {"/".join(node): ["/".join(each) for each in needed] for node, needed in graph.needs.items()}
    reached = reachable(edges, ["/".join(root.node) for root in graph.roots])
    assert reached >= {f"{package.kind}/{package.name}" for package in rows.packages}
    assert {root.node[1] for root in graph.roots if root.why == UNNEEDED} <= {"_openmp_mutex", "plain", "tool"}
