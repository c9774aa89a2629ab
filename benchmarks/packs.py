"""Packs: making the parts of a tree against `tar | zstd` of the same files.

What is measured is the pack of the project that the other benchmarks hydrate. Its tree is made once, and both read it
from the same disk. The other side compresses with the same library at the same level, in one process beside tar.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.projects import real
from benchmarks.timing import ENVLOCK, PYTHON, TOLD, Command, Row, costs
from envlock.config.read import load_project
from envlock.lockfile.folder import candidates, read_lock
from envlock.model.arch import host_arch
from envlock.pack.parts import LEVEL, compress, raw_parts, zstd
from envlock.pack.tree import TreeFile
from envlock.reporter import Reporter
from envlock.workflow.packs import kept_bytecode, tree_in

_ROWS = "tree.json"
_PIECE = 1 << 20


def rows(folder: Path) -> list[Row]:
    """The claims about packs."""
    arch = host_arch()
    series = ".".join(map(str, sys.version_info[:2]))
    project = real(folder / "packs", archs=(arch,), python=series)
    os.environ["ENVLOCK_HOME"] = str(folder / "home")
    for words in (["lock"], ["push"]):
        subprocess.run([ENVLOCK, *words], cwd=project, check=True, stdout=subprocess.DEVNULL)
    loaded = load_project(project / "envlock.toml")
    (path,) = candidates(project / "envlock.lock", arch, loaded.environments()[0].requirements.req_id)
    lock = read_lock(path)
    took = []
    for scratch in (folder / "first", folder / "again"):
        scratch.mkdir()
        began = sum(os.times()[:4])
        with tree_in(loaded, lock, scratch, Reporter(), kept=kept_bytecode()) as tree:
            took.append(sum(os.times()[:4]) - began)
            if scratch.name == "again":
                _keep(tree.files, folder)
    first, again = took
    size = sum(file.size for file in tree.files) / 1e6

    def gone() -> None:
        shutil.rmtree(folder / "parts", ignore_errors=True)

    ours = Command([PYTHON, "-m", "benchmarks.packs", "parts", str(folder)], Path.cwd(), before=gone)
    script = f"tar --sort=name -cf - tree | {PYTHON} -m benchmarks.packs zstd > {folder}/tar.zst"
    bare = Command(["sh", "-c", script], folder, environment={"PYTHONPATH": str(Path.cwd())})
    own, other = costs([ours, bare], 3)
    packed = sum(part.stat().st_size for part in (folder / "parts").iterdir()) / 1e6
    what = f"parts of {len(lock.packages)} wheels, {size:.0f} MB: CPU, against `tar` piped into `zstd -{LEVEL}`"
    plain = (folder / "tar.zst").stat().st_size / 1e6
    return [
        Row(what, own.cpu, other.cpu, "at most 1.5 x", own.cpu <= 1.5 * other.cpu),
        _told("the same: wall time, on all processors against tar and one", own.wall, other.wall),
        Row("the same: what comes of it", packed, plain, TOLD, holds=True, unit="MB"),
        Row(
            "all of a pack, its packages unpacked again and compiled here before, against the same: CPU",
            again + own.cpu,
            other.cpu,
            "at most 1.5 x",
            again + own.cpu <= 1.5 * other.cpu,
        ),
        _told("the same, on a machine that has compiled none of them: CPU", first + own.cpu, other.cpu),
    ]


def _told(claim: str, ours: float, theirs: float) -> Row:
    return Row(claim, ours, theirs, TOLD, holds=True)


def _keep(files: tuple[TreeFile, ...], folder: Path) -> None:
    """Put a tree onto the disk, as one would unpack it, with what is said of its files."""
    rows = []
    for file in files:
        place = folder / "tree" / file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        if file.source is None:
            place.symlink_to(file.link)
        else:
            place.write_bytes(file.read())
        rows.append(file._replace(source=str(place) if file.source else None, start=None))
    (folder / _ROWS).write_text(json.dumps(rows))


def main(words: list[str]) -> None:
    """Make parts of a tree that was kept, on all processors; or compress stdin."""
    if words == ["zstd"]:
        compressor = zstd.ZstdCompressor(LEVEL)
        while piece := sys.stdin.buffer.read(_PIECE):
            sys.stdout.buffer.write(compressor.compress(piece))
        sys.stdout.buffer.write(compressor.flush())
        return
    from envlock.cache.parallel import all_in_parallel

    folder = Path(words[1])
    files = [
        TreeFile(row[0], Path(row[1]) if row[1] else None, *row[2:]) for row in json.loads((folder / _ROWS).read_text())
    ]
    (folder / "parts").mkdir()
    numbered = list(enumerate(raw_parts(files)))
    for _ in all_in_parallel(
        lambda each: compress(each[1], folder / "parts" / f"{each[0]}.tar.zst"), numbered, workers=os.cpu_count() or 1
    ):
        pass


if __name__ == "__main__":
    main(sys.argv[1:])
