"""Locks and requirements as Hypothesis makes them up: odd, but right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from envlock.config.system_packages import system_rows
from envlock.model.arch import ARCHS
from envlock.model.conda_requirement import conda_requirement
from envlock.model.lock import Lock, LockedPackage, LockedPython, Source
from envlock.model.requirement import parse_requirement
from envlock.model.requirements import Requirements

_name_parts = st.text("abcz019", min_size=1, max_size=4)
names = st.lists(_name_parts, min_size=1, max_size=3).map("-".join)
_number = st.integers(0, 99).map(str)
versions = st.builds(
    lambda numbers, suffix: ".".join(numbers) + suffix,
    st.lists(_number, min_size=2, max_size=3),
    st.sampled_from(["", "", "rc1", ".post2"]),
)
hashes = st.integers(0, 2**256 - 1).map(lambda number: f"{number:064x}")
indexes = st.sampled_from(
    ["https://index.example/simple", "https://other.example/simple", "http://127.0.0.1:1234/simple"]
)
words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
"""What a user's name or a step's may hold: quotes, backslashes, control characters."""

requirements_texts = st.builds(
    lambda name, extras, specifier, marker: name + extras + specifier + marker,
    names,
    st.sampled_from(["", "", "[socks]", "[b,a]"]),
    st.sampled_from(["", ">=1", ">=1,<2", "==1.2.*", "~=1.4", "!=1.3"]),
    st.sampled_from(["", "", " ; sys_platform == 'linux'", ' ; python_version < "3.12"']),
)
asked_of_pypi = st.builds(
    lambda text, index: parse_requirement(text)._replace(from_index=index),
    requirements_texts,
    st.sampled_from(["", "", "https://index.example/cu121/", "https://other.example"]),
)
asked_by_url = st.builds(
    lambda name, url: parse_requirement(f"{name} @ {url}"),
    names,
    st.one_of(
        st.sampled_from(
            [
                "https://files.example/demo.tar.gz",
                "git+https://code.example/team/tool@main",
                "git+ssh://git@code.example/team/tool#subdirectory=libs/a",
            ]
        ),
        hashes.map(lambda sha256: f"folder+sha256:{sha256}"),
        hashes.map(lambda sha256: f"file+sha256:{sha256}/demo-1.0-py3-none-any.whl"),
    ),
)
pypi = st.lists(
    st.one_of(asked_of_pypi, asked_of_pypi, asked_by_url), max_size=4, unique_by=lambda each: (each.name, each.marker)
).map(lambda found: tuple(sorted(found, key=str)))
conda_texts = st.builds(
    lambda channel, name, version: conda_requirement(f"{channel}{name}", version),
    st.sampled_from(["", "", "conda-forge::", "https://conda.example/team::"]),
    names,
    st.sampled_from(["", "1.26.4", "=1.26", ">=1,<2", "1.4=py310*", "1.2|1.4.*", ">=1 ; linux", "; osx-arm64"]),
)
conda_packages = st.lists(conda_texts, max_size=3, unique=True).map(lambda found: tuple(sorted(found)))


def _few(items: st.SearchStrategy[Any], key: Callable[[Any], Any] = lambda item: item) -> st.SearchStrategy[Any]:
    """Mostly none, else some, sorted: a later key of requirements."""
    some = st.lists(items, min_size=1, max_size=2, unique_by=key).map(lambda found: tuple(sorted(found, key=key)))
    return st.one_of(st.just(()), st.just(()), some)


requirements = st.builds(
    Requirements,
    python=st.sampled_from(["", "==3.12.*", "<3.13,>=3.11"]),
    python_from=st.sampled_from(["machine", "uv"]),
    pypi=pypi,
    metaflow=st.sampled_from([(), (parse_requirement("requests>=2.21.0"),)]),
    indexes=st.lists(indexes, max_size=2, unique=True).map(tuple),
    default_index=st.sampled_from(["", "https://index.example/simple"]),
    pip_flags=st.sampled_from([(), ("pre",), ("no-binary=alpha",)]),
    exclude_newer=st.sampled_from(["", "2026-11-01T00:00:00Z"]),
    conda=st.just(()),
    conda_only=st.just(()),
    channels=st.just(()),
    base=st.just(""),
    system=st.sampled_from([(), ((ARCHS[0], "__glibc", "2.28"), (ARCHS[2], "__osx", "13.0"))]),
    constraints=_few(requirements_texts.map(parse_requirement), key=str),
    overrides=_few(requirements_texts.map(parse_requirement), key=str),
    hashes=_few(st.tuples(names, hashes)),
    find_links=st.sampled_from([(), (), ("https://pages.example/wheels/",)]),
    variables=_few(st.tuples(st.sampled_from(["MODE", "_X1"]), words.filter(lambda text: "\0" not in text))).map(
        lambda rows: tuple(sorted(dict(rows).items()))
    ),
)
"""Of environments without conda."""
conda_asking = st.builds(
    lambda asked, **others: asked._replace(python_from="conda", **others),
    requirements,
    conda=conda_packages,
    conda_only=conda_packages,
    channels=st.lists(
        st.sampled_from(["conda-forge", "bioconda", "https://conda.example/team", "file:///srv/channel"]),
        min_size=1,
        max_size=3,
        unique=True,
    ).map(tuple),
    channel_priority=st.sampled_from(["", "disabled"]),
    system=st.dictionaries(
        st.sampled_from(["__cuda", "__glibc", "__linux", "__osx"]), st.sampled_from(["12.4", "13.0"]), max_size=3
    ).map(lambda asked: system_rows({}, asked, has_conda=True)),
)
"""Of environments with a conda part."""
any_requirements = st.one_of(requirements, conda_asking)


@st.composite
def packages(draw: st.DrawFn) -> LockedPackage:
    """A package of a pure wheel, somewhere."""
    name, version, sha256 = draw(names), draw(versions), draw(hashes)
    stem = f"{name.replace('-', '_')}-{version}"
    local = draw(st.sampled_from(["", "+cpu"]))
    filename = f"{stem}{local}-py3-none-any.whl"
    return LockedPackage(
        name=name,
        version=f"{version}{local}",
        filename=filename,
        url=f"https://files.example/{sha256[:2]}/{filename.replace('+', '%2B')}",
        sha256=sha256,
        size=draw(st.none() | st.integers(0, 10**10)),
        upload_time=draw(st.sampled_from(["", "2026-11-01T12:00:00Z", "2026-11-01T12:00:00.500000Z"])),
        index=draw(st.sampled_from(["", "https://index.example/simple"])),
        dependencies=tuple(sorted(draw(st.lists(names, max_size=3, unique=True)))),
    )


_paths = st.sampled_from([".", "..", "libs/common", "../libs/a b", "libs/ä..b", "...", "a/.b"])
_requires = st.lists(st.builds("{}=={}".format, names, versions), max_size=2, unique=True).map(
    lambda found: tuple(sorted(found))
)
_subdirectories = st.sampled_from(["", "libs/a", "a b/.c"])


@st.composite
def built_packages(draw: st.DrawFn) -> LockedPackage:
    """A package of a wheel that no upstream has."""
    package = draw(packages())
    stem = f"{package.name.replace('-', '_')}-{package.version}"
    path = draw(_paths)
    kind = draw(st.sampled_from(["index", "web", "here", "git", "folder", "wheel"]))
    facts: dict[str, Any] = {"requires": draw(_requires), "sha256": draw(hashes)}
    more: dict[str, Any] = {"index": "", "upload_time": ""}
    if kind == "index":
        url = f"https://files.example/{draw(names)}/{stem}.tar.gz".replace("+", "%2B")
        facts |= {"url": url, "filename": draw(st.sampled_from([f"{stem}.tar.gz", f"{stem}.zip"]))}
        more = {"index": "https://index.example/simple"}
    elif kind == "web":
        facts |= {"url": "https://files.example/${TEAM}/v1.zip", "filename": "v1.zip"}
        facts["subdirectory"] = draw(_subdirectories)
    elif kind == "here":
        facts |= {"path": f"{path}/{stem}.tar.gz".removeprefix("./"), "filename": f"{stem}.tar.gz"}
        facts["subdirectory"] = draw(_subdirectories)
    elif kind == "git":
        facts["sha256"] = ""
        facts["url"] = draw(st.sampled_from(["https://code.example:8443/team/tool.git", "ssh://git@code.example/tool"]))
        facts |= {"commit": draw(hashes)[: draw(st.sampled_from([40, 64]))], "subdirectory": draw(_subdirectories)}
    elif kind == "folder":
        facts |= {"path": path, "subdirectory": draw(_subdirectories)}
    else:
        facts = {"path": f"{path}/{package.filename}".removeprefix("./")}
    made = {"index": "sdist", "web": "sdist", "here": "sdist"}.get(kind, kind)
    size = package.size or 0
    return replace(
        package,
        url="",
        size=size,
        source=Source(made, **facts),
        **{"upload_time": "", **more, **({"upload_time": package.upload_time} if kind == "index" else {})},
    )


pythons = st.sampled_from(
    [
        LockedPython(source="machine", version="3.12.0"),
        LockedPython(source="machine", version="3.12.4"),
        LockedPython(
            source="uv",
            version="3.12.9",
            url="https://files.example/20260101/cpython-3.12.9%2B20260101-x86_64.tar.gz",
            filename="cpython-3.12.9+20260101-x86_64.tar.gz",
            sha256="0" * 64,
        ),
    ]
)
locks = st.builds(
    Lock,
    arch=st.sampled_from(ARCHS),
    requirements=requirements,
    python=pythons,
    packages=st.lists(
        st.one_of(packages(), packages(), built_packages()), max_size=5, unique_by=lambda each: each.name
    ).map(lambda found: tuple(sorted(found, key=lambda each: each.name))),
    exclude_newer=st.sampled_from(["", "2026-11-01T00:00:00Z"]),
    asked_by=st.lists(words, max_size=2).map(tuple),
    resolved_by=words,
    resolved_at=st.just("2026-11-02T00:00:00Z"),
)
