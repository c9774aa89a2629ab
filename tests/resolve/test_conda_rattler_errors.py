"""Conda solves that fail: each failure is an error of its own, short, and says what would help."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from envlock.addresses import UnsetVariable
from envlock.conda import client, host_check
from envlock.conda.channels import channel_base
from envlock.conda.errors import BadChannelMirror, ChannelFailure
from envlock.errors import EnvlockError
from envlock.model.arch import ARCHS, LINUX_64, LINUX_AARCH64, OSX_64, OSX_ARM64
from envlock.model.conda_requirement import CondaRequirement
from envlock.model.requirement import parse_requirement
from envlock.model.requirements import Requirements
from envlock.resolve.conda_failures import of_channel, shorten
from envlock.resolve.conda_rattler import CondaResolver
from envlock.resolve.errors import (
    ARCH,
    BadMatchSpec,
    ChannelNotFound,
    ChannelUnreachable,
    CondaConflict,
    NoCondaBuild,
    NoSuchCondaPackage,
    NoWheel,
    SolveTimeout,
    UnlockableCondaPackage,
    UnmetSystemRequirement,
    merge_archs,
)
from envlock.resolve.port import Request
from tests.channel import DROP, Channel, data_package
from tests.resolve.conda_asking import ask

PYTHON = data_package("python", "3.12.1")

pytestmark = pytest.mark.usefixtures("asked_once")


@pytest.fixture
def forge(channel: Channel, monkeypatch: pytest.MonkeyPatch) -> Channel:
    """The shared channels under their canonical names."""
    monkeypatch.setenv("ENVLOCK_CHANNEL_MIRRORS", channel.mirrors)
    return channel


def failure(kind: type[EnvlockError], *conda: str, **options: object) -> EnvlockError:
    """The error of a request, which is of this very kind."""
    with pytest.raises(EnvlockError) as caught:
        ask(*conda, **options)
    assert type(caught.value) is kind, caught.value.render()
    assert len(caught.value.render().splitlines()) <= 32
    return caught.value


# What cannot be met.


def test_a_conflict_names_the_requirements(forge: Channel) -> None:
    error = failure(CondaConflict, "east", "west", "undated")

    assert error.packages == ("conda:east", "conda:west")  # type: ignore[attr-defined]
    assert "lower <2" in error.render()
    assert "lower >=2" in error.render()
    assert error.hint == "change one of the lines above"


def test_a_conflict_of_constraints(forge: Channel) -> None:
    error = failure(CondaConflict, "guards", "lower ==2.0")
    assert set(error.packages) == {"conda:guards", "conda:lower"}  # type: ignore[attr-defined]


def test_a_conflict_with_python_names_python(forge: Channel) -> None:
    error = failure(CondaConflict, "builds ==1.4 py310*", python=">=3.11")
    assert "conda:builds" in error.packages  # type: ignore[attr-defined]
    assert "python" in error.packages  # type: ignore[attr-defined]


def test_what_is_too_new_has_its_hint(forge: Channel) -> None:
    error = failure(CondaConflict, "dated ==2.0", exclude_newer="2022-06-01T00:00:00Z")
    assert "later `exclude-newer`" in str(error.hint)


def test_a_conflict_of_what_metaflow_needs_says_so(forge: Channel) -> None:
    error = failure(
        CondaConflict, "lower", metaflow=(parse_requirement("requests>=2.21"),), exclude_newer="2022-06-01T00:00:00Z"
    )

    assert any("Metaflow needs requests" in line for line in error.details)
    assert error.packages == ("python", "conda:lower")  # type: ignore[attr-defined]


def test_what_metaflow_needs_and_no_channel_has(make_channel: Callable[..., Channel]) -> None:
    url = make_channel(PYTHON, data_package("tool", "1.0")).url_of("main")
    error = failure(NoSuchCondaPackage, "tool", channels=(url,), metaflow=(parse_requirement("requests>=2.21"),))

    assert url in error.details[0]
    assert "Metaflow needs requests" in error.details[1]
    assert "`channels`" in str(error.hint)
    assert error.packages == (url,)  # type: ignore[attr-defined]


def test_channels_without_python(make_channel: Callable[..., Channel]) -> None:
    url = make_channel(data_package("tool", "1.0")).url_of("main")
    error = failure(NoSuchCondaPackage, "tool", channels=(url,))

    assert url in error.details[0]
    assert "`channels`" in str(error.hint)
    assert error.packages == ("python", url)  # type: ignore[attr-defined]


def test_a_python_that_nothing_required_is_reported_with_the_channels(make_channel: Callable[..., Channel]) -> None:
    python = data_package("python", "3.12.1", subdir="linux-64")
    url = make_channel(python, data_package("tool", "1.0")).url_of("main")
    error = failure(NoCondaBuild, "tool", channels=(url,), arch=OSX_64)
    assert error.details == ("linux-64 has 3.12.1",)
    assert error.packages == (url,)  # type: ignore[attr-defined]


def test_a_channel_that_only_a_package_names_and_is_not_there(forge: Channel) -> None:
    error = failure(ChannelNotFound, "upper", f"{forge.url_of('mian')}::lower", channels=("conda-forge",))
    assert error.packages == ("conda:lower",)  # type: ignore[attr-defined]
    assert "`::`" in str(error.hint)


def test_what_only_the_channel_of_one_package_has_is_reported(make_channel: Callable[..., Channel]) -> None:
    main = make_channel(PYTHON, data_package("tool", "1.0")).url_of("main")
    team = make_channel(data_package("part", "1.0", depends=("piece",)), data_package("piece", "1.0")).url_of("main")
    error = failure(CondaConflict, "tool", f"{team}::part", channels=(main,))
    assert error.hint is not None
    assert all(fact in error.hint for fact in ("`piece`", team, "for part only", "`channels`"))


def test_a_requirement_is_shown_without_its_channel(make_channel: Callable[..., Channel]) -> None:
    url = make_channel(PYTHON, data_package("tool", "1.0")).url_of("main")
    error = failure(NoCondaBuild, f"{url}::tool ==3", channels=(url,))
    assert "`tool ==3`" in error.message
    assert url not in error.message


def test_a_dependency_that_no_channel_has(forge: Channel) -> None:
    error = failure(CondaConflict, "wanting")
    assert "no channel has `nowhere`" in str(error.hint)


def test_the_same_conflict_on_all_archs_is_shown_once(forge: Channel) -> None:
    errors = [failure(CondaConflict, "east", "west", arch=arch) for arch in ARCHS]
    (merged,) = merge_archs(errors)
    assert merged.message.startswith("demo on linux-64, linux-aarch64, osx-64, osx-arm64: ")


def test_a_conflict_that_differs_in_versions_is_shown_once_too() -> None:
    conflicts = [
        CondaConflict("demo", arch, "they contradict", details=(f"tool {number} is",), packages=("conda:tool",))
        for number, arch in enumerate((LINUX_64, OSX_64, OSX_ARM64))
    ]
    other = CondaConflict("demo", LINUX_AARCH64, "they contradict", packages=("conda:upper",))
    merged, alone = merge_archs([*conflicts, other])

    assert merged.message == "demo on linux-64, osx-64, osx-arm64: they contradict"
    assert merged.details == ("tool 0 is", "these lines are for linux-64; those of the other archs differ in versions")
    assert alone is other


def test_a_text_about_the_archs_names_all_of_them() -> None:
    errors = [
        NoWheel("demo", arch, "tool is too old", details=(f"no wheel for {ARCH}",), hint=f"remove {ARCH} from `archs`")
        for arch in (LINUX_64, OSX_64)
    ]
    (merged,) = merge_archs(errors)
    assert merged.details == ("no wheel for linux-64, osx-64",)
    assert merged.hint == "remove linux-64, osx-64 from `archs`"
    assert errors[0].details == ("no wheel for linux-64",)


def test_an_arch_in_a_url_is_no_arch_of_a_failure() -> None:
    sentence = "there is no conda channel at https://channel.example/linux-64"
    errors = [ChannelNotFound("demo", arch, sentence) for arch in (LINUX_64, OSX_64)]
    (merged,) = merge_archs(errors)
    assert merged.message == f"demo on linux-64, osx-64: {sentence}"


def test_a_name_that_no_channel_has(forge: Channel) -> None:
    error = failure(NoSuchCondaPackage, "uper")

    assert "`uper`" in error.message
    assert channel_base("conda-forge") in error.render()
    assert error.hint == "did you mean `upper`?"
    assert error.packages == ("conda:uper",)  # type: ignore[attr-defined]


def test_a_package_that_another_arch_has(forge: Channel) -> None:
    error = failure(NoCondaBuild, "scarce", arch=LINUX_AARCH64)

    assert "`scarce` has no build for this arch" in error.message
    assert error.details == ("linux-64 has 1.0", "osx-64 has 1.0", "osx-arm64 has 1.0")


def test_a_version_that_another_arch_has(forge: Channel) -> None:
    error = failure(NoCondaBuild, "lagging >=2", arch=OSX_64)

    assert "`lagging >=2`" in error.message
    assert error.details == ("available: 1.0",)
    assert "linux-64 has lagging >=2" not in error.render()


def test_a_build_that_there_is_not(forge: Channel) -> None:
    error = failure(NoCondaBuild, "builds ==1.4 py27*")
    assert "1.4 py310_1" in error.render()


def test_the_oldest_and_the_newest_of_many_versions_are_reported(make_channel: Callable[..., Channel]) -> None:
    tools = [data_package("tool", f"1.{number}") for number in range(1, 31)]
    url = make_channel(PYTHON, *tools).url_of("main")
    error = failure(NoCondaBuild, "tool <1", channels=(url,))
    assert error.details == ("available: 1.1, 1.2, ..., 1.25, 1.26, 1.27, 1.28, 1.29, 1.30",)


def test_a_python_that_there_is_not(forge: Channel) -> None:
    error = failure(NoCondaBuild, "lower", python="==3.7.*")
    assert error.packages == ("python",)  # type: ignore[attr-defined]


def test_two_pythons_that_disagree(forge: Channel) -> None:
    error = failure(CondaConflict, "python ==3.11.*", python="==3.12.*")
    assert error.packages == ("python",)  # type: ignore[attr-defined]


# What the machine would need.


@pytest.mark.parametrize(
    ("asked", "arch", "system", "needs", "has", "value"),
    [
        ("cuda-only", LINUX_64, {}, "CUDA >=12.4", "machines without CUDA", '__cuda = "12.4"'),
        ("cuda-only", LINUX_64, {"__cuda": "11.8"}, "CUDA >=12.4", "CUDA 11.8", '__cuda = "12.4"'),
        ("too-modern", LINUX_AARCH64, {}, "glibc >=2.99", "glibc 2.28", '__glibc = "2.99"'),
        ("metal", OSX_ARM64, {}, "macOS >=14", "macOS 13.0", '__osx = "14.0"'),
        (
            "vector ==1.0 v3_1",
            LINUX_64,
            {},
            "the processor x86_64_v3",
            "the processor x86_64",
            '__archspec = "x86_64_v3"',
        ),
    ],
)
def test_what_the_machine_lacks(
    forge: Channel, asked: str, arch: str, system: dict[str, str], needs: str, has: str, value: str
) -> None:
    error = failure(UnmetSystemRequirement, asked, arch=arch, system=system)

    assert needs in error.message
    assert has in error.message
    assert value in str(error.hint)
    assert f"conda:{asked.partition(' ')[0]}" in error.packages  # type: ignore[attr-defined]


def test_what_no_machine_of_an_arch_has(forge: Channel) -> None:
    error = failure(UnmetSystemRequirement, "penguin", arch=OSX_64)

    assert "penguin 1.0 needs Linux" in error.message
    assert "`archs`" in str(error.hint)
    assert "conda:penguin" in error.packages  # type: ignore[attr-defined]


def test_what_a_machine_has_is_no_package_of_a_channel(forge: Channel) -> None:
    error = failure(UnmetSystemRequirement, "__cuda ==12.4")

    assert "`__cuda ==12.4`" in error.message
    assert "without CUDA" in error.message
    assert '{ __cuda = "12.4" }' in str(error.hint)
    assert error.packages == ("__cuda", "conda:__cuda")  # type: ignore[attr-defined]
    assert ask("__cuda >=12", "upper", system={"__cuda": "12.4"})


def test_a_conflict_that_the_machine_has_a_part_in_is_a_conflict(make_channel: Callable[..., Channel]) -> None:
    served = make_channel(
        PYTHON,
        *(data_package("part", version) for version in ("1.0", "2.0")),
        data_package("tool", "1.0", build="cuda_0", depends=("__cuda >=12",)),
        data_package("tool", "1.0", build="cpu_0", depends=("part <2",)),
    )
    error = failure(CondaConflict, "tool", "part ==2.0", channels=(served.url_of("main"),))

    assert "__cuda >=12" in error.render()
    assert "part <2" in error.render()


# What is written wrongly, or cannot be locked.


@pytest.mark.parametrize("asked", ["lower >>1", "lower ==1..2"])
def test_a_version_that_conda_does_not_know(forge: Channel, asked: str) -> None:
    error = failure(BadMatchSpec, asked)
    assert asked in error.message
    assert error.packages == ("conda:lower",)  # type: ignore[attr-defined]


def test_a_package_without_a_hash(forge: Channel) -> None:
    error = failure(UnlockableCondaPackage, "unhashed")
    assert "unhashed 1.0" in error.message
    assert error.packages == ("conda:unhashed",)  # type: ignore[attr-defined]


def test_a_wheel_among_conda_packages(make_channel: Callable[..., Channel]) -> None:
    served = make_channel(PYTHON)
    wheel = '"fn": "tool-1.0-py3-none-any.whl", "name": "tool", "version": "1.0", "build": "0", "build_number": 0'
    more = f'"depends": [], "subdir": "noarch", "noarch": "python", "sha256": "{"ab" * 32}", "size": 1'
    path = "main/noarch/repodata.json"
    text = (
        (served.folder / path)
        .read_text()
        .replace('"packages": {', '"packages": {"tool-1.0-py3-none-any.whl": {' + wheel + ", " + more + "}", 1)
    )
    served.rewrite(path, text.encode())
    served.fail("*.zst", status=404)

    with pytest.raises((UnlockableCondaPackage, NoSuchCondaPackage)):
        ask("tool", channels=(served.url_of("main"),))


def test_a_solve_has_an_end(forge: Channel) -> None:
    error = failure(SolveTimeout, "builds", "upper", resolver=CondaResolver(seconds=0.000001))
    assert "1e-06 seconds" in error.message


# Channels that are of no use.


def test_a_dead_channel(forge: Channel) -> None:
    begun = time.monotonic()
    error = failure(ChannelUnreachable, "lower", channels=("http://127.0.0.1:9/main", "conda-forge"))

    assert "http://127.0.0.1:9/main" in error.message
    assert "Connection refused" in error.render()
    assert error.packages == ("http://127.0.0.1:9/main",)  # type: ignore[attr-defined]
    assert time.monotonic() - begun < 10


def test_dead_channels_are_reported_alike_for_every_arch() -> None:
    resolver = CondaResolver()
    channels = ("http://127.0.0.1:9/one", "http://127.0.0.1:9/two")
    with ThreadPoolExecutor(4) as pool:
        solves = [pool.submit(ask, "lower", resolver=resolver, channels=channels, arch=arch) for arch in ARCHS]
        errors = [solve.exception() for solve in solves]

    (merged,) = merge_archs([error for error in errors if isinstance(error, EnvlockError)])
    assert merged.message.startswith("demo on linux-64, linux-aarch64, osx-64, osx-arm64: http://127.0.0.1:9/")


@pytest.mark.parametrize(
    "requirements",
    [
        Requirements(conda=(CondaRequirement("lower"),), python_from="conda", channels=("defaults",)),
        Requirements(conda=(CondaRequirement("lower", channel="defaults"),), python_from="conda"),
    ],
)
def test_the_channels_that_conda_calls_defaults_are_to_be_written(requirements: Requirements) -> None:
    missing = ChannelFailure("missing", channel_base("defaults"), "it answered 404 Not Found")
    error = of_channel(Request("demo", LINUX_64, requirements, ""), missing)
    assert "default_channels" in str(error.hint)
    other = ChannelFailure("missing", channel_base("mian"), "it answered 404 Not Found")
    assert "default_channels" not in str(of_channel(Request("demo", LINUX_64, requirements, ""), other).hint)


def test_a_mirror_that_is_dead_is_reported_as_its_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVLOCK_CHANNEL_MIRRORS", "conda-forge=http://127.0.0.1:9/main")
    error = failure(ChannelUnreachable, "lower")
    assert channel_base("conda-forge") in error.message
    assert "mirror: http://127.0.0.1:9/main" in error.details
    assert error.packages == ("conda-forge",)  # type: ignore[attr-defined]


def test_a_mirror_in_an_error_shows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "s3cr3t-v")
    for secret in ("me:s3cr3t@127.0.0.1:9/main", "127.0.0.1:9/t/s3cr3t/main", "me:${SECRET}@127.0.0.1:9/main"):
        monkeypatch.setenv("ENVLOCK_CHANNEL_MIRRORS", f"conda-forge=http://{secret}")
        error = failure(ChannelUnreachable, "lower")
        assert "mirror: http://127.0.0.1:9/main" in error.details
        assert "s3cr3t" not in error.render()


def test_a_mirror_that_has_no_channel(forge: Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVLOCK_CHANNEL_MIRRORS", f"conda-forge={forge.url}/nothing")
    error = failure(ChannelNotFound, "lower")
    assert f"mirror: {forge.url}/nothing" in error.details
    assert "ENVLOCK_CHANNEL_MIRRORS" in str(error.hint)


@pytest.fixture
def silent() -> Iterator[str]:
    """A host that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/main"


def test_a_silent_channel(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_check, "PATIENCE", 0.2)
    error = failure(ChannelUnreachable, "lower", channels=(silent,))

    assert silent in error.message
    assert "it does not answer" in error.details


def test_a_slow_channel_is_waited_for(make_channel: Callable[..., Channel], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_check, "PATIENCE", 0.4)
    served = make_channel(PYTHON, data_package("tool", "1.0"))
    served.slow("main/noarch/repodata.json.zst", seconds=0.6)

    assert ask("tool", channels=(served.url_of("main"),)).packages


@pytest.mark.parametrize("status", [500, 503, DROP])
def test_a_channel_with_trouble_of_its_own(make_channel: Callable[..., Channel], status: int) -> None:
    served = make_channel(PYTHON)
    served.fail("*", status=status)
    error = failure(ChannelUnreachable, "tool", channels=(served.url_of("main"),))

    assert served.url_of("main") in error.message
    assert str(status) in error.render() or status == DROP


def test_trouble_that_passes_is_no_trouble(
    make_channel: Callable[..., Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "RETRIES", 1)
    served = make_channel(PYTHON, data_package("tool", "1.0"))
    served.fail("main/noarch/repodata.json.zst", status=503, times=1)

    assert ask("tool", channels=(served.url_of("main"),)).packages


def test_no_channel_at_that_url(forge: Channel) -> None:
    error = failure(ChannelNotFound, "lower", channels=(forge.url_of("mian"),))

    assert forge.url_of("mian") in error.message
    assert error.packages == (forge.url_of("mian"),)  # type: ignore[attr-defined]


def test_no_channel_in_that_folder(forge: Channel) -> None:
    url = (forge.folder / "mian").as_uri()
    error = failure(ChannelNotFound, "lower", channels=(url,))
    assert url in error.message


def test_a_page_that_is_no_repodata(make_channel: Callable[..., Channel]) -> None:
    served = make_channel(PYTHON)
    served.tamper("main/noarch/repodata.json.zst", b"<html>Welcome</html>")
    served.tamper("main/noarch/repodata.json", b"<html>Welcome</html>")
    error = failure(ChannelNotFound, "tool", channels=(served.url_of("main"),))
    assert "cannot be read" in error.render()


def test_repodata_that_breaks_off(make_channel: Callable[..., Channel]) -> None:
    served = make_channel(PYTHON)
    served.cut("main/*/repodata.json*", after=40)
    error = failure(ChannelUnreachable, "tool", channels=(served.url_of("main"),))
    assert served.url_of("main") in error.message


@pytest.mark.parametrize(
    "variable",
    ["conda-forge", "conda-forge=/srv/channel", "=http://x/", "conda-forge=ftp://x/y", "conda-forge=https://"],
)
def test_a_mirror_that_is_none(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVLOCK_CHANNEL_MIRRORS", variable)
    error = failure(BadChannelMirror, "lower")
    assert "ENVLOCK_CHANNEL_MIRRORS" in error.message
    assert error.exit_status == 2


def test_a_configured_mirror_that_is_none() -> None:
    error = failure(BadChannelMirror, "lower", mirrors=(("conda-forge", "me:secret@mirror"),))
    assert "channel-mirrors" in error.message


def test_a_variable_that_is_not_set() -> None:
    url = "https://channel.example/t/${NO_SUCH_TOKEN}/team"
    error = failure(UnsetVariable, "lower", channels=("https://channel.example/team",), urls=(url,))
    assert "NO_SUCH_TOKEN" in error.message


def test_long_explanations_are_cut() -> None:
    tree = "\n".join(f"├─ package {number} needs {'another ' * 40}" for number in range(100))
    incompatible = "The following packages are incompatible\n"
    lines = shorten(f"Cannot solve the request because of: {incompatible}{tree}\n{incompatible}")
    assert incompatible.strip() not in lines

    assert len(lines) == 25
    assert lines[-1] == "... and 76 more lines"
    assert max(map(len, lines)) <= 160
