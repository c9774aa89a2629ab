"""`import`: the same packages with the same hashes as in the lock of another tool, completed, compared and written."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from envlock.conda.channels import channel_base
from envlock.config.read import load_project
from envlock.errors import EnvlockError
from envlock.lockfile.folder import lock_files, read_lock
from envlock.model.arch import Arch
from envlock.model.lock import LockedPackage
from envlock.workflow.check import check
from envlock.workflow.export import export_environment
from envlock.workflow.import_locks import ImportResult, Wanted, differences, import_lock
from envlock.workflow.lock import lock
from envlock.workflow.locking.jobs import Upgrade
from tests.build.repositories import commit, git, served
from tests.build.sources import write_project
from tests.channel import Channel, data_package
from tests.index import Index, Release
from tests.interchange.sources import ARCHS, exported, packages_of, write_pixi_lock, write_uv_project
from tests.support import ProjectFolder
from tests.workflow.recording import Recorder


def imported(project: ProjectFolder, file: Path, **wanted: object) -> ImportResult:
    return import_lock(project.config, Wanted(file, **wanted))  # type: ignore[arg-type]


def code_of(project: ProjectFolder, file: Path, **wanted: object) -> str:
    with pytest.raises(EnvlockError) as caught:
        imported(project, file, **wanted)
    return caught.value.code


def is_fresh(project: ProjectFolder) -> bool:
    return not check(load_project(project.config)).findings


def explicit(folder: Path, channel: Channel, *, algorithm: str = "md5", more: str = "") -> Path:
    """An `@EXPLICIT` file for linux-64."""
    lines = [
        f"{each.url}#{each.conda.md5 if algorithm == 'md5' else 'sha256:' + each.sha256}"
        for each in packages_of(channel)["linux-64"]
        if each.conda
    ]
    path = folder / "explicit.txt"
    path.write_text("\n".join(["@EXPLICIT", *lines, *([more] if more else [])]) + "\n")
    return path


def test_an_imported_environment_is_fresh_at_once_and_lock_changes_nothing(
    channel: Channel, conda_project: ProjectFolder, conda_lock_yml: Path
) -> None:
    result = imported(conda_project, conda_lock_yml)
    assert (result.is_new, result.kind) == (True, "conda-lock")
    assert is_fresh(conda_project)
    for found, path in result.locks:
        assert not differences(packages_of(channel)[found.arch], read_lock(path).packages)
    before = {path: path.read_bytes() for path in lock_files(conda_project.lock_folder)}
    assert not lock(load_project(conda_project.config)).changed
    assert {path: path.read_bytes() for path in lock_files(conda_project.lock_folder)} == before


def test_what_nothing_else_needs_is_required_as_it_is_locked(
    channel: Channel, conda_project: ProjectFolder, pixi_lock: Path
) -> None:
    (environment,) = imported(conda_project, pixi_lock).project.named
    texts = [str(each) for each in environment.requirements.conda]
    assert "upper ==2.0" in texts
    assert "speak ==1.1" in texts
    assert not [text for text in texts if text.startswith(("lower", "python "))]


def test_what_only_some_archs_have_is_required_there(
    channel: Channel, conda_project: ProjectFolder, tmp_path: Path
) -> None:
    packages = packages_of(channel)
    packages["linux-64"] = packages_of(channel, "linux-64/scarce-1.0-*")["linux-64"]
    result = imported(conda_project, write_pixi_lock(tmp_path / "pixi.lock", packages))
    (environment,) = result.project.named
    assert "scarce ==1.0 ; linux-64" in [str(each) for each in environment.requirements.conda]
    assert is_fresh(conda_project)
    assert not lock(load_project(conda_project.config)).changed


def test_upgrading_one_package_afterwards_moves_only_that(
    channel: Channel, conda_project: ProjectFolder, tmp_path: Path
) -> None:
    old = {
        arch: tuple(
            replace(each, version="1.1", filename="lower-1.1-0.conda", url=each.url.replace("1.2", "1.1"))
            if each.name == "lower"
            else each
            for each in packages
        )
        for arch, packages in packages_of(channel).items()
    }
    records = channel.records("lower")
    digest = next(record for path, record in records.items() if "lower-1.1" in path)
    old = {
        arch: tuple(
            replace(each, sha256=digest["sha256"], conda=replace(each.conda, md5=digest["md5"]))
            if each.name == "lower" and each.conda
            else each
            for each in packages
        )
        for arch, packages in old.items()
    }
    imported(conda_project, write_pixi_lock(tmp_path / "pixi.lock", old))
    result = lock(load_project(conda_project.config), upgrade=Upgrade(packages=frozenset({"lower"})))
    for each in result.locked:
        assert each.lock is not None
        assert each.before is not None
        assert [name.split()[0] for name in differences(each.before.packages, each.lock.packages)] == ["lower"]


def test_what_the_file_does_not_say_is_completed_by_the_channel(
    channel: Channel, conda_project: ProjectFolder, tmp_path: Path
) -> None:
    recorder = Recorder()
    result = import_lock(conda_project.config, Wanted(explicit(tmp_path, channel)), reporter=recorder)
    ((found, _),) = result.locks
    assert result.completed == len(found.packages)
    assert recorder.totals["completing"] == recorder.done["completing"] == len(found.packages)
    assert "completing" in recorder.over
    expected = {each.name: each for each in packages_of(channel)["linux-64"]}
    for package in found.packages:
        assert (package.sha256, package.size) == (expected[package.name].sha256, expected[package.name].size)
        assert package.conda is not None
        assert package.conda.noarch == expected[package.name].conda.noarch  # type: ignore[union-attr]
        assert package.dependencies == expected[package.name].dependencies


def test_what_a_channel_no_longer_lists_is_read_from_its_archive(
    make_channel: object, project: ProjectFolder, tmp_path: Path, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    own: Channel = make_channel(data_package("lonely", "1.0", depends=("lower",)), whole=True)  # type: ignore[operator]
    ((path, record),) = own.records("lonely").items()
    own.withdraw("noarch/lonely-*")  # the file stays
    monkeypatch.setenv("ENVLOCK_CHANNEL_MIRRORS", own.mirrors)
    base = packages_of(own)["linux-64"][0].conda.channel  # type: ignore[union-attr]
    file = explicit(tmp_path, own, more=f"{base}/{path}#{record['md5']}")
    ((found, _),) = imported(project, file).locks
    lonely = next(each for each in found.packages if each.name == "lonely")
    assert (lonely.sha256, lonely.size, lonely.dependencies) == (record["sha256"], record["size"], ("lower",))


def test_a_hash_that_the_channel_does_not_have_is_damage(
    channel: Channel, conda_project: ProjectFolder, tmp_path: Path
) -> None:
    for algorithm, fake in (("md5", "0" * 32), ("sha256", "0" * 64)):
        path = explicit(tmp_path, channel, algorithm=algorithm)
        lines = path.read_text().splitlines()
        separator = ":" if algorithm == "sha256" else "#"
        path.write_text("\n".join([*lines[:-1], lines[-1].rpartition(separator)[0] + separator + fake]))
        assert code_of(conda_project, path) == "import-hash-mismatch"
    assert not conda_project.config.exists()
    assert not conda_project.lock_folder.exists()


def test_what_no_channel_has_is_refused_by_name(channel: Channel, conda_project: ProjectFolder, tmp_path: Path) -> None:
    base = packages_of(channel)["linux-64"][0].conda.channel  # type: ignore[union-attr]
    file = explicit(tmp_path, channel, more=f"{base}/noarch/nowhere-1.0-0.conda#{'0' * 32}")
    with pytest.raises(EnvlockError) as caught:
        imported(conda_project, file)
    assert "nowhere-1.0-0.conda" in caught.value.render()
    assert not conda_project.config.exists()


def test_an_environment_that_exists_is_replaced_only_by_force(
    channel: Channel, conda_project: ProjectFolder, pixi_lock: Path, tmp_path: Path
) -> None:
    imported(conda_project, pixi_lock)
    text = conda_project.config.read_text().replace("[env.base.conda]", "# mine\n[env.base.conda]")
    conda_project.config.write_text(f"# ours\n{text}")
    assert code_of(conda_project, pixi_lock) == "environment-exists"
    other = write_pixi_lock(
        tmp_path / "other.lock",
        {arch: [each for each in packages if each.name != "speak"] for arch, packages in packages_of(channel).items()},
    )
    run = imported(conda_project, other, is_forced=True)
    assert [note for note in run.notes if "speak" in note], "what is dropped is told"
    assert conda_project.config.read_text().startswith("# ours\n")
    assert "speak" not in conda_project.config.read_text()
    project = load_project(conda_project.config)
    lock(project)  # which prunes what was replaced
    assert is_fresh(conda_project)


def test_nothing_is_imported_behind_a_link_that_leads_out(
    conda_project: ProjectFolder, pixi_lock: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    conda_project.lock_folder.symlink_to(tmp_path / "elsewhere")
    assert code_of(conda_project, pixi_lock) == "unwritable-lock-folder"
    assert not any((tmp_path / "elsewhere").iterdir())
    assert not conda_project.config.exists()


def test_a_dry_run_writes_nothing(channel: Channel, conda_project: ProjectFolder, pixi_lock: Path) -> None:
    result = import_lock(conda_project.config, Wanted(pixi_lock), dry_run=True)
    assert len(result.locks) == 2
    assert not conda_project.config.exists()
    assert not conda_project.lock_folder.exists()


def test_an_arch_that_the_project_locks_for_and_the_file_lacks_is_refused(
    channel: Channel, conda_project: ProjectFolder, pixi_lock: Path
) -> None:
    conda_project.write("", archs=["linux-64", "osx-64"])
    before = conda_project.config.read_text()
    assert code_of(conda_project, pixi_lock) == "import-lacks-arch"
    assert conda_project.config.read_text() == before


def test_a_floor_that_the_packages_need_is_among_the_requirements(
    channel: Channel, conda_project: ProjectFolder, tmp_path: Path
) -> None:
    packages = {"linux-64": packages_of(channel, "linux-64/modern-2.0-*")["linux-64"]}
    result = imported(conda_project, write_pixi_lock(tmp_path / "pixi.lock", packages))
    (environment,) = result.project.named
    assert (Arch("linux-64"), "__glibc", "2.36") in environment.requirements.system
    assert is_fresh(conda_project)


# PyPI packages.


class File(NamedTuple):
    name: str
    url: str
    sha256: str


def wheels(index: Index, name: str, version: str) -> list[File]:
    """The wheels of a release."""
    files = [each for each in index.filenames(name) if each.startswith(f"{name}-{version}-")]
    return [File(each, index.file_url(each), index.artifact(each).sha256) for each in files]


def poetry_lock(folder: Path, index: Index, *, digest: str = "", version: str = "1.1") -> Path:
    """A poetry.lock of `alpha`, whose file has the hash that the index has, or this one."""
    (file,) = wheels(index, "alpha", version)
    path = folder / "poetry.lock"
    path.write_text(
        f'[[package]]\nname = "alpha"\nversion = "{version}"\noptional = false\npython-versions = "*"\n'
        f'groups = ["main"]\nfiles = [{{file = "{file.name}", hash = "sha256:{digest or file.sha256}"}}]\n\n'
        f'[metadata]\nlock-version = "2.1"\npython-versions = ">=3.10"\ncontent-hash = "{"0" * 64}"\n'
    )
    return path


def test_an_imported_uv_lock_is_what_envlock_itself_would_lock(project: ProjectFolder, uv_lock: Path) -> None:
    project.write("", archs=["linux-64", "osx-arm64"])
    result = imported(project, uv_lock, python="3.12", groups=("train",))
    assert is_fresh(project)
    assert not lock(load_project(project.config)).changed
    project.config.write_text(project.config.read_text().replace("[env.base.", "[env.other."))
    own = lock(load_project(project.config), upgrade=Upgrade(everything=True))
    assert {each.arch: each.lock.full_id for each in own.locked if each.lock} == {
        each.arch: each.full_id for each, _ in result.locks
    }


def test_the_overrides_of_a_uv_lock_are_imported_with_it(project: ProjectFolder, index: Index, tmp_path: Path) -> None:
    settings = 'override-dependencies = ["alpha>=2", "beta<2"]\nexclude-dependencies = ["lam"]\n'
    path = uv_lock_of(tmp_path / "uv", index, "theta>=2", settings=settings)
    project.write("", archs=["linux-64"])
    (found, _), *_ = imported(project, path, python="3.12").locks
    assert {each.name: each.version for each in found.packages} == {"theta": "2.0", "alpha": "2.0", "beta": "1.5"}
    assert list(map(str, found.requirements.overrides)) == ["alpha>=2", "beta<2", "lam ; python_version < '0'"]
    assert is_fresh(project)
    assert not lock(load_project(project.config)).changed


def test_a_new_project_gets_the_index_of_the_lock_as_its_default(project: ProjectFolder, uv_lock: Path) -> None:
    result = imported(project, uv_lock, python="3.12")
    assert result.project.settings.index_url == project.index_url
    assert is_fresh(project)


def test_the_url_of_a_file_is_looked_up_at_its_index(
    project: ProjectFolder, index: Index, uv_lock: Path, tmp_path: Path
) -> None:
    project.write("", archs=["linux-64", "osx-arm64"])
    expected = {package.name: package for package in imported(project, uv_lock, python="3.12").locks[0][0].packages}
    result = imported(project, poetry_lock(tmp_path, index), name="poetry", python="3.12")
    for found, _ in result.locks:
        (alpha,) = found.packages
        assert replace(alpha, dependencies=()) == expected["alpha"]
    assert result.completed == 1
    assert is_fresh(project)


def test_a_requirements_txt_gets_the_best_files_that_its_hashes_allow(project: ProjectFolder, uv_lock: Path) -> None:
    project.write("", archs=["linux-64", "osx-arm64"])
    expected = imported(project, uv_lock, python="3.12")
    found = imported(project, exported(uv_lock, "requirements.txt", "--no-dev"), name="pip", python="3.12")
    assert [each.full_id for each, _ in found.locks] == [each.full_id for each, _ in expected.locks]
    assert is_fresh(project)


def test_a_file_with_another_hash_at_its_index_is_damage(project: ProjectFolder, index: Index, tmp_path: Path) -> None:
    project.write("", archs=["linux-64"])
    assert code_of(project, poetry_lock(tmp_path, index, digest="0" * 64), python="3.12") == "import-hash-mismatch"
    path = tmp_path / "requirements.txt"
    path.write_text(f"alpha==1.1 --hash=sha256:{'0' * 64}\n")
    assert code_of(project, path, python="3.12") == "import-incomplete"
    assert not project.lock_folder.exists()


def test_credentials_that_the_project_has_are_used_and_not_locked(
    private_index: Index, project: ProjectFolder, tmp_path: Path
) -> None:
    secret = private_index.url_with("reader", "s3cr3t-t0ken")
    project.write("", settings=f'index-url = "{secret}"', archs=["linux-64"])
    ((found, path),) = imported(project, poetry_lock(tmp_path, private_index), python="3.12").locks
    assert found.packages[0].sha256
    assert "s3cr3t" not in path.read_text()


def test_locks_of_the_same_requirements_are_replaced_only_by_force(
    project: ProjectFolder, index: Index, tmp_path: Path
) -> None:
    project.write("", archs=["linux-64"])
    path = tmp_path / "requirements.txt"
    for name, is_forced, version in (("one", False, "1.0"), ("two", False, "1.5"), ("two", True, "1.5")):
        hashes = " ".join(f"--hash=sha256:{each.sha256}" for each in wheels(index, "beta", version))
        alpha = " ".join(f"--hash=sha256:{each.sha256}" for each in wheels(index, "alpha", "2.0"))
        path.write_text(f"alpha==2.0 {alpha}\nbeta=={version} {hashes}\n    # via alpha\n")
        if (name, is_forced) == ("two", False):
            assert code_of(project, path, name=name, python="3.12") == "other-locks-exist"
        else:
            imported(project, path, name=name, python="3.12", is_forced=is_forced)
    assert is_fresh(project)
    ((found,),) = [[read_lock(each) for each in lock_files(project.lock_folder)]]
    assert {(each.name, each.version) for each in found.packages} == {("alpha", "2.0"), ("beta", "1.5")}


# Both kinds, and manifests.


def test_a_mixed_conda_lock_has_its_wheels_on_top_and_what_conda_provides(
    channel: Channel, index: Index, conda_project: ProjectFolder, tmp_path: Path, conda_lock_yml: Path
) -> None:
    (file,) = wheels(index, "lam", "1.0")
    entry = (
        "- name: lam\n  version: '1.0'\n  manager: pip\n  platform: {arch}\n  dependencies: {{}}\n"
        f"  url: {file.url}\n  hash:\n    sha256: {file.sha256}\n  category: main\n  optional: false\n"
    )
    path = tmp_path / "conda-lock.yml"
    path.write_text(conda_lock_yml.read_text().rstrip() + "\n" + "".join(entry.format(arch=arch) for arch in ARCHS))
    result = imported(conda_project, path)
    assert is_fresh(conda_project)
    for found, _ in result.locks:
        assert [each.name for each in found.pypi_packages] == ["lam"]
        speak = next(each for each in found.conda_packages if each.name == "speak")
        assert speak.conda is not None
        assert speak.conda.provides == (("speak", "1.1"),)
    (environment,) = result.project.named
    assert environment.requirements.type == "mixed"
    assert [str(each) for each in environment.requirements.pypi] == ["lam==1.0"]


def test_a_manifest_of_metaflow_is_completed_by_channels_and_indexes(
    channel: Channel, index: Index, conda_project: ProjectFolder, tmp_path: Path
) -> None:
    (file,) = wheels(index, "lam", "1.0")
    packages = packages_of(channel)
    kinds = {
        arch: {
            "conda": [{"url": each.url, "path": "x"} for each in packages[arch]],
            "pypi": [{"url": file.url, "require_build": False, "path": "y"}],
        }
        for arch in ARCHS
    }
    path = tmp_path / "conda.manifest"
    path.write_text(json.dumps({"1f3a": {**kinds, "osx-64": {"conda": [{"url": "https://x.example/y"}]}}}))
    result = imported(conda_project, path)
    assert [found.arch for found, _ in result.locks] == list(ARCHS)
    for found, _ in result.locks:
        assert {each.name: each.sha256 for each in found.packages} == {
            **{each.name: each.sha256 for each in packages[found.arch]},
            "lam": file.sha256,
        }
    assert is_fresh(conda_project)


def netflix_manifest(folder: Path, channel: Channel, *, version: int = 1) -> Path:
    environments = {
        arch: {
            "1" * 40: {
                "2" * 40: {
                    "packages": [
                        {
                            "_type": "CondaPackageSpecification",
                            "filename": each.filename,
                            "url": each.url,
                            "url_format": ".conda",
                            "hashes": {".conda": each.conda.md5},
                        }
                        for each in packages
                        if each.conda
                    ]
                },
                "_default": "2" * 40,
            }
        }
        for arch, packages in packages_of(channel).items()
    }
    path = folder / "conda_v2.cnd"
    aliases = {"team/env/v1": ["1" * 40, "2" * 40]}
    path.write_text(json.dumps({"version": version, "aliases": aliases, "environments": environments}))
    return path


def test_a_manifest_of_the_extension_is_taken_over_by_alias_or_ids(
    channel: Channel, conda_project: ProjectFolder, tmp_path: Path
) -> None:
    path = netflix_manifest(tmp_path, channel)
    results = [
        imported(conda_project, path, environment=each, name=f"env{number}")
        for number, each in enumerate(("", "team/env:v1", "2222", f"{'1' * 40}:{'2' * 40}"))
    ]
    for result in results:
        for found, _ in result.locks:
            assert not differences(packages_of(channel)[found.arch], found.packages)
    assert is_fresh(conda_project)
    assert code_of(conda_project, path, environment="team/env:v2", name="other") == "unknown-import-choice"
    newer = netflix_manifest(tmp_path, channel, version=2)
    assert code_of(conda_project, newer, name="other") == "unknown-lock-version"


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"a": 1}', '{"version": 1, "environments": []}', '{"a": {"linux-64": {"conda": [{}]}}}']
)
def test_a_broken_manifest_is_told(project: ProjectFolder, tmp_path: Path, text: str) -> None:
    path = tmp_path / "conda.manifest"
    path.write_text(text)
    assert code_of(project, path) in {"broken-import", "unknown-lock-format"}


# What no lock may hold.


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("noarch/lower-1.2-0.conda", "noarch/..%2Flower-1.2-0.conda"),
        ("noarch/lower-1.2-0.conda", "noarch/other-1.2-0.conda"),
        ("CHANNEL/noarch/lower", "file:///etc/noarch/lower"),
        ("CHANNEL/noarch/lower", "ftp://conda.example/noarch/lower"),
    ],
)
def test_a_hostile_value_is_refused_and_nothing_written(
    conda_project: ProjectFolder, pixi_lock: Path, tmp_path: Path, old: str, new: str
) -> None:
    path = tmp_path / "pixi.lock"
    host = channel_base("conda-forge")
    path.write_text(pixi_lock.read_text().replace(old.replace("CHANNEL", host), new))
    assert path.read_text() != pixi_lock.read_text()
    with pytest.raises(EnvlockError) as caught:
        imported(conda_project, path)
    assert caught.value.exit_status in {2, 4}
    assert not conda_project.config.exists()
    assert not conda_project.lock_folder.exists()


# What has to be built.


def uv_lock_of(folder: Path, index: Index, needed: str, *, settings: str = "") -> Path:
    project = f'[project]\nname = "p"\nversion = "1"\nrequires-python = ">=3.10"\ndependencies = ["{needed}"]\n'
    return write_uv_project(folder, index.url, project=project, settings=settings)


def test_a_commit_of_a_repository_is_built_once_and_locked_with_its_source(
    project: ProjectFolder, index: Index, tmp_path: Path
) -> None:
    (tmp_path / "host").mkdir()
    write_project(tmp_path / "host" / "demo")
    git(tmp_path / "host" / "demo", "init", "--quiet", "--initial-branch", "main")
    made = commit(tmp_path / "host" / "demo")
    with served(tmp_path / "host") as host:
        url = f"{host.url}/demo"
        metadata = '[[tool.uv.dependency-metadata]]\nname = "demo"\nversion = "1.0"\nrequires-dist = []\n'
        path = uv_lock_of(tmp_path / "uv", index, f"demo @ git+{url}@main", settings=metadata)
        project.write("", archs=["linux-64", "osx-arm64"])
        result = imported(project, path, python="{}.{}".format(*sys.version_info))
        for found, place in result.locks:
            (package,) = read_lock(place).packages
            assert package == found.packages[0]
            assert (package.filename, package.version, package.url) == ("demo-1.0-py3-none-any.whl", "1.0", "")
            assert package.source is not None
            assert (package.source.kind, package.source.url, package.source.commit) == ("git", url, made)
        (environment,) = result.project.named
        assert [str(each) for each in environment.requirements.pypi] == [f"demo @ git+{url}@main"]
        assert is_fresh(project)
        assert not lock(load_project(project.config)).changed


def test_a_folder_of_a_monorepo_is_built_and_named_by_its_path(project: ProjectFolder, index: Index) -> None:
    write_project(project.folder / "libs" / "demo")
    path = uv_lock_of(
        project.folder,
        index,
        "demo",
        settings='sources = { demo = { path = "libs/demo", editable = true } }\n'
        '[[tool.uv.dependency-metadata]]\nname = "demo"\nversion = "1.0"\nrequires-dist = []\n',
    )
    project.write("", archs=["linux-64", "osx-arm64"])
    result = imported(project, path, python="{}.{}".format(*sys.version_info))
    assert 'demo = { path = "libs/demo" }' in project.config.read_text()
    for found, _ in result.locks:
        (package,) = found.packages
        assert package.source is not None
        assert (package.source.kind, package.source.path, package.version) == ("folder", "libs/demo", "1.0")
    assert is_fresh(project)
    assert not lock(load_project(project.config)).changed
    (project.folder / "libs" / "demo" / "demo.py").write_text("X = 2\n")
    assert not is_fresh(project)


BACKEND = """
import os, zipfile

def build_wheel(wheels, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(os.path.join(wheels, "epsilon-1.0-py3-none-any.whl"), "w") as archive:
        for name, text in (
            ("epsilon.py", "X = 1"),
            ("epsilon-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: epsilon\\nVersion: 1.0\\n"),
            ("epsilon-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"),
            ("epsilon-1.0.dist-info/RECORD", ""),
        ):
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), text)
    return "epsilon-1.0-py3-none-any.whl"
"""


def test_an_sdist_is_built_where_the_project_allows_it(
    project: ProjectFolder, make_index: Callable[..., Index], tmp_path: Path
) -> None:
    index = make_index(
        Release("epsilon", "1.0", tags=(), sdist=True),
        Release("setuptools", "80.0", files={"setuptools/build_meta.py": BACKEND}),
    )
    metadata = '[[tool.uv.dependency-metadata]]\nname = "epsilon"\nversion = "1.0"\nrequires-dist = []\n'
    path = uv_lock_of(tmp_path / "uv", index, "epsilon", settings=metadata)
    settings = f'index-url = "{index.url}"\n'
    project.write("", settings=settings, archs=["linux-64"])
    with pytest.raises(EnvlockError) as caught:
        imported(project, path)
    assert caught.value.code == "import-needs-build"
    assert "epsilon" in caught.value.message
    project.write("", settings=f'{settings}build = ["epsilon"]', archs=["linux-64", "osx-arm64"])
    for found, place in imported(project, path, python="{}.{}".format(*sys.version_info)).locks:
        (package,) = read_lock(place).packages
        assert package == found.packages[0]
        assert package.is_of_index_sdist
        assert package.filename == "epsilon-1.0-py3-none-any.whl"
    assert is_fresh(project)
    assert not lock(load_project(project.config)).changed


@pytest.mark.parametrize("key", ["wheels", "archive"])
def test_a_wheel_at_a_path_is_imported_with_its_bytes(
    project: ProjectFolder, index: Index, tmp_path: Path, key: str
) -> None:
    project.write("", archs=["linux-64"])
    wheel = index.artifact("lam-1.0-py3-none-any.whl")
    (project.folder / "dist").mkdir()
    (project.folder / "dist" / wheel.filename).write_bytes(wheel.data)
    path = project.folder / "pylock.toml"

    def code_or_lock(sha256: str) -> object:
        file = f'path = "dist/{wheel.filename}", hashes = {{sha256 = "{sha256}"}}'
        found = f'wheels = [{{name = "{wheel.filename}", {file}}}]' if key == "wheels" else f"archive = {{{file}}}"
        path.write_text('lock-version = "1.0"\ncreated-by = "x"\n[[packages]]\nname = "lam"\nversion = "1.0"\n' + found)
        if sha256 != wheel.sha256:
            return code_of(project, path, python="3.12")
        return imported(project, path, python="3.12").locks[0][0].packages[0]

    assert code_or_lock("0" * 64) == "import-hash-mismatch"
    package = code_or_lock(wheel.sha256)
    assert isinstance(package, LockedPackage)
    assert package.source is not None
    assert (package.sha256, package.source.kind) == (wheel.sha256, "wheel")
    assert package.source.path == f"dist/{wheel.filename}"
    assert is_fresh(project)


@pytest.mark.parametrize("is_there", [False, True])
def test_a_kill_at_any_write_leaves_what_was_there_or_all(project: ProjectFolder, index: Index, is_there: bool) -> None:
    wheel = index.artifact("lam-1.0-py3-none-any.whl")
    (project.folder / wheel.filename).write_bytes(wheel.data)
    path = project.folder / "pylock.toml"
    path.write_text(
        'lock-version = "1.0"\ncreated-by = "x"\n[[packages]]\nname = "lam"\nversion = "1.0"\n'
        f'wheels = [{{name = "{wheel.filename}", path = "{wheel.filename}", hashes = {{sha256 = "{wheel.sha256}"}}}}]\n'
    )
    project.write("# mine\n", archs=["linux-64", "osx-arm64"])
    text = project.config.read_text()
    for number in range(20):
        shutil.rmtree(project.lock_folder, ignore_errors=True)
        project.config.write_text(text)
        if not is_there:
            project.config.unlink()
        child = os.fork()
        if not child:
            kill_at(number)
            imported(project, path, python="3.12")
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if project.config.exists() and project.config.read_text() != text:
            assert is_fresh(project)
        else:
            assert project.config.exists() == is_there
        if not status:
            break
        imported(project, path, python="3.12", is_forced=True)
        assert is_fresh(project), "what was left is in nobody's way"
    assert number >= 3, "a lock for each arch, the attributes, envlock.toml"


def kill_at(number: int) -> None:
    """End this process where it would put a file into its place for the time after `number` others."""
    left, put_at = [number], Path.replace

    def put(self: Path, target: Path) -> Path:
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        return put_at(self, target)

    Path.replace = put  # type: ignore[assignment,method-assign]


@pytest.mark.parametrize("kind", ["poetry", "pdm"])
def test_an_sdist_without_a_url_is_looked_up_in_its_index(
    project: ProjectFolder, make_index: Callable[..., Index], tmp_path: Path, kind: str
) -> None:
    index = make_index(
        Release("epsilon", "1.0", tags=(), sdist=True),
        Release("setuptools", "80.0", files={"setuptools/build_meta.py": BACKEND}),
    )
    sdist = index.artifact("epsilon-1.0.tar.gz")

    def lock_file(sha256: str) -> Path:
        path = tmp_path / f"{kind}.lock"
        files = f'files = [{{file = "{sdist.filename}", hash = "sha256:{sha256}"}}]\n'
        path.write_text(
            '[[package]]\nname = "epsilon"\nversion = "1.0"\n'
            + (
                f'optional = false\npython-versions = "*"\ngroups = ["main"]\n{files}\n[metadata]\n'
                f'lock-version = "2.1"\npython-versions = ">=3.10"\ncontent-hash = "{"0" * 64}"\n'
                if kind == "poetry"
                else f'groups = ["default"]\n{files}\n[metadata]\nlock_version = "4.5.0"\n'
                '[[metadata.targets]]\nrequires_python = ">=3.10"\n'
            )
        )
        return path

    python = "{}.{}".format(*sys.version_info)
    settings = f'index-url = "{index.url}"\n'
    project.write("", settings=settings, archs=["linux-64"])
    assert code_of(project, lock_file(sdist.sha256), python=python) == "import-needs-build"
    project.write("", settings=f'{settings}build = ["epsilon"]', archs=["linux-64"])
    assert code_of(project, lock_file("0" * 64), python=python) == "import-incomplete"
    ((found, _),) = imported(project, lock_file(sdist.sha256), python=python).locks
    (package,) = found.packages
    assert package.is_of_index_sdist
    assert package.source is not None
    assert (package.source.url, package.source.sha256) == (index.file_url(sdist.filename), sdist.sha256)
    assert is_fresh(project)
    assert not lock(load_project(project.config)).changed


def test_an_sdist_in_a_conda_lock_is_built_where_the_project_allows_it(
    channel: Channel,
    conda_project: ProjectFolder,
    make_index: Callable[..., Index],
    conda_lock_yml: Path,
    tmp_path: Path,
) -> None:
    index = make_index(
        Release("epsilon", "1.0", tags=(), sdist=True),
        Release("setuptools", "80.0", files={"setuptools/build_meta.py": BACKEND}),
    )
    sdist = index.artifact("epsilon-1.0.tar.gz")
    entry = (
        "- name: epsilon\n  version: '1.0'\n  manager: pip\n  platform: {arch}\n  dependencies: {{}}\n"
        f"  url: {index.file_url(sdist.filename)}\n  hash:\n    sha256: {sdist.sha256}\n"
        "  category: main\n  optional: false\n"
    )
    path = tmp_path / "conda-lock.yml"
    path.write_text(conda_lock_yml.read_text().rstrip() + "\n" + "".join(entry.format(arch=arch) for arch in ARCHS))
    assert code_of(conda_project, path) == "import-needs-build"
    conda_project.write("", settings=f'index-url = "{index.url}"\nbuild = ["epsilon"]', archs=ARCHS)
    for found, _ in imported(conda_project, path).locks:
        (package,) = found.pypi_packages
        assert package.source is not None
        assert (package.filename, package.source.sha256) == ("epsilon-1.0-py3-none-any.whl", sdist.sha256)
    assert is_fresh(conda_project)


# There and back.


@pytest.mark.parametrize("kind", ["conda-lock", "pixi", "explicit"])
def test_an_export_of_conda_packages_is_imported_to_the_same_packages(
    channel: Channel, conda_project: ProjectFolder, conda_lock_yml: Path, tmp_path: Path, kind: str
) -> None:
    archs = (Arch("linux-64"),) if kind == "explicit" else tuple(map(Arch, ARCHS))
    before = imported(conda_project, conda_lock_yml, archs=archs)
    out = tmp_path / "exported"
    out.write_text(export_environment(load_project(conda_project.config), kind, archs=archs).export.text)
    after = imported(conda_project, out, name="again", is_forced=True)
    assert [found.full_id for found, _ in after.locks] == [found.full_id for found, _ in before.locks]
    assert [found.packages for found, _ in after.locks] == [found.packages for found, _ in before.locks]


@pytest.mark.parametrize("kind", ["pylock", "requirements"])
def test_an_export_of_wheels_is_imported_to_the_same_packages(
    project: ProjectFolder, uv_lock: Path, tmp_path: Path, kind: str
) -> None:
    project.write("", archs=["linux-64", "osx-arm64"])
    before = imported(project, uv_lock, python="3.12")
    out = tmp_path / "exported"
    out.write_text(export_environment(load_project(project.config), kind).export.text)
    after = imported(project, out, name="again")
    assert [found.full_id for found, _ in after.locks] == [found.full_id for found, _ in before.locks]
