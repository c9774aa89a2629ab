"""Locks with conda packages as Hypothesis makes them up: odd, but right."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

from hypothesis import strategies as st

from envlock.conda.match_specs import edges
from envlock.model.arch import ARCHS, Arch
from envlock.model.lock import CondaFacts, Lock, LockedPackage, LockedPython
from tests.property.strategies import hashes, locks, requirements, versions
from tests.property.strategies import names as pypi_names
from tests.support import conda_requirements

names = st.from_regex(r"\A_?[a-c0-2]([a-c0-2_.-]{0,4}[a-c0-2])?\Z").filter(lambda name: name != "python")
conda_versions = st.builds(
    lambda epoch, version, local: epoch + version + local,
    st.sampled_from(["", "", "1!"]),
    st.sampled_from(["1.0", "2026a", "1.1.1w", "0.20.8_1", "9e", "v2"]),
    st.sampled_from(["", "", "+cpu.1"]),
)
builds = st.sampled_from(["0", "h64a7726_0", "py313h_102_cp313", "2_gnu", "cuda12.4_x", "_0"])
channels = st.sampled_from(
    [
        "https://conda.example/conda-forge",
        "http://127.0.0.1:1234",
        "https://[::1]:8000/a/b",
        "s3://team-channel/main",
        "file:///srv/channel",
    ]
)
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Cf", "Zl", "Zp"]), max_size=12)
"""What a licence may say: quotes, backslashes, any script."""
moments = st.integers(0, 4 * 10**12).map(
    lambda milliseconds: datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=milliseconds)
)
"""When a package was built, as channels say it: to the millisecond."""


@st.composite
def conda_packages(draw: st.DrawFn, arch: Arch, name: str, version: str, known: list[str]) -> LockedPackage:
    """A conda package that may need others of `known`, and virtual ones."""
    build, channel, subdir = draw(builds), draw(channels), draw(st.sampled_from([arch, "noarch"]))
    filename = f"{name}-{version}-{build}{draw(st.sampled_from(['.conda', '.tar.bz2']))}"
    moment = draw(st.none() | moments)
    exact = "milliseconds" if moment and moment.microsecond else "seconds"
    specifications = st.builds(
        lambda channel, name, rest: f"{channel}{name}{rest}",
        st.sampled_from(["", "", "conda-forge::"]),
        st.sampled_from([*known, "__glibc", "absent"]),
        st.sampled_from(["", " >=1,<2.0a0", ">=1", ' >=1[build="!1,<2"]', " 1.* *_cp313"]),
    )
    depends = tuple(draw(st.lists(specifications, max_size=3)))
    return LockedPackage(
        kind="conda",
        name=name,
        version=version,
        build=build,
        filename=filename,
        url=draw(
            st.sampled_from(
                [
                    f"{channel}/{subdir}/{filename}",
                    f"https://files.example/x/{filename.replace('+', '%2B')}",
                    f"https://files.example/{subdir}/by-hash",
                ]
            )
        ),
        sha256=draw(hashes),
        size=draw(st.none() | st.integers(0, 10**10)),
        upload_time=moment.isoformat(timespec=exact).replace("+00:00", "Z") if moment else "",
        dependencies=edges(depends, known),
        conda=CondaFacts(
            channel=channel,
            subdir=subdir,
            build_number=draw(st.integers(0, 200)),
            depends=depends,
            constrains=tuple(draw(st.lists(specifications, max_size=2))),
            noarch=draw(st.sampled_from(["", "python", "generic"])),
            md5=draw(st.sampled_from(["", "ab" * 16])),
            license=draw(texts),
            site_packages=draw(st.sampled_from(["", "lib/python3.13/site-packages"])),
            provides=tuple(draw(st.lists(st.tuples(pypi_names, versions), max_size=2))),
        ),
    )


@st.composite
def conda_locks(draw: st.DrawFn) -> Lock:
    """A lock whose Python is a conda package, with others, and maybe with wheels that none of them provides."""
    base = draw(locks)
    version = draw(st.sampled_from(["3.13.9", "3.12.0", "3.15.0rc1"]))
    others = draw(st.lists(names, max_size=4, unique=True))
    known = sorted([*others, "python"])
    conda = tuple(
        draw(conda_packages(base.arch, name, version if name == "python" else draw(conda_versions), known))
        for name in known
    )
    provided = {name for package in conda for name, _ in package.conda.provides}  # type: ignore[union-attr]
    return replace(
        base,
        requirements=draw(requirements)._replace(
            python_from="conda",
            conda=conda_requirements(
                *draw(st.sampled_from([(), ("numpy",), ("conda-forge::numpy =1.26 py*", "tool >=1")]))
            ),
            channels=draw(st.sampled_from([("conda-forge",), ("https://conda.example/team", "conda-forge")])),
            channel_priority=draw(st.sampled_from(["", "disabled"])),
            system=draw(st.sampled_from([(), ((ARCHS[0], "__cuda", "12.4"),)])),
        ),
        python=LockedPython(source="conda", version=version),
        packages=(*conda, *(package for package in base.packages if package.name not in provided)),
    )
