"""Objects into a bucket and out of it: `python -m benchmarks.objects ours|bare put|get FOLDER URL ENDPOINT TARGET`.

`ours` is what `push` and hydrating do with packages, every byte hashed on its way in and out; `bare` is s3fs' own bulk
call.
"""

from __future__ import annotations

import sys
from pathlib import Path

from envlock.cache.open import open_store
from envlock.cache.packages import Packages
from envlock.cache.parallel import in_parallel
from envlock.config.settings import CacheOptions
from envlock.model.artifact import Artifact


def ours(way: str, folder: Path, url: str, endpoint: str, target: Path) -> None:
    """Put the files, or fetch them."""
    packages = Packages(open_store(url, CacheOptions(endpoint=endpoint)))
    target.mkdir(exist_ok=True)
    artifacts = {}
    for line in (folder / "objects.txt").read_text().splitlines():
        name, sha256, size = line.split()
        artifacts[Artifact(name, sha256, f"https://index.example/{name}", int(size))] = folder / name

    def one(artifact: Artifact) -> None:
        if way == "put":
            packages.put(artifact, artifacts[artifact])
        else:
            assert packages.fetch(artifact, target / artifact.filename)

    for _, failed in in_parallel(one, sorted(artifacts, key=lambda each: -(each.size or 0))):
        if isinstance(failed, Exception):
            raise failed


def bare(way: str, folder: Path, url: str, endpoint: str, target: Path) -> None:
    """The same by s3fs alone, its lists and its defaults."""
    import fsspec

    target.mkdir(exist_ok=True)
    files = fsspec.filesystem("s3", endpoint_url=endpoint)
    names = [line.split()[0] for line in (folder / "objects.txt").read_text().splitlines()]
    keys = [f"{url.partition('://')[2]}/bare/{name}" for name in names]
    if way == "put":
        files.put([str(folder / name) for name in names], keys)
    else:
        files.get(keys, [str(target / name) for name in names])


if __name__ == "__main__":
    how, way, folder, url, endpoint, target = sys.argv[1:]
    (ours if how == "ours" else bare)(way, Path(folder), url, endpoint, Path(target))
