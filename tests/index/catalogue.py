"""The packages of the test index: each is there for one trait of real packages that locking has to deal with."""

from __future__ import annotations

from tests.index.recipe import Release

LINUX_64 = "manylinux_2_17_x86_64.manylinux2014_x86_64"
LINUX_AARCH64 = "manylinux_2_28_aarch64"
OSX_64 = "macosx_13_0_x86_64"
OSX_ARM64 = "macosx_11_0_arm64"
PLATFORMS = (LINUX_64, LINUX_AARCH64, OSX_64, OSX_ARM64)
SERIES = ("310", "311", "312", "313", "314")


def any_python(*platforms: str) -> tuple[str, ...]:
    """Tags of wheels that fit every Python 3 on these platforms."""
    return tuple(f"py3-none-{platform}" for platform in platforms)


def each_python(*platforms: str) -> tuple[str, ...]:
    """Tags of one wheel for each platform and each Python series."""
    return tuple(f"cp{s}-cp{s}-{platform}" for platform in platforms for s in SERIES)


CATALOGUE: tuple[Release, ...] = (
    # Pure; the newest needs another package.
    Release("alpha", "1.0", uploaded="2019-03-01T00:00:00Z"),
    Release("alpha", "1.1", uploaded="2021-03-01T00:00:00Z"),
    Release("alpha", "2.0", requires=("beta>=1",), uploaded="2023-03-01T00:00:00Z"),
    # Pure, then one wheel for each platform, then one for each platform and Python.
    Release("beta", "1.0", uploaded="2019-04-01T00:00:00Z"),
    Release("beta", "1.5", tags=any_python(*PLATFORMS), uploaded="2021-04-01T00:00:00Z"),
    Release("beta", "2.0", tags=each_python(*PLATFORMS), uploaded="2023-04-01T00:00:00Z"),
    # No wheel for macOS.
    Release("gamma", "1.0", tags=any_python(LINUX_64, LINUX_AARCH64), uploaded="2022-01-01T00:00:00Z"),
    # The newest release has no wheel: wheels alone fall back silently to the older one.
    Release("delta", "1.0", uploaded="2020-05-01T00:00:00Z"),
    Release("delta", "1.5", tags=(), sdist=True, uploaded="2022-05-01T00:00:00Z"),
    # No wheel at all.
    Release("epsilon", "1.0", tags=(), sdist=True, uploaded="2020-06-01T00:00:00Z"),
    Release(
        "zeta",
        "1.0",
        extras={"fast": ("beta>=1",), "full": ("lam", "nu-name-space")},
        uploaded="2022-06-01T00:00:00Z",
    ),
    # Other dependencies for each arch and each Python.
    Release(
        "eta",
        "1.0",
        requires=(
            "alpha<2 ; sys_platform == 'linux'",
            "beta ; sys_platform == 'darwin'",
            "lam ; platform_machine == 'aarch64' or platform_machine == 'arm64'",
            "zeta ; python_version < '3.12'",
            "tau ; sys_platform == 'win32'",
        ),
        uploaded="2022-07-01T00:00:00Z",
    ),
    # Does not go with alpha 2.
    Release("theta", "1.0", requires=("alpha<2",), uploaded="2022-08-01T00:00:00Z"),
    Release("theta", "2.0", requires=("alpha<2", "beta<2"), uploaded="2023-08-01T00:00:00Z"),
    # The newest release wants a newer Python.
    Release("iota", "1.0", requires_python=">=3.8", uploaded="2021-09-01T00:00:00Z"),
    Release("iota", "2.0", requires_python=">=3.12", uploaded="2023-09-01T00:00:00Z"),
    # The newest release wants a newer glibc (kappa) or macOS (mu).
    Release("kappa", "1.0", tags=any_python(*PLATFORMS), uploaded="2021-10-01T00:00:00Z"),
    Release(
        "kappa",
        "2.0",
        tags=any_python("manylinux_2_34_x86_64", "manylinux_2_34_aarch64", OSX_64, OSX_ARM64),
        uploaded="2023-10-01T00:00:00Z",
    ),
    Release("mu", "1.0", tags=any_python(*PLATFORMS), uploaded="2021-11-01T00:00:00Z"),
    Release(
        "mu",
        "2.0",
        tags=any_python(LINUX_64, LINUX_AARCH64, "macosx_14_0_x86_64", "macosx_14_0_arm64"),
        uploaded="2023-11-01T00:00:00Z",
    ),
    # A console script.
    Release("lam", "1.0", scripts={"lam": "lam:main"}, uploaded="2022-12-01T00:00:00Z"),
    # A name that is not its normalised form.
    Release("Nu_Name.Space", "1.0", uploaded="2022-02-01T00:00:00Z"),
    # The newest release is yanked.
    Release("xi", "1.0", uploaded="2021-02-01T00:00:00Z"),
    Release("xi", "1.1", uploaded="2023-02-01T00:00:00Z", yanked="it was broken"),
    # The newest release is a prerelease.
    Release("omicron", "1.0", uploaded="2021-05-01T00:00:00Z"),
    Release("omicron", "2.0rc1", uploaded="2023-05-01T00:00:00Z"),
    # Several wheels of one release fit one target.
    Release(
        "pi",
        "1.0",
        tags=(
            "py3-none-any",
            *any_python(*PLATFORMS, "macosx_11_0_universal2"),
            *(f"cp310-abi3-{platform}" for platform in PLATFORMS),
        ),
        sdist=True,
        uploaded="2022-03-14T00:00:00Z",
    ),
    # Two packages that need each other.
    Release("rho", "1.0", requires=("sigma==1.0",), uploaded="2022-04-01T00:00:00Z"),
    Release("sigma", "1.0", requires=("rho==1.0",), uploaded="2022-04-01T00:00:00Z"),
    # Wanted on Windows alone.
    Release("tau", "1.0", tags=any_python("win_amd64"), uploaded="2022-04-02T00:00:00Z"),
)
