"""Interpreters are found by their files, real ones alone, and the highest fitting one is taken."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from envlock.interpreters import (
    Interpreter,
    NoInterpreter,
    find_interpreter,
    machine_series,
    only_chosen,
    version_of,
)
from envlock.places import home

SERIES = "{}.{}".format(*sys.version_info[:2])
VERSION = "{}.{}.{}".format(*sys.version_info[:3])
REAL = Path(sys.base_prefix) / "bin" / f"python{SERIES}"


def only(monkeypatch: pytest.MonkeyPatch, *places: Path) -> None:
    monkeypatch.setenv("ENVLOCK_PYTHONS", "only:" + os.pathsep.join(map(str, places)))


def anything(version: str) -> bool:
    return True


def link(folder: Path, name: str, target: Path = REAL) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).symlink_to(target)
    return folder / name


def script(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\ntouch '{path}.ran'\nexec {REAL} \"$@\"\n")
    path.chmod(0o755)
    return path


def test_this_machine_has_the_series_that_runs_this_test() -> None:
    assert SERIES in machine_series()
    found = find_interpreter(SERIES, anything)
    said = subprocess.run([found.path, "-V"], capture_output=True, text=True, check=True).stdout
    assert said == f"Python {found.version}\n"
    assert found.path.is_absolute()


def test_series_are_known_by_file_names_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link(tmp_path, "python3.9")
    link(tmp_path / "b", "python3.10", Path(shutil.which("true") or "/bin/true"))
    link(tmp_path / "b", "python3.11-config", Path(shutil.which("ls") or "/bin/ls"))
    only(monkeypatch, tmp_path, tmp_path / "b")
    assert machine_series() == ("3.9", "3.10")
    assert not (home() / "interpreters.json").exists()


def test_every_usual_place_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def real(path: Path) -> None:
        path.parent.mkdir(parents=True)
        shutil.copy(REAL, path)  # a file of its own: links to one file count once

    user = Path(os.environ["HOME"])
    real(tmp_path / "on-path" / "python3.50")
    real(tmp_path / "pyenv" / "versions" / "3.51.0" / "bin" / "python3.51")
    real(user / "data" / "uv" / "python" / "cpython-3.52.0-linux-x86_64-gnu" / "bin" / "python3.52")
    real(home() / "pythons" / "cpython-3.53.0-linux-x86_64-gnu" / "bin" / "python3.53")
    real(tmp_path / "chosen" / "python3.54")
    real(tmp_path / "installation" / "bin" / "python3.55")
    monkeypatch.setenv("PATH", f"relative{os.pathsep}{tmp_path / 'on-path'}")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("ENVLOCK_PYTHONS", f"{tmp_path / 'chosen'}{os.pathsep}{tmp_path / 'installation'}")
    assert {"3.50", "3.51", "3.52", "3.53", "3.54", "3.55"} <= set(machine_series())
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path / "uv"))
    real(tmp_path / "uv" / "cpython-3.56.0-linux-x86_64-gnu" / "bin" / "python3.56")
    assert "3.56" in machine_series()
    assert "3.52" not in machine_series()
    monkeypatch.delenv("PYENV_ROOT")
    real(user / ".pyenv" / "versions" / "3.57.0" / "bin" / "python3.57")
    assert "3.57" in machine_series()


def test_only_the_chosen_places_count_when_the_user_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not only_chosen()
    only(monkeypatch, tmp_path)
    assert only_chosen()
    assert machine_series() == ()
    with pytest.raises(NoInterpreter):
        find_interpreter(SERIES, anything)


def test_a_chosen_one_goes_before_all_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = link(tmp_path, f"python{SERIES}")
    monkeypatch.setenv("ENVLOCK_PYTHONS", str(tmp_path))
    assert find_interpreter(SERIES, anything) == Interpreter(chosen, VERSION)
    chosen.rename(tmp_path / "my-python")
    monkeypatch.setenv("ENVLOCK_PYTHONS", str(tmp_path / "my-python"))
    assert find_interpreter(SERIES, anything) == Interpreter(tmp_path / "my-python", VERSION)


def test_shims_are_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shim = script(tmp_path / "shims" / f"python{SERIES}")
    real = link(tmp_path / "real", f"python{SERIES}")
    only(monkeypatch, shim.parent)
    with pytest.raises(NoInterpreter) as caught:
        find_interpreter(SERIES, anything)
    assert f"{shim} is a script, not an interpreter" in caught.value.details
    assert machine_series() == ()
    only(monkeypatch, shim.parent, real.parent)
    assert find_interpreter(SERIES, anything).path == real
    assert not Path(f"{shim}.ran").exists()


def test_an_active_virtual_environment_is_looked_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    venv.create(tmp_path / "linked", symlinks=True, with_pip=False)
    venv.create(tmp_path / "copied", symlinks=False, with_pip=False)
    only(monkeypatch, tmp_path / "linked" / "bin")
    assert find_interpreter(SERIES, anything).path.parent == REAL.resolve().parent
    copied = tmp_path / "copied" / "bin"
    if not (copied / f"python{SERIES}").exists():
        shutil.copy(copied / "python3", copied / f"python{SERIES}")
    only(monkeypatch, copied)
    with pytest.raises(NoInterpreter, match="no CPython") as caught:
        find_interpreter(SERIES, anything)
    assert "is a copy inside a virtual environment" in caught.value.render()


def test_python3_alone_serves_when_its_target_says_the_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = link(tmp_path, "python3")
    only(monkeypatch, tmp_path)
    assert find_interpreter(SERIES, anything) == Interpreter(bare, VERSION)
    named = link(tmp_path, f"python{SERIES}")
    assert find_interpreter(SERIES, anything) == Interpreter(named, VERSION)


def test_other_pythons_and_broken_files_are_refused_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pypy = tmp_path / "pypy" / f"pypy{SERIES}"
    pypy.parent.mkdir()
    shutil.copy(REAL, pypy)
    link(tmp_path / "a", f"python{SERIES}", pypy)
    link(tmp_path / "b", f"python{SERIES}", Path(shutil.which("true") or "/bin/true"))
    empty = tmp_path / "c" / f"python{SERIES}"
    empty.parent.mkdir()
    empty.touch(0o755)
    broken = tmp_path / "d" / f"python{SERIES}"
    broken.parent.mkdir()
    broken.write_bytes(b"\x7fELF and then nothing")
    broken.chmod(0o755)
    link(tmp_path / "e", f"python{SERIES}", tmp_path / "nowhere")
    not_executable = tmp_path / "f" / f"python{SERIES}"
    not_executable.parent.mkdir()
    shutil.copy(REAL, not_executable)
    not_executable.chmod(0o644)
    only(monkeypatch, *(tmp_path / name for name in "abcdef"))
    with pytest.raises(NoInterpreter) as caught:
        find_interpreter(SERIES, anything)
    said = caught.value.render()
    assert f"{tmp_path}/a/python{SERIES} is not CPython" in said
    assert f"{tmp_path}/b/python{SERIES} does not run (exit status 0)" in said
    assert f"{empty} is a script, not an interpreter" in said
    assert f"{broken} does not run (" in said
    assert f"{tmp_path}/e/" not in said.partition("looked in")[0]
    assert f"{tmp_path}/f/" not in said.partition("looked in")[0]


def test_what_does_not_fit_is_listed_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = link(tmp_path, f"python{SERIES}")
    shutil.copy(REAL, tmp_path / "python3.99")
    only(monkeypatch, tmp_path)
    with pytest.raises(NoInterpreter) as caught:
        find_interpreter(SERIES, lambda version: False, wanted=f">={SERIES}.999")
    assert caught.value.exit_status == 5
    said = caught.value.render()
    assert f"there is no CPython {SERIES} that fits `>={SERIES}.999` on this machine" in said
    assert f"{path} is {VERSION}, which does not fit" in said
    assert "other series here: 3.99" in said
    assert f"looked in: {tmp_path}" in said
    assert f"uv python install {SERIES}" in said
    assert 'python-from = "uv"' in said


def test_a_name_that_lies_about_its_series_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link(tmp_path, "python3.99")
    only(monkeypatch, tmp_path)
    with pytest.raises(NoInterpreter) as caught:
        find_interpreter("3.99", anything)
    assert f"{tmp_path}/python3.99 is {VERSION}" in caught.value.details


def two_versions() -> tuple[Interpreter, Interpreter] | None:
    """Two interpreters of this machine of one series, the older one first."""
    for series in machine_series():
        found: dict[str, Interpreter] = {}
        try:
            while True:
                one = find_interpreter(series, lambda version: version not in found)  # noqa: B023
                found[one.version] = one
        except NoInterpreter:
            if len(found) > 1:
                newest, older, *_ = found.values()
                return older, newest
    return None


def test_the_highest_version_that_fits_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = two_versions()
    if pair is None:
        pytest.skip("no two versions of one series are on this machine")
    older, newer = pair
    series = older.version.rpartition(".")[0]
    places = [link(tmp_path / "a", f"python{series}", older.path), link(tmp_path / "b", f"python{series}", newer.path)]
    for order in (places, places[::-1]):
        only(monkeypatch, *(path.parent for path in order))
        assert find_interpreter(series, anything) == Interpreter(places[1], newer.version)
        assert find_interpreter(series, lambda version: version != newer.version).version == older.version


def test_an_answer_is_remembered_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = link(tmp_path, f"python{SERIES}")
    only(monkeypatch, tmp_path)
    assert find_interpreter(SERIES, anything).version == VERSION
    memo = home() / "interpreters.json"
    known = json.loads(memo.read_text())
    memo.write_text(json.dumps({str(path): known[str(path)].replace(VERSION, f"{SERIES}.77")}))
    assert find_interpreter(SERIES, anything).version == f"{SERIES}.77"
    memo.write_text(json.dumps({str(path): "1 2: " + known[str(path)].partition(": ")[2].replace(VERSION, "3.0.0")}))
    assert find_interpreter(SERIES, anything).version == VERSION
    assert json.loads(memo.read_text()) == known


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"a": 1}', "\udcff"])
def test_a_bad_memo_is_ignored(content: str) -> None:
    memo = home() / "interpreters.json"
    memo.parent.mkdir(parents=True, exist_ok=True)
    memo.write_text(content, errors="surrogateescape")
    assert version_of(REAL) == VERSION
    assert str(REAL) in json.loads(memo.read_text())


def test_a_home_that_cannot_be_written_costs_only_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ENVLOCK_HOME", str(tmp_path / "file" / "home"))
    assert version_of(REAL) == VERSION


def test_variables_of_the_user_do_not_reach_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    monkeypatch.setenv("PYTHONSTARTUP", "/nowhere")
    assert version_of(REAL) == VERSION


def test_no_interpreter_has_no_version(tmp_path: Path) -> None:
    assert version_of(tmp_path / "gone") is None
