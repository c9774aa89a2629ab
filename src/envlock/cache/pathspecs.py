"""Which environment a step of a run ran in, kept in the cache: for whoever has no access to the run's metadata."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple

from envlock.cache.layout import step_folder
from envlock.errors import DamageError, Location
from envlock.files import json_of
from envlock.model.arch import ARCHS, Arch

if TYPE_CHECKING:
    from envlock.cache.port import Store

FORMAT = 1
_ID = re.compile(r"[0-9a-f]{40}\Z")


class DamagedPathspecRecord(DamageError):
    """The cache's own record of what a step ran in was changed or cut off."""

    code = "damaged-pathspec-record"

    def __init__(self, place: str) -> None:
        super().__init__(
            "the record of the environment that a step ran in was changed or cut off; it was not used",
            locations=(Location(place),),
            hint="delete that file, and ask where Metaflow's own metadata of the run can be read",
        )


class RanIn(NamedTuple):
    """The environment that a step of a run ran in, on one arch."""

    flow: str
    run: str
    step: str
    arch: Arch
    req_id: str
    full_id: str

    @property
    def path(self) -> str:
        """Where it is kept. Raises UnsafePath."""
        return f"{step_folder(self.flow, self.run, self.step)}/{self.arch}.json"

    def render(self) -> bytes:
        """What is kept: nothing but what it says, so that all tasks of a step write the same."""
        return (json.dumps({"format": FORMAT, **self._asdict()}, indent=1) + "\n").encode()


class Pathspecs:
    """The steps that ran, in one store. Any thread may call any method."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def write(self, ran: RanIn) -> bool:
        """Keep where a step ran. False, and nothing done, where something else is kept of it: the first word counts."""
        return self._store.create(ran.path, ran.render())

    def read(self, flow: str, run: str, step: str) -> tuple[RanIn, ...]:
        """What is known of a step, one for each arch that it ran on. A read for each of the archs that there are.

        Raises UnsafePath, DamagedPathspecRecord.
        """
        folder = step_folder(flow, run, step)
        found = []
        for arch in ARCHS:
            path = f"{folder}/{arch}.json"
            try:
                data = self._store.read(path)
            except FileNotFoundError:
                continue
            except DamageError:
                raise DamagedPathspecRecord(f"{self._store.url}/{path}") from None
            ran = _parsed(data)
            if ran is None or ran.path != path:
                raise DamagedPathspecRecord(f"{self._store.url}/{path}")
            found.append(ran)
        return tuple(found)


def _parsed(data: bytes) -> RanIn | None:
    try:
        fields = json_of(data)
        ran = RanIn(**{key: fields[key] for key in RanIn._fields})
        whole = ran.render() == data and _ID.match(ran.req_id) and _ID.match(ran.full_id)
    except (ValueError, KeyError, TypeError):
        return None
    return ran if whole else None
