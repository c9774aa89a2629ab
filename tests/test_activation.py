"""What a process in a prefix sees, by its prefix and by where it comes from."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

from envlock.activation import activated, changes
from envlock.hydration.errors import ActivationFailed
from metaflow_extensions.envlock.plugins.node.home import variable_fault, write_variables
from tests.support import as_any_other_user

OUTER = {"PATH": "/usr/bin:/bin", "HOME": "/home/ada", "KEPT": "as it was\n"}
OWN_PROGRAMS = str(Path(sys.executable).parent)


def conda_prefix(
    folder: Path,
    *,
    activate: dict[str, str] | None = None,
    deactivate: dict[str, str] | None = None,
    variables: dict[str, dict[str, object]] | None = None,
    state: dict[str, object] | None = None,
) -> str:
    """A prefix with conda packages: scripts and files of variables, each by its name."""
    files = {f"etc/conda/activate.d/{name}": text for name, text in (activate or {}).items()}
    files |= {f"etc/conda/deactivate.d/{name}": text for name, text in (deactivate or {}).items()}
    files |= {f"etc/conda/env_vars.d/{name}": json.dumps(found) for name, found in (variables or {}).items()}
    files |= {"conda-meta/state": json.dumps(state)} if state else {}
    (folder / "conda-meta").mkdir(parents=True)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(folder)


def test_a_prefix_of_wheels(tmp_path: Path) -> None:
    prefix = str(tmp_path)
    assert changes(OUTER, activated(prefix, OUTER)) == {
        "PATH": f"{prefix}/bin:/usr/bin:/bin",
        "VIRTUAL_ENV": prefix,
        "PYTHONNOUSERSITE": "1",
    }
    steered = dict.fromkeys(("PYTHONHOME", "PYTHONPATH", "PYTHONPLATLIBDIR", "__PYVENV_LAUNCHER__"), "/nowhere")
    assert activated(prefix, OUTER | steered) == activated(prefix, OUTER)
    assert activated(prefix, OUTER | steered, keep_pythonpath=True)["PYTHONPATH"] == "/nowhere"
    assert activated(prefix, {})["PATH"] == f"{prefix}/bin:{os.defpath}"
    around = {**OUTER, "CONDA_PREFIX": "/opt/conda", "CONDA_SHLVL": "1", "VIRTUAL_ENV": "/venv"}
    assert changes(around, activated(prefix, around)).keys() == {"PATH", "VIRTUAL_ENV", "PYTHONNOUSERSITE"}


def wheels_prefix(folder: Path, **variables: str) -> str:
    """A prefix without conda packages, whose environment has these variables."""
    folder.mkdir()
    write_variables(str(folder), tuple(variables.items()))
    return str(folder)


def test_an_environment_of_wheels_sets_its_variables(tmp_path: Path) -> None:
    prefix = wheels_prefix(tmp_path / "e", THREADS="4", SAID="a 'b' $HOME\n", KEPT="other")
    found = activated(prefix, OUTER)
    assert {name: found[name] for name in ("THREADS", "SAID", "KEPT")} == {
        "THREADS": "4",
        "SAID": "a 'b' $HOME\n",
        "KEPT": "other",
    }
    assert activated(prefix, found) == found, "activating twice changes nothing"


def test_what_an_environment_of_wheels_has_set_goes_with_it(tmp_path: Path) -> None:
    inside = activated(wheels_prefix(tmp_path / "e", THREADS="4", KEPT="other", MINE="1"), OUTER)
    for other in (wheels_prefix(tmp_path / "f", MORE="x"), conda_prefix(tmp_path / "g")):
        found = activated(other, {**inside, "MINE": "2"})
        assert (found.get("THREADS"), found["KEPT"], found["MINE"]) == (None, OUTER["KEPT"], "2")
        assert not [name for name in found if "SAVED" in name]


@pytest.mark.parametrize("kind", ["wheels", "conda"])
def test_the_file_of_variables_is_the_one_that_conda_has_where_there_are_conda_packages(
    kind: str, tmp_path: Path
) -> None:
    if kind == "conda":
        (tmp_path / "conda-meta").mkdir()
    write_variables(str(tmp_path), (("THREADS", "4"),))
    path = tmp_path / ("conda-meta/state" if kind == "conda" else ".envlock-variables.json")
    assert json.loads(path.read_text()) == {"version": 1, "env_vars": {"THREADS": "4"}}
    assert activated(str(tmp_path), OUTER)["THREADS"] == "4"


@pytest.mark.parametrize(
    "name",
    [
        *("PATH", "HOME", "LD_PRELOAD", "LD_LIBRARY_PATH", "DYLD_INSERT_LIBRARIES", "PYTHONPATH", "PYTHONHOME"),
        *("METAFLOW_USER", "_METAFLOW_ENVLOCK_ENV", "ENVLOCK_HOME", "CONDA_PREFIX", "__CONDA_SHLVL_0_A", "BASH_ENV"),
        *("VIRTUAL_ENV", "IFS", "A-B", "1A", "", "A\n", "É"),
    ],
)
def test_a_variable_that_others_set_can_be_none_of_an_environment(name: str) -> None:
    assert variable_fault(name, "x")
    assert not variable_fault("OMP_NUM_THREADS", "x")


def test_a_prefix_with_conda_packages(tmp_path: Path) -> None:
    prefix = conda_prefix(tmp_path / "train")
    assert changes(OUTER, activated(prefix, {**OUTER, "PYTHONHOME": "/nowhere"})) == {
        "PATH": f"{prefix}/bin:/usr/bin:/bin",
        "CONDA_PREFIX": prefix,
        "CONDA_DEFAULT_ENV": prefix,
        "CONDA_SHLVL": "1",
        "PYTHONNOUSERSITE": "1",
    }
    named = conda_prefix(tmp_path / "envs" / "train")
    assert activated(named, OUTER)["CONDA_DEFAULT_ENV"] == "train"


def test_variables_of_packages_and_of_the_environment(tmp_path: Path) -> None:
    prefix = conda_prefix(
        tmp_path / "e",
        variables={"b.json": {"A": "b", "B": 2}, "a.json": {"A": "a", "HOME": "/new"}, "no.txt": {"C": "no"}},
        state={"version": 1, "env_vars": {"B": "of the environment", "GONE": "***unset***"}},
    )
    assert {
        name: value
        for name, value in changes(OUTER, activated(prefix, OUTER)).items()
        if name not in {"PATH", "PYTHONNOUSERSITE"} and not name.startswith("CONDA_")
    } == {"A": "b", "B": "of the environment", "HOME": "/new", "__CONDA_SHLVL_0_HOME": "/home/ada"}


def test_scripts_are_sourced_in_the_order_of_their_names(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    prefix = conda_prefix(
        tmp_path / "with a space",
        activate={
            "20-second.sh": 'export SEEN="$SEEN second"; unset KEPT; export PATH="/more:$PATH"; cd /; BASHISM=(1 2)\n',
            "10-first.sh": 'export SEEN="first in $CONDA_PREFIX with $OF_FILE\n=é"; HIDDEN=1; echo said; cat\n',
            "30-third.txt": "export SEEN=no\n",
        },
        variables={"v.json": {"OF_FILE": "file"}},
    )
    odd = {"a.b-c": "odd", "BASH_FUNC_f%%": "() {  :\n}", "BASH_ENV": "/nope", "SHLVL": "4", "PWD": "/where", "_": "x"}
    warnings: list[str] = []
    found = activated(prefix, {**OUTER, **odd}, warn=warnings.append)
    assert found["SEEN"] == f"first in {prefix} with file\n=é second"
    assert found["PATH"] == f"/more:{prefix}/bin:/usr/bin:/bin"
    assert "KEPT" not in found
    assert "HIDDEN" not in found
    assert odd.items() <= found.items()
    assert changes(OUTER, found).keys() - odd.keys() - {"SEEN", "PATH", "OF_FILE", "KEPT", "PYTHONNOUSERSITE"} == {
        "CONDA_PREFIX",
        "CONDA_DEFAULT_ENV",
        "CONDA_SHLVL",
    }
    out, err = capfd.readouterr()
    assert (out, "said" in err) == ("", True), "stdout is for the data of the command"
    assert warnings == []


def test_bytes_that_are_no_text_pass_through(tmp_path: Path) -> None:
    prefix = conda_prefix(tmp_path / "e", activate={"a.sh": "export A=1\n"})
    odd = b"\xff\xfe".decode("utf-8", "surrogateescape")
    assert activated(prefix, {**OUTER, "ODD": odd})["ODD"] == odd


def test_activating_again_changes_nothing(tmp_path: Path) -> None:
    prefix = conda_prefix(
        tmp_path / "e",
        activate={"a.sh": 'export BEFORE="${HOME}"; export HOME=/of/script\n'},
        deactivate={"a.sh": 'export HOME="$BEFORE"; unset BEFORE\n'},
        variables={"v.json": {"KEPT": "of the package"}},
    )
    once = activated(prefix, OUTER)
    assert (once["HOME"], once["KEPT"]) == ("/of/script", "of the package")
    assert activated(prefix, once) == once
    wheels = str(tmp_path / "wheels")
    assert activated(wheels, activated(wheels, OUTER)) == activated(wheels, OUTER)


def test_what_was_active_goes(tmp_path: Path) -> None:
    outer = conda_prefix(
        tmp_path / "outer",
        activate={"a.sh": "export OF_OUTER=1\n"},
        deactivate={"1.sh": 'export ORDER="$ORDER one $CONDA_PREFIX"; unset OF_OUTER\n', "2.sh": "export ORDER=two\n"},
        variables={"v.json": {"KEPT": "of outer", "ONLY_OUTER": "1"}},
    )
    around = activated(outer, OUTER) | {
        "CONDA_SHLVL": "2",
        "CONDA_PREFIX_1": "/opt/base",
        "__CONDA_SHLVL_1_KEPT": OUTER["KEPT"],
        "CONDA_PROMPT_MODIFIER": "(outer) ",
        "PATH": f"{outer}/bin:/opt/condabin:/opt/base/bin:/venv/bin:/usr/bin:/bin",
        "VIRTUAL_ENV": "/venv",
        "VIRTUAL_ENV_PROMPT": "venv",
        "CONDA_EXE": "/opt/base/bin/conda",
    }
    inner = conda_prefix(tmp_path / "inner")
    assert changes(OUTER, activated(inner, around)) == {
        "PATH": f"{inner}/bin:/opt/condabin:/usr/bin:/bin",
        "CONDA_PREFIX": inner,
        "CONDA_DEFAULT_ENV": inner,
        "CONDA_SHLVL": "1",
        "CONDA_EXE": "/opt/base/bin/conda",
        "PYTHONNOUSERSITE": "1",
        "ORDER": f"two one {outer}",
    }


def test_what_envlock_itself_activated_goes_before_wheels_too(tmp_path: Path) -> None:
    outer = conda_prefix(tmp_path / "outer", variables={"v.json": {"KEPT": "of outer"}})
    (Path(outer) / ".envlock.json").write_text("{}")
    wheels = str(tmp_path / "wheels")
    assert activated(wheels, activated(outer, OUTER)) == activated(wheels, OUTER)


def test_envlock_stays_at_hand(tmp_path: Path) -> None:
    around = {**OUTER, "VIRTUAL_ENV": str(Path(OWN_PROGRAMS).parent), "PATH": f"{OWN_PROGRAMS}:/usr/bin"}
    prefix = conda_prefix(tmp_path / "e")
    assert activated(prefix, around)["PATH"] == f"{prefix}/bin:{OWN_PROGRAMS}:/usr/bin"


def test_an_outer_environment_that_cannot_be_left_is_no_hindrance(tmp_path: Path) -> None:
    outer = conda_prefix(tmp_path / "outer", deactivate={"a.sh": "exit 3\n"})
    warnings: list[str] = []
    prefix = conda_prefix(tmp_path / "e")
    found = activated(prefix, {**OUTER, "CONDA_PREFIX": outer, "CONDA_SHLVL": "odd"}, warn=warnings.append)
    assert found == activated(prefix, OUTER)
    assert "deactivate.d/a.sh" in warnings[0]
    assert activated(prefix, {**OUTER, "CONDA_PREFIX": "/no/such/folder"}) == activated(prefix, OUTER)


def test_a_script_that_ends_badly_is_a_warning(tmp_path: Path) -> None:
    prefix = conda_prefix(tmp_path / "e", activate={"a.sh": "export A=1\nfalse\n", "b.sh": "export B=1\n"})
    warnings: list[str] = []
    found = activated(prefix, OUTER, warn=warnings.append)
    assert (found["A"], found["B"]) == ("1", "1")
    assert warnings == [f"{prefix}/etc/conda/activate.d/a.sh ended with status 1"]


@pytest.mark.parametrize("body", ["exit 0", "exit 3", "kill -9 $$", "exec true"])
def test_a_script_that_ends_its_shell_is_an_error(tmp_path: Path, body: str) -> None:
    prefix = conda_prefix(tmp_path / "e", activate={"a.sh": "export A=1\n", "b.sh": f"{body}\n", "c.sh": "C=1\n"})
    record = {"name": "bad", "version": "1.0", "files": ["etc/conda/activate.d/b.sh"]}
    (Path(prefix) / "conda-meta" / "bad-1.0-0.json").write_text(json.dumps(record))
    (Path(prefix) / "conda-meta" / "a-odd.json").write_text("[]")
    with pytest.raises(ActivationFailed) as caught:
        activated(prefix, {**OUTER, "TOKEN": "s3cr3t-t0ken"})
    text = caught.value.render()
    assert "etc/conda/activate.d/b.sh of bad 1.0 failed, it ended the shell that sourced it" in text
    assert f"at {prefix}/etc/conda/activate.d/b.sh" in text
    assert "s3cr3t" not in text


def test_a_script_that_hangs_is_an_error_in_time(tmp_path: Path) -> None:
    prefix = conda_prefix(tmp_path / "e", activate={"a.sh": "export A=1\n", "b.sh": "sleep 60 | cat\n"})
    began = time.monotonic()
    with pytest.raises(ActivationFailed, match=r"activate\.d/b\.sh failed, it did not end within 0\.3 s"):
        activated(prefix, OUTER, seconds=0.3)
    assert time.monotonic() - began < 10


def test_what_a_script_leaves_running_holds_nobody_up(tmp_path: Path) -> None:
    prefix = conda_prefix(tmp_path / "e", activate={"a.sh": "sleep 20 >/dev/null 2>&1 &\nexport A=1\n"})
    began = time.monotonic()
    assert activated(prefix, OUTER)["A"] == "1"
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "it is not JSON"),
        ("[]", "it is not a JSON object of variables"),
        ('{"A=B": "1"}', "it is not a JSON object of variables"),
        (r'{"A": "\ud800"}', "it is not a JSON object of variables"),
    ],
)
def test_a_file_of_variables_that_is_none_is_an_error(tmp_path: Path, text: str, reason: str) -> None:
    prefix = conda_prefix(tmp_path / "e", variables={"v.json": {}})
    (tmp_path / "e" / "etc/conda/env_vars.d/v.json").write_text(text)
    with pytest.raises(ActivationFailed, match=f"env_vars.d/v.json failed, {reason}"):
        activated(prefix, OUTER)


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    prefix = conda_prefix(tmp_path / "e", activate={"a.sh": ""})
    (tmp_path / "e/etc/conda/activate.d").chmod(0)
    with as_any_other_user(), pytest.raises(ActivationFailed, match="it cannot be read"):
        activated(prefix, OUTER)


def test_variables_that_no_process_can_have_are_an_error(tmp_path: Path) -> None:
    prefix = conda_prefix(tmp_path / "e", activate={"a.sh": "A=1\n"})
    with pytest.raises(ActivationFailed, match="cannot be started"):
        activated(prefix, {**OUTER, "LARGE": "x" * (1 << 22)})


def test_a_prefix_without_scripts_costs_next_to_nothing(tmp_path: Path) -> None:
    prefix = conda_prefix(tmp_path / "e", variables={"v.json": {"A": "1"}})
    environ = dict(os.environ)
    took = []
    for _ in range(20):
        began = time.perf_counter()
        activated(prefix, environ)
        took.append(time.perf_counter() - began)
    assert min(took) < 0.001
