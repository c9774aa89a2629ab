"""One run of uv for all archs: taken where its answer is that of a solve for each arch, and never elsewhere."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from subprocess import CompletedProcess
from typing import Any

import pytest

from envlock.model.arch import ARCHS, LINUX_64, OSX_ARM64, Arch
from envlock.model.requirement import parse_requirement
from envlock.model.requirements import Requirements
from envlock.resolve import pypi_uv
from envlock.resolve.errors import IndexUnreachable, ReleasesDiffer, ResolveError
from envlock.resolve.port import Request, Resolution
from envlock.resolve.processes import Processes
from envlock.resolve.pypi_uv import UvResolver
from tests.index import Index, Release
from tests.index.catalogue import CATALOGUE

CLOSED = "http://127.0.0.1:9/simple/"
VERSIONS = ("1.0", "1.5", "2.0")
MARKERS = (
    *[""] * 8,
    *(" ; sys_platform == 'linux'", " ; platform_machine == 'arm64'", " ; platform_release >= '5'"),
    *(" ; python_full_version >= '3.11.4'", " ; python_version >= '3.12'"),
)
TAGS = (
    *[("py3-none-any",)] * 12,
    *(("cp311-cp311-manylinux_2_17_x86_64", "cp311-cp311-macosx_11_0_arm64"), ("py3-none-manylinux_2_17_x86_64",), ()),
)


def releases(chance: random.Random) -> Iterator[Release]:
    """Packages that need each other, in versions of which some do not fit everywhere."""
    for number in range(40):
        for version in sorted(chance.sample(VERSIONS, chance.choice((1, 2, 2, 3)))):
            needs = chance.sample(range(number + 1, 44), chance.choice((0, 0, 1, 2)))
            limits = [chance.choice(("", "", "", "", ">=1", ">=1", "<2", "<3", "!=1.5", "~=1.0")) for _ in needs]
            tags = chance.choice(TAGS)
            yield Release(
                f"p{number}",
                version if chance.random() < 0.95 else f"{version}rc1",
                requires=tuple(
                    f"p{each}{limit}{chance.choice(MARKERS)}" for each, limit in zip(needs, limits, strict=True)
                ),
                extras={"more": (f"p{number + 1}",)} if chance.random() < 0.2 else {},
                requires_python=chance.choice(("", *[">=3.8"] * 10, ">=3.8,<3.11", ">=3.11.4", ">=3.12")),
                tags=tags,
                sdist=not tags,
                yanked="bad" if chance.random() < 0.05 else None,
            )
    yield from (Release(f"p{number}", "1.0") for number in range(40, 44))


def asked(chance: random.Random, served: Index) -> tuple[str, ...]:
    """A few requirements, as people write them."""
    names = [f"p{number}" for number in chance.sample(range(44), chance.choice((1, 1, 2, 3)))]
    some = {name: chance.choice(served.filenames(name)).split("-")[1].removesuffix(".tar.gz") for name in names}
    limits = ("", "", "", ">={}", "<={}", "=={}", "<3", "[more]")
    markers = (*[""] * 8, " ; sys_platform == 'darwin'", " ; python_full_version >= '3.11.4'")
    return tuple(name + chance.choice(limits).format(some[name]) + chance.choice(markers) for name in names)


@pytest.fixture(scope="module")
def served() -> Iterator[Index]:
    with Index(*releases(random.Random(7)), page_cache_control="max-age=600, public") as index:
        yield index


def request_of(served: Index, *roots: str, arch: Arch = LINUX_64, **more: object) -> Request:
    requirements = Requirements(python="==3.11.*", pypi=tuple(map(parse_requirement, roots)), default_index=served.url)
    request = Request(name="demo", arch=arch, requirements=requirements, python="3.11.0", default_index_url=served.url)
    return replace(request, **more)  # type: ignore[arg-type]


def outcome(request: Request) -> Resolution | tuple[str, str, tuple[str, ...]]:
    try:
        return UvResolver().resolve(request)
    except ResolveError as error:
        return error.code, str(error), tuple(error.details)


def with_more(request: Request, found: object, roots: tuple[str, ...], limits: tuple[str, ...]) -> Request:
    """The request once more, with more requirements and constraints, and with the versions to keep that were found."""
    more = request.requirements._replace(
        pypi=(*request.requirements.pypi, *map(parse_requirement, roots)),
        constraints=tuple(map(parse_requirement, (each.replace("[more]", "") for each in limits))),
    )
    kept = {each.name: each.version for each in found.packages} if isinstance(found, Resolution) else {}
    return replace(request, requirements=more, pins=kept)


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 8))])
def test_the_answer_is_that_of_a_solve_for_each_arch(served: Index, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    chance = random.Random(seed)
    request = request_of(served, *asked(chance, served), arch=chance.choice((LINUX_64, OSX_ARM64)), together=ARCHS)
    found = outcome(request)
    again = with_more(request, found, asked(chance, served), limits=asked(chance, served))
    found_again = outcome(again)
    monkeypatch.setattr(pypi_uv, "is_for_one_run", lambda _: False)
    assert outcome(request) == found
    assert outcome(again) == found_again


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What uv is started for, in order: `lock`, or `pip compile`, and `alone` for one without dependencies."""
    found: list[str] = []
    run = Processes.run

    def noted(
        self: Processes, command: Sequence[str], environment: Mapping[str, str], **more: Any
    ) -> CompletedProcess[str]:
        found.append("lock" if command[1] == "lock" else "alone" if "--no-deps" in command else "pip compile")
        return run(self, command, environment, **more)

    monkeypatch.setattr(Processes, "run", noted)
    return found


def resolved(resolver: UvResolver, index: Index, *roots: str, **more: object) -> dict[Arch, Resolution]:
    """The same for all archs, side by side."""
    requests = [request_of(index, *roots, arch=arch, together=ARCHS, **more) for arch in ARCHS]
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(ARCHS, pool.map(resolver.resolve, requests), strict=True))


def versions(found: Resolution) -> dict[str, str]:
    return {each.name: each.version for each in found.packages}


def test_all_archs_are_solved_in_one_run(index: Index, runs: list[str]) -> None:
    found = resolved(UvResolver(), index, "alpha", "iota<2", "zeta[fast]")
    assert runs == ["lock"]
    names = {"alpha": "2.0", "beta": "2.0", "iota": "1.0", "zeta": "1.0"}
    assert {arch: versions(each) for arch, each in found.items()} == dict.fromkeys(ARCHS, names)
    assert {each.filename for each in found[OSX_ARM64].packages} >= {"beta-2.0-cp311-cp311-macosx_11_0_arm64.whl"}
    assert {each.name: each.dependencies for each in found[LINUX_64].packages}["zeta"] == ("beta",)


def test_newer_releases_are_looked_for_once_for_all_archs(index: Index, runs: list[str]) -> None:
    found = resolved(UvResolver(), index, "alpha==1.0", "omicron")
    assert runs == ["lock", "alone"]
    assert [each.notes for each in found.values()] == [()] * 4


@pytest.mark.parametrize(
    ("roots", "pins", "expected"),
    [
        (("beta",), {}, ["lock"]),
        (("alpha==1.0",), {"alpha": "1.0"}, ["lock"]),
        (("alpha", "lam"), {"alpha": "1.1"}, ["lock"]),
        # There is a newer pre-release, and maybe a newer release of what reads like a series: that is looked up.
        (("omicron",), {}, ["lock", "alone"]),
        (("alpha==1.0",), {}, ["lock", "alone"]),
        # Somebody else keeps it back: only the solve of the arch says which of the two gives way.
        (("rho", "kept-back"), {}, ["lock", "alone", "pip compile"]),
    ],
)
def test_what_one_run_does_not_say_is_looked_up(
    make_index: Callable[..., Index], runs: list[str], roots: tuple[str, ...], pins: dict[str, str], expected: list[str]
) -> None:
    index = make_index(*CATALOGUE, Release("kept-back", "1.0", requires=("alpha<2",)))
    UvResolver().resolve(request_of(index, *roots, pins=pins))
    assert runs[: len(expected)] == expected
    assert "lock" not in runs[1:], "who needs whom is known"


def test_an_arch_without_a_wheel_of_the_newest_release_is_solved_by_itself(index: Index, runs: list[str]) -> None:
    resolver = UvResolver()
    archs: tuple[Arch, ...] = (LINUX_64, OSX_ARM64)
    asked = [request_of(index, "kappa", arch=arch, together=archs) for arch in archs]
    assert versions(resolver.resolve(asked[1])) == {"kappa": "2.0"}
    assert runs == ["lock"]
    assert versions(resolver.resolve(asked[0])) == {"kappa": "1.0"}


def test_what_newer_releases_alone_need_has_to_be_for_the_oldest_too(make_index: Callable[..., Index]) -> None:
    index = make_index(
        Release("late", "1.0", requires=("modern ; python_full_version >= '3.11.4'",)),
        Release("modern", "1.0", requires_python=">=3.11.4"),
    )
    with pytest.raises(ReleasesDiffer):
        UvResolver().resolve(request_of(index, "late"))


def test_each_arch_has_its_own_notes(index: Index) -> None:
    found = resolved(UvResolver(), index, "lam", "xi==1.1 ; sys_platform == 'darwin'")
    assert [len(found[arch].notes) for arch in ARCHS] == [0, 0, 1, 1]
    assert "broken" in found[OSX_ARM64].notes[0]


def test_a_later_question_is_asked_again(make_index: Callable[..., Index]) -> None:
    index = make_index(Release("alpha", "1.0"))
    resolver = UvResolver()
    assert versions(resolver.resolve(request_of(index, "alpha", together=ARCHS))) == {"alpha": "1.0"}
    index.publish(Release("alpha", "2.0"))
    assert versions(resolver.resolve(request_of(index, "alpha", together=ARCHS))) == {"alpha": "2.0"}


def test_an_index_that_nobody_answers_for_is_asked_once(runs: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    requirements = Requirements(python="==3.11.*", pypi=(parse_requirement("alpha"),), default_index=CLOSED)
    request = Request("demo", LINUX_64, requirements, python="3.11.0", default_index_url=CLOSED)
    with pytest.raises(IndexUnreachable) as raised:
        UvResolver().resolve(request)
    assert raised.value.nobody_there
    assert runs == ["lock"]
