"""The cache in a bucket: objects in and out against s3fs' own bulk calls, and a shared environment told by its name.

The server is moto, on loopback; its bytes cost little there, so what is measured is the client.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import statistics
import subprocess
from dataclasses import replace
from pathlib import Path

from benchmarks.timing import ENVLOCK, PYTHON, Command, Row, at_most, run
from tests.servers.clouds import Cloud, moto

ROOT = Path(__file__).resolve().parent.parent
COUNT = 100
AT_ONCE = 8
SPIN = "import sys, time\nwhile time.process_time() < float(sys.argv[1]): pass"
"""What eight processes take that wait for nothing: on eight idle cores as long as one, on fewer so much longer."""


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
        found.append(at_most(claim, 1.2, ours, bare, 5))
    return found


def _shown(folder: Path, cloud: Cloud) -> list[Row]:
    """`show NAME` where nothing of it is on this machine, then where it was asked for before."""
    head = f'[envlock]\narchs = ["linux-64"]\ncache = "{cloud.url("shared")}"\n'
    head += f'cache-options = {{ endpoint = "{cloud.options.endpoint}" }}\n\n'
    giver, asker, home = folder / "giver", folder / "asker", folder / "home"
    for project, packages in ((giver, ("rich", "httpx", "jinja2", "sqlalchemy")), (asker, ())):
        project.mkdir()
        listed = ", ".join(f'{name} = ""' for name in packages)
        (project / "envlock.toml").write_text(f"{head}[env.base.pypi]\npackages = {{ {listed} }}\n")
    for command in (["lock"], ["alias", "team/base:v1", "--env", "base"]):
        subprocess.run([ENVLOCK, *command], cwd=giver, check=True, stdout=subprocess.DEVNULL)
    show = Command([ENVLOCK, "show", "team/base:v1"], asker, environment={"ENVLOCK_HOME": str(home)})
    first = replace(show, before=lambda: shutil.rmtree(home, ignore_errors=True))
    computing = Command([PYTHON, "-Sc", SPIN, str(_processor_seconds(show))], asker)
    several = f"{AT_ONCE} of them at once, against {AT_ONCE} programs that only compute as long as one"
    five, soon = (Command(["sleep", seconds], asker) for seconds in ("5", "0.3"))
    return [
        at_most("show of a shared name for the first time, against 300 ms", 1, first, soon, 5),
        at_most("show of it again, against 5 s", 0.1, show, five, 3),
        at_most(
            f"{AT_ONCE} of them at once, against one (of {os.cpu_count()} processors)", 2, [show] * AT_ONCE, show, 9
        ),
        at_most(several, 2, [show] * AT_ONCE, [computing] * AT_ONCE, 9),
    ]


def _processor_seconds(command: Command) -> float:
    """What a command takes of a processor, once its caches are there: the median of some runs."""
    run(command)
    taken = []
    for _ in range(5):
        before = os.times()
        run(command)
        after = os.times()
        taken.append(after.children_user - before.children_user + after.children_system - before.children_system)
    return statistics.median(taken)
