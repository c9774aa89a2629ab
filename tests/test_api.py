"""What a script can import from envlock, and the scripts in examples/scripts."""

from __future__ import annotations

import inspect
import pkgutil
import re
import runpy
import sys
from pathlib import Path

import pytest

import envlock
from envlock.model.arch import host_arch
from tests.conftest import Envlock, ProjectFolder
from tests.test_imports import modules_after

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")


def test_each_name_of_the_api_can_be_imported_and_is_said_in_its_module() -> None:
    for name in set(envlock.__all__) - {"__version__"}:
        value = getattr(envlock, name)
        assert value.__name__ == name
        assert value.__doc__
    assert set(envlock.__all__) <= set(dir(envlock))
    with pytest.raises(AttributeError, match="has no attribute 'unlock'"):
        envlock.unlock  # type: ignore[attr-defined]  # noqa: B018


def test_no_name_of_the_api_is_that_of_a_module_which_would_take_its_place() -> None:
    modules = {module.name for module in pkgutil.iter_modules(envlock.__path__)}
    assert modules.isdisjoint(envlock.__all__)


def test_a_name_of_the_api_is_imported_when_it_is_used() -> None:
    modules = modules_after("import envlock; envlock.Selection")
    assert "envlock.config.selection" in modules
    assert "envlock.workflow.lock" not in modules


def test_the_page_has_each_name_with_parameters_and_attributes_that_there_are() -> None:
    rows = re.findall(r"^\| `(\w+)(?:\((.*?)\))?` \| (.*) \|$", PAGE, re.MULTILINE)
    assert {name for name, _, _ in rows} | {"Reporter", "EnvlockError"} == set(envlock.__all__)
    for name, told, text in rows:
        value = getattr(envlock, name)
        if inspect.isfunction(value):
            parameters = list(inspect.signature(value).parameters)
            named = [each.partition("=")[0] for each in told.split(", ") if each not in {"", "*"}]
            assert named == [each for each in parameters if each in named]
            assert set(parameters) - set(named) <= {"read", "resolver", "start", "now"}, "which are for envlock alone"
        elif inspect.isclass(value):
            attributes = {*dir(value), *value.__annotations__, *envlock.__all__}
            assert set(re.findall(r"`([a-z_]+)(?:\(\))?`", text)) <= attributes


@pytest.fixture
def in_project(project: ProjectFolder, isolated: Path, monkeypatch: pytest.MonkeyPatch) -> ProjectFolder:
    monkeypatch.chdir(project.folder)
    return project


def run(name: str, *arguments: str, monkeypatch: pytest.MonkeyPatch) -> int | str | None:
    """The exit status of a script of examples/scripts, run in this process."""
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    try:
        runpy.run_path(str(ROOT / "examples" / "scripts" / name), run_name="__main__")
    except SystemExit as end:
        return end.code
    return 0


def test_scripts_print_what_is_stale_and_what_an_upgrade_changed(
    in_project: ProjectFolder,
    envlock: Envlock,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert run("stale.py", monkeypatch=monkeypatch) == 2
    assert capsys.readouterr().err.startswith("error[no-config]: ")

    in_project.write_env("alpha==1.1", archs=[host_arch()])
    envlock("lock")
    assert run("stale.py", monkeypatch=monkeypatch) == 0
    in_project.write_env("alpha", archs=[host_arch()])
    assert run("stale.py", monkeypatch=monkeypatch) == 1
    assert capsys.readouterr().out.startswith(f"demo | {host_arch()} | changed")

    assert run("upgrade.py", "alpha", monkeypatch=monkeypatch) == 0
    assert capsys.readouterr().out == f"demo ({host_arch()}): alpha 1.1 -> 2.0\n"
    assert run("stale.py", str(in_project.config), monkeypatch=monkeypatch) == 0
