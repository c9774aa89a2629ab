"""What requirement files mean for `lock` and `check`: constraints, hashes, pages of links, indexes."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

import pytest

from envlock.config.read import load_project
from envlock.errors import EnvlockError
from envlock.lockfile.folder import read_lock
from envlock.model.artifact import Artifact
from envlock.model.lock import Lock
from envlock.places import home
from envlock.workflow.artifacts import artifact_source
from envlock.workflow.check import check
from envlock.workflow.check_online import check_online
from envlock.workflow.lock import lock
from tests.channel import Channel
from tests.index import Index, Release
from tests.support import ProjectFolder
from tests.workflow.recording import Recorder

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


def write_wheel(folder: Path, name: str, version: str, *requires: str) -> None:
    folder.mkdir(exist_ok=True)
    release = Release(name, version, requires=requires)
    for each in release.artifacts():
        (folder / each.filename).write_bytes(each.data)


def test_a_page_of_links_is_searched_beside_the_index(project: ProjectFolder, make_index: Callable[..., Index]) -> None:
    links = make_index(html_only=True)
    found = locked(project, {"r.txt": f"--find-links {links.url}alpha/\nalpha>=2\n"})
    hosts = {package.name: package.url.split("/")[2] for package in found.pypi_packages}
    assert hosts["alpha"] == links.host
    assert hosts["beta"] in project.index_url
    assert findings(project) == []


def test_the_wheels_of_a_folder_are_searched_and_locked_by_their_content(project: ProjectFolder) -> None:
    write_wheel(project.folder / "wheels", "alpha", "9.0", "beta<2")
    write_wheel(project.folder / "wheels", "unused", "1.0")
    found = locked(project, {"r.txt": "# ours\n-f wheels\nalpha\n"})
    assert versions(found) == {"alpha": "9.0", "beta": "1.5"}
    alpha = found.pypi_packages[0]
    assert alpha.source is not None
    assert (alpha.source.kind, alpha.source.path, alpha.url, alpha.index) == (
        "wheel", "wheels/alpha-9.0-py3-none-any.whl", "", "",
    )  # fmt: skip
    assert alpha.sha256 == sha256((project.folder / alpha.source.path).read_bytes()).hexdigest()
    assert str(project.folder) not in project.locks[0].read_text()
    assert findings(project) == []
    shutil.rmtree(home() / "packages")  # as on another machine
    (fetched,) = (
        artifact_source(load_project(project.config), Recorder(), offline=True)
        .fetch([Artifact(alpha.filename, alpha.sha256, "", alpha.size)])
        .values()
    )
    assert sha256(fetched.read_bytes()).hexdigest() == alpha.sha256
    again = locked(project, {"r.txt": "--find-links=./wheels/\nalpha\n"})
    assert again.identity == found.identity
    table = locked(project, {"r.txt": ""}, more='pypi = { packages = { alpha = "" }, find_links = ["wheels"] }\n')
    assert table.identity == found.identity
    write(project, {"r.txt": "-f wheels\nalpha\n"})
    write_wheel(project.folder / "wheels", "alpha", "9.1")
    assert findings(project) == [("stale", "r.txt", 1)]
    (finding,) = check(load_project(project.config)).findings
    assert re.fullmatch(
        r"find-links `wheels` as it is now, locked with wheels\+sha256:[0-9a-f]{12}", finding.reasons[0]
    )
    assert versions(locked(project, {}))["alpha"] == "9.0", "what is locked stays as long as it is there"
    (project.folder / "wheels/alpha-9.0-py3-none-any.whl").unlink()
    found = locked(project, {"r.txt": "-f wheels\n--no-index\nalpha\n"})
    assert versions(found) == {"alpha": "9.1"}


def test_a_folder_without_wheels_is_an_error_of_its_line(project: ProjectFolder) -> None:
    (project.folder / "empty").mkdir()
    assert places(refused(project, {"r.txt": "alpha\n-f empty\n"})) == [("r.txt", 2), ("envlock.toml", 7)]
    error = refused(project, {"r.txt": ""}, more='pypi = { find_links = ["empty"] }\n')
    assert (error.code, len(error.locations)) == ("bad-source", 1)


def test_what_is_gone_from_a_page_of_links_is_found_online(
    project: ProjectFolder, make_index: Callable[..., Index]
) -> None:
    links = make_index(Release("alpha", "3.0"), Release("alpha", "2.5"), html_only=True)
    locked(project, {"r.txt": f"--find-links {links.url}alpha/\nalpha>=2\n"})
    loaded = load_project(project.config)
    assert check_online(loaded).findings == ()
    links.withdraw("alpha", "3.0")
    (finding,) = check_online(loaded).findings
    assert finding.verdict.name == "YANKED"
    assert f"is no longer on {links.url}alpha/" in finding.reasons[0]


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
    assert "beta<9, beta>=99" in error.details[-1]


def test_an_override_stands_in_place_of_what_is_required(project: ProjectFolder) -> None:
    table = "[env.base.pypi.overrides]\n"
    found = locked(project, {"r.txt": "theta>=2\nbeta<2\n"}, more=f'{table}Alpha = "2.0"\n')
    assert versions(found) == {"theta": "2.0", "alpha": "2.0", "beta": "1.5"}
    edges = {package.name: package.dependencies for package in found.pypi_packages}
    assert edges == {"theta": ("alpha", "beta"), "alpha": ("beta",), "beta": ()}
    assert findings(project) == []
    found = locked(project, {"r.txt": "theta>=2\n"}, more=f"{table}alpha = \"; python_version < '0'\"\n")
    assert versions(found) == {"theta": "2.0", "beta": "1.5"}
    assert findings(project) == []
    write(project, {}, more=f'{table}alpha = "==99"\n')
    ((verdict, file, line),) = findings(project)
    assert (verdict, file) == ("stale", "envlock.toml")
    assert project.config.read_text().splitlines()[(line or 0) - 1].startswith("alpha")
    error = refused(project, {}, more=f'{table}alpha = "==99"\n')
    assert error.code == "no-solution"
    assert "overrides, in place of what is required: alpha==99" in error.details


def test_an_override_and_the_one_index_of_its_package_contradict(project: ProjectFolder) -> None:
    more = """[env.base.pypi]
packages = { lam = { index = "https://index.example/simple" } }
overrides = { lam = ">=1" }
"""
    error = refused(project, {"r.txt": "alpha\n"}, more=more)
    assert (error.code, len(error.locations)) == ("disagreeing-values", 2)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("--all-releases omicron\n", "2.0rc1"),
        ("--only-final omicron\n--pre\n", "1.0"),
        ("--only-final :all:\n--all-releases omicron\n", "2.0rc1"),
        ("--all-releases alpha\n", "1.0"),
    ],
)
def test_pre_releases_are_taken_of_single_packages(project: ProjectFolder, text: str, version: str) -> None:
    assert versions(locked(project, {"r.txt": f"{text}omicron\n"})) == {"omicron": version}


def test_flags_that_contradict_each_other_are_refused(project: ProjectFolder) -> None:
    more = 'pypi = { extras = ["pre", "only-final=:all:"] }\n'
    assert refused(project, {"r.txt": "lam\n"}, more=more).code == "unknown-pip-flag"


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


# environment.yml and pyproject.toml


ENVIRONMENT = """\
name: demo
channels:
  - conda-forge
  - other
dependencies:
  - python={series}
  - upper=>=1
  - vector
  - pip:
      - lam==1.0
variables:
  MODE: quick
"""


@pytest.fixture
def conda_project(project: ProjectFolder, channel: Channel, monkeypatch: pytest.MonkeyPatch) -> ProjectFolder:
    """A project whose environment is what environment.yml says."""
    monkeypatch.setenv("ENVLOCK_CHANNEL_MIRRORS", channel.mirrors)
    project.write('[env.base]\nenvironment-yml = "environment.yml"\n', archs=ARCHS)
    (project.folder / "environment.yml").write_text(ENVIRONMENT.format(series=channel.series[0]))
    return project


def test_an_environment_yml_is_locked_from_its_channels_and_its_drift_has_a_line(conda_project: ProjectFolder) -> None:
    recorder = Recorder()
    (result,) = lock(load_project(conda_project.config), reporter=recorder).locked
    found = read_lock(result.path)
    assert {"python", "upper", "vector"} <= {package.name for package in found.conda_packages}
    assert versions(found) == {"lam": "1.0"}
    assert found.requirements.variables == (("MODE", "quick"),)
    said = [note for note in recorder.notes if note.startswith("environment.yml:")]
    assert [note.split(":")[1] for note in said] == ["1", "7"]
    assert findings(conda_project) == []
    file = conda_project.folder / "environment.yml"
    text = file.read_text()
    drifts = [
        ("upper=>=1", "upper <1", "stale", 7),
        ("lam==1.0", "lam>=2", "stale", 10),
        ("quick", "slow", "restamp", 12),
    ]
    for old, new, verdict, line in drifts:
        file.write_text(text.replace(old, new))
        assert findings(conda_project) == [(verdict, "environment.yml", line)]
    again = Recorder()
    file.write_text("# a comment\n" + text)
    lock(load_project(conda_project.config), reporter=again)
    assert again.notes == [], "what is kept is not spoken of again"


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [("upper=>=1", "upper >=99", 7), ("vector", "no-such-thing", 8), ("lam==1.0", "lam==77", 10)],
)
def test_what_no_channel_and_no_index_has_is_an_error_of_its_line(
    conda_project: ProjectFolder, old: str, new: str, line: int
) -> None:
    file = conda_project.folder / "environment.yml"
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(EnvlockError) as caught:
        lock(load_project(conda_project.config))
    assert ("environment.yml", line) in places(caught.value)


def test_a_pyproject_is_locked_with_its_groups_and_the_index_of_a_source(
    project: ProjectFolder, make_index: Callable[..., Index]
) -> None:
    other = make_index()
    project.write('[env.base]\npyproject = { file = "pyproject.toml", groups = ["test"] }\n', archs=ARCHS)
    file = project.folder / "pyproject.toml"
    text = (
        '[project]\nname = "demo"\nversion = "1"\nrequires-python = ">=3.10"\ndependencies = ["alpha>=1"]\n'
        '[dependency-groups]\ntest = ["lam"]\n[tool.uv]\nconstraint-dependencies = ["beta<2"]\n'
        f'[[tool.uv.index]]\nname = "other"\nurl = "{other.url}"\nexplicit = true\n'
        '[tool.uv.sources]\nlam = { index = "other" }\n'
    )
    file.write_text(text)
    (result,) = lock(load_project(project.config)).locked
    found = read_lock(result.path)
    assert versions(found) == {"alpha": "2.0", "beta": "1.5", "lam": "1.0"}
    hosts = {package.name: package.url.split("/")[2] for package in found.pypi_packages}
    assert hosts["lam"] == other.host
    assert hosts["alpha"] in project.index_url
    assert findings(project) == []
    file.write_text(text.replace('"lam"', '"lam>=2"'))
    assert findings(project) == [("stale", "pyproject.toml", 7)]
    with pytest.raises(EnvlockError) as caught:
        lock(load_project(project.config))
    assert ("pyproject.toml", 7) in places(caught.value)


def test_a_conda_package_of_some_archs_is_in_their_locks_alone(conda_project: ProjectFolder) -> None:
    conda_project.write('[env.base]\nenvironment-yml = "environment.yml"\n', archs=["linux-64", "osx-arm64"])
    file = conda_project.folder / "environment.yml"
    text = file.read_text().replace("vector", "vector  # [osx]")
    file.write_text(text)
    locks = {each.arch: read_lock(each.path) for each in lock(load_project(conda_project.config)).locked}
    has = {arch: "vector" in {package.name for package in found.conda_packages} for arch, found in locks.items()}
    assert has == {"linux-64": False, "osx-arm64": True}
    assert len({found.req_id for found in locks.values()}) == 1
    assert all(
        "envlock.format = 3" in path.read_text() or "format = 3" in path.read_text() for path in conda_project.locks
    )
    assert findings(conda_project) == []
    file.write_text(text.replace("# [osx]", "# [unix]"))
    assert ("stale", "environment.yml", 8) in findings(conda_project)
    file.write_text(text.replace("vector  # [osx]", "vector >=99  # [osx]"))
    with pytest.raises(EnvlockError) as caught:
        lock(load_project(conda_project.config))
    assert ("environment.yml", 8) in places(caught.value)
