"""What requirement files mean for `lock` and `check`: constraints, hashes, pages of links, indexes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from envlock.config.read import load_project
from envlock.errors import EnvlockError
from envlock.lockfile.folder import read_lock
from envlock.model.lock import Lock
from envlock.workflow.check import check
from envlock.workflow.lock import lock
from tests.index import Index
from tests.support import ProjectFolder

ARCHS = ["linux-64"]


def locked(project: ProjectFolder, files: Mapping[str, str], *, more: str = "", settings: str = "") -> Lock:
    """The lock of an environment that r.txt, one of the files, asks for."""
    write(project, files, more=more, settings=settings)
    (result,) = lock(load_project(project.config)).locked
    return read_lock(result.path)


def write(project: ProjectFolder, files: Mapping[str, str], *, more: str = "", settings: str = "") -> None:
    project.write(f'[env.base]\nrequirements = "r.txt"\n{more}', settings=settings, archs=ARCHS)
    for name, text in files.items():
        (project.folder / name).write_text(text)


def refused(project: ProjectFolder, files: Mapping[str, str], **options: str) -> EnvlockError:
    with pytest.raises(EnvlockError) as caught:
        locked(project, files, **options)
    return caught.value


def versions(found: Lock) -> dict[str, str]:
    return {package.name: package.version for package in found.pypi_packages}


def test_a_page_of_links_is_searched_beside_the_index(
    project: ProjectFolder, make_index: Callable[..., Index]
) -> None:
    links = make_index(html_only=True)
    found = locked(project, {"r.txt": f"--find-links {links.url}alpha/\nalpha>=2\n"})
    print(found)
    assert 0


def test_a_page_of_links_no_index(
    project: ProjectFolder, make_index: Callable[..., Index]
) -> None:
    links = make_index(html_only=True)
    found = locked(project, {"r.txt": f"--no-index\n--find-links {links.url}alpha/\n-f {links.url}beta/\nalpha>=2\n"})
    print(found)
    assert 0


def test_a_page_of_links_no_hash(
    project: ProjectFolder, make_index: Callable[..., Index]
) -> None:
    links = make_index(html_only=True, hashes=())
    found = locked(project, {"r.txt": f"--no-index\n--find-links {links.url}alpha/\n-f {links.url}beta/\nalpha>=2\n"})
    print(found)
    assert 0


def test_a_page_of_links_creds(
    project: ProjectFolder, make_index: Callable[..., Index]
) -> None:
    links = make_index(html_only=True, credentials=("me", "pw"))
    u=links.url_with("me", "pw")
    found = locked(project, {"r.txt": f"--no-index\n--find-links {u}alpha/\n-f {u}beta/\nalpha>=2\n"})
    print(found)
    assert 0


def test_a_page_of_links_missing(
    project: ProjectFolder, make_index: Callable[..., Index]
) -> None:
    links = make_index(html_only=True)
    u=links.url
    found = locked(project, {"r.txt": f"--find-links {u}nix/\nalpha>=2\n"})
    print(found)
    assert 0
