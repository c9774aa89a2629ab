"""The cache in a bucket: objects in and out against s3fs' own bulk calls, and a shared environment told by its name.

The server is moto, on loopback; its bytes cost little there, so what is measured is the client.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
from pathlib import Path

from benchmarks.timing import ENVLOCK, PYTHON, Command, Row, at_most
from tests.servers.clouds import Cloud, moto

ROOT = Path(__file__).resolve().parent.parent
COUNT = 100


def rows(folder: Path) -> list[Row]:
    """The claims about the cache."""
    folder.mkdir(parents=True)
    with moto(folder) as cloud:
        os.environ.update(cloud.environment)
        return [*_objects(folder, cloud), *_shown(folder, cloud)]


def _objects(folder: Path, cloud: Cloud) -> list[Row]:
    objects = folder / "objects"
    objects.mkdir()
    chance = random.Random(4)
    lines, total = [], 0
    for number in range(COUNT):
        size = int(100_000 * 500 ** chance.random())  # 0.1 to 50 MB
        data = chance.randbytes(size)
        name = f"package_{number}-1.0-py3-none-any.whl"
        (objects / name).write_bytes(data)
        lines.append(f"{name} {hashlib.sha256(data).hexdigest()} {size}")
        total += size
    (objects / "objects.txt").write_text("\n".join(lines) + "\n")
    url, target = cloud.url("benchmark"), folder / "target"
    found = []
    for way, words in (("put", "into a bucket"), ("get", "out of it")):
        ours, bare = (
            Command(
                [PYTHON, "-m", "benchmarks.objects", how, way, str(objects), url, cloud.options.endpoint, str(target)],
                ROOT,
                before=lambda: shutil.rmtree(target, ignore_errors=True),
            )
            for how in ("ours", "bare")
        )
        claim = f"{COUNT} objects, {total / 1e6:.0f} MB, {words}, hashed, against s3fs' bulk {way}"
        found.append(at_most(claim, 1.2, ours, bare, 3))
    return found


def _shown(folder: Path, cloud: Cloud) -> list[Row]:
    """`show NAME` where nothing of it is on this machine: the name and the lock come out of the bucket."""
    head = f'[envlock]\narchs = ["linux-64"]\ncache = "{cloud.url("shared")}"\n'
    head += f'cache-options = {{ endpoint = "{cloud.options.endpoint}" }}\n\n'
    giver, asker = folder / "giver", folder / "asker"
    for project, packages in ((giver, ("rich", "httpx", "jinja2", "sqlalchemy")), (asker, ())):
        project.mkdir()
        listed = ", ".join(f'{name} = ""' for name in packages)
        (project / "envlock.toml").write_text(f"{head}[env.base.pypi]\npackages = {{ {listed} }}\n")
    for command in (["lock"], ["alias", "team/base:v1", "--env", "base"]):
        subprocess.run([ENVLOCK, *command], cwd=giver, check=True, stdout=subprocess.DEVNULL)
    show = Command([ENVLOCK, "show", "team/base:v1"], asker)
    return [
        at_most("show of a shared name, against 5 s", 0.1, show, Command(["sleep", "5"], asker), 3),
        at_most("8 of them at once, against one", 2, [show] * 8, show, 5),
    ]
