"""One lock, made into a tree by another Python that runs envlock, and by another user: the same bytes."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from envlock.interpreters import NoInterpreter, find_interpreter
from envlock.lockfile.document import render
from tests.channel.recipe import File, Package, python_package
from tests.index import Release
from tests.pack.trees import SERIES, Content, Stubs, tree_in

ROOT = Path(__file__).parents[2]
BUILT = "/built/" + "x" * 248
_MAKER = """
import json, hashlib, sys
from pathlib import Path
from envlock.hydration.pythons import LockedPythons
from envlock.lockfile.document import parse
from envlock.pack.tree import tree_of
from envlock.reporter import Reporter

lock_file, files, scratch, compiler = sys.argv[1:]
paths = {path.parent.name: path for path in Path(files).glob("*/*")}

class Source:
    def fetch(self, artifacts):
        return {each.sha256: paths[each.sha256] for each in artifacts}

lock = parse(Path(lock_file).read_bytes(), lock_file)
pythons = LockedPythons(Source(), Path(scratch), Reporter(), offline=True)
with tree_of(lock, Source(), Path(scratch), Reporter(), interpreters=pythons, compiler=compiler) as tree:
    rows = []
    for file in tree.files:
        rows.append([*file[:1], *file[2:7], hashlib.sha256(file.read()).hexdigest()])
print(json.dumps([tree[1:], rows]))
"""


@pytest.fixture
def stubs(tmp_path: Path) -> Stubs:
    """Conda packages, with a wheel on top."""
    tool = Package(
        "tool",
        "1.0",
        files={
            "etc/tool": File(f"{BUILT}\n".encode(), placeholder=BUILT),
            f"lib/python{SERIES}/mod.py": File(b"def f(x=('a', 1.5, None)):\n    return x in {'a', 'b', 3}\n"),
        },
    )
    wheel = Release("top", "1.0", scripts={"top": "top:main"}, files={"top/deep.py": "X = {'a', 'b'}\n"})
    return Stubs(
        tmp_path / "packages", (tool, python_package("speak", "1.0", scripts={"speak": "speak:main"})), (wheel,)
    )


def made_by(python: Path, stubs: Stubs, place: Path, compiler: str, user: int | None = None) -> object:
    """What another interpreter makes, that has what envlock needs from this one's packages."""
    place.mkdir()
    place.chmod(0o777)
    lock = place / "pylock.toml"
    lock.write_text(render(stubs.lock))
    stubs.fetch_all()
    (place / "home").mkdir()
    (place / "home").chmod(0o777)
    (place / "maker.py").write_text(_MAKER)
    packages = sysconfig.get_path("purelib")
    ran = subprocess.run(
        [python, "-B", place / "maker.py", lock, stubs.place, place / "home", compiler],
        env={
            "PATH": f"{Path(sys.executable).parent}:{os.defpath}",
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), packages]),
            "HOME": str(place / "home"),
            "ENVLOCK_HOME": str(place / "home" / "envlock"),
            "ENVLOCK_PYTHONS": os.environ.get("ENVLOCK_PYTHONS", ""),
            "TZ": "Pacific/Chatham",
            "PYTHONHASHSEED": "12345",
        },
        user=user,
        umask=0o027,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def made_here(stubs: Stubs, place: Path, compiler: str = "") -> object:
    """What this interpreter makes, as the other one tells it."""
    tree, found = tree_in(stubs.lock, stubs, place, compiler=compiler)
    rows = [[path, *_facts(content), hashlib.sha256(content.data).hexdigest()] for path, content in found.items()]
    return json.loads(json.dumps([tree[1:], rows]))


def _facts(content: Content) -> tuple[object, ...]:
    return content.link, len(content.data), content.executable, content.prefix, content.package


def test_another_python_makes_the_same_tree(stubs: Stubs, tmp_path: Path) -> None:
    for series in ("3.13", "3.12", "3.10", "3.14", "3.11"):
        try:
            python = find_interpreter(series, lambda version: True)
        except NoInterpreter:
            continue
        if series != SERIES:
            break
    else:
        pytest.skip(f"CPython {SERIES} is the only one here that can run envlock")
    here = made_here(stubs, tmp_path / "here")
    assert made_by(python.path, stubs, tmp_path / "there", compiler=here[0][1]) == here  # type: ignore[index]


def test_another_user_makes_the_same_tree(stubs: Stubs, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    try:
        python = find_interpreter(SERIES, lambda version: True)
    except NoInterpreter:
        raise AssertionError("this Python is one") from None
    system = Path(f"/usr/bin/python{SERIES}")
    chosen = next((path for path in (python.path, system) if path.exists() and _is_open(path)), None)
    if chosen is None:
        pytest.skip(f"no other user may run a CPython {SERIES} of this machine")
    for folder in (tmp_path, *tmp_path.parents):
        if not folder.stat().st_mode & stat.S_IXOTH:  # pytest's own, of which nobody knows how many there are
            folder.chmod(0o755)
    version = subprocess.run([chosen, "-V"], capture_output=True, text=True, check=True).stdout.split()[1]
    here = made_here(stubs, tmp_path / "here", version)
    assert made_by(chosen, stubs, tmp_path / "there", version, user=65534) == here


def _is_open(path: Path) -> bool:
    """Whether everybody may run a file."""
    real = path.resolve()
    return all(each.stat().st_mode & stat.S_IXOTH for each in (real, *real.parents))
