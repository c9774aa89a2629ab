"""Metaflow's own core test suite with envlock, on this machine, on Step Functions or on Argo.

`python -m tests.schedulers.core_suite [CHECKOUT] [--on step-functions] [--tests NAME,...] [--graphs NAME,...]` runs
`test/core` of Metaflow's source, which no package has: git clones the release that is installed, unless a checkout is
named. A combination is a test on a graph; each one's flow is locked before it runs. `--graphs smallest` runs each test
on its smallest graph alone, `--environment local` the same without envlock. The last lines tell what passed, what
failed, and what was left out and why. Exit status: 0 if all that ran passed, 1 if something failed.

Step Functions is moto, Argo is that of `tests.pods`, and so are the pods of both: clean folders. There is no metadata
service: what tasks leave of it in the datastore is copied to where the suite looks for it, as long as a run goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from itertools import groupby
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
_EACH = Path(__file__).with_name("core_each.py")

# Where the suite can run: the context of its own that is alike, and the options that flows get.
_PLACES: Mapping[str, tuple[str, list[str]]] = {
    "local": ("python3-all-local", []),
    "step-functions": ("python3-sfn", ["--with=batch"]),
    "argo-workflows": ("python3-argo-workflows", []),
}

# What the suite itself does not leave out, and why it cannot pass: it fails without envlock, too.
_GIVEN_TO_RUN = "it gives its parameters to `run`, by variables that `trigger` does not read"
_NAMESPACE = "it wants the user's namespace, and a scheduled run is in that of its deployment"
_ON_SCHEDULERS: Mapping[str, str] = {
    "BasicConfigTest": "its configuration is a file that Metaflow does not package",
    "BasicIncludeTest": _GIVEN_TO_RUN,
    "BasicParameterTest": _GIVEN_TO_RUN,
    "DynamicParameterTest": _GIVEN_TO_RUN,
    "BasicTagTest": _NAMESPACE,
    "TagMutationTest": _NAMESPACE,
    "CatchRetryTest": "its last step fails and @catch forgives it, which the suite takes for a failed run",
}
_NOT_HERE: Mapping[str, Mapping[str, str]] = {
    "local": {},
    "step-functions": _ON_SCHEDULERS,
    "argo-workflows": _ON_SCHEDULERS,
}

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
    """Run what is asked for, and tell how it ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, nargs="?")
    parser.add_argument("--on", choices=list(_PLACES), default="local")
    parser.add_argument("--tests", default="", help="only these, with commas between them")
    parser.add_argument("--graphs", default="", help="only these; `smallest`: of each test, the one with fewest steps")
    parser.add_argument("--environment", choices=["envlock", "local"], default="envlock", help="local: to compare with")
    parser.add_argument("--all", action="store_true", help="leave out nothing, to see how it fails")
    parser.add_argument("--json", action="store_true", help="print how each combination ended as JSON")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started ends, too
    with TemporaryDirectory(prefix="core-suite-") as place:
        return _run(asked, Path(place))


def _run(asked: argparse.Namespace, place: Path) -> int:
    suite, source = place / "core", asked.checkout or _checkout()
    shutil.copytree(source / "test" / "core", suite)
    extensions = [str(each.resolve()) for each in sorted(source.glob("test/extensions/packages/*"))]
    (suite / "prepare.py").write_text(_PREPARE)
    contexts = {each["name"]: each for each in json.loads((suite / "contexts.json").read_text())["contexts"]}
    uv_cache = Path(os.environ.get("UV_CACHE_DIR") or Path.home() / ".cache" / "uv")
    with ExitStack() as stack:
        stack.enter_context(isolation(place / "home", uv_cache))
        variables = stack.enter_context(_services(asked.on, place))
        temporary = place / "flows"
        temporary.mkdir()
        environ = {
            **os.environ,
            **variables,
            "USER": "tester",
            "TMPDIR": str(temporary),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join([str(suite), *extensions]),
        }
        each = [sys.executable, str(_EACH)]
        listed = subprocess.run([*each, "list"], cwd=suite, env=environ, stdout=subprocess.PIPE, check=True)
        chosen = _chosen(asked, json.loads(listed.stdout))
        reasons = [None if asked.all else _why_not(asked.on, combination, contexts) for combination in chosen]
        to_run = {
            "combinations": [(one["test"], one["graph"]) for one, why in zip(chosen, reasons, strict=True) if not why],
            "context": _context(asked.on, asked.environment, suite, variables),
            "checks": _CHECKS,
        }
        results = place / "results.json"
        subprocess.run(
            [*each, "run", str(results)],
            cwd=suite,
            env=environ,
            input=json.dumps(to_run),
            text=True,
            stdout=sys.stderr if asked.json else None,
            check=True,
        )
    ended = json.loads(results.read_text())
    left_out = [{**one, "why": why} for one, why in zip(chosen, reasons, strict=True) if why]
    return _told(asked, ended, left_out)


def _chosen(asked: argparse.Namespace, listed: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The combinations that are asked for, or none is left that some name stands for: then it ends here."""
    tests, graphs = ({each.lower() for each in names.split(",") if each} for names in (asked.tests, asked.graphs))
    known = {one[key].lower() for one in listed for key in ("test", "graph")} | {"smallest"}
    if unknown := sorted((tests | graphs) - known):
        sys.exit(f"Metaflow's core suite has no {', '.join(unknown)}")
    found = [one for one in listed if not tests or one["test"].lower() in tests]
    if graphs == {"smallest"}:
        by_test = groupby(found, key=lambda one: one["test"])
        return [min(same, key=lambda one: (one["switch"], one["steps"])) for _, same in by_test]
    return [one for one in found if not graphs or one["graph"].lower() in graphs]


def _why_not(on: str, one: Mapping[str, Any], contexts: Mapping[str, Any]) -> str | None:
    """Why a combination is left out; None if it runs."""
    like, _ = _PLACES[on]
    if one["test"] in _NOT_HERE[on]:
        return _NOT_HERE[on][one["test"]]
    if one["test"] in contexts[like]["disabled_tests"]:
        return f"the suite's own {like} leaves it out"
    if on == "local":
        return None
    if one["resumes"]:
        return "the suite resumes no run of a scheduler"
    if one["fails"]:
        return "the suite wants `trigger` to fail, which does not wait for the run"
    if one["parallel"]:
        return "the suite's own contexts of schedulers leave out @parallel"
    if one["switch"]:
        return {
            "step-functions": "Metaflow deploys no switch to Step Functions",
            "argo-workflows": "the Argo of the tests knows no conditions",
        }[on]
    return None


def _told(asked: argparse.Namespace, ended: list[dict[str, Any]], left_out: list[dict[str, Any]]) -> int:
    """Print how it ended; the value is the exit status."""
    failed = [one for one in ended if not one["passed"]]
    if asked.json:
        print(json.dumps({"on": asked.on, "release": version("metaflow"), "ended": ended, "left_out": left_out}))
        return 1 if failed else 0
    passed, used = len(ended) - len(failed), sum(one["processor"] for one in ended)
    print(f"\nMetaflow {version('metaflow')}, {asked.on}, --environment={asked.environment}")
    print(f"  passed    {passed} combinations of {len({one['test'] for one in ended if one['passed']})} tests")
    print(f"  failed    {len(failed)}")
    for one in failed:
        print(f"    {one['test']} on {one['graph']}")
    print(f"  left out  {len(left_out)}")
    for why, same in groupby(sorted(left_out, key=lambda one: (one["why"], one["test"])), key=lambda one: one["why"]):
        names = ", ".join(dict.fromkeys(one["test"] for one in same))
        print(f"    {why}: {names}")
    print(f"  {used / max(len(ended), 1):.1f} s of processor time a combination, what schedulers start not counted")
    return 1 if failed else 0


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


def _context(on: str, environment: str, suite: Path, variables: Mapping[str, str]) -> Mapping[str, Any]:
    """How the suite runs a combination, in its own terms."""
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
        **({"pre_command": {"command": prepare}} if environment == "envlock" else {}),
        "env": {
            "METAFLOW_USER": "tester",
            "METAFLOW_RUN_BOOL_PARAM": "False",
            "METAFLOW_RUN_NO_DEFAULT_PARAM": "test_str",
            "METAFLOW_DEFAULT_METADATA": "local",
        },
    }
    if on == "local":
        tags = ["--tag=\u523a\u8eab means sashimi", "--tag=multiple tags should be ok"]
        of_here = {
            "top_options": ["--metadata=local", "--datastore=local", *here],
            "run_options": ["--max-workers=8", "--max-num-splits=10000", *tags],
            "executors": ["cli"],
            "checks": list(_CHECKS),
        }
    else:
        _, options = _PLACES[on]
        of_here = {
            "top_options": ["--metadata=local", "--datastore=s3", *here, *options],
            "run_options": [],
            "executors": ["scheduler"],
            # The other check looks for the run in the user's own namespace, and a scheduled run is in its deployment's.
            "checks": ["python3-cli"],
            "scheduler": on,
            "scheduler_timeout": 900,
        }
    return {**common, **of_here}


_CHECKS = {
    "python3-cli": {"python": "python3", "class": "CliCheck"},
    "python3-metadata": {"python": "python3", "class": "MetadataCheck"},
}


@contextmanager
def _services(on: str, place: Path) -> Iterator[Mapping[str, str]]:
    """What a scheduler needs, and the variables by which Metaflow finds it."""
    if on == "local":
        del os.environ[
            "METAFLOW_DATASTORE_SYSROOT_LOCAL"
        ]  # each flow has a folder of its own; cards are looked for there
        yield {}
        return
    with ExitStack() as stack:
        team = stack.enter_context(backends(Folders.at(str(place)), place, folder_series()[-1]))
        metadata = place / "metadata"
        metadata.mkdir()
        variables = {**team.variables, "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(metadata)}
        variables["CORE_SUITE_PODS"] = str(team.pods.home)
        copying = ["env", "-C", str(place), *(f"{key}={value}" for key, value in variables.items())]
        copying += [sys.executable, "-c", _COPY, str(place / "flows")]
        stack.enter_context(running(copying, place / "copied.log", is_ready=lambda: True))
        yield variables


if __name__ == "__main__":
    sys.exit(main())
