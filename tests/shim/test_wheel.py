"""The wheel: what Metaflow needs to find the extension in it, also beside another extension."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from envlock.model.arch import host_arch
from tests.shim.conftest import METAFLOW, ROOT, python_of, run_python
from tests.support import run_envlock

FLOW = """
import sys
from metaflow import FlowSpec, step
class TinyFlow(FlowSpec):
    @step
    def start(self):
        print("prefix", sys.prefix, "of start")
        self.next(self.end)
    @step
    def end(self):
        print("prefix", sys.prefix, "of end")
if __name__ == "__main__": TinyFlow()
"""


@pytest.mark.index
def test_the_wheel_names_the_extension_and_holds_all_of_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (top_level,) = [name for name in names if name.endswith(".dist-info/top_level.txt")]
        assert set(archive.read(top_level).decode().split()) == {"envlock", "metaflow_extensions"}
    source = ROOT / "src"
    modules = {str(path.relative_to(source)) for path in (source / "metaflow_extensions").rglob("*.py")}
    assert len(modules) >= 6
    assert modules <= names
    assert "metaflow_extensions/__init__.py" not in names


@pytest.mark.index
def test_the_wheel_holds_the_names_of_conda_packages_with_their_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for path in sorted((ROOT / "src" / "envlock" / "conda" / "data").iterdir()):
            assert archive.read(f"envlock/conda/data/{path.name}") == path.read_bytes()


@pytest.mark.index
def test_metaflow_finds_it_beside_another_extension(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    other = site / "metaflow_extensions" / "other" / "plugins"
    other.mkdir(parents=True)
    (other / "mfextinit_other.py").write_text("")
    info = site / "other-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (info / "top_level.txt").write_text("metaflow_extensions\n")
    (info / "RECORD").write_text("metaflow_extensions/other/plugins/mfextinit_other.py,,\n")
    code = (
        f"import sys; sys.path[:] = [{str(site)!r}] + [p for p in sys.path if not p.endswith('src')];"
        "from metaflow.plugins import ENVIRONMENTS; from metaflow.extension_support import _all_packages;"
        "print([each.TYPE for each in ENVIRONMENTS].count('envlock'), sorted(_all_packages))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "1 ['envlock', 'other']", done.stderr


_OF_ANOTHER = """
from metaflow import FlowSpec, conda, conda_base, pypi, step
@conda_base(python="3.11")
class OtherFlow(FlowSpec):
    @pypi(packages={"rich": "13.7.1"})
    @step
    def start(self): self.next(self.end)
    @conda(libraries={"numpy": "2.2.0"})
    @step
    def end(self): pass
if __name__ == "__main__": OtherFlow()
"""
_SEES = """
import json, runpy, sys
from metaflow.plugins import ENVIRONMENTS, FLOW_DECORATORS, STEP_DECORATORS
kinds = {"environments": ENVIRONMENTS, "of flows": FLOW_DECORATORS, "of steps": STEP_DECORATORS}
plugins = {kind: sorted(f"{each.__module__}.{each.__name__}" for each in found) for kind, found in kinds.items()}
print(json.dumps(plugins), flush=True)
sys.argv[:] = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.index
@pytest.mark.parametrize("other", ["metaflow-netflixext", ""])
def test_flows_with_environments_of_another_kind_see_no_change(
    other: str, wheel: Path, installed: Callable[..., Path], tmp_path: Path
) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    series = "{}.{}".format(*sys.version_info[:2])
    beside = installed(series, *filter(None, [METAFLOW, other]))
    (tmp_path / "other.py").write_text(_OF_ANOTHER)

    def sees(*paths: Path) -> tuple[dict[str, list[str]], str]:
        flow = [str(tmp_path / "other.py"), "--environment=conda", "show"]
        done = run_python(series, _SEES, paths=list(paths), arguments=flow, METAFLOW_USER="me")
        assert done.returncode == 0, done.stderr
        plugins, _, said = done.stdout.partition("\n")
        return json.loads(plugins), re.sub(r"\+envlock\S*", "", said + done.stderr)

    with_it, without = sees(tmp_path / "site", beside), sees(beside)
    ours = {kind: [each for each in found if ".envlock." in each] for kind, found in with_it[0].items()}
    assert [len(found) for found in ours.values()] == [1, 0, 1]
    assert {kind: [each for each in found if each not in ours[kind]] for kind, found in with_it[0].items()} == without[
        0
    ]
    assert bool(other) == any("netflixext" in each for each in without[0]["environments"])
    assert with_it[1] == without[1]
    assert "OtherFlow" in with_it[1]


@pytest.mark.index
@pytest.mark.flows
def test_it_runs_a_flow_with_the_oldest_metaflow(
    wheel: Path, installed: Callable[..., Path], tmp_path: Path, isolated: Path
) -> None:
    series = "{}.{}".format(*sys.version_info[:2])
    site = installed(series, "metaflow==2.16.0", str(wheel))
    (tmp_path / "tiny.py").write_text(FLOW)
    (tmp_path / "envlock.toml").write_text(
        f'[envlock]\narchs = ["{host_arch()}"]\n'
        f'[flow.TinyFlow]\nfile = "tiny.py"\npypi = {{ python = "{series}" }}\n'
        "[flow.TinyFlow.step.end]\ndisabled = true\n"
    )
    run_envlock("lock", cwd=tmp_path)
    done = subprocess.run(
        [python_of(series), "tiny.py", "--environment=envlock", "run"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Metaflow 2.16.0" in done.stderr + done.stdout
    assert done.returncode == 0, done.stderr + done.stdout
    prefix, own = re.findall(r"prefix (\S+) of", done.stdout)
    assert Path(prefix).parent == isolated / "envlock" / "environments"
    assert own == sys.base_prefix
