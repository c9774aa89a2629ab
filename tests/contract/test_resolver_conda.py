"""What every resolver of conda packages does, against the real channels of tests/channel, and what one refuses.

conda-lock is there twice: on envlock's own solver, and with an executable. The executable is a stand-in, which solves
with py-rattler what it is given on its command line: it shows what envlock and conda-lock tell it, not how micromamba
solves. Where a real one is installed, it is taken too.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import pytest

from envlock.conda.channels import channel_base
from envlock.config.system_packages import system_rows
from envlock.errors import ResolveError
from envlock.model.arch import LINUX_64, OSX_ARM64, Arch
from envlock.model.conda_requirement import CondaRequirement, parse_conda_requirement
from envlock.model.lock import LockedPackage
from envlock.model.requirement import parse_requirement
from envlock.model.requirements import Requirements
from envlock.resolve.conda_lock import CondaLockResolver
from envlock.resolve.conda_lock_run import NAMES
from envlock.resolve.conda_rattler import CondaResolver
from envlock.resolve.errors import (
    ChannelNotFound,
    ChannelUnauthorized,
    CondaConflict,
    NoSuchCondaPackage,
    ResolverCannot,
    UnlockableCondaPackage,
    UnmetSystemRequirement,
)
from envlock.resolve.port import Request, Resolution, Resolver
from tests.channel import Channel
from tests.resolve.stand_in_micromamba import write_stand_in
from tests.support import files_holding

FORGE = channel_base("conda-forge")
OTHER = channel_base("other")

pytestmark = pytest.mark.usefixtures("preloaded_resolvers")


@dataclass(frozen=True)
class Adapter:
    """A resolver, and what it can: what it cannot, it refuses."""

    make: Callable[[], Resolver]
    executable: str = ""
    """What solves, where it is not py-rattler: `stand-in`, or the name of a real one."""

    @property
    def knows_time(self) -> bool:
        return not self.executable

    @property
    def tells_channels_by_url(self) -> bool:
        return not self.executable

    @property
    def keeps_some_versions(self) -> bool:
        """Old versions are wishes; else all of them are kept, or none."""
        return not self.executable

    def ask(
        self,
        *libraries: str,
        arch: Arch = LINUX_64,
        python: str = "",
        channels: tuple[str, ...] = ("conda-forge",),
        channel_urls: tuple[str, ...] = (),
        system: dict[str, str] | None = None,
        pins: tuple[LockedPackage, ...] = (),
        exclude_newer: str = "",
        channel_priority: str = "",
        conda_only: tuple[str, ...] = (),
        pypi: tuple[str, ...] = (),
        metaflow: tuple[str, ...] = (),
    ) -> Resolution:
        requirements = Requirements(
            python=python,
            python_from="conda",
            conda=tuple(map(parse_conda_requirement, libraries)),
            conda_only=tuple(map(parse_conda_requirement, conda_only)),
            pypi=tuple(map(parse_requirement, pypi)),
            metaflow=tuple(map(parse_requirement, metaflow)),
            channels=channels,
            channel_priority=channel_priority,
            system=system_rows({}, system or {}, has_conda=True),
        )
        request = Request(
            name="demo",
            arch=arch,
            requirements=requirements,
            python="",
            conda_pins=pins,
            exclude_newer=exclude_newer,
            channel_urls=channel_urls,
        )
        return self.make().resolve(request)


RATTLER = Adapter(CondaResolver)
ADAPTERS = {
    "py-rattler": RATTLER,
    "conda-lock": Adapter(CondaLockResolver),
    "conda-lock with a stand-in": Adapter(CondaLockResolver, "stand-in"),
}
REAL = next((name for name in NAMES if shutil.which(name)), None)


@pytest.fixture
def mirrored(channel: Channel, monkeypatch: pytest.MonkeyPatch) -> Channel:
    """The shared channels, in the place of conda-forge and of `other`."""
    monkeypatch.setenv("ENVLOCK_CHANNEL_MIRRORS", channel.mirrors)
    return channel


def in_force(adapter: Adapter, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Adapter:
    """The adapter, its executable in the place where envlock looks for one."""
    executable = write_stand_in(folder) if adapter.executable == "stand-in" else adapter.executable
    monkeypatch.setenv("ENVLOCK_CONDA_EXE", str(executable))
    return adapter


@pytest.fixture(params=ADAPTERS.values(), ids=ADAPTERS.keys())
def adapter(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Adapter:
    return in_force(request.param, tmp_path_factory.mktemp("bin"), monkeypatch)


@pytest.fixture(params=list(ADAPTERS)[1:])
def conda_lock(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Adapter:
    """conda-lock, both ways: for what is shown by comparing with py-rattler."""
    return in_force(ADAPTERS[request.param], tmp_path_factory.mktemp("bin"), monkeypatch)


def versions(resolution: Resolution) -> dict[str, str]:
    return {package.name: package.version for package in resolution.packages if package.name != "python"}


def package(resolution: Resolution, name: str) -> LockedPackage:
    return next(package for package in resolution.packages if package.name == name)


# The form of what is locked.


def test_a_package_is_locked_with_everything_that_its_record_says(adapter: Adapter, mirrored: Channel) -> None:
    found = adapter.ask("upper", "guards", "builds =1.4")
    for each in found.packages:
        assert each.conda is not None
        path = f"{each.conda.subdir}/{each.filename}"
        record = mirrored.records(each.name)[path]
        assert (each.kind, each.version, each.build) == ("conda", record["version"], record["build"])
        assert (each.sha256, each.size, each.conda.md5) == (record["sha256"], record["size"], record["md5"])
        assert each.url == f"{FORGE}/{path}"
        assert each.conda.channel == FORGE
        assert each.conda.build_number == record["build_number"]
        assert list(each.conda.depends) == record["depends"]
        assert list(each.conda.constrains) == record.get("constrains", [])
        assert each.conda.noarch == (record.get("noarch") or "")
        assert each.conda.site_packages == (record.get("python_site_packages_path") or "")
        moment = datetime.fromtimestamp(record["timestamp"] / 1000, timezone.utc)
        assert each.upload_time == moment.isoformat().replace("+00:00", "Z")
    assert package(found, "upper").dependencies == ("lower",)
    assert found.python is not None
    assert (found.python.source, found.python.version) == ("conda", package(found, "python").version)
    assert [each.name for each in found.packages] == sorted(each.name for each in found.packages)


@pytest.mark.parametrize("arch", [LINUX_64, OSX_ARM64])
def test_conda_lock_gives_the_lock_that_py_rattler_gives(conda_lock: Adapter, mirrored: Channel, arch: Arch) -> None:
    libraries = (
        "numpy",
        "requests",
        "speak",
        "upper",
        "lower >=1,<2",
        "vintage",
        "twice",
        "epochal",
        "mended",
        "accel",
    )
    found = conda_lock.ask(*libraries, arch=arch)
    by_rattler = RATTLER.ask(*libraries, arch=arch)
    assert (found.packages, found.python) == (by_rattler.packages, by_rattler.python)
    solver = "micromamba" if conda_lock.executable else "envlock's own solver"
    assert found.notes == (f"conda-lock chose the conda packages, with {solver}",)
    assert len(found.packages) > len(libraries)


# Requirements.


@pytest.mark.parametrize(
    "expected",
    [
        {"lower =1": "1.2", "upper 1.0|2.0": "2.0", "candid": "2.0rc1", "epochal ==1!2.0": "1!2.0", "dated 1.*": "1.1"},
        {
            "lower >=1,<1.2": "1.1",
            "upper !=2.0": "1.0",
            "candid <2.0a0": "1.0",
            "dated 1.0": "1.0",
            "speak ~=1.0": "1.1",
        },
    ],
    ids=["first", "second"],
)
def test_versions_mean_what_they_mean_to_conda(adapter: Adapter, mirrored: Channel, expected: dict[str, str]) -> None:
    found = versions(adapter.ask(*expected))
    assert {library: found[library.partition(" ")[0]] for library in expected} == expected


def test_a_build_can_be_required(adapter: Adapter, mirrored: Channel) -> None:
    mirrored.need(series=1)
    tag = f"py{mirrored.series[0].replace('.', '')}"
    found = adapter.ask(f"builds 1.4 {tag}_0", "accel * cpu*")
    assert (package(found, "builds").version, package(found, "builds").build) == ("1.4", f"{tag}_0")
    assert package(found, "accel").build == "cpu_0"


def test_two_requirements_of_a_package_both_hold(adapter: Adapter, mirrored: Channel) -> None:
    mirrored.need(series=2)
    older = sorted(mirrored.series)[0]
    found = adapter.ask("lower >=1.1", "lower <2", "python >=3.8", python=f"=={older}.*")
    assert versions(found) == {"lower": "1.2"}
    assert found.python is not None
    assert found.python.series == older


def test_conda_only_is_locked_and_pypi_is_not(adapter: Adapter, mirrored: Channel) -> None:
    found = adapter.ask(conda_only=("upper",), pypi=("rich",), metaflow=("requests",))
    assert versions(found) == {"upper": "2.0", "lower": "2.0"}


def test_what_metaflow_needs_comes_with_conda_packages(adapter: Adapter, mirrored: Channel) -> None:
    mirrored.need("requests")
    assert {"upper", "requests"} <= set(versions(adapter.ask("upper", metaflow=("requests>=2",))))


# Channels.


def test_the_first_channel_that_has_a_package_decides(adapter: Adapter, mirrored: Channel) -> None:
    found = adapter.ask("lower", "elsewhere", channels=("conda-forge", "other"))
    assert versions(found) == {"lower": "2.0", "elsewhere": "1.0"}
    assert package(found, "elsewhere").url.startswith(f"{OTHER}/")


def test_without_priority_the_newest_decides(adapter: Adapter, mirrored: Channel) -> None:
    assert versions(adapter.ask("lower", channels=("conda-forge", "other"), channel_priority="disabled")) == {
        "lower": "3.0"
    }


@pytest.mark.parametrize("named", ["other", OTHER])
def test_a_package_of_a_named_channel_comes_from_there_or_is_refused(
    adapter: Adapter, mirrored: Channel, named: str
) -> None:
    if adapter.tells_channels_by_url:
        found = adapter.ask(f"{named}::lower >=1", "upper", channels=("conda-forge", "other"))
        assert versions(found) == {"lower": "3.0", "upper": "2.0"}
        return
    with pytest.raises(ResolverCannot, match="`lower` from a channel that is given by its URL") as caught:
        adapter.ask(f"{named}::lower", "upper", channels=("conda-forge", "other"))
    assert '`resolver.conda = "rattler"`' in (caught.value.hint or "")


def test_a_channel_of_one_package_has_no_say_in_others_or_is_refused(adapter: Adapter, mirrored: Channel) -> None:
    if adapter.tells_channels_by_url:
        assert versions(adapter.ask("other::elsewhere")) == {"elsewhere": "1.0", "lower": "2.0"}
        return
    with pytest.raises(ResolverCannot, match=r"for `[a-z-]+` only"):
        adapter.ask("other::elsewhere")


def test_channels_by_url_and_in_a_folder(adapter: Adapter, channel: Channel) -> None:
    by_url, folder = channel.url_of("main"), (channel.folder / "other").as_uri()
    found = adapter.ask("lower", "elsewhere", channels=(by_url, folder))
    for name, base in (("lower", by_url), ("elsewhere", folder)):
        assert package(found, name).url == f"{base}/noarch/{package(found, name).filename}"


# What the machine brings.


def test_system_requirements_decide_and_the_machine_does_not(
    adapter: Adapter, mirrored: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CUDA", "GLIBC", "OSX", "ARCHSPEC"):
        monkeypatch.setenv(f"CONDA_OVERRIDE_{name}", "99")
    modern = {"__cuda": "12.4", "__glibc": "2.36", "__archspec": "x86_64_v3"}
    found = adapter.ask("accel", "vector", "modern", "penguin", "unixish", system=modern)
    assert package(found, "accel").build.startswith("cuda124")
    assert package(found, "vector").build.startswith("v3")
    with pytest.raises(UnmetSystemRequirement):
        adapter.ask("too-modern")


def test_the_oldest_macos_is_the_environments(adapter: Adapter, mirrored: Channel) -> None:
    assert versions(adapter.ask("metal", arch=OSX_ARM64, system={"__osx": "14.0"}))["metal"]


def test_no_variable_of_the_user_changes_a_result(
    adapter: Adapter, mirrored: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONDA_CHANNELS", "nowhere")
    monkeypatch.setenv("CONDA_CHANNEL_PRIORITY", "disabled")
    monkeypatch.setenv("CONDA_SUBDIR", "osx-64")
    found = adapter.ask("lower", "elsewhere", "accel", "vector", channels=("conda-forge", "other"))
    assert (versions(found)["lower"], versions(found)["elsewhere"]) == ("2.0", "1.0")
    assert (package(found, "accel").build, package(found, "vector").build) == ("cpu_0", "plain_0")


# What an older lock had, and what came too late.


def test_old_versions_are_kept_where_the_requirements_allow(adapter: Adapter, mirrored: Channel) -> None:
    old = RATTLER.ask("upper =1", "lower =1.1").packages
    kept = adapter.ask("upper", "lower", "speak", pins=old)
    assert {"upper": "1.0", "lower": "1.1"}.items() <= versions(kept).items()
    assert package(kept, "upper") == package(Resolution(old), "upper")
    assert not [note for note in kept.notes if "could not keep" in note]


def test_an_old_package_that_nothing_needs_any_more_goes(adapter: Adapter, mirrored: Channel) -> None:
    old = RATTLER.ask("upper", "speak =1.0").packages
    assert versions(adapter.ask("speak", pins=old)) == {"speak": "1.0"}


def test_an_old_version_that_is_not_allowed_any_more_goes(adapter: Adapter, mirrored: Channel) -> None:
    old = RATTLER.ask("lower =1.0", "speak =1.0").packages
    found = adapter.ask("lower >=1.1,<2", "speak", pins=old)
    if adapter.keeps_some_versions:
        assert versions(found) == {"lower": "1.2", "speak": "1.0"}
        return
    assert versions(found) == {"lower": "1.2", "speak": "1.1"}
    assert "could not keep the locked versions" in found.notes[1]


def test_exclude_newer_is_heeded_or_refused(adapter: Adapter, mirrored: Channel) -> None:
    if adapter.knows_time:
        assert versions(adapter.ask("dated", exclude_newer="2023-06-01T00:00:00Z")) == {"dated": "1.1"}
        return
    with pytest.raises(ResolverCannot, match="`exclude-newer`"):
        adapter.ask("dated", exclude_newer="2023-06-01T00:00:00Z")


# Credentials.


@pytest.mark.parametrize("given_by", ["password", "token", "mirror"])
def test_credentials_are_used_and_kept_nowhere(
    adapter: Adapter,
    private_channel: Channel,
    isolated: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given_by: str,
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", None)
    name = url = private_channel.url_of("main")
    if given_by == "password":
        url = private_channel.url_with_password("main")
    elif given_by == "token":
        url = private_channel.url_with_token("main")
    else:
        name = url = "conda-forge"
        monkeypatch.setenv("ENVLOCK_CHANNEL_MIRRORS", f"conda-forge={private_channel.url_with_password('main')}")
    found = adapter.ask("upper", channels=(name,), channel_urls=(url,))
    assert versions(found) == {"upper": "2.0", "lower": "2.0"}
    assert "s3cr3t" not in repr(found)
    assert package(found, "upper").url.startswith(f"{FORGE if given_by == 'mirror' else name}/noarch/")
    assert list(temporary.iterdir()) == []
    assert files_holding("s3cr3t", tmp_path, isolated) == set()


def test_refused_credentials_are_an_error_without_them(adapter: Adapter, private_channel: Channel) -> None:
    plain = private_channel.url_of("main")
    with pytest.raises(ChannelUnauthorized) as caught:
        adapter.ask("upper", channels=(plain,), channel_urls=(plain.replace("http://", "http://me:wr0ng@"),))
    assert "wr0ng" not in caught.value.render()


# What goes wrong.


@pytest.mark.parametrize(
    ("libraries", "error", "packages"),
    [
        (("east", "west"), CondaConflict, ("conda:east", "conda:west")),
        (("no-such-thing",), NoSuchCondaPackage, ("conda:no-such-thing",)),
        (("unhashed",), UnlockableCondaPackage, ("conda:unhashed",)),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_what_goes_wrong_is_said_alike(
    adapter: Adapter,
    mirrored: Channel,
    libraries: tuple[str, ...],
    error: type[ResolveError],
    packages: tuple[str, ...],
) -> None:
    with pytest.raises(error) as caught:
        adapter.ask(*libraries)
    assert getattr(caught.value, "packages", ()) == packages
    assert caught.value.hint


def test_a_channel_that_is_not_there(adapter: Adapter, mirrored: Channel) -> None:
    with pytest.raises(ChannelNotFound):
        adapter.ask("lower", channels=(mirrored.url_of("nowhere"),))


def test_a_stopped_resolver_does_not_resolve(adapter: Adapter, mirrored: Channel) -> None:
    resolver = adapter.make()
    resolver.stop()
    request = Request(
        name="demo",
        arch=LINUX_64,
        requirements=Requirements(conda=(CondaRequirement("lower"),), python_from="conda", channels=("conda-forge",)),
        python="",
    )
    with pytest.raises(ResolveError):
        resolver.resolve(request)


@pytest.mark.skipif(REAL is None, reason="no conda, mamba or micromamba is installed")
def test_a_real_executable_gives_a_lock_of_the_same_form(mirrored: Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    assert REAL is not None
    real = in_force(Adapter(CondaLockResolver, REAL), Path(), monkeypatch)
    libraries = ("upper", "lower =1", "accel", "speak")
    assert real.ask(*libraries).packages == RATTLER.ask(*libraries).packages
