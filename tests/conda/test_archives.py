"""What is in conda packages, by their own account: read from the channel, from disk, from memory, or guessed."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from envlock.conda.archives import ArchiveContents, Archives, distributions_among, may_hold_python
from envlock.conda.event_loop import Calls, Ended
from envlock.model.lock import CondaFacts, LockedPackage
from envlock.places import home
from tests.channel import DROP, Channel
from tests.locked import CONDA_FORGE, locked


def look(channel: Channel, *packages: LockedPackage) -> dict[str, ArchiveContents]:
    return Archives([CONDA_FORGE], {CONDA_FORGE: channel.url_of("main")}).contents(packages)


def known(*distributions: tuple[str, str]) -> ArchiveContents:
    return ArchiveContents(distributions)


def memo(package: LockedPackage) -> Path:
    return home() / "conda" / "distributions" / package.sha256[:2] / f"{package.sha256}.json"


def keep(channel: Channel, package: LockedPackage) -> Path:
    """The archive where hydrating puts it."""
    path = home() / "packages" / package.sha256[:2] / package.sha256 / package.filename
    path.parent.mkdir(parents=True)
    assert package.conda is not None
    shutil.copy(channel.archive(f"{package.conda.subdir}/{package.filename}"), path)
    return path


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("noarch/beta-1.5-*", known(("beta", "1.5"))),
        ("noarch/lambda-tools-*", known(("lam", "1.0"))),  # another name
        ("noarch/nu_name_space-*", known(("nu-name-space", "1.0"))),  # another spelling
        ("noarch/gamma-2024.1-*", known(("gamma", "1.0"))),  # another version
        ("noarch/twins-*", known(("rho", "1.0"), ("sigma", "1.0"))),  # two of them
        ("noarch/pytorch-2.4.0-*", known(("torch", "2.4.0+cpu"))),
        ("noarch/bare-*", known()),  # Python, and not known to any installer
        ("linux-64/builds-1.4-py310_0.conda", known(("builds", "1.4"))),
        ("noarch/lower-2.0-*", known()),
    ],
)
def test_the_package_itself_says_what_is_in_it(channel: Channel, pattern: str, expected: ArchiveContents) -> None:
    (package,) = locked(channel, pattern)
    assert look(channel, package) == {package.name: expected}


def test_the_end_of_the_file_is_requested_once_and_remembered(make_channel: Callable[..., Channel]) -> None:
    served = make_channel(whole=True)
    (beta,) = locked(served, "noarch/beta-1.5-*")
    assert look(served, beta) == {"beta": known(("beta", "1.5"))}
    assert len(served.requests) == 1
    assert "range" in {name.lower() for name in served.requests[0].headers}
    assert json.loads(memo(beta).read_text())["distributions"] == [["beta", "1.5"]]
    assert look(served, beta) == {"beta": known(("beta", "1.5"))}
    assert len(served.requests) == 1


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"distributions": [["beta"]]}', b'{"distributions": 1}'])
def test_a_memory_that_makes_no_sense_is_no_memory(channel: Channel, damage: bytes) -> None:
    (beta,) = locked(channel, "noarch/beta-1.5-*")
    memo(beta).parent.mkdir(parents=True)
    memo(beta).write_bytes(damage)
    assert look(channel, beta) == {"beta": known(("beta", "1.5"))}
    assert json.loads(memo(beta).read_text())["distributions"] == [["beta", "1.5"]]


def test_a_home_that_cannot_be_written_is_no_hindrance(channel: Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVLOCK_HOME", "/dev/null/envlock")
    (beta,) = locked(channel, "noarch/beta-1.5-*")
    assert look(channel, beta) == {"beta": known(("beta", "1.5"))}


def test_what_cannot_hold_python_is_not_requested(make_channel: Callable[..., Channel]) -> None:
    served = make_channel(whole=True)
    packages = locked(served, "noarch/lower-2.0-*", "noarch/upper-2.0-*", "noarch/east-*")
    assert look(served, *packages) == {package.name: known() for package in packages}
    assert served.requests == ()


def test_which_packages_may_hold_python() -> None:
    def package(name: str, *depends: str, noarch: str = "") -> LockedPackage:
        facts = CondaFacts(channel=CONDA_FORGE, subdir="noarch", depends=depends, noarch=noarch)
        return LockedPackage(name, "1", "x.conda", "", "", kind="conda", conda=facts)

    assert may_hold_python(package("a", noarch="python"))
    assert may_hold_python(package("a", "python >=3.12,<3.13.0a0"))
    assert may_hold_python(package("a", "conda-forge::python"))
    assert may_hold_python(package("a", "python_abi 3.12.* *_cp312"))
    assert not may_hold_python(package("a", "python-tzdata", "libpython", noarch="generic"))
    assert not may_hold_python(package("python", "python_abi 3.12.* *_cp312"))


def test_an_archive_of_this_machine_is_read_without_a_request(make_channel: Callable[..., Channel]) -> None:
    served = make_channel(whole=True)
    vintage, beta = locked(served, "noarch/vintage-1.0-*.tar.bz2", "noarch/beta-1.5-*")
    for package in (vintage, beta):
        keep(served, package)
    assert look(served, vintage, beta) == {"vintage": known(("vintage", "1.0")), "beta": known(("beta", "1.5"))}
    assert served.requests == ()


def test_a_channel_that_is_a_folder_is_read_in_place(channel: Channel, tmp_path: Path) -> None:
    base = (channel.folder / "main").as_uri()
    old, new = locked(channel, "noarch/vintage-1.0-*.tar.bz2", "noarch/twins-*", base=base)
    expected = {"vintage": known(("vintage", "1.0")), "twins": known(("rho", "1.0"), ("sigma", "1.0"))}
    assert Archives([base], {}).contents([old, new]) == expected
    old, new = locked(channel, "noarch/vintage-1.0-*.tar.bz2", "noarch/twins-*")
    assert Archives([CONDA_FORGE], {CONDA_FORGE: base}).contents([old, new]) == expected


def test_an_old_archive_is_not_fetched_whole_for_its_list(make_channel: Callable[..., Channel]) -> None:
    served = make_channel(whole=True)
    (vintage,) = locked(served, "noarch/vintage-1.0-*.tar.bz2")
    assert look(served, vintage) == {"vintage": ArchiveContents((("vintage", "1.0"),), is_known=False)}
    assert served.requests == ()


@pytest.mark.usefixtures("asked_once")
@pytest.mark.parametrize("status", [404, 403, 500, DROP])
def test_what_cannot_be_read_is_guessed_by_name(make_channel: Callable[..., Channel], status: int) -> None:
    served = make_channel(whole=True)
    served.fail("*.conda", status=status)
    packages = locked(served, "noarch/pytorch-2.4.0-*", "noarch/beta-1.5-*", "noarch/nu_name_space-*")
    assert look(served, *packages) == {
        "pytorch": ArchiveContents((("torch", "2.4.0"),), is_known=False),
        "beta": ArchiveContents((("beta", "1.5"),), is_known=False),
        "nu_name_space": ArchiveContents((("nu-name-space", "1.0"),), is_known=False),
    }
    assert not memo(packages[0]).exists()


def test_what_was_guessed_is_looked_up_the_next_time(make_channel: Callable[..., Channel]) -> None:
    served = make_channel(whole=True)
    (package,) = locked(served, "noarch/lambda-tools-*")
    served.truncate(f"main/noarch/{package.filename}")
    assert look(served, package) == {"lambda-tools": ArchiveContents((("lambda-tools", "1.0"),), is_known=False)}
    served.mend()
    assert look(served, package) == {"lambda-tools": known(("lam", "1.0"))}


def test_a_channel_that_is_gone_is_given_up_soon(make_channel: Callable[..., Channel]) -> None:
    served = make_channel(whole=True)
    (beta,) = locked(served, "noarch/beta-1.5-*")
    packages = [replace(beta, name=f"beta-{number}", sha256=f"{number:064d}") for number in range(60)]
    served.fail("*.conda", status=404)
    assert not any(contents.is_known for contents in look(served, *packages).values())
    assert len(served.requests) < 30


def test_many_are_requested_at_once(make_channel: Callable[..., Channel]) -> None:
    served = make_channel(whole=True)
    (beta,) = locked(served, "noarch/beta-1.5-*")
    packages = [replace(beta, name=f"beta-{number}", sha256=f"{number:064d}") for number in range(10)]
    served.slow("*.conda", seconds=0.3)
    began = time.perf_counter()
    assert set(look(served, *packages).values()) == {known(("beta", "1.5"))}
    assert time.perf_counter() - began < 2


def test_the_metadata_of_a_distribution(make_channel: Callable[..., Channel]) -> None:
    served = make_channel(whole=True)
    twins, vintage, bare = locked(served, "noarch/twins-*", "noarch/vintage-1.0-*.tar.bz2", "noarch/bare-*")
    archives = Archives([CONDA_FORGE], {CONDA_FORGE: served.url_of("main")})
    text = archives.metadata(twins, "sigma")
    assert text is not None
    assert "Name: sigma" in text
    assert "rho==1.0" in text
    assert archives.metadata(twins, "twins") is None
    assert archives.metadata(bare, "bare") is None
    assert archives.metadata(vintage, "vintage") is None
    keep(served, vintage)
    assert "Name: vintage" in (archives.metadata(vintage, "vintage") or "")
    served.fail("*.conda", status=404)
    assert archives.metadata(twins, "sigma") is None


def test_looking_can_be_ended(make_channel: Callable[..., Channel]) -> None:
    served = make_channel(whole=True)
    (beta,) = locked(served, "noarch/beta-1.5-*")
    calls = Calls()
    calls.end()
    with pytest.raises(Ended):
        Archives([CONDA_FORGE], {CONDA_FORGE: served.url_of("main")}, calls).contents([beta])


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("site-packages/foo-1.0.dist-info/METADATA", ("foo", "1.0")),
        ("site-packages/Foo.Bar_baz-1.0rc1.dist-info/RECORD", ("foo-bar-baz", "1.0rc1")),
        ("site-packages/foo-bar-1.0.dist-info/RECORD", ("foo-bar", "1.0")),
        ("site-packages/foo-1!2.0+cpu.dist-info/RECORD", ("foo", "1!2.0+cpu")),
        ("lib/python3.12/site-packages/foo-1.0.dist-info/METADATA", ("foo", "1.0")),
        ("lib/python3.9/site-packages/foo-1.0-py3.9.egg-info", ("foo", "1.0")),
        ("lib/python3.9/site-packages/foo-1.0-py3.9.egg-info/PKG-INFO", ("foo", "1.0")),
        ("site-packages/foo.egg-info/PKG-INFO", ("foo", "7")),
        ("site-packages/foo-dev.egg-info/PKG-INFO", ("foo-dev", "7")),
        ("site-packages/setuptools/_vendor/wheel-0.43.dist-info/METADATA", None),
        ("share/site-packages/foo-1.0.dist-info/METADATA", None),
        ("lib/python3.12/foo-1.0.dist-info/METADATA", None),
        ("site-packages/.dist-info/METADATA", None),
        ("site-packages/---.dist-info/METADATA", None),
        ("site-packages/foo.py", None),
    ],
)
def test_the_names_of_what_is_installed(path: str, expected: tuple[str, str] | None) -> None:
    assert distributions_among([path, path + "x"], "7") in {((expected,) if expected else ()), ()}
    assert distributions_among([path], "7") == ((expected,) if expected else ())
