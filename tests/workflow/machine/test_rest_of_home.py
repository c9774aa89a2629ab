"""`env gc --packages` takes what no environment here and no lock of a known project needs, and nothing young."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

from envlock import __version__
from envlock.activation import RECEIPT
from envlock.cache.local import LocalPackages
from envlock.places import home
from envlock.workflow.machine.gc import collect
from envlock.workflow.machine.gc_values import Sweep, limits_of
from tests.workflow.machine.homes import DAY, MadeUpProject, make_prefix

NEEDED, UNNEEDED = "1" * 64, "2" * 64


def put(path: str, text: str = "x", *, days: float = 100) -> Path:
    """A file in the home, as old as so many days, like the folder that it is in."""
    made = home() / path
    made.parent.mkdir(parents=True, exist_ok=True)
    made.write_text(text)
    when = time.time() - days * DAY
    for each in (made, made.parent):
        os.utime(each, (when, when))
    return made


def swept(*, delete: bool = True, keep: str = "") -> Sweep:
    return collect(limits_of(packages=True, keep=keep), delete=delete)


def going(found: Sweep) -> dict[str, str]:
    return {os.path.relpath(each.path, home()): each.kind for each in found.going}


def test_packages_of_locks_and_young_ones_stay(tmp_path: Path) -> None:
    project = MadeUpProject(tmp_path / "flows").is_known()
    project.lock_for(1, "Train/start", more=f'hashes = {{ sha256 = "{NEEDED}" }}')
    needed = put(f"packages/11/{NEEDED}/a.whl")
    put(f"packages/22/{UNNEEDED}/b.whl")
    young = put(f"packages/22/{'3' * 64}/c.whl", days=3)
    assert going(swept(delete=False)) == {f"packages/22/{UNNEEDED}": "package"}
    assert (home() / "packages" / "22" / UNNEEDED).exists(), "a dry run"
    found = swept()
    assert going(found) == {f"packages/22/{UNNEEDED}": "package"}
    assert 4096 <= found.frees < 20_000
    assert needed.exists()
    assert young.exists()
    assert not (home() / "packages" / "22" / UNNEEDED).exists()
    swept(keep="1d")
    assert sorted(each.name for each in (home() / "packages").iterdir()) == ["11"], "no empty folder is left"


def test_unpacked_conda_packages_stay_with_what_has_them(tmp_path: Path) -> None:
    prefix = make_prefix(1, days=1)
    (prefix / "conda-meta").mkdir()
    (prefix / "conda-meta" / "zlib-1.3-h1_0.json").write_text("{}")
    MadeUpProject(tmp_path / "flows").is_known().lock_for(
        2, "Train/start", more='url = "https://channel.example/noarch/tzdata-2025a-0.conda"'
    )
    for name in ("zlib-1.3-h1_0", "tzdata-2025a-0", "old-1.0-0"):
        put(f"conda/packages/{name}/info")
    assert going(swept()) == {"conda/packages/old-1.0-0": "package"}


def test_an_interpreter_stays_with_the_environments_made_from_it() -> None:
    prefix = make_prefix(1, days=1)
    used = put(f"pythons/{NEEDED}/python/bin/python3.12")
    receipt = json.loads((prefix / RECEIPT).read_text())
    (prefix / RECEIPT).write_text(json.dumps({**receipt, "python": str(used)}))
    put(f"pythons/{UNNEEDED}/python/bin/python3.12")
    put("pythons/cpython-3.11.2-linux-x86_64-gnu/bin/python3.11")
    for each in (home() / "pythons").glob("**/"):
        os.utime(each, (1000, 1000))
    link = home() / "pythons" / "cpython-3.11-linux-x86_64-gnu"
    link.symlink_to("cpython-3.11.2-linux-x86_64-gnu")
    os.utime(link, (1000, 1000), follow_symlinks=False)
    assert going(swept()) == {
        f"pythons/{UNNEEDED}": "interpreter",
        "pythons/cpython-3.11.2-linux-x86_64-gnu": "interpreter",
        "pythons/cpython-3.11-linux-x86_64-gnu": "interpreter",
    }
    assert [each.name for each in (home() / "pythons").iterdir()] == [NEEDED]
    assert used.exists()
    assert list((home() / "environments" / ".stages").iterdir()) == []


def test_an_interpreter_that_runs_stays() -> None:
    program = put(f"pythons/{NEEDED}/python/bin/python3.12")
    program.unlink()
    shutil.copy("/bin/cat", program)
    os.utime(program.parent.parent, (1000, 1000))
    os.utime(home() / "pythons" / NEEDED, (1000, 1000))
    running = subprocess.Popen([program], stdin=subprocess.PIPE)
    assert going(swept()) == {}
    running.communicate()
    assert going(swept()) == {f"pythons/{NEEDED}": "interpreter"}


def test_a_built_wheel_stays_while_a_lock_names_it(tmp_path: Path) -> None:
    project = MadeUpProject(tmp_path / "flows").is_known()
    project.lock_for(1, "Train/start", more=f'hashes = {{ sha256 = "{NEEDED}" }}')
    for name, sha256 in (("kept", NEEDED), ("gone", UNNEEDED)):
        put(f"builds/wheels/{name}/a-1.0-py3-none-any.whl")
        built = {"filename": "a-1.0-py3-none-any.whl", "size": 1, "sha256": sha256, "name": "a", "version": "1.0"}
        put(f"builds/wheels/{name}/built.json", json.dumps({**built, "is_pure": True, "glibc": ""}))
    put("builds/environments/abc/pyvenv.cfg")
    found = going(swept())
    assert found == {"builds/wheels/gone": "build", "builds/environments/abc": "build"}


def test_memos_of_what_is_gone_go(tmp_path: Path) -> None:
    prefix = make_prefix(1, days=1)
    gone = home() / "environments" / prefix.name.replace("a", "b").replace("0", "f")
    kept = put("memo/1111", "\0".join(["envlock-memo-1", __version__, "project", "/x", str(prefix), "/y", "-"]))
    put("memo/2222", "\0".join(["envlock-memo-1", __version__, "project", "/x", str(gone), "/y", "-"]))
    put("memo/3333", "\0".join(["envlock-memo-1", "0.0.1", "project", "/x", str(prefix), "/y", "-"]))
    put("hashed/old.json")
    young = put("hashed/young.json", days=1)
    found = swept()
    assert going(found) == {"memo": "memo", "hashed": "memo"}
    assert sorted(each.name for each in (home() / "memo").iterdir()) == [kept.name]
    assert young.exists()
    assert not (home() / "hashed" / "old.json").exists()


def test_an_environment_that_is_being_made_keeps_all_packages() -> None:
    put(f"packages/22/{UNNEEDED}/b.whl")
    with LocalPackages(home()).in_use():
        found = swept()
        assert going(found) == {}
        assert len(found.notes) == 1
    assert going(swept()) == {f"packages/22/{UNNEEDED}": "package"}


def test_what_a_package_and_an_environment_share_is_freed_once_both_go() -> None:
    prefix = make_prefix(1)
    file = put("conda/packages/old-1.0-0/lib.so", "x" * 300_000)
    (prefix / "lib.so").hardlink_to(file)
    alone = collect(limits_of())
    assert (alone.frees < 100_000, alone.stays >= 300_000) == (True, True)
    both = swept()
    assert (300_000 <= both.frees < 400_000, both.stays) == (True, 0)
    assert both.found.home == str(home())
    assert not file.exists()
    assert list((home() / "environments" / ".stages").iterdir()) == []
