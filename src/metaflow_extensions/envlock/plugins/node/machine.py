"""Whether this machine has the system packages that a lock requires: glibc, kernel, macOS, CUDA, processor.

Looks up only what is required: with the default requirements, that is one or two calls of the operating system.
`CONDA_OVERRIDE_GLIBC` and the like count as in conda; an empty one says that the machine has none.

Workstations ask here too: `envlock.hydration.machine_checks` does.
"""

from __future__ import annotations

import os

from .errors import Misconfigured

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Iterable, Iterator

_ARCHS = {("Linux", "x86_64"): "linux-64", ("Linux", "aarch64"): "linux-aarch64", ("Linux", "arm64"): "linux-aarch64"}
LEVELS = ("x86_64", "x86_64_v2", "x86_64_v3", "x86_64_v4")
_GENERIC = frozenset({"x86_64", "aarch64", "arm64", "m1"})
"""Processors that every machine of the arch has, or has a newer one."""

_FLAGS = (
    frozenset({"cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"}),
    frozenset({"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"}),
    frozenset({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}),
)
"""The flags that the second, third and fourth level of x86-64 add, as Linux names them."""

DRIVERS = (
    "libcuda.so.1",
    "libcuda.so",
    "/usr/lib64/nvidia/libcuda.so",
    "/usr/lib/x86_64-linux-gnu/libcuda.so",
    "/usr/lib/wsl/lib/libcuda.so",
)


def node_arch() -> str:
    """The arch of this node, as conda names it. Raises Misconfigured where envlock starts no tasks."""
    uname = os.uname()
    try:
        return _ARCHS[uname.sysname, uname.machine]
    except KeyError:
        raise Misconfigured(
            "envlock starts tasks on Linux on x86_64 and aarch64, and this node is %s on %s: choose another image"
            % (uname.sysname, uname.machine)
        ) from None


def check(system: Iterable[tuple[str, str]], arch: str) -> None:
    """Raise Misconfigured for an image that lacks what the packages of an environment need."""
    if not glibc() and _override("__glibc") is None:
        raise Misconfigured(
            "this image has no glibc (Alpine and others have musl), and the packages are made for glibc: use an image "
            "of Debian, Ubuntu, Fedora or the like"
        )
    lacking = ["%s %s (%s is here)" % (name, required, here or "none") for name, required, here in unmet(system)]
    if lacking:
        raise Misconfigured(
            "this image lacks what the environment requires: %s; use another image, or require less in "
            "[envlock.system-requirements.%s] and run `envlock lock`, `envlock push`" % (", ".join(lacking), arch)
        )


def _unknown() -> str:
    return ""


def unmet(
    rows: Iterable[tuple[str, str]], microarchitecture: Callable[[], str] = _unknown
) -> Iterator[tuple[str, str, str]]:
    """What is required and this machine lacks: name, version, and the version that is here, empty for none.

    `microarchitecture` tells the name of this machine's processor, for a lock that requires a named one: finding that
    out takes more than this module has.
    """
    for package, required in rows:
        if package == "__archspec":
            here, fits = processor(required, microarchitecture)
        else:
            here = found_here(package)
            fits = bool(here) and _numbers(here) >= _numbers(required)
        if not fits:
            yield package, required, here


def found_here(package: str) -> str:
    """The version of a system package on this machine; empty if there is none."""
    given = _override(package)
    if given is not None:
        return given
    return {"__glibc": glibc, "__linux": _kernel, "__osx": macos, "__cuda": _cuda}.get(package, _unknown)()


def _override(package: str) -> str | None:
    return os.environ.get("CONDA_OVERRIDE_%s" % package[len("__") :].upper())


def glibc() -> str:
    """The version of this machine's glibc; empty with another C library, such as musl."""
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (ValueError, OSError):  # musl, macOS
        return ""
    return version if name == "glibc" else ""


def _kernel() -> str:
    uname = os.uname()
    return _leading_number(uname.release) if uname.sysname == "Linux" else ""


def macos() -> str:
    """The version of macOS; empty on other systems."""
    if os.uname().sysname != "Darwin":
        return ""
    import platform

    return platform.mac_ver()[0]


def _cuda() -> str:
    """The newest CUDA that the driver supports. The call starts nothing on the device."""
    import ctypes

    version = ctypes.c_int(0)
    for name in DRIVERS:
        try:
            status = ctypes.CDLL(name).cuDriverGetVersion(ctypes.byref(version))
        except (OSError, AttributeError):
            continue
        if status == 0:
            return "%d.%d" % (version.value // 1000, version.value % 1000 // 10)
    return ""


def processor(required: str, microarchitecture: Callable[[], str] = _unknown) -> tuple[str, bool]:
    """The name of this machine's processor, and whether it is the required one or known to be newer."""
    given = _override("__archspec")
    if given is not None:
        return given, given == required or (required in LEVELS and given in LEVELS[LEVELS.index(required) :])
    if required in _GENERIC:
        return required, True
    if required in LEVELS:
        level = LEVELS[_x86_level()]
        return level, LEVELS.index(level) >= LEVELS.index(required)
    here = microarchitecture()
    return here, here == required


def _x86_level() -> int:
    if os.uname().sysname == "Darwin":
        return 3 if _has("hw.optional.avx512vl") else 2 if _has("hw.optional.avx2_0") else 1
    flags: set[str] = set()
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            flags = next((set(line.partition(":")[2].split()) for line in file if line.startswith("flags")), flags)
    except OSError:
        return 0
    level = 0
    while level < len(_FLAGS) and _FLAGS[level] <= flags:
        level += 1
    return level


def _has(feature: str) -> bool:
    import subprocess

    done = subprocess.run(
        ["/usr/sbin/sysctl", "-n", feature], capture_output=True, encoding="utf-8", errors="replace", check=False
    )
    return done.stdout.strip() == "1"


def _leading_number(text: str) -> str:
    """The number at the start of a kernel's release.

    >>> _leading_number("5.10.0-21-amd64"), _leading_number("6.8-rc1")
    ('5.10.0', '6.8')
    """
    parts = []
    for part in text.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if digits:
            parts.append(digits)
        if digits != part or not digits:
            break
    return ".".join(parts)


def _numbers(version: str) -> tuple[int, ...]:
    """The sort key of a version.

    >>> _numbers("12.4") < _numbers("12.10") < _numbers("13"), _numbers("")
    (True, ())
    """
    return tuple(int(part) for part in _leading_number(version).split(".") if part)
