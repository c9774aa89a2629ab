"""What py-rattler knows of this machine."""

from __future__ import annotations


def microarchitecture() -> str:
    """The name that archspec has for this machine's processor, such as `skylake_avx512`; empty where it has none.

    Costs the import of py-rattler.
    """
    from rattler import VirtualPackage

    found = (package.into_generic() for package in VirtualPackage.detect())
    return next((str(each.build_string) for each in found if each.name.normalized == "__archspec"), "")
