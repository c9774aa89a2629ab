"""Metaflow's own core test suite with envlock, on this machine or on Step Functions.

`python -m tests.schedulers.core_suite [CHECKOUT] [--on step-functions] [--tests NAME,...] [--graphs NAME,...]` runs
`test/core` of Metaflow's source, which no package has: git clones the release that is installed, unless a checkout is
named. Each flow of the suite is locked before it runs. The last lines of what is printed name the tests that failed;
`--environment local` runs the same without envlock.

Step Functions is moto, and its pods are those of `tests`. There is no metadata service: what tasks leave of it in the
datastore is copied to where the suite looks for it, as long as a run goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from envlock.model.arch import host_arch
from tests.pods import Folders
from tests.pods.backends import backends
from tests.pods.folders import folder_series
from tests.pods.pod import INSTALLED
from tests.servers.aws import BUCKET
from tests.servers.processes import running
from tests.support import isolation

_SOURCE = "https://github.com/Netflix/metaflow"
_SCHEDULERS = {"step-functions": ["--with=batch"]}

# What needs another service, hundreds of pods, or fails a process in a way that only the local runtime is tested for:
# those that the suite's own contexts of schedulers leave out.
_NOT_ON_SCHEDULERS = [
    "LargeArtifactTest",
    "WideForeachTest",
    "TagCatchTest",
    "BasicUnboundedForeachTest",
    "NestedUnboundedForeachTest",
    "DetectSegFaultTest",
    "TimeoutDecoratorTest",
    "CardExtensionsImportTest",
    "RunIdFileTest",
    "CardComponentRefreshTest",
    "CardWithRefreshTest",
    "S3FailureTest",
]
_NOT_HERE = ["LargeArtifactTest", "S3FailureTest", "CardComponentRefreshTest", "CardWithRefreshTest"]

# Locks the flow in this folder, and pushes the lock if steps start on nodes.
_PREPARE = """
import re, subprocess, sys
from pathlib import Path
flow = re.search(r"class (\\w+)\\(FlowSpec\\)", Path("test_flow.py").read_text())[1]
table = f"[flow.{flow}]\\nfile = 'test_flow.py'\\npypi = {{ python = '{sys.argv[2]}' }}\\n"
Path("envlock.toml").write_text(sys.argv[1] + table)
for command in (["lock"], *([["push"]] if sys.argv[3:] else [])):
    subprocess.run([sys.executable, "-m", "envlock", *command], check=True)
"""

# Copies the metadata of every task that is over, of each run that a flow's folder names.
_COPY = """
import re, sys, time, traceback
from pathlib import Path
from metaflow.datastore import FlowDataStore
from metaflow.metadata_provider.util import sync_local_metadata_from_datastore
from metaflow.plugins import DATASTORES
storage = next(each for each in DATASTORES if each.TYPE == "s3")
storage.datastore_root = storage.get_datastore_root_from_config(print)
copied, ended = set(), set()
while True:
    for named in set(Path(sys.argv[1]).glob("*/run-id")) - ended:
        try:
            run = named.read_text().strip()
            flow = re.search(r"class (\\w+)\\(FlowSpec\\)", (named.parent / "test_flow.py").read_text())[1]
            store = FlowDataStore(flow, None, storage_impl=storage)
            over = store.get_task_datastores(run_id=run) if run else []
            for task in over:
                if task.step_name != "_parameters" and task.pathspec not in copied:
                    sync_local_metadata_from_datastore(".metaflow", task)
                    copied.add(task.pathspec)
            if any(task.step_name == "end" for task in over):
                ended.add(named)
        except Exception:
            traceback.print_exc()
    time.sleep(5)
"""


def main() -> int:
    """Run what is asked for; the value is the suite's exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path, nargs="?")
    parser.add_argument("--on", choices=["local", *_SCHEDULERS], default="local")
    parser.add_argument("--tests", default="")
    parser.add_argument("--graphs", default="")
    parser.add_argument("--environment", choices=["envlock", "local"], default="envlock", help="local: to compare with")
    asked = parser.parse_args()
    with TemporaryDirectory(prefix="core-suite-") as place:
        return _run(asked, Path(place))


def _run(asked: argparse.Namespace, place: Path) -> int:
    suite = place / "core"
    shutil.copytree((asked.checkout or _checkout()) / "test" / "core", suite)
    (suite / "prepare.py").write_text(_PREPARE)
    uv_cache = Path(os.environ.get("UV_CACHE_DIR") or Path.home() / ".cache" / "uv")
    with ExitStack() as stack:
        stack.enter_context(isolation(place / "home", uv_cache))
        variables = stack.enter_context(_services(asked.on, place))
        (suite / "contexts.json").write_text(json.dumps(_contexts(asked.on, asked.environment, suite, variables)))
        command = [sys.executable, "run_tests.py", "--contexts", "envlock", "--inherit-env"]
        command += ["--tests", asked.tests.lower(), "--graphs", asked.graphs.lower()]
        temporary = place / "flows"
        temporary.mkdir()
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environ = {
            **os.environ,
            **variables,
            "USER": "tester",
            "TMPDIR": str(temporary),
            "PATH": path,
            "PYTHONPATH": str(suite),
        }
        return subprocess.run(command, cwd=suite, env=environ, check=False).returncode


def _checkout() -> Path:
    """Metaflow's source, of the release that is installed; kept below .venv."""
    release = version("metaflow")
    folder = INSTALLED / f"metaflow-{release}"
    if not folder.exists():
        INSTALLED.mkdir(parents=True, exist_ok=True)
        clone = ["git", "clone", "--quiet", "--depth", "1", "--branch", release, _SOURCE, str(folder)]
        if subprocess.run(clone, check=False).returncode:
            sys.exit(f"no source of Metaflow: name a checkout of {_SOURCE}")
    return folder


def _contexts(on: str, environment: str, suite: Path, variables: Mapping[str, str]) -> Mapping[str, Any]:
    settings = f'[envlock]\narchs = ["{host_arch()}"]\n'
    if on != "local":
        endpoint = variables["METAFLOW_S3_ENDPOINT_URL"]
        settings += (
            f'datastore = "s3"\ncache = "s3://{BUCKET}/envlock"\ncache-options = {{ endpoint = "{endpoint}" }}\n'
        )
    series = "{}.{}".format(*sys.version_info[:2]) if on == "local" else folder_series()[-1]
    prepare = ["python3", str(suite / "prepare.py"), settings, series, *(["push"] if on != "local" else [])]
    here = [f"--environment={environment}", "--event-logger=nullSidecarLogger", "--no-pylint", "--quiet"]
    common = {
        "name": "envlock",
        "python": "python3",
        "pre_command": {"command": prepare},
        "env": {
            "METAFLOW_USER": "tester",
            "METAFLOW_RUN_BOOL_PARAM": "False",
            "METAFLOW_RUN_NO_DEFAULT_PARAM": "test_str",
            "METAFLOW_DEFAULT_METADATA": "local",
        },
        "checks": ["python3-cli", "python3-metadata"],
    }
    if on == "local":
        tags = ["--tag=\u523a\u8eab means sashimi", "--tag=multiple tags should be ok"]
        of_here = {
            "top_options": ["--metadata=local", "--datastore=local", *here],
            "run_options": ["--max-workers=8", "--max-num-splits=10000", *tags],
            "disabled_tests": _NOT_HERE,
            "executors": ["cli"],
        }
    else:
        of_here = {
            "top_options": ["--metadata=local", "--datastore=s3", *here, *_SCHEDULERS[on]],
            "run_options": [],
            "disabled_tests": _NOT_ON_SCHEDULERS,
            "disable_parallel": True,
            "executors": ["scheduler"],
            # The other check looks for the run in the user's own namespace, and a scheduled run is in its deployment's.
            "checks": ["python3-cli"],
            "scheduler": on,
            "scheduler_timeout": 900,
        }
    checks = {name: {"python": "python3", "class": each} for name, each in _CHECKS.items()}
    return {"contexts": [{**common, **of_here}], "checks": checks}


_CHECKS = {"python3-cli": "CliCheck", "python3-metadata": "MetadataCheck"}


@contextmanager
def _services(on: str, place: Path) -> Iterator[Mapping[str, str]]:
    """What a scheduler needs, and the variables by which Metaflow finds it."""
    if on == "local":
        yield {}
        return
    with ExitStack() as stack:
        team = stack.enter_context(backends(Folders.at(str(place)), place, folder_series()[-1]))
        metadata = place / "metadata"
        metadata.mkdir()
        # By default, each command of the suite's checks starts 64 processes to read a few small objects.
        few = {"METAFLOW_S3_WORKER_COUNT": "2"}
        variables = {**team.variables, **few, "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(metadata)}
        copying = ["env", "-C", str(place), *(f"{key}={value}" for key, value in variables.items())]
        copying += [sys.executable, "-c", _COPY, str(place / "flows")]
        stack.enter_context(running(copying, place / "copied.log", is_ready=lambda: True))
        yield variables


if __name__ == "__main__":
    sys.exit(main())
