"""Locks with wheels that no upstream has: read for ever, written to the byte, and every change of them seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tomli
from packaging.pylock import Pylock

from envlock.lockfile.canonical_text import STAMP, body_of, digest_of
from envlock.lockfile.document import parse, render, summary_of
from envlock.lockfile.errors import DamagedLock
from envlock.lockfile.summary import quick_summary
from envlock.model.arch import LINUX_64
from envlock.model.lock import Lock, LockedPackage, LockedPython, Source
from envlock.model.requirement import parse_requirement
from envlock.model.requirements import Requirements
from tests.lockfile.conda_locks import MIXED

V3 = Path(__file__).parent.parent / "formats" / "v3"
COMMIT = "c0ffee" * 6 + "beef"
SETUPTOOLS = ("setuptools==80.9.0", "wheel==0.45.1")


def wheel(name: str, sha256: str, source: Source, **more: object) -> LockedPackage:
    filename = f"{name}-1.0-py3-none-any.whl"
    package = LockedPackage(name=name, version="1.0", filename=filename, url="", sha256=sha256 * 32, size=1000)
    return replace(package, source=source, **more)  # type: ignore[arg-type]


ALPHA = wheel(
    "alpha",
    "a0",
    Source(
        "sdist",
        url="https://files.example/a0/alpha-1.0.tar.gz",
        sha256="a1" * 32,
        filename="alpha-1.0.tar.gz",
        requires=SETUPTOOLS,
    ),
    index="https://index.example/simple",
    upload_time="2026-01-02T03:04:05Z",
    dependencies=("common",),
)
BETA = wheel(
    "beta",
    "b0",
    Source("git", url="https://code.example/team/beta", commit=COMMIT, subdirectory="libs/beta", requires=SETUPTOOLS),
)
COMMON = wheel("common", "c0", Source("folder", path="libs/common", sha256="c1" * 32, requires=("hatchling==1.27.0",)))
DELTA = wheel(
    "delta", "d0", Source("sdist", url="https://files.example/v1/delta.zip", sha256="d1" * 32, filename="delta.zip")
)
LOCAL = wheel("local", "e0", Source("wheel", path="../dist/local-1.0-py3-none-any.whl"))
SDIST = wheel(
    "packed", "f0", Source("sdist", path="dist/packed-1.0.tar.gz", sha256="f1" * 32, filename="packed-1.0.tar.gz")
)
PLAIN = LockedPackage(
    name="plain",
    version="2.0",
    filename="plain-2.0-py3-none-any.whl",
    url="https://files.example/ab/plain-2.0-py3-none-any.whl",
    sha256="ab" * 32,
    index="https://index.example/simple",
)
BUILT = Lock(
    arch=LINUX_64,
    requirements=Requirements(
        python="==3.12.*",
        pypi=tuple(
            map(
                parse_requirement,
                (
                    "alpha",
                    "beta @ git+https://code.example/team/beta@main#subdirectory=libs/beta",
                    f"common @ folder+sha256:{'c1' * 32}",
                    "delta @ https://files.example/v1/delta.zip",
                    f"local @ file+sha256:{'e0' * 32}/local-1.0-py3-none-any.whl",
                    f"packed @ file+sha256:{'f1' * 32}/packed-1.0.tar.gz",
                ),
            )
        ),
        default_index="https://index.example/simple",
        constraints=(parse_requirement("plain<3"), parse_requirement("unused==1")),
        hashes=(("alpha", "a1" * 32), ("plain", "ab" * 32)),
        find_links=("https://pages.example/wheels/",),
        variables=(("MODE", 'a "quoted"\nvalue'), ("THREADS", "4")),
    ),
    python=LockedPython(source="machine", version="3.12.0"),
    packages=(ALPHA, BETA, COMMON, DELTA, LOCAL, SDIST, PLAIN),
    asked_by=("Train/start",),
    resolved_by="somebody",
    resolved_at="2026-02-08T00:00:00Z",
)
BUILT_MIXED = replace(
    MIXED,
    requirements=MIXED.requirements._replace(
        pypi=(parse_requirement(f"common @ folder+sha256:{'c1' * 32}"), *MIXED.requirements.pypi)
    ),
    packages=tuple(sorted((*MIXED.packages, COMMON), key=lambda each: (each.kind, each.name))),
)
LOCKS = {"pylock.built.toml": BUILT, "pylock.mixed.toml": BUILT_MIXED}
IDS = {
    "pylock.built.toml": "3676ea53d1a9b70e042a4feaabcb970c1e1c5157:8b3d930442f356eca32df31b663413c1d421c20e",
    "pylock.mixed.toml": "6dc9f10793ffc224e7e21678af592dbace11a242:a4fc16e222b3c826ef575ffcdc998608a2b1bcef",
}


@pytest.mark.parametrize("name", sorted(LOCKS))
def test_format_3_is_read_as_it_was_meant(name: str) -> None:
    data = (V3 / name).read_bytes()
    assert parse(data, name) == LOCKS[name]
    summary = quick_summary(data)
    assert summary is not None
    assert f"{summary.req_id}:{summary.full_id}" == IDS[name] == LOCKS[name].identity
    # Each has a package that nothing needs, so that all kinds of lines are in it.
    unneeded = {"pylock.built.toml": "plain", "pylock.mixed.toml": "_openmp_mutex"}
    assert summary.inconsistency == f"{unneeded[name]} is locked, but nothing that is required needs it"


@pytest.mark.parametrize("name", sorted(LOCKS))
def test_format_3_is_written_to_the_byte(name: str) -> None:
    assert render(LOCKS[name]) == (V3 / name).read_text()


def test_it_is_pep_751_with_all_of_its_sources() -> None:
    document = Pylock.from_dict(tomli.loads(render(BUILT)))
    kinds = {
        each.name: next(kind for kind in ("sdist", "vcs", "directory", "archive", "wheels") if getattr(each, kind))
        for each in document.packages
    }
    assert kinds == {
        "alpha": "sdist",
        "beta": "vcs",
        "common": "directory",
        "delta": "archive",
        "local": "wheels",
        "packed": "archive",
        "plain": "wheels",
    }


def test_a_summary_knows_every_url_and_what_was_built_from_an_index() -> None:
    summary = summary_of(BUILT)
    assert summary.urls == (PLAIN.url,)
    assert summary.built == ("alpha",)
    assert {
        "https://files.example/a0/alpha-1.0.tar.gz",
        "https://files.example/v1/delta.zip",
        "https://code.example/team/beta",
        "https://pages.example/wheels/",
    } <= set(summary.all_urls(has_mirror=False))


@pytest.mark.parametrize(
    "requirements",
    [
        Requirements(constraints=(parse_requirement("plain<3"),)),
        Requirements(overrides=(parse_requirement("plain>=2"),)),
        Requirements(hashes=(("plain", "ab" * 32),)),
        Requirements(find_links=("https://pages.example/",)),
        Requirements(variables=(("MODE", "fast"),)),
        Requirements(pypi=(parse_requirement("beta @ git+https://code.example/beta ; sys_platform == 'darwin'"),)),
    ],
    ids=["constraints", "overrides", "hashes", "find-links", "variables", "git-elsewhere"],
)
def test_what_older_formats_cannot_say_is_format_3_without_a_source_too(requirements: Requirements) -> None:
    lock = replace(BUILT, requirements=requirements, packages=(PLAIN,))
    text = render(lock)
    assert "\nformat = 3\n" in text
    assert parse(text.encode(), "x") == lock
    assert quick_summary(text.encode()) is not None


def resealed(old: str, new: str) -> bytes:
    """A lock that somebody changed and whose digest fits again."""
    text = render(BUILT)
    assert old in text
    changed = text.replace(old, new, 1)
    return changed.replace(text[text.index(STAMP) :].split('"')[1], digest_of(body_of(changed))).encode()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("format = 3", "format = 1"),
        ("format = 3", "format = 2"),
        ('path = "../../../libs/common"', 'path = "/libs/common"'),
        ('path = "../../../libs/common"', 'path = "../../../libs/../common"'),
        ('path = "../../../libs/common"', 'path = "../../../libs//common"'),
        ('path = "../../../../dist/local-1.0-', 'path = "../../../../dist/other-1.0-'),
        (COMMIT, COMMIT[:12]),
        ("https://code.example/team/beta", "https://me:pw@code.example/team/beta"),
        ("https://code.example/team/beta", "file:///srv/beta"),
        ('subdirectory = "libs/beta"', 'subdirectory = "../beta"'),
        ('name = "alpha-1.0-py3-none-any.whl"', 'name = "../alpha-1.0-py3-none-any.whl"'),
        ("size = 1000", "size = -1"),
        ("size = 1000", "size = true"),
        ('built-with = ["setuptools==80.9.0", ', 'built-with = ["setuptools @ https://x", '),
        ('sdist = {upload-time = 2026-01-02T03:04:05Z, url = "https:', 'sdist = {url = "s3:'),
        (f'content = "{"c1" * 32}"', 'content = "c1"'),
        ('vcs = {type = "git"', 'vcs = {type = "hg"'),
        ('MODE", ', 'MO-DE", '),
        ('["alpha", "a1', '["Alpha", "a1'),
    ],
)
def test_what_no_lock_may_say_is_damage_though_its_digest_fits(old: str, new: str) -> None:
    data = resealed(old, new)
    assert quick_summary(data) is None
    with pytest.raises(DamagedLock):
        parse(data, "x")


@pytest.mark.parametrize(
    ("packages", "sentence"),
    [
        ((replace(PLAIN, version="3.0", filename="plain-3.0-py3-none-any.whl"),), "a constraint asks for plain<3"),
        ((replace(PLAIN, sha256="ac" * 32),), "none of the hashes"),
        ((replace(ALPHA, source=replace(ALPHA.source, sha256="a2" * 32)),), "none of the hashes"),  # type: ignore[type-var]
        ((replace(COMMON, source=replace(COMMON.source, sha256="c2" * 32)),), "common was not built from folder"),  # type: ignore[type-var]
        ((replace(LOCAL, sha256="e1" * 32),), "local was not built from file"),
        ((replace(BETA, source=replace(BETA.source, url="https://code.example/x")),), "beta was not built from git"),  # type: ignore[type-var]
        ((replace(PLAIN, name="beta", filename="beta-2.0-py3-none-any.whl"),), "beta was not built from git"),
        (
            (replace(DELTA, source=replace(DELTA.source, url="https://files.example/x.zip")),),
            "delta was not built from",
        ),  # type: ignore[type-var]
        ((replace(PLAIN, url="", index="", size=7, source=BETA.source),), "plain was built from https://code.example"),
        ((replace(PLAIN, url="", index="", size=7, source=COMMON.source),), "plain was built from libs/common, which"),
        (
            (replace(PLAIN, url="", index="", size=7, source=DELTA.source),),
            "plain was built from https://files.example",
        ),
    ],
)
def test_a_lock_of_something_else_than_was_asked_for_is_inconsistent(
    packages: tuple[LockedPackage, ...], sentence: str
) -> None:
    others = {package.name: package for package in BUILT.packages}
    others |= {package.name: package for package in packages}
    assert sentence in summary_of(replace(BUILT, packages=tuple(others[name] for name in sorted(others)))).inconsistency


def test_a_hash_of_the_sdist_is_met_by_what_was_built_from_it() -> None:
    assert dict(BUILT.requirements.hashes)["alpha"] != ALPHA.sha256
    asked = BUILT.requirements._replace(pypi=(*BUILT.requirements.pypi, parse_requirement("plain")))
    assert summary_of(replace(BUILT, requirements=asked)).inconsistency == ""


def test_a_source_is_required_where_its_marker_holds_and_where_its_variables_may_lead() -> None:
    texts = (
        "plain ; sys_platform == 'linux'",
        "plain @ git+https://code.example/plain ; sys_platform == 'darwin'",
        "beta @ git+https://${HOST}/team/beta@main#subdirectory=libs/beta",
        "delta @ https://${HOST}/v1/delta.zip",
    )
    kept = tuple(each for each in BUILT.requirements.pypi if each.name not in {"beta", "delta"})
    asked = BUILT.requirements._replace(pypi=(*kept, *map(parse_requirement, texts)))
    assert summary_of(replace(BUILT, requirements=asked)).inconsistency == ""
