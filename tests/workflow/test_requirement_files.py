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


def findings(project: ProjectFolder) -> list[tuple[str, str, int | None]]:
    """What `check` finds: the verdict, the file and the line."""
    found = check(load_project(project.config)).findings
    return [(each.verdict.name.lower(), *(each.location[:2] if each.location else ("", None))) for each in found]


def places(error: EnvlockError) -> list[tuple[str, int | None]]:
    return [(at.path, at.line) for at in error.locations]


def versions(found: Lock) -> dict[str, str]:
    return {package.name: package.version for package in found.pypi_packages}


def test_a_page_of_links_is_searched_beside_the_index(project: ProjectFolder, make_index: Callable[..., Index]) -> None:
    links = make_index(html_only=True)
    found = locked(project, {"r.txt": f"--find-links {links.url}alpha/\nalpha>=2\n"})
    hosts = {package.name: package.url.split("/")[2] for package in found.pypi_packages}
    assert hosts["alpha"] == links.host
    assert hosts["beta"] in project.index_url
    assert findings(project) == []


@pytest.mark.parametrize("hashes", [("sha256",), ()])
def test_without_an_index_there_are_only_the_pages_of_links(
    project: ProjectFolder, make_index: Callable[..., Index], hashes: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file whose page has no hash for it is downloaded once, and then has one."""
    links = make_index(html_only=True, hashes=hashes, credentials=("me", "pass-word"))
    base = links.url_with("me", "${PASSWORD}")
    monkeypatch.setenv("PASSWORD", "pass-word")
    found = locked(project, {"r.txt": f"--no-index\n-f {base}alpha/\n-f {base}beta/\nalpha>=2\n"})
    assert versions(found) == {"alpha": "2.0", "beta": "2.0"}
    for package in found.pypi_packages:
        assert package.url.startswith(links.base)
        assert package.sha256 == links.artifact(package.filename).sha256
    assert "pass-word" not in project.locks[0].read_text()


def test_without_an_index_nothing_else_is_found(project: ProjectFolder, make_index: Callable[..., Index]) -> None:
    links = make_index(html_only=True)
    error = refused(project, {"r.txt": f"--no-index\n-f {links.url}alpha/\nalpha>=2\n"})
    assert error.code in {"no-solution", "no-such-package"}
    assert "beta" in error.render()


def test_a_page_of_links_that_is_not_there_is_an_error_of_its_line(project: ProjectFolder) -> None:
    error = refused(project, {"r.txt": f"alpha>=2\n-f {project.index_url}gone/\n"})
    assert error.code == "index-unreachable"
    assert places(error) == [("r.txt", 2)]


def test_a_default_index_of_a_file_replaces_the_projects(
    project: ProjectFolder, make_index: Callable[..., Index]
) -> None:
    other = make_index()
    found = locked(project, {"r.txt": f"-i {other.url}\nalpha>=2\n"}, settings='index-url = "http://127.0.0.1:1/"')
    assert all(package.url.startswith(other.base) for package in found.pypi_packages)
    assert places(refused(project, {"r.txt": f"-i {other.url}\nno-such-package\n"})) == [("r.txt", 2)]


def test_a_constraint_limits_what_is_needed_and_requires_nothing(project: ProjectFolder) -> None:
    files = {"r.txt": "-c c.txt\nalpha>=2\n", "c.txt": "beta<2\nlam==1.0\n"}
    assert versions(locked(project, files)) == {"alpha": "2.0", "beta": "1.5"}
    assert findings(project) == []
    (project.folder / "c.txt").write_text("lam==1.0\nbeta<1.5\n")
    assert findings(project) == [("stale", "c.txt", 2)]
    error = refused(project, {"c.txt": "beta<9\nbeta>=99\n"} | {"r.txt": "-c c.txt\nalpha>=2\n"})
    assert error.code == "no-solution"
    assert ("c.txt", 2) in places(error)


def test_the_file_that_is_locked_has_one_of_the_hashes(project: ProjectFolder, index: Index) -> None:
    names = [name for name in index.filenames("kappa") if "1.0" in name]
    hashes = {name: index.artifact(name).sha256 for name in names}
    (wanted,) = [name for name in names if "x86_64" in name and "manylinux" in name]
    listed = " ".join(f"--hash=sha256:{sha256}" for sha256 in hashes.values())
    found = locked(project, {"r.txt": f"kappa==1.0 {listed}\n"})
    assert found.pypi_packages[0].filename == wanted
    assert findings(project) == []
    other = "0" * 64
    error = refused(project, {"r.txt": f"# ours\nkappa==1.0 \\\n  --hash=sha256:{other}\n"})
    assert error.code == "no-required-hash"
    assert places(error) == [("r.txt", 2)]
    assert other in error.details[0]
    assert hashes[wanted] in error.details[1]
    assert findings(project) == [("stale", "r.txt", 2)]


def test_drift_of_an_included_file_names_that_file_and_line(project: ProjectFolder) -> None:
    locked(project, {"r.txt": "-r base.txt\n", "base.txt": "# ours\nalpha<2\n"})
    (project.folder / "base.txt").write_text("# ours\n\nalpha>=2\n")
    assert findings(project) == [("stale", "base.txt", 3)]
    (project.folder / "base.txt").write_text("alpha <2 # as before\n")
    assert findings(project) == []


@pytest.mark.parametrize("option", ["-i", "--extra-index-url", "--find-links"])
def test_drift_of_an_index_names_its_line(project: ProjectFolder, option: str) -> None:
    locked(project, {"r.txt": "lam\n"})
    (project.folder / "r.txt").write_text(f"lam\n{option} https://index.example/simple\n")
    assert findings(project) == [("stale", "r.txt", 2)]


def test_a_file_means_what_the_tables_mean(project: ProjectFolder) -> None:
    """Nothing of the file's name, bytes, order or comments is in the id."""
    write(project, {"r.txt": "lam # x\nalpha >= 2\npython==3.12\n"})
    of_file = load_project(project.config).named[0].requirements
    project.write_env("lam", "alpha>=2", archs=ARCHS)
    assert load_project(project.config).named[0].requirements.req_id == of_file.req_id
