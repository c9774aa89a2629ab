"""The start of a task from a pack: against the same bytes by the system's own tools, and against the packages.

A flow is locked, packed, pushed and deployed for real, as in `task_start`. The tools do less than a node: they verify
nothing, and what they unpack is no environment yet.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from benchmarks.projects import ROOTS
from benchmarks.task_start import CACHE, Start
from benchmarks.timing import Command, Row, costs, settle
from envlock.cache.open import open_store
from envlock.cache.plan import Pack
from envlock.cache.plans import Plans
from tests.servers.clouds import seaweedfs

ROUNDS = 3
IMPORTED = "pandas, sklearn.ensemble, matplotlib.pyplot, pyarrow.parquet, boto3"


def rows(folder: Path) -> list[Row]:
    """The claims about starting tasks from packs."""
    return started(folder)


def started(folder: Path, *more: str, rounds: int = ROUNDS) -> list[Row]:
    """The claims, for an environment that has `more` packages."""
    folder.mkdir(parents=True)
    with seaweedfs(folder) as cloud:
        os.environ.update(cloud.environment)
        return PackedStart(folder, cloud, "pack = true", (*ROOTS, "pyarrow", *more), rounds).rows()


@dataclass(frozen=True)
class PackedStart(Start):
    """A deployed flow whose environment is packed."""

    rounds: int = ROUNDS

    def rows(self) -> list[Row]:
        """What the claims come to."""
        what = f"first task of {len(self.pack.parts)} parts, {self.pack.size / 1e6:.0f} MB"
        settle()
        ours, tools = costs([self.first(), self.by_tools()], self.rounds)
        packed, installed = costs([self.importing(), self.without_pack.importing()], self.rounds)
        then = "until the first import of five packages, against packages"
        found = [
            (f"{what}: CPU, against get_object, `zstd -d`, `tar -x`", ours.cpu, tools.cpu, 1.3),
            ("the same: wall time, against these one after another", ours.wall, tools.wall, 1.0),
            (f"{then}: CPU", packed.cpu, installed.cpu, 0.625),
            ("the same: wall time", packed.wall, installed.wall, 0.625),
        ]
        return [Row(claim, own, other, f"at most {most:g} x", own <= most * other) for claim, own, other, most in found]

    @property
    def pack(self) -> Pack:
        """What is unpacked."""
        assert self.plan.pack is not None
        return self.plan.pack

    def by_tools(self) -> Command:
        """Download the parts with boto3 alone, then decompress, then unpack them."""
        parts = [[each.file.path, each.file.size, each.file.sha256] for each in self.pack.parts]
        steps = [
            self._moving("bare-written", self._list("parts.txt", parts), "files"),
            'cd "$ENVLOCK_HOME/files"',
            "mkdir ../prefix",
            "for each in *.zst; do zstd --quiet -d --rm $each || exit; done",
            "for each in *.tar; do tar -xf $each -C ../prefix || exit; done",
        ]
        return self._command(" && ".join(steps))

    def importing(self) -> Command:
        """A task on a node with nothing on its disk, and what its first line of Python imports."""
        return self._command(f'{self.enter} && "$ENVLOCK_PYTHON" -c "import {IMPORTED}"')

    @cached_property
    def without_pack(self) -> PackedStart:
        """The same flow, deployed with a plan that has no pack."""
        plan = self.plan.without_pack()
        Plans(open_store(self.cloud.url(CACHE), self.cloud.options)).write(plan)
        package = self.folder / "package-without-pack"
        shutil.copytree(self.package, package, symlinks=True)
        manifest = package / ".mf_meta" / "envlock.json"
        fields = json.loads(manifest.read_text())
        fields["environments"][0][3] = plan.sha256
        manifest.write_text(json.dumps(fields))
        other = replace(self)
        vars(other).update({**vars(self), "package": package})
        return other
