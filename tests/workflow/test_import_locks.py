"""`import`: the same packages with the same hashes as in the lock of another tool, completed, compared and written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from envlock.config.read import load_project
from envlock.errors import EnvlockError
from envlock.lockfile.folder import lock_files, read_lock
from envlock.model.arch import Arch
from envlock.workflow.check import check
from envlock.workflow.import_locks import ImportResult, Wanted, differences, import_lock
from envlock.workflow.lock import lock
from envlock.workflow.locking.jobs import Upgrade
from tests.channel import Channel, data_package
from tests.interchange.sources import packages_of, write_pixi_lock
from tests.support import ProjectFolder


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
    result = imported(conda_project, explicit(tmp_path, channel))
    ((found, _),) = result.locks
    assert result.completed == len(found.packages)
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
    imported(conda_project, other, is_forced=True)
    assert conda_project.config.read_text().startswith("# ours\n")
    assert "speak" not in conda_project.config.read_text()
    project = load_project(conda_project.config)
    lock(project)  # which prunes what was replaced
    assert is_fresh(conda_project)


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
