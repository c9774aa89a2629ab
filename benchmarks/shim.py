"""The shim: what a task start costs more in a locked environment, and what other flows pay for envlock being there.

`python -m benchmarks.shim` prints the table of these claims alone.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.timing import ENVLOCK, PYTHON, Command, Row, at_most, table
from envlock.cache.open import open_store
from envlock.cache.plans import Plans
from tests.servers.clouds import moto
from tests.workflow.test_nodes import plan_of

TASKS = 16
STEPS = 500
ROUNDS = 2
MOST_PER_TASK = 0.030

_FLOW = f"""\
import time

from metaflow import FlowSpec, step


class ManyFlow(FlowSpec):
    @step
    def start(self):
        self.parts = list(range({TASKS}))
        self.next(self.each, foreach="parts")

    @step
    def each(self):
        self.began = time.time()
        self.next(self.join)

    @step
    def join(self, inputs):
        began = sorted(each.began for each in inputs)
        print("PERIODS", *(later - sooner for sooner, later in zip(began, began[1:])))
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    ManyFlow()
"""
_CONFIG = """\
[flow.ManyFlow]
file = "many.py"
pypi = {{ python = "{}.{}" }}
"""
_OF_NODES = {
    "AWS_DEFAULT_REGION": "us-east-1",
    "METAFLOW_DEFAULT_DATASTORE": "s3",
    "METAFLOW_DEFAULT_METADATA": "local",
    "METAFLOW_KUBERNETES_NAMESPACE": "default",
    "METAFLOW_KUBERNETES_CONTAINER_IMAGE": "python:3.12",
}


def rows(folder: Path) -> list[Row]:
    """The claims about the shim."""
    project = _project(folder / "shim")
    environment = _environment(folder)
    locked: list[float] = []
    plain: list[float] = []
    for number in range(ROUNDS + 1):
        for kind, periods in (("envlock", locked), ("local", plain)):
            found = _periods(project, kind, environment)
            if number:  # the first of each is for the caches
                periods.extend(found)
    ours, theirs = statistics.median(locked), statistics.median(plain)
    with _deployments(folder) as (large, half):
        deployed = [
            at_most(
                f"`argo-workflows create` of a flow of {STEPS} steps, with its plans, against the same without envlock",
                2,
                _create(large, "envlock"),
                _create(large, "local"),
                3,
            ),
            at_most(
                f"the same, against a flow of {STEPS // 2}", 2, _create(large, "envlock"), _create(half, "envlock"), 3
            ),
        ]
    without = {
        **environment,
        "METAFLOW_EXTENSIONS_SEARCH_DIRS": str(folder),
    }  # Metaflow looks for extensions there alone
    run = ["many.py", "run", "--max-workers", "2"]
    return [
        Row(
            f"a task in a locked environment, from one to the next, against the same without envlock ({TASKS} tasks)",
            ours,
            theirs,
            f"at most {MOST_PER_TASK * 1000:.0f} ms more",
            ours - theirs <= MOST_PER_TASK,
        ),
        at_most(
            f"a run of {TASKS + 3} tasks, its environment there, against the same without envlock",
            1.25,
            Command([PYTHON, run[0], "--environment=envlock", *run[1:]], project, environment=environment),
            Command([PYTHON, *run], project, environment=environment),
            3,
        ),
        at_most(
            "`import metaflow` with envlock installed, against the same without",
            1.1,
            Command([PYTHON, "-c", "import metaflow"], project, environment=environment),
            Command([PYTHON, "-c", "import metaflow"], project, environment=without),
            15,
        ),
        *deployed,
    ]


def _project(folder: Path) -> Path:
    """A locked flow with many short tasks, that asks for nothing but the Python that runs this."""
    folder.mkdir(parents=True)
    (folder / "many.py").write_text(_FLOW)
    (folder / "envlock.toml").write_text(_CONFIG.format(*sys.version_info[:2]))
    subprocess.run([ENVLOCK, "lock"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return folder


def _environment(folder: Path) -> dict[str, str]:
    return {
        "ENVLOCK_HOME": str(folder / "home"),
        "METAFLOW_HOME": str(folder / "metaflow"),
        "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(folder / "datastore"),
        "METAFLOW_USER": "benchmark",
    }


@contextmanager
def _deployments(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Two flows with many steps and ten environments, locked for nodes; their cache, with plans, is in a bucket."""
    with moto(folder) as cloud:
        given = {**_environment(folder), **cloud.environment, **_OF_NODES}
        given["METAFLOW_S3_ENDPOINT_URL"] = cloud.options.endpoint
        given["METAFLOW_DATASTORE_SYSROOT_S3"] = cloud.url("metaflow")
        os.environ.update(given)
        try:
            made = [
                _large(folder / f"of-{count}", count, cloud.url("envlock"), cloud.options.endpoint)
                for count in (STEPS, STEPS // 2)
            ]
            plans = Plans(open_store(cloud.url("envlock"), cloud.options))
            for path in made[0].glob("envlock.lock/*/*/pylock.*.toml"):
                plans.write(plan_of(path))
            yield made[0], made[1]
        finally:
            for name in given:
                del os.environ[name]


def _large(folder: Path, count: int, cache: str, endpoint: str) -> Path:
    folder.mkdir()
    steps = ["start", *(f"step_{number}" for number in range(count - 2)), "end"]
    body = ["from metaflow import FlowSpec, step", "class LargeFlow(FlowSpec):"]
    for step, then in zip(steps, [*steps[1:], ""], strict=True):
        body += ["    @step", f"    def {step}(self):", f"        self.next(self.{then})" if then else "        pass"]
    (folder / "large.py").write_text("\n".join([*body, "if __name__ == '__main__': LargeFlow()", ""]))
    config = [f'[envlock]\narchs = ["linux-64"]\ndatastore = "s3"\ncache = "{cache}"']
    config += [f'cache-options = {{ endpoint = "{endpoint}" }}', '[flow.LargeFlow]\nfile = "large.py"']
    for number, step in enumerate(steps):
        config.append(f'[flow.LargeFlow.step.{step}]\npypi = {{ packages = {{ idna = ">=3.{number % 10}" }} }}')
    (folder / "envlock.toml").write_text("\n".join([*config, ""]))
    subprocess.run([ENVLOCK, "lock"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return folder


def _create(folder: Path, environment: str) -> Command:
    return Command(
        [PYTHON, "large.py", f"--environment={environment}", "argo-workflows", "create", "--only-json"], folder
    )


def _periods(project: Path, kind: str, environment: dict[str, str]) -> list[float]:
    """The seconds from each task to the next, where one runs at a time."""
    done = subprocess.run(
        [PYTHON, "many.py", f"--environment={kind}", "run", "--max-workers", "1"],
        cwd=project,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"the run with {kind} failed:\n{done.stdout}{done.stderr}")
    (line,) = [line for line in done.stdout.splitlines() if "PERIODS" in line]
    return [float(each) for each in line.partition("PERIODS")[2].split()]


def main() -> int:
    """Print the table; 1 when a claim does not hold."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory(prefix="envlock-shim-") as folder:
        found = rows(Path(folder))
    print(table(found))
    return 0 if all(row.holds for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
