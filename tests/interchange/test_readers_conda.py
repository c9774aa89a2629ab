"""What envlock reads of conda-lock.yml, pixi.lock and `@EXPLICIT`, each written by the tool that it is of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from envlock.errors import EnvlockError
from envlock.interchange.imported import Choice, read
from envlock.model.arch import LINUX_64, OSX_ARM64, Arch
from envlock.model.lock import LockedPackage
from tests.channel import Channel
from tests.interchange.sources import packages_of, write_pixi_lock

Write = Callable[[str], Path]


def choice(**chosen: object) -> Choice:
    """A choice of somebody who has no Python to choose."""

    def none(allowed: str, archs: Sequence[Arch]) -> Mapping[Arch, object]:
        raise AssertionError("the Python is a conda package")

    return Choice(none, **chosen)  # type: ignore[arg-type]


def rows(packages: Sequence[LockedPackage]) -> list[tuple[str, ...]]:
    """What full_id hashes of packages, and their hashes."""
    return sorted(
        (
            each.kind,
            each.name,
            each.version,
            each.build,
            each.filename,
            each.sha256,
            each.conda.md5 if each.conda else "",
        )
        for each in packages
    )


def code_of(path: Path, **chosen: object) -> str:
    with pytest.raises(EnvlockError) as caught:
        read(path, choice(**chosen))
    return caught.value.code


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def one(text: str, name: str = "x.lock") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return one


def test_a_conda_lock_yml_has_its_packages_for_each_arch(channel: Channel, conda_lock_yml: Path) -> None:
    found = read(conda_lock_yml, choice())
    assert (found.kind, list(found.locks), found.python, found.channels) == (
        "conda-lock",
        [LINUX_64, OSX_ARM64],
        f"=={channel.series[0]}.*",
        ("conda-forge",),
    )
    for arch, packages in packages_of(channel).items():
        assert rows(found.locks[Arch(arch)]) == rows(packages)
    assert not found.has_conda_facts


def test_a_pixi_lock_has_its_packages_with_all_their_facts(channel: Channel, pixi_lock: Path) -> None:
    found = read(pixi_lock, choice())
    assert found.has_conda_facts
    for arch, packages in packages_of(channel).items():
        assert rows(found.locks[Arch(arch)]) == rows(packages)
        depends = {each.name: each.conda.depends for each in packages if each.conda}
        assert {each.name: each.conda.depends for each in found.locks[Arch(arch)] if each.conda} == depends


def test_only_the_archs_that_are_asked_for_are_read(conda_lock_yml: Path) -> None:
    assert list(read(conda_lock_yml, choice(archs=(OSX_ARM64,))).locks) == [OSX_ARM64]
    assert code_of(conda_lock_yml, archs=(Arch("osx-64"),)) == "import-lacks-arch"


def test_a_platform_that_envlock_does_not_know_is_named_in_a_note(
    channel: Channel, conda_lock_yml: Path, write: Write
) -> None:
    text = conda_lock_yml.read_text()
    found = read(write(text.replace("linux-64", "win-64")), choice())
    assert list(found.locks) == [OSX_ARM64]
    assert "win-64" in " ".join(found.notes)


def test_a_category_is_read_where_it_is_asked_for(conda_lock_yml: Path, write: Write) -> None:
    entries = conda_lock_yml.read_text().split("\n- name: ")
    changed = [
        each.replace("category: main", "category: dev") if each.startswith("speak") else each for each in entries
    ]
    path = write("\n- name: ".join(changed))
    plain, with_dev = read(path, choice()), read(path, choice(groups=("dev",)))
    names = {package.name for package in plain.locks[LINUX_64]}
    assert {package.name for package in with_dev.locks[LINUX_64]} - names == {"speak"}
    assert "dev" in " ".join(plain.notes)
    assert with_dev.notes == ()
    assert code_of(path, groups=("dve",)) == "unknown-import-choice"


def test_system_packages_of_a_pixi_lock_are_taken_over(channel: Channel, tmp_path: Path) -> None:
    virtual = ("__unix=0=0", "__glibc=2.34", "__cuda=12.4", "__archspec=0=x86_64_v3")
    path = write_pixi_lock(tmp_path / "pixi.lock", packages_of(channel, archs=("linux-64",)), virtual_packages=virtual)
    assert read(path, choice()).system == (
        ("linux-64", "__archspec", "x86_64_v3"),
        ("linux-64", "__cuda", "12.4"),
        ("linux-64", "__glibc", "2.34"),
    )


def test_an_environment_of_several_is_chosen_by_name(channel: Channel, tmp_path: Path) -> None:
    path = write_pixi_lock(tmp_path / "pixi.lock", packages_of(channel), environment="train")
    assert LINUX_64 in read(path, choice()).locks
    assert code_of(path, environment="tarin") == "unknown-import-choice"
    text = path.read_text()
    start, end = text.index("  train:"), text.index("\npackages:")
    several = tmp_path / "several.lock"
    several.write_text(f"{text[:end]}\n{text[start:end].replace('train:', 'test:')}{text[end:]}")
    assert code_of(several) == "import-unclear"
    found = read(several, choice(environment="test"))
    assert LINUX_64 in found.locks
    assert "train" in " ".join(found.notes)


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_an_explicit_file_has_the_urls_and_the_hashes(channel: Channel, write: Write, algorithm: str) -> None:
    packages = packages_of(channel)["linux-64"]
    hashes = {"md5": lambda each: f"#{each.conda.md5}", "sha256": lambda each: f"#sha256:{each.sha256}"}
    lines = [f"{package.url}{hashes[algorithm](package)}" for package in packages]
    path = write(
        "\n".join(
            [
                "# made by hand",
                "@EXPLICIT",
                *lines,
                "# pip demo @ https://files.example/demo-1.0-py3-none-any.whl#sha256=" + "ab" * 32,
            ]
        )
    )
    found = read(path, choice()).locks[LINUX_64]
    assert [row[:5] for row in rows(found) if row[0] == "conda"] == [row[:5] for row in rows(packages)]
    expected = [each.sha256 if algorithm == "sha256" else each.conda.md5 for each in packages if each.conda]
    got = [each.sha256 if algorithm == "sha256" else each.conda.md5 for each in found if each.conda]
    assert sorted(got) == sorted(expected)
    assert found[-1].filename == "demo-1.0-py3-none-any.whl"


def test_an_explicit_file_of_noarch_packages_alone_needs_the_arch(write: Write) -> None:
    noarch = "https://conda.example/main/noarch/python-3.12.1-0.conda#" + "ab" * 16
    path = write(f"@EXPLICIT\n{noarch}\n")
    assert code_of(path) == "import-unclear"
    assert list(read(path, choice(archs=(LINUX_64,))).locks) == [LINUX_64]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("version: 2\nmetadata:\n  a: b\npackage: []\n", "unknown-lock-version"),
        ("version: 99\nenvironments: {}\npackages: []\n", "unknown-lock-version"),
        ("version: 3\nenvironments: {}\npackages: []\n", "unknown-lock-version"),
        ("version: 1\nmetadata:\npackage:\n- name: [\n", "broken-import"),
        ("version: 7\nenvironments: [\npackages: []\n", "broken-import"),
        ("version: 1\n<<<<<<< HEAD\nmetadata:\n=======\n>>>>>>> b\npackage: []\n", "conflict-markers-in-import"),
        ("@EXPLICIT\nhttps://conda.example/x.txt#" + "ab" * 16 + "\n", "broken-import"),
        ("@EXPLICIT\nhttps://c.example/m/linux-64/a-1-0.conda#abc\n", "broken-import"),
        ("@EXPLICIT\nhttps://c.example/m/linux-64/a-1-0.conda#" + "ab" * 16 + "\n", "import-without-python"),
        ("hello\n", "unknown-lock-format"),
        ("", "unknown-lock-format"),
    ],
)
def test_what_cannot_be_imported_has_an_error_of_its_own(write: Write, text: str, code: str) -> None:
    assert code_of(write(text)) == code


def test_bytes_that_are_no_text_are_no_lock(tmp_path: Path) -> None:
    (tmp_path / "x.lock").write_bytes(b"\xff\xfe\x00")
    assert code_of(tmp_path / "x.lock") == "unknown-lock-format"


def test_a_file_without_end_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "x.lock").open("wb") as file:
        file.truncate(65 << 20)
    assert code_of(tmp_path / "x.lock") == "unreadable-import"
    assert code_of(tmp_path) == "unreadable-import"
    assert code_of(tmp_path / "nothing.lock") == "unreadable-import"


def test_credentials_in_the_urls_of_packages_are_left_out(channel: Channel, pixi_lock: Path, write: Write) -> None:
    plain = read(pixi_lock, choice())
    secret = write(pixi_lock.read_text().replace("https://conda.", "https://me:s3cret@conda."))
    found = read(secret, choice())
    assert {arch: rows(each) for arch, each in found.locks.items()} == {
        arch: rows(each) for arch, each in plain.locks.items()
    }
    assert "s3cret" not in repr(found)


@pytest.mark.parametrize(
    "chosen",
    [{"extras": ("x",)}, {"package": "x"}, {"environment": "x"}, {"python": "==3.9.*"}],
    ids=lambda each: next(iter(each)),
)
def test_a_choice_that_has_no_meaning_for_the_format_is_refused(
    conda_lock_yml: Path, chosen: dict[str, object]
) -> None:
    assert code_of(conda_lock_yml, **chosen) == "unknown-import-choice"


def test_two_files_of_one_package_are_refused(channel: Channel, write: Write) -> None:
    packages = packages_of(channel)["linux-64"]
    other = next(each for each in packages if each.name == "lower").url.replace("lower-1.2", "lower-1.1")
    lines = [*(f"{each.url}#sha256:{each.sha256}" for each in packages), f"{other}#sha256:{'0' * 64}"]
    assert code_of(write("\n".join(["@EXPLICIT", *lines]))) == "broken-import"
