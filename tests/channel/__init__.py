"""Conda channels of our own: real packages, served on loopback, with everything that can go wrong with them.

They are built in seconds, once for each state of this folder and of the machine, into the user's cache folder
(`places.CACHE`; real wheels are downloaded into it once). `main` takes the place of conda-forge, `other` is a second
channel. `python -m tests.channel` serves them by hand.

Fixtures: `channel` (all of it, read-only), `make_channel(*packages, whole=False, name="main", credentials=...)`
(one's own, `whole` on top of everything below), `private_channel` (all of it, behind a password, a token or a
bearer token), `conda_project` (a project for which `conda-forge`, `other` and `private` are these channels, by
ENVLOCK_CHANNEL_MIRRORS). `channel.need("numpy", "hello", series=2)` skips where this machine cannot have them.

`main`, real things; for another arch than this machine's they solve and install, but do not run:

- `python` of one or two series of this machine (`channel.series`; 3.12 and 3.11 where they are found), `python_abi`.
  3.12 and 3.11 can be solved for on every machine; one that the machine lacks is a stub there, which a solver takes
  only where it is told to.
- `numpy` 1.26.4 and, for the first series, 2.1.3; `pandas` 2.2.3; `pip`, `requests`, `click`, `rich` with all they
  need. `python-tzdata` is `tzdata` on PyPI.
- `hello` 1.0, 1.1: a C library with a 255 byte placeholder for its prefix, and a program that reads a file by that
  path. Without a C compiler it is a stub.

`main`, invented things (noarch where nothing is said):

- Versions: `lower` 1.0, 1.1, 1.2, 2.0; `upper` 1.0, 2.0 needs `lower`; `east` (lower <2) and `west` (lower >=2) do
  not go together; `guards` constrains lower <2; `candid` 1.0, 2.0rc1; `epochal` 1!2.0; `wanting` needs what is
  nowhere.
- Time: `dated` 1.0 of 2021-01-01, 1.1 of 2022-01-01, 2.0 of 2024-01-01; `undated` has no timestamp. Python is of
  2020, other invented packages of 2023-01-01 or earlier, real ones of when they were uploaded.
- Builds: `builds` 1.3, 1.4 as `py310_0`, `py311_0`, ..., and 1.4 as `py310_1`, ...; for each arch.
- Archs: `scarce` has no build for linux-aarch64; `lagging` 2.0 is for Linux only, 1.0 for all.
- Machines: `accel` 1.0 as `cpu_0`, and on Linux `cuda118_100`, `cuda124_200`; `cuda-only` (__cuda >=12.4, Linux);
  `modern` 1.0 and 2.0 (__glibc >=2.36 or __osx >=14); `too-modern` (__glibc >=2.99); `metal` (__osx >=14, macOS
  only); `vector` as `plain_0` and `v3_1` (__archspec 1 x86_64_v3, linux-64); `unixish` (__unix); `penguin`
  (__linux).
- What the test index (tests/index) has too: `beta` 1.5; `alpha` 1.1, 2.0; `lambda-tools` is `lam` on PyPI,
  `listens` needs it; `nu_name_space` is `Nu_Name.Space`; `gamma` 2024.1 is gamma 1.0; `iota` 3.0 is not there;
  `epsilon` 1.0 has no wheel there; `twins` holds both `rho` and `sigma`. `pytorch` 2.4.0 is `torch` 2.4.0+cpu.
  `bare` has a module, and no dist-info.
- Commands: `speak` 1.0, 1.1 (noarch entry point); `vintage` is a `.tar.bz2`; `twice` is there as both.
- Links: `greets` (post-link and pre-unlink scripts), `sulks` (its post-link fails), `activates` (activate.d,
  deactivate.d, env_vars.d), `clobber-one` and `clobber-two` (both have share/clobber/who.txt), `accents` (odd file
  names), `bundle` (no files; needs upper, speak, clobber-one).
- Records: `mended` (the record's depends are not the archive's), `unhashed` (no SHA-256).

`other`: `lower` 3.0, `speak` 9.0, `elsewhere` 1.0 (needs lower). `private`: `secret` 1.0, 2.0, `whisper` 1.0.
"""

from __future__ import annotations

from tests.channel.answers import DROP, Credentials, Request
from tests.channel.built import built_channels, copy_channels
from tests.channel.recipe import (
    PLACEHOLDER,
    Dist,
    File,
    Package,
    compiled_package,
    data_package,
    python_package,
)
from tests.channel.server import Channel

__all__ = [
    "DROP",
    "PLACEHOLDER",
    "Channel",
    "Credentials",
    "Dist",
    "File",
    "Package",
    "Request",
    "built_channels",
    "compiled_package",
    "copy_channels",
    "data_package",
    "python_package",
]
