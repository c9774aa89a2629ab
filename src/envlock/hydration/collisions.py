"""Paths that several wheels contain: the last wheel in the lock's order gets them, always.

uv links wheels side by side, so without this, whichever happens to come last would get the path. The paths of a wheel
are read from the RECORD that uv wrote, which lists commands and data files too.
"""

from __future__ import annotations

import os
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from envlock.hydration.errors import ReservedPath
from envlock.hydration.installed import below, named_in, paths_of
from envlock.words import count, listed
from metaflow_extensions.envlock.plugins.node.home import is_reserved

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from envlock.model.lock import LockedPackage


class Collision(NamedTuple):
    """One path with different bytes in several packages."""

    path: str
    owners: tuple[str, ...]
    """Names of the packages, in the lock's order: the last one has the path."""


def collisions(paths_of_packages: Mapping[str, Mapping[str, str]]) -> tuple[Collision, ...]:
    """The paths that several packages contain with different bytes, sorted.

    `paths_of_packages` has for each package, in the lock's order, its paths, each with a digest of its bytes. An empty
    digest equals no other.

    >>> collisions({"a": {"x/m.py": "1", "x/n.py": "5"}, "b": {"x/m.py": "2", "x/n.py": "5"}})
    (Collision(path='x/m.py', owners=('a', 'b')),)
    """
    owners: dict[str, list[str]] = {}
    for name, paths in paths_of_packages.items():
        for path in paths:
            owners.setdefault(path, []).append(name)
    return tuple(
        Collision(path, tuple(names))
        for path, names in sorted(owners.items())
        if len(names) > 1 and (len(found := {paths_of_packages[name][path] for name in names}) > 1 or "" in found)
    )


def file_and_folder(paths_of_packages: Mapping[str, Iterable[str]]) -> tuple[str, str, str] | None:
    """A path that is a file in one package and a folder in another, and their names; None if there is none.

    >>> file_and_folder({"a": ["shared/x"], "b": ["shared/x/y.py"]})
    ('shared/x', 'a', 'b')
    """
    files = {path: name for name, paths in paths_of_packages.items() for path in paths}
    for path, name in sorted(files.items()):
        folder = path.rpartition("/")[0]
        while folder:
            if folder in files:
                return folder, files[folder], name
            folder = folder.rpartition("/")[0]
    return None


def sentences(found: Iterable[Collision]) -> tuple[str, ...]:
    """A sentence for each group of packages that collide, however many paths they share.

    >>> sentences([Collision("cv2/a.py", ("one", "two")), Collision("cv2/b.py", ("one", "two"))])
    ('one and two both contain cv2/a.py (and 1 more path): the one of two is used, which is later in the lock',)
    """
    lines = []
    for owners, group in groupby(sorted(found, key=lambda each: (each.owners, each.path)), lambda each: each.owners):
        paths = [each.path for each in group]
        more = f" (and {count(len(paths) - 1, 'more path')})" if len(paths) > 1 else ""
        contain = f"{listed(owners)} {'both' if len(owners) == 2 else 'all'} contain"
        lines.append(f"{contain} {paths[0]}{more}: the one of {owners[-1]} is used, which is later in the lock")
    return tuple(lines)


def settle(
    wheels: Sequence[LockedPackage],
    installed: Mapping[str, Path],
    site_packages: Path,
    stage: Path,
    install: Callable[[LockedPackage], None],
) -> tuple[Collision, ...]:
    """Give each path that several of the installed wheels contain to the last of them in the lock's order.

    `installed` has the RECORD of each wheel, by its name; `install` installs one wheel over what is there. Costs
    reading the RECORDs, and one installation for each wheel that gets a path. Raises ReservedPath if a wheel contains a
    file that belongs to the environment.
    """
    records = {wheel.name: installed[wheel.name] for wheel in wheels if wheel.name in installed}
    named = {name: named_in(record) for name, record in records.items()}
    site = site_packages.relative_to(stage).as_posix()
    is_linked = (stage / "lib64").is_symlink()
    is_spelled_alike = True  # a module may be a wheel's data, too
    for name, paths in named.items():
        outside = [os.fsdecode(path.strip(b'"')) for path in paths if path.startswith((b".", b"/", b'"'))]
        places = [below(site, path, is_linked=is_linked) for path in outside]
        refuse_reserved(name, places)
        is_spelled_alike &= not any(place.startswith(f"{site}/") for place in places)
    if is_spelled_alike and sum(map(len, named.values())) == len(set().union(*named.values())):
        return ()
    found = collisions({name: paths_of(record, stage) for name, record in records.items()})
    winners = {each.owners[-1] for each in found}
    if winners:
        import shutil
    for wheel in wheels:
        if wheel.name in winners:
            # uv would first remove the files of an installed wheel, even those that other wheels contain: hide it.
            shutil.rmtree(records[wheel.name].parent)
            install(wheel)
    return found


def refuse_reserved(package: str, paths: Iterable[str]) -> None:
    """Raise ReservedPath for a package with a path that belongs to the environment.

    >>> refuse_reserved("good", ["bin/pythonic", "lib/python3.12/site-packages/pyvenv.cfg"])
    >>> refuse_reserved("bad", ["bin/python3.12"])
    Traceback (most recent call last):
    envlock.hydration.errors.ReservedPath: `bad` contains `bin/python3.12`, which belongs to the environment itself
    """
    for path in paths:
        if is_reserved(path):
            raise ReservedPath(package=package, path=path)
