"""`envlock env ls` of a machine with 200 environments, and what it costs `run` and `path` to say that they use one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from benchmarks.timing import ENVLOCK, PYTHON, Command, Row, at_most, run

PREFIXES, FILES, LOCKS = 200, 250, 40
_LIMIT = 2.0


def rows(folder: Path) -> list[Row]:
    """The claims about `env ls`."""
    home = folder / "home"
    _make(folder, home)
    environment = {"ENVLOCK_HOME": str(home)}

    def forget() -> None:
        shutil.rmtree(home / "sizes", ignore_errors=True)

    first = Command([ENVLOCK, "env", "ls"], folder, forget, environment)
    listing = Command([ENVLOCK, "env", "ls"], folder, environment=environment)
    run(first)  # so that the files are in memory for each
    took = sorted(run(first) for _ in range(5))[2]
    name = f"`env ls` of {PREFIXES} environments of {FILES} files, and {LOCKS} locks"
    return [
        Row(f"{name}, sizes looked up, against two seconds", took, _LIMIT, f"at most {_LIMIT:g} s", took <= _LIMIT),
        at_most(
            "the same, sizes remembered, against `python -c pass`",
            12,
            listing,
            Command([PYTHON, "-c", "pass"], folder),
            9,
        ),
    ]


def _make(folder: Path, home: Path) -> None:
    """A home as it is after months: environments that share most of their files, and projects that need some."""
    package = folder / "package"
    package.mkdir(parents=True)
    for number in range(FILES):
        (package / f"module_{number}.py").write_text(f"# {number}\n" * 50)
    arch = json.loads(subprocess.run([PYTHON, "-c", _ARCH], check=True, capture_output=True, text=True).stdout)
    for number in range(PREFIXES):
        req_id, full_id = f"{number:040x}", f"{number + (1 << 100):040x}"
        prefix = home / "environments" / f"metaflow_{req_id}_{full_id}"
        site = prefix / "lib" / "site-packages"
        site.mkdir(parents=True)
        for file in package.iterdir():
            os.link(file, site / file.name)
        receipt = {"req_id": req_id, "full_id": full_id, "arch": arch, "python": PYTHON, "python_version": "3.12.1"}
        (prefix / ".envlock.json").write_text(json.dumps({**receipt, "python_file": [1, 2, 3], "envlock": "0"}))
        if number < LOCKS:
            lock = folder / "flows" / "envlock.lock" / arch / req_id / f"pylock.{full_id}.toml"
            lock.parent.mkdir(parents=True)
            lock.write_text("# text\n" * 2000 + f'asked-by = ["Flow{number}/start"]\n')
    (folder / "flows" / "envlock.toml").touch()
    (home / "projects").mkdir()
    project = {"config": str(folder / "flows" / "envlock.toml"), "locks": str(folder / "flows" / "envlock.lock")}
    (home / "projects" / ("0" * 16)).write_text(json.dumps({**project, "mount": "/", "environments": {}}))


_ARCH = "import json; from envlock.model.arch import host_arch; print(json.dumps(host_arch()))"
