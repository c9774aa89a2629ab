from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envlock.cache.errors import UnsafePath
from envlock.cache.layout import (
    EnvironmentPlace,
    checked,
    environment_at,
    environment_place,
    package_at,
    package_path,
)
from envlock.model.arch import ARCHS, LINUX_64, Arch
from envlock.model.lock import Lock, LockedPython
from envlock.model.requirements import Requirements

SHA = "ab" + "0" * 62
HEX = "0123456789abcdef"


@pytest.mark.parametrize(
    "filename",
    [
        "demo-1.0-py3-none-any.whl",
        "torch-2.1+cu118-1!0-cp312-cp312-linux_x86_64.whl",
        "cpython-3.12.4+20240726-x86_64-unknown-linux-gnu-install_only.tar.gz",
        "_libgcc_mutex-0.1-conda_forge.tar.bz2",
        "a" * 200,
    ],
)
def test_names_that_packages_have(filename: str) -> None:
    path = package_path(SHA, filename)
    assert path == f"packages/ab/{SHA}/{filename}"
    assert package_at(path) == (SHA, filename)


@pytest.mark.parametrize(
    "filename",
    [
        *[
            "",
            ".",
            "..",
            "../x.whl",
            "a/b.whl",
            "/etc/passwd",
            "a\\b.whl",
            ".hidden",
            "-rf",
            "~root",
            "a\n",
            "a\0b",
            "a b",
        ],
        *["a?", "a*", "a[1]", "a#b", "a:b", "é.whl", "a\u202egpj.whl", "x" * 201, "%2e%2e/x", "\uff0e\uff0e"],
    ],
)
def test_names_that_no_package_has(filename: str) -> None:
    with pytest.raises(UnsafePath) as caught:
        package_path(SHA, filename)
    assert caught.value.exit_status == 3
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "sha256", ["", "ab", SHA + "0", SHA[:-1], SHA.upper(), "../" + SHA[3:], SHA[:-1] + "\n", SHA + "\n"]
)
def test_what_is_no_sha256(sha256: str) -> None:
    with pytest.raises(UnsafePath):
        package_path(sha256, "demo-1.0-py3-none-any.whl")


@given(st.text(), st.text())
def test_no_package_path_leaves_the_root(sha256: str, filename: str) -> None:
    stays_or_is_refused(lambda: package_path(sha256, filename))


@given(st.text(alphabet="./\\~-ab%\0\n "))
def test_no_file_name_made_of_dots_and_slashes_leaves_the_root(filename: str) -> None:
    stays_or_is_refused(lambda: package_path(SHA, filename))


@given(st.text(), st.text(), st.text())
def test_no_environment_path_leaves_the_root(arch: str, req_id: str, full_id: str) -> None:
    stays_or_is_refused(lambda: EnvironmentPlace(Arch(arch), req_id, full_id).path)


@given(st.text(alphabet="./\\ab\0"))
def test_no_checked_path_leaves_the_root(path: str) -> None:
    stays_or_is_refused(lambda: checked(path))


def stays_or_is_refused(make) -> None:  # type: ignore[no-untyped-def]
    try:
        path = make()
    except UnsafePath:
        return
    parts = PurePosixPath(path).parts
    assert not path.startswith("/")
    assert ".." not in parts
    assert "\0" not in path
    assert str(PurePosixPath(path)) == path, "it is spelt in one way only"


@given(
    st.text(alphabet=HEX, min_size=64, max_size=64),
    st.from_regex(r"[a-z0-9_]{1,20}-[0-9.+!]{1,9}\.whl", fullmatch=True),
)
def test_a_package_is_found_by_its_path(sha256: str, filename: str) -> None:
    assert package_at(package_path(sha256, filename)) == (sha256, filename)


ids = st.text(alphabet=HEX, min_size=40, max_size=40)


@given(st.sampled_from(ARCHS), ids, ids)
def test_an_environment_is_found_by_its_path(arch: Arch, req_id: str, full_id: str) -> None:
    place = EnvironmentPlace(arch, req_id, full_id)
    assert environment_at(place.path) == place


def test_a_lock_has_one_place() -> None:
    lock = Lock(LINUX_64, Requirements(), LockedPython("machine", "3.12.0"), ())
    assert environment_place(lock).path == f"envs/linux-64/{lock.req_id}/{lock.full_id}.toml"
    assert environment_place(lock).identity == lock.identity


@pytest.mark.parametrize(
    "path",
    [
        "packages",
        "packages/README.md",
        f"packages/cd/{SHA}/demo.whl",
        f"packages/ab/{SHA}/.demo.whl.part",
        f"packages/ab/{SHA}/sub/demo.whl",
        f"other/ab/{SHA}/demo.whl",
    ],
)
def test_where_no_package_belongs(path: str) -> None:
    assert package_at(path) is None


@pytest.mark.parametrize(
    "path",
    [
        "envs",
        "envs/linux-64/a/b.toml",
        f"envs/win-64/{'1' * 40}/{'2' * 40}.toml",
        f"envs/linux-64/{'1' * 40}/{'2' * 40}",
    ],
)
def test_where_no_environment_belongs(path: str) -> None:
    assert environment_at(path) is None
