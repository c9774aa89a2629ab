"""`import metaflow` with envlock's extension: on every Python, with whatever is left of envlock, at next to no cost."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.shim.conftest import EXTENSION, METAFLOW, SERIES, run_python

MODULES = sorted(EXTENSION.rglob("*.py"))
_FLOW = """
from metaflow import FlowSpec, step
class TinyFlow(FlowSpec):
    @step
    def start(self): self.next(self.end)
    @step
    def end(self): pass
if __name__ == "__main__": TinyFlow()
"""
_REPORT = """
import json, sys
import metaflow
from metaflow.metaflow_config import SPIN_ALLOWED_DECORATORS
from metaflow.plugins import ENVIRONMENTS, STEP_DECORATORS
import metaflow_extensions.envlock.plugins.enter
print(json.dumps([
    sorted(each.TYPE for each in ENVIRONMENTS),
    [each.name for each in STEP_DECORATORS if each.name.startswith("envlock")],
    SPIN_ALLOWED_DECORATORS[-1],
    [name for name in sys.modules if name.split(".")[0] == "envlock"],
    metaflow_extensions.envlock.plugins.enter.own_arguments()[:2],
]))
"""


@pytest.fixture
def extension(tmp_path: Path) -> Path:
    """A folder with envlock's extension alone."""
    shutil.copytree(EXTENSION, tmp_path / "site" / "metaflow_extensions", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "site"


@pytest.mark.index
@pytest.mark.parametrize("series", SERIES)
def test_every_python_imports_it(series: str, extension: Path, installed: Callable[..., Path]) -> None:
    done = run_python(series, _REPORT, paths=[extension, installed(series, METAFLOW)])
    assert done.returncode == 0, done.stderr
    environments, decorators, spins, imported, arguments = json.loads(done.stdout)
    assert "envlock" in environments
    assert arguments == ["-s", "-c"]
    assert decorators == ["envlock_internal"]
    assert spins == "envlock_internal"
    assert imported == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_it_is_written_for_the_oldest_python(path: Path) -> None:
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_it_imports_the_standard_library_and_metaflow_only(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    absolute = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    absolute |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level}
    # Whether other extensions are there, its own namespace package says.
    others = {name.split(".")[0] for name in absolute} - {*sys.stdlib_module_names, "metaflow", "metaflow_extensions"}
    others.discard("compression")  # Python's own since 3.14
    # What Metaflow installs on a node for its datastore.
    assert others <= (
        {"azure", "boto3", "botocore", "google", "requests", "urllib3"} if path.stem == "clients" else set()
    )


@pytest.mark.parametrize("path", sorted((EXTENSION / "envlock/plugins/node").glob("*.py")), ids=lambda path: path.stem)
def test_a_node_imports_only_the_standard_library_to_begin_with(path: Path) -> None:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    names = {name.name for node in body if isinstance(node, ast.Import) for name in node.names}
    names |= {str(node.module) for node in body if isinstance(node, ast.ImportFrom) and not node.level}
    assert {name.split(".")[0] for name in names} <= set(sys.stdlib_module_names)


def test_the_namespace_is_everybodys() -> None:
    assert not (EXTENSION / "__init__.py").exists(), "Metaflow refuses a `metaflow_extensions` that is no namespace"


def test_importing_metaflow_imports_no_more_than_five_small_modules() -> None:
    code = (
        "import sys, metaflow; print(*[name for name in sys.modules if name.startswith(('envlock', 'metaflow_ext'))])"
    )
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    files = [
        name for name in modules if name.split(".")[-1] not in {"metaflow_extensions", "envlock", "plugins", "config"}
    ]
    assert sorted(name.rpartition(".")[2] for name in files) == [
        "cards",
        "envlock_decorator",
        "envlock_environment",
        "mfextinit_envlock",
        "mfextinit_envlock",
    ]


def test_what_metaflow_calls_itself_is_not_changed() -> None:
    code = "import metaflow; from metaflow.metaflow_version import get_version; print(get_version())"
    plain = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "envlock" not in plain


@pytest.mark.index
def test_without_envlock_other_flows_run_and_its_own_are_told(
    extension: Path, installed: Callable[..., Path], tmp_path: Path
) -> None:
    series = SERIES[0]
    (tmp_path / "tiny.py").write_text(_FLOW)
    run = "import runpy, sys; sys.argv[:] = {}; runpy.run_path(sys.argv[0], run_name='__main__')"
    flow = str(tmp_path / "tiny.py")
    paths = [extension, installed(series, METAFLOW)]
    # A folder that is called envlock is no envlock, and one of another version may lack what the shim needs.
    for what_there_is, said in (
        ("nothing", "pip install envlock"),
        ("a folder", "pip install envlock"),
        ("a part", "nothing_of_that_name"),
    ):
        if what_there_is == "a folder":
            (extension / "envlock").mkdir()
        if what_there_is == "a part":
            (extension / "envlock" / "__init__.py").write_text("import nothing_of_that_name\n")
        refused = run_python(series, run.format([flow, "--environment=envlock", "run"]), paths=paths)
        assert refused.returncode == 1
        assert "Traceback" not in refused.stderr
        assert said in refused.stderr
        if what_there_is != "a folder":
            shown = run_python(series, run.format([flow, "show"]), paths=paths)
            assert shown.returncode == 0, shown.stderr


@pytest.mark.index
def test_a_metaflow_that_is_too_old_goes_without_it(extension: Path, installed: Callable[..., Path]) -> None:
    series = SERIES[-1]
    code = "from metaflow.plugins import ENVIRONMENTS; print(sorted(each.TYPE for each in ENVIRONMENTS))"
    done = run_python(series, code, paths=[extension, installed(series, "metaflow==2.15.21")])
    assert done.returncode == 0, done.stderr
    assert "envlock" not in done.stdout
    assert "conda" in done.stdout
