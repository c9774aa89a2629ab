"""The invented packages of the test channels: each is there for one trait of real ones that locking must deal with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

from tests.channel.recipe import Dist, Package, compiled_package, data_package, python_package

ARCHS = ("linux-64", "linux-aarch64", "osx-64", "osx-arm64")
LINUX = ARCHS[:2]
MACOS = ARCHS[2:]


def main(series: tuple[str, ...]) -> Iterator[Package]:
    """What `main` (conda-forge, to the tests) holds besides Python, `hello` and what is made of real wheels."""
    yield from _versions()
    yield from _builds(series)
    yield from _counterparts()
    yield from _machines()
    yield from _installing()


def other() -> Iterator[Package]:
    """The second channel: `lower` in a higher version than in main, and a package that is here only."""
    yield data_package("lower", "3.0")
    yield data_package("elsewhere", "1.0", depends=("lower",))
    yield python_package("speak", "9.0", scripts={"speak": "speak:main"})


def private() -> Iterator[Package]:
    """The channel that wants credentials."""
    yield data_package("secret", "1.0")
    yield data_package("secret", "2.0")
    yield python_package("whisper", "1.0", scripts={"whisper": "whisper:main"})


def _versions() -> Iterator[Package]:
    # Plain versions, for pins and upgrades; `upper` needs `lower`, `east` and `west` do not go together.
    for version, year in (("1.0", 2020), ("1.1", 2021), ("1.2", 2022), ("2.0", 2023)):
        yield data_package("lower", version, uploaded=f"{year}-03-01T00:00:00Z")
    yield data_package("upper", "1.0", depends=("lower >=1",), uploaded="2020-06-01T00:00:00Z")
    yield data_package("upper", "2.0", depends=("lower >=1.1",), uploaded="2022-06-01T00:00:00Z")
    yield data_package("east", "1.0", depends=("lower <2",))
    yield data_package("west", "1.0", depends=("lower >=2",))
    yield data_package("guards", "1.0", constrains=("lower <2",))
    # For exclude-newer; `undated` has no timestamp at all.
    for version, day in (("1.0", "2021-01-01"), ("1.1", "2022-01-01"), ("2.0", "2024-01-01")):
        yield data_package("dated", version, uploaded=f"{day}T00:00:00Z")
    yield data_package("undated", "1.0", uploaded=None)
    # The newest is a release candidate: conda takes it like any other version.
    yield data_package("candid", "1.0")
    yield data_package("candid", "2.0rc1")
    # A file name that URLs have to quote.
    yield data_package("epochal", "1!2.0")
    # The record was mended after the archive was made; and one that lacks the hash.
    yield data_package("mended", "1.0", depends=("lower <1",), patch={"depends": ["lower >=1.1,<2"]})
    yield data_package("unhashed", "1.0", patch={"sha256": None})


def _builds(series: tuple[str, ...]) -> Iterator[Package]:
    # One build for each series of Python, the newest version in two; py310 always, whose Python is absent.
    for each in sorted({"3.10", *series}):
        for version in ("1.3", "1.4"):
            yield from compiled_package("builds", version, each).on(*ARCHS)
        yield from compiled_package("builds", "1.4", each, number=1, build=f"py{each.replace('.', '')}_1").on(*ARCHS)
    # No build for linux-aarch64.
    yield from data_package("scarce", "1.0").on("linux-64", *MACOS)
    # The newest version is not there for macOS.
    yield from data_package("lagging", "1.0").on(*ARCHS)
    yield from data_package("lagging", "2.0").on(*LINUX)
    # Needs what is nowhere.
    yield data_package("wanting", "1.0", depends=("nowhere >=1",))


def _counterparts() -> Iterator[Package]:
    """Conda packages of what the test index (tests/index) has too."""
    # The same name, another version than the newest there: PyPI's alpha 2.0 needs beta>=1, and theta alpha<2.
    yield python_package("beta", "1.5")
    yield python_package("alpha", "1.1")
    yield python_package("alpha", "2.0", requires=("beta>=1",), depends=("beta >=1",))
    # PyPI's `lam` (eta and zeta[full] need it) under another name, with the command.
    yield python_package("lambda-tools", "1.0", dist=Dist("lam", "1.0", scripts={"lam": "lam:main"}))
    # A name that PyPI writes otherwise.
    yield python_package("nu_name_space", "1.0", dist=Dist("Nu_Name.Space", "1.0"))
    # The version that the distribution has is not conda's.
    yield python_package("gamma", "2024.1", dist=Dist("gamma", "1.0"))
    # A version that PyPI does not have.
    yield python_package("iota", "3.0")
    # Two distributions in one package.
    yield python_package("twins", "1.0", Dist("sigma", "1.0", ("rho==1.0",)), dist=Dist("rho", "1.0", ("sigma==1.0",)))
    # No wheel of it is on PyPI.
    yield python_package("epsilon", "1.0")
    # A name that no rule leads to.
    yield python_package("pytorch", "2.4.0", dist=Dist("torch", "2.4.0+cpu"))
    # Only conda has these: a package with a command, and one that needs a distribution of another conda name.
    yield python_package("speak", "1.0", scripts={"speak": "speak:main"})
    yield python_package("speak", "1.1", scripts={"speak": "speak:main"})
    yield python_package("listens", "1.0", requires=("lam>=1",), depends=("lambda-tools >=1",))
    # Installed by conda, but has no dist-info, as C libraries with a Python module do.
    yield replace(python_package("bare", "1.0"), files=_without_dist_info(python_package("bare", "1.0")))
    # An archive of the old form, and one of both.
    yield python_package("vintage", "1.0", suffix=".tar.bz2", scripts={"vintage": "vintage:main"})
    yield python_package("twice", "1.0", suffix=".tar.bz2")
    yield python_package("twice", "1.0")


def _machines() -> Iterator[Package]:
    # Variants by what the machine is: the better build has the higher number.
    for subdir in LINUX:
        yield data_package("accel", "1.0", build="cpu_0", subdir=subdir)
        for cuda, number in (("11.8", 100), ("12.4", 200)):
            build = f"cuda{cuda.replace('.', '')}_{number}"
            depends = (f"__cuda >={cuda}",)
            yield data_package("accel", "1.0", build=build, number=number, subdir=subdir, depends=depends)
        yield data_package("cuda-only", "1.0", subdir=subdir, depends=("__cuda >=12.4",))
        yield data_package("modern", "1.0", subdir=subdir, depends=("__glibc >=2.17",))
        yield data_package("modern", "2.0", subdir=subdir, depends=("__glibc >=2.36",))
        yield data_package("too-modern", "1.0", subdir=subdir, depends=("__glibc >=2.99",))
    for subdir in MACOS:
        yield data_package("accel", "1.0", build="cpu_0", subdir=subdir)
        yield data_package("modern", "1.0", subdir=subdir, depends=("__osx >=11",))
        yield data_package("modern", "2.0", subdir=subdir, depends=("__osx >=14",))
        yield data_package("metal", "1.0", subdir=subdir, depends=("__osx >=14",))
    yield from data_package("vector", "1.0", build="plain_0").on(*ARCHS)
    yield data_package("vector", "1.0", build="v3_1", number=1, subdir="linux-64", depends=("__archspec 1 x86_64_v3",))
    yield data_package("unixish", "1.0", depends=("__unix",))
    yield data_package("penguin", "1.0", depends=("__linux",))


def _installing() -> Iterator[Package]:
    # Link scripts: one that leaves a note, one that fails.
    yield _with_scripts(
        "greets",
        post='echo "greets was linked" > "$PREFIX/share/greets/linked.txt"\n',
        pre='rm -f "$PREFIX/share/greets/linked.txt"\n',
    )
    yield _with_scripts("sulks", post="echo 'no, not here' >&2\nexit 3\n", pre="exit 0\n")
    # Activation: a script, its undoing, and variables.
    yield data_package(
        "activates",
        "1.0",
        {
            "etc/conda/activate.d/activates.sh": 'export ACTIVATES_HOME="$CONDA_PREFIX/share/activates"\n',
            "etc/conda/deactivate.d/activates.sh": "unset ACTIVATES_HOME\n",
            "etc/conda/env_vars.d/activates.json": json.dumps({"ACTIVATES_LEVEL": "11", "ACTIVATES_NAME": "a b"}),
            "share/activates/note.txt": "a note\n",
        },
    )
    # The same file with different bytes.
    yield data_package("clobber-one", "1.0", {"share/clobber/who.txt": "one\n", "share/clobber/one.txt": "1\n"})
    yield data_package("clobber-two", "1.0", {"share/clobber/who.txt": "two\n", "share/clobber/two.txt": "2\n"})
    # File names that are not plain.
    yield data_package("accents", "1.0", {"share/accents/näme of a file.txt": "ünïcode\n"})
    # Nothing but what it depends on.
    yield data_package("bundle", "1.0", {}, depends=("upper", "speak", "clobber-one"))


def _with_scripts(name: str, *, post: str, pre: str) -> Package:
    head = "#!/bin/sh\n"
    texts = {
        f"bin/.{name}-post-link.sh": head + post,
        f"bin/.{name}-pre-unlink.sh": head + pre,
        f"share/{name}/version.txt": "1.0\n",
    }
    return data_package(name, "1.0", texts)


def _without_dist_info(package: Package) -> dict[str, object]:
    return {path: file for path, file in package.files.items() if ".dist-info/" not in path}
