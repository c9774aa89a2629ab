"""The start of a task on a node: with nothing on its disk, with the environment there already, and many at once.

A flow is locked, pushed and deployed for real; its code package is unpacked into a clean folder, and a Python with what
Metaflow installs in containers runs the command that the deployed flow has. The bucket is SeaweedFS on loopback, so its
bytes cost little, and what is measured is the client and the installing.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tarfile
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.projects import ROOTS
from benchmarks.timing import ENVLOCK, PYTHON, TOLD, UV, Command, Row, costs, settle
from envlock.cache.layout import plan_at
from envlock.cache.open import open_store
from envlock.cache.plan import Plan, parse_plan
from envlock.model.arch import host_arch
from tests.pods.folders import pod_python
from tests.servers.clouds import BUCKET, Cloud, seaweedfs

FLOW = "BigFlow"
CACHE, ARCHIVE = "nodes", "python.tar.gz"
AT_ONCE = 32
FILES = Path(__file__).with_name("task_files.py")
SERIES = ".".join(map(str, sys.version_info[:2]))
_FLOW = f"""\
from metaflow import FlowSpec, step


class {FLOW}(FlowSpec):
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    {FLOW}()
"""
_UNNEEDED = ("test", "tests", "idlelib", "site-packages", "ensurepip", "lib2to3", "tkinter")


def rows(folder: Path) -> list[Row]:
    """The claims about starting tasks."""
    folder.mkdir(parents=True)
    with seaweedfs(folder) as cloud:
        os.environ.update(cloud.environment)
        start = Start(folder, cloud)
        return [
            *start.sizes(),
            *start.code_package(),
            *start.transport(),
            *start.first_task(),
            start.second_task(),
            start.at_once(),
        ]


@dataclass(frozen=True)
class Start:
    """A deployed flow, and the ways by which a task of it may start."""

    folder: Path
    cloud: Cloud
    settings: str = ""
    """More of `[envlock]`."""
    roots: tuple[str, ...] = (*ROOTS, "pyarrow")

    # What is measured.

    def sizes(self) -> list[Row]:
        """What is said to a node."""
        manifest = (self.package / ".mf_meta" / "envlock.json").stat().st_size
        wanted = [
            ("the manifest of a flow with two steps, against 1 KB and 200 bytes a step", manifest, 1400),
            ("the commands that enter an environment, against 300 bytes", len(self.enter), 300),
        ]
        return [Row(claim, size, limit, "at most 1 x", size <= limit, unit="bytes") for claim, size, limit in wanted]

    def code_package(self) -> list[Row]:
        """The code package, before anything of it is there: in Metaflow's own way without what that installs."""
        variables = {each["name"]: each["value"] for each in self.template["env"]}  # type: ignore[attr-defined]
        url = variables["METAFLOW_CODE_URL"]
        command = str(self.template["command"][-1])  # type: ignore[index]
        program = command[command.index("python -c 'import base64") : command.index("||{ ")]
        theirs = command[command.index("python -c 'import boto3") : command.index(";} && mflog")]
        own, other = costs([self._command(each, METAFLOW_CODE_URL=url) for each in (program, theirs)], 7)
        claim = "the code package: CPU, against boto3 in the image"
        return [
            Row(claim, own.cpu, other.cpu, "at most 1/2 of it", own.cpu * 2 <= other.cpu),
            _told("the same: wall time", own.wall, other.wall),
        ]

    def transport(self) -> list[Row]:
        """Files onto a node: CPU seconds, without what importing the client costs."""
        found = []
        for ours, bare, what in (
            ("node", "bare", "against bare get_object in 8 threads"),
            ("node-kept", "bare-kept", "the same, hashed and written by both"),
        ):
            times = [(self._moved(bare), self._moved(ours)) for _ in range(5)]
            own, other = (statistics.median(each[which] for each in times) for which in (1, 0))
            count, size = len(self.plan.files), sum(each.size for each in self.plan.files) / 1e6
            claim = f"{count} files, {size:.0f} MB, onto a node: CPU, {what}"
            found.append(Row(claim, own, other, "at most 1.3 x", own / other <= 1.3))
        return found

    def first_task(self) -> list[Row]:
        """From nothing on the node's disk to a line of Python in the environment."""
        # A node that makes an environment removes the wheels and uv's cache: what runs next would pay for that.
        metaflow, bare, own = costs([self.replayed(), self.bare(), self.first()], 3, before=settle)
        size = sum(each.file.size for each in self.plan.packages) / 1e6
        what = f"first task of {len(self.plan.packages)} wheels, {size:.0f} MB"
        peers = "download by get_object, `uv venv`, `uv pip sync`", "Metaflow's own: datastore, untar, `pip install`"
        return [
            Row(f"{what}: CPU, against {peers[0]}", own.cpu, bare.cpu, "at most 1.2 x", own.cpu / bare.cpu <= 1.2),
            _told("the same: wall time", own.wall, bare.wall),
            _third(f"{what}: CPU, against {peers[1]}", own.cpu, metaflow.cpu),
            _third("the same: wall time", own.wall, metaflow.wall),
        ]

    def second_task(self) -> Row:
        """A task whose environment is there already, from a code package of its own."""
        home = self._kept()
        plain = self._command("python -c pass", home)
        own, other = costs([self._command(self.entering, home), plain], 11)
        claim = f"second task: CPU, against a task without envlock (wall: {(own.wall - other.wall) * 1000:.0f} ms more)"
        return Row(claim, own.cpu, other.cpu, "at most 150 ms more", own.cpu - other.cpu <= 0.15)

    def at_once(self) -> Row:
        """Tasks that want an environment which nobody has made."""

        def together() -> list[Command]:
            home = self._home()
            return [self._command(self.entering, home) for _ in range(AT_ONCE)]

        several, one, first = [], [], self.first()
        for _ in range(3):
            one += costs([first], 1, before=settle)
            several += costs([together()], 1, before=settle)
        own, other = (statistics.median(each.wall for each in found) for found in (several, one))
        claim = f"{AT_ONCE} first tasks at once, until the last has started, against one: wall time"
        return Row(claim, own, other, "at most 1.3 x", own / other <= 1.3)

    # The ways.

    def first(self) -> Command:
        """A task on a node with nothing on its disk."""
        return self._command(self.entering)

    def bare(self) -> Command:
        """Download what a node downloads, with boto3 alone, and let uv install it with nothing in its cache."""
        uv = f'UV_CACHE_DIR="$ENVLOCK_HOME/uv" "{UV}" -q --no-config'
        prefix = '"$ENVLOCK_HOME/prefix'
        options = "--preview-features pylock --offline --no-index --no-build"
        return self._command(
            " && ".join(
                [
                    self._moving("bare-written", self.listed, "files"),
                    f'{uv} venv --no-project -p "{self.python}" {prefix}"',
                    'cp "$PYLOCK" "$ENVLOCK_HOME/files/pylock.toml"',
                    f'{uv} pip sync {options} --python {prefix}/bin/python" "$ENVLOCK_HOME/files/pylock.toml"',
                    f'{prefix}/bin/python" -c pass',
                ]
            ),
            PYLOCK=str(self.pylock),
        )

    def replayed(self) -> Command:
        """What Metaflow's own start of a task does: its datastore, a Python that it unpacks, and that one's pip."""
        python, files = '"$ENVLOCK_HOME/python/bin/python"', '"$ENVLOCK_HOME/files"'
        options = (
            "--disable-pip-version-check -qq install --root-user-action=ignore --no-compile --no-index --no-cache-dir "
            "--no-deps --prefer-binary --no-user --no-warn-script-location --no-input"
        )
        return self._command(
            " && ".join(
                [
                    self._moving("metaflow", self.listed_for_metaflow, "files"),
                    f'tar -xzf "$ENVLOCK_HOME/files/{ARCHIVE}" -C "$ENVLOCK_HOME"',
                    f"PYTHONPATH= {python} -m pip {options} --find-links={files} {files}/*.whl",
                    f"PYTHONPATH= {python} -c pass",
                ]
            )
        )

    @property
    def entering(self) -> str:
        """What a container runs, up to the first line of Python."""
        return f'{self.enter} && "$ENVLOCK_PYTHON" -c pass'

    def _command(self, program: str, home: Path | None = None, **more: str) -> Command:
        """A program in a task's folder, which is new in each run; and so is the node's home, if none is given."""
        task = self.folder / "tasks" / str(time.monotonic_ns())
        chosen = home or self._home()

        def before() -> None:
            for path in (task, *(() if home else (chosen,))):
                self._set_aside(path)
            shutil.copytree(self.package, task, copy_function=os.link)
            if not home:
                os.sync()

        variables = {
            "PATH": f"{self.python.parent}:/usr/bin:/bin",
            "HOME": str(task),
            "LANG": "C.UTF-8",
            **self.cloud.environment,
            **self._metaflow,
            "PYTHONPATH": str(task / ".mf_code"),
            "METAFLOW_EXTRACTED_ROOT": str(task),
            "MF_PATHSPEC": f"{FLOW}/1/start/1",
            "ENVLOCK_HOME": str(chosen),
            **more,
        }
        named = [f"{name}={value}" for name, value in variables.items()]
        script = f'cd "{task}" && mkdir -p "$ENVLOCK_HOME" && {program}'
        return Command(["env", "-i", *named, "bash", "-c", script], self.folder, before=before)

    def _moving(self, way: str, listed: Path, folder: str) -> str:
        options = self.cloud.options
        words = f'"{FILES}" {way} {options.endpoint} {BUCKET} {CACHE} "{listed}" "$ENVLOCK_HOME/{folder}"'
        return f'mkdir -p "$ENVLOCK_HOME/{folder}" && python {words} > /dev/null'

    def _moved(self, way: str) -> float:
        command = self._command(self._moving(way, self.listed, "files").replace(" > /dev/null", ""))
        command.before()
        return float(subprocess.run(command.arguments, cwd=self.folder, check=True, stdout=subprocess.PIPE).stdout)

    def _set_aside(self, path: Path) -> None:
        """Make room for another folder at a path, and delete nothing, as a new node has deleted nothing a moment ago:
        for each new file, ext4 without a journal looks at all that was deleted lately, two thirds of a task's time."""
        if path.exists():
            (self.folder / "earlier").mkdir(exist_ok=True)
            path.rename(self.folder / "earlier" / str(time.monotonic_ns()))

    def _home(self) -> Path:
        return self.folder / "homes" / str(time.monotonic_ns())

    def _kept(self) -> Path:
        """The home of a node that has the environment."""
        home = self._home()
        command = self._command(self.entering, home)
        command.before()
        subprocess.run(command.arguments, cwd=self.folder, check=True, stderr=subprocess.DEVNULL)
        return home

    # What was deployed, each made once.

    @cached_property
    def python(self) -> Path:
        """The image's."""
        return pod_python(SERIES)

    @cached_property
    def template(self) -> dict[str, object]:
        """The container of the first step, as Argo Workflows gets it, of a flow that was locked and pushed."""
        project = self.folder / "project"
        project.mkdir()
        (project / "flow.py").write_text(_FLOW)
        wanted = ", ".join('"{}" = "{}"'.format(*(root.partition("==")[::2])) for root in self.roots)
        (project / "envlock.toml").write_text(
            f"""\
[envlock]
archs = ["{host_arch()}"]
datastore = "s3"
cache = "{self.cloud.url(CACHE)}"
cache-options = {{ endpoint = "{self.cloud.options.endpoint}" }}
{self.settings}
[flow.{FLOW}]
file = "flow.py"
[flow.{FLOW}.pypi]
python = "{SERIES}"
packages = {{ {wanted} }}
"""
        )
        variables = {
            **os.environ,
            **self._metaflow,
            "ENVLOCK_HOME": str(self.folder / "workstation"),
            "METAFLOW_KUBERNETES_NAMESPACE": "default",
        }
        deploy = "--environment=envlock --datastore=s3 --with kubernetes argo-workflows create --only-json"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        for command in ([ENVLOCK, "lock"], [ENVLOCK, "push"]):
            subprocess.run(command, cwd=project, check=True, env=variables, **quiet)
        deployed = subprocess.run(
            [PYTHON, "flow.py", *deploy.split()],
            cwd=project,
            check=True,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        templates = json.loads(deployed.stdout)["spec"]["templates"]
        (container,) = (each["container"] for each in templates if each["name"] == "start")
        return dict(container)

    @cached_property
    def _metaflow(self) -> dict[str, str]:
        return {
            "METAFLOW_DATASTORE_SYSROOT_S3": self.cloud.url("metaflow"),
            "METAFLOW_S3_ENDPOINT_URL": self.cloud.options.endpoint,
            "METAFLOW_DEFAULT_DATASTORE": "s3",
            "METAFLOW_USER": "benchmark",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    @cached_property
    def enter(self) -> str:
        """What envlock adds to the container's command."""
        command = str(self.template["command"][-1])  # type: ignore[index]
        end = ". ./.envlock/enter.sh"
        return command[command.index("python -m metaflow_extensions.envlock") : command.index(end) + len(end)]

    @cached_property
    def package(self) -> Path:
        """The code package, unpacked, with the bytecode of Metaflow, which has saved a log before a task enters."""
        variables = {each["name"]: each["value"] for each in self.template["env"]}  # type: ignore[attr-defined]
        key = variables["METAFLOW_CODE_URL"].partition(f"{BUCKET}/")[2]
        archive = self.folder / "job.tar"
        archive.write_bytes(open_store(self.cloud.url(""), self.cloud.options).read(key))
        place = self.folder / "package"
        with tarfile.open(archive) as members:
            members.extractall(place, filter="data")
        path = {"PATH": os.environ["PATH"], "PYTHONPATH": str(place / ".mf_code"), "METAFLOW_USER": "benchmark"}
        subprocess.run([self.python, "-c", "import metaflow"], cwd=place, check=True, env=path)
        return place

    @cached_property
    def plan(self) -> Plan:
        """What the manifest names."""
        manifest = json.loads((self.package / ".mf_meta" / "envlock.json").read_text())
        (environment,) = manifest["environments"]
        path = "plans/{}/{}/{}/{}.json".format(*environment)
        place = plan_at(path)
        assert place is not None
        store = open_store(self.cloud.url(CACHE), self.cloud.options)
        return parse_plan(store.read(path), place, path)

    @cached_property
    def listed(self) -> Path:
        """The files that a node fetches."""
        return self._list("files.txt", [[each.path, each.size, each.sha256] for each in self.plan.files])

    @cached_property
    def listed_for_metaflow(self) -> Path:
        """The wheels, and a Python with pip."""
        archive = self.folder / ARCHIVE
        place = self.folder / "python"
        library = Path(sysconfig.get_path("stdlib"))
        inside = place / "lib" / f"python{SERIES}"
        shutil.copytree(library, inside, ignore=shutil.ignore_patterns(*_UNNEEDED, "config-*"))
        (place / "bin").mkdir()
        shutil.copy(Path(sys.base_prefix) / "bin" / f"python{SERIES}", place / "bin" / "python")
        subprocess.run([UV, "-q", "pip", "install", "--target", inside / "site-packages", "pip"], check=True)
        with tarfile.open(archive, "w:gz") as out:
            out.add(place, "python")
        open_store(self.cloud.url(CACHE), self.cloud.options).put(ARCHIVE, archive.read_bytes())
        wheels = [[each.file.path, each.file.size, each.file.sha256] for each in self.plan.packages]
        return self._list("wheels.txt", [[ARCHIVE, archive.stat().st_size, ""], *wheels])

    @cached_property
    def pylock(self) -> Path:
        """The wheels for bare uv."""
        lines = ['lock-version = "1.0"', 'created-by = "benchmark"', "packages = ["]
        for package in self.plan.packages:
            filename = package.file.path.rpartition("/")[2]
            lines.append(
                f'{{name = "{package.name}", version = "{package.version}", wheels = [{{path = "{filename}", '
                f'hashes = {{sha256 = "{package.file.sha256}"}}}}]}},'
            )
        path = self.folder / "pylock.bare.toml"
        path.write_text("\n".join([*lines, "]"]))
        return path

    def _list(self, name: str, files: list[list[object]]) -> Path:
        path = self.folder / name
        path.write_text("".join(json.dumps(each) + "\n" for each in files))
        return path


def _told(claim: str, ours: float, theirs: float) -> Row:
    """A row for information: a time without a limit."""
    return Row(claim, ours, theirs, TOLD, holds=True)


def _third(claim: str, ours: float, theirs: float) -> Row:
    return Row(claim, ours, theirs, "at most 1/3 of it", ours * 3 <= theirs)
