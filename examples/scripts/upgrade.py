"""Upgrade packages, lock, and print which versions changed: `python upgrade.py [PACKAGE...]`; all without a name."""

from __future__ import annotations

import sys

import envlock


def main(packages: list[str]) -> None:
    """Lock the project of the working folder."""
    upgrade = envlock.Upgrade(everything=not packages, packages=frozenset(packages))
    for locked in envlock.lock(envlock.load_project(), upgrade=upgrade).locked:
        before, after = versions(locked.before), versions(locked.lock)
        for name in sorted(before.keys() & after.keys()):
            if before[name] != after[name]:
                print(f"{', '.join(locked.environments)} ({locked.arch}): {name} {before[name]} -> {after[name]}")


def versions(lock: envlock.Lock | None) -> dict[str, str]:
    """The version of each package; nothing for a lock that was not there, or was left alone."""
    return {package.name: package.version for package in lock.packages} if lock is not None else {}


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except envlock.EnvlockError as error:
        print(error.render(), file=sys.stderr)
        sys.exit(error.exit_status)
