"""The environments on this machine: `env ls`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from envlock.hydration.prefix import read_receipt
from envlock.in_use import is_held, last_used
from envlock.model.identity import ids_of_prefix
from envlock.places import home
from envlock.trust import user_name
from envlock.workflow.machine.needs import Need, Needs, read_needs, used_by_processes
from envlock.workflow.machine.sizes import sizes_of
from metaflow_extensions.envlock.plugins.node.home import ENVIRONMENTS

if TYPE_CHECKING:
    from envlock.reporter import Reporter
    from envlock.workflow.machine.sizes import Size


class Prefix(NamedTuple):
    """A prefix in this machine's home."""

    path: str
    req_id: str
    full_id: str
    is_whole: bool
    """Whether it has its receipt. If not, it is being made, or was left behind by a process that was killed."""
    arch: str = ""
    python: str = ""
    """The version of its Python; empty if it is not whole."""
    interpreter: str = ""
    """The interpreter that it was made from."""
    owner: str = ""
    """The user who made it."""
    used: float = 0.0
    """When it was used last, in seconds since the epoch."""
    is_used: bool = False
    """Whether a process is in it now."""
    needs: tuple[Need, ...] = ()
    made_for: tuple[Need, ...] = ()
    """The projects that it was made for and that need another one now."""
    size: Size | None = None

    @property
    def name(self) -> str:
        """The name of its folder."""
        return os.path.basename(self.path)

    @property
    def identity(self) -> str:
        """Its ids."""
        return f"{self.req_id}:{self.full_id}"

    @property
    def asked_by(self) -> tuple[str, ...]:
        """The steps and tables that it is, or was, for."""
        every = (name for need in (*self.needs, *self.made_for) for name in need.environments)
        return tuple(dict.fromkeys(every))

    @property
    def projects(self) -> tuple[str, ...]:
        """The folders of the projects that it is, or was, for."""
        every = (need.what for need in (*self.needs, *self.made_for) if need.environments or need.kind == "project")
        return tuple(dict.fromkeys(every))


class Environments(NamedTuple):
    """All that this machine's home has of environments, and who needs them."""

    home: str
    prefixes: tuple[Prefix, ...]
    """The one that was used last comes first."""
    needs: Needs


def find_environments(*, thorough: bool = False) -> Environments:
    """The prefixes of this machine's home, without their sizes. `thorough` as in `used_by_processes`.

    Raises what `home` raises.
    """
    place = str(home())
    folder = os.path.join(place, ENVIRONMENTS)
    names = prefixes_in(place)
    needs = read_needs(names)
    running = used_by_processes(thorough=thorough) if names else frozenset()
    found = [_prefix(os.path.join(folder, name), needs, running) for name in names]
    return Environments(place, tuple(sorted(found, key=lambda each: (-each.used, each.name))), needs)


def with_sizes(found: Environments, reporter: Reporter | None = None) -> Environments:
    """The same, with the size of each, as it is remembered or found by looking at all files."""
    sizes = sizes_of([each.path for each in found.prefixes], reporter)
    return found._replace(prefixes=tuple(each._replace(size=sizes[each.path]) for each in found.prefixes))


def prefixes_in(place: str) -> frozenset[str]:
    """The names of the prefixes that a home has. Costs one listing."""
    try:
        with os.scandir(os.path.join(place, ENVIRONMENTS)) as entries:
            return frozenset(
                each.name for each in entries if ids_of_prefix(each.name) and each.is_dir(follow_symlinks=False)
            )
    except OSError:
        return frozenset()


def _prefix(path: str, needs: Needs, running: frozenset[str]) -> Prefix:
    name = os.path.basename(path)
    ids = ids_of_prefix(name)
    assert ids is not None
    receipt = read_receipt(Path(path))
    try:
        owner = user_name(os.lstat(path).st_uid)
    except OSError:
        owner = ""
    return Prefix(
        path,
        *ids,
        is_whole=receipt is not None,
        arch=receipt.arch if receipt else "",
        python=receipt.python_version if receipt else "",
        interpreter=receipt.python if receipt else "",
        owner=owner,
        used=last_used(path),
        is_used=name in running or is_held(path),
        needs=tuple(needs.needs.get(name, ())),
        made_for=tuple(needs.made_for.get(name, ())),
    )
