"""Folders in envlock's home that are there whole or not at all, and are made once however many processes want them.

The rules are those of nodes, which share a disk as workstations do: they stand in the shim, the part of envlock that
travels there.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from envlock.places import home
from envlock.reporter import detail
from envlock.trust import Closed, make_folder
from metaflow_extensions.envlock.plugins.node import stage as of_node

if TYPE_CHECKING:
    from collections.abc import Callable

STAGES = of_node.STAGES


def make_once(
    place: Path,
    *,
    is_whole: Callable[[], bool],
    build: Callable[[Path], None],
    seal: Callable[[], None] = lambda: None,
    waiting: Callable[[], None] = lambda: None,
) -> bool:
    """Make the folder `place` with `build(empty folder)`, unless it `is_whole`. Whether this call made it.

    `seal` is called once the folder is at its place, for a mark that `is_whole` looks for. What is at the place without
    being whole is removed first. `waiting` is called when another process has the work in hand. When `build` or `seal`
    raise, nothing is left, and a kill at any moment leaves nothing that is at its place and whole. What is made is
    closed to others, whatever the umask. Raises OSError.
    """

    def wait() -> None:
        detail(f"wait for another process, which makes {place}")
        waiting()

    make_folder(str(place.parent / STAGES), str(home()))
    with Closed():
        return of_node.make_once(
            os.fspath(place),
            is_whole=is_whole,
            build=lambda stage: build(Path(stage)),
            seal=seal,
            waiting=wait,
        )
