"""Whether this machine has the system packages that a lock requires: glibc, kernel, macOS, CUDA, processor.

How each is found stands in the shim, because nodes ask the same.
"""

from __future__ import annotations

from envlock.values import NamedTuple
from metaflow_extensions.envlock.plugins.node import machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envlock.model.lock import Lock


class Unmet(NamedTuple):
    """One system package that a lock requires and this machine lacks."""

    package: str
    """Such as `__glibc`."""
    required: str
    here: str
    """The version on this machine; empty if there is none."""


def unmet(lock: Lock) -> tuple[Unmet, ...]:
    """What the lock requires of machines of its arch and this one lacks, sorted. Takes about 50 microseconds."""
    rows = sorted((package, version) for arch, package, version in lock.requirements.system if arch == lock.arch)
    return tuple(Unmet(*each) for each in machine.unmet(rows, _microarchitecture))


def system_here() -> tuple[str, str]:
    """What the tags of wheels may require of this machine: `__glibc` or `__osx`, and its version; `0` for none."""
    macos = machine.macos()
    return ("__osx", ".".join(macos.split(".")[:2])) if macos else ("__glibc", machine.glibc() or "0")


def _microarchitecture() -> str:
    from envlock.conda.solve_request import microarchitecture

    return microarchitecture()
