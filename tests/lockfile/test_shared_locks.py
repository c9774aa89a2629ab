"""Environments that ask for the same thing share a lock; one that changes is explained by the lock it leaves."""

from __future__ import annotations

from tests.conftest import Envlock, ProjectFolder


def shared(project: ProjectFolder, *, start: str, end: str) -> None:
    """A flow of two steps, each with its own version of alpha."""
    file = project.write_flow(steps=("start", "end"))
    tables = [f'[flow.DemoFlow]\nfile = "{file.name}"\npypi = {{ python = "3.12" }}']
    tables += [
        f'[flow.DemoFlow.step.{step}]\npypi = {{ packages = {{ alpha = "{version}" }} }}'
        for step, version in (("start", start), ("end", end))
    ]
    project.write("\n".join(tables), archs=["linux-64"])


def test_a_step_that_leaves_a_shared_lock_is_stale_and_not_never_locked(
    project: ProjectFolder, envlock: Envlock
) -> None:
    shared(project, start=">=1", end=">=1")
    envlock("lock")
    assert len(project.locks) == 1
    shared(project, start=">=1", end="<2")
    (finding,) = envlock("check", "--json", check=1).json["findings"]
    assert finding["environment"] == "DemoFlow/end"
    assert finding["verdict"] == "stale"
    assert finding["reasons"] == ["alpha<2, locked: alpha 2.0"]


def test_the_shared_lock_stays_for_the_step_that_still_needs_it(project: ProjectFolder, envlock: Envlock) -> None:
    shared(project, start=">=1", end=">=1")
    envlock("lock")
    (before,) = project.locks
    shared(project, start=">=1", end="<2")
    envlock("lock")
    assert before in project.locks
    assert len(project.locks) == 2
    envlock("check")
