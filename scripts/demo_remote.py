"""examples/remote on Batch, Step Functions, Argo and Kubernetes, from packs; and images of it: `make demo-remote`.

The services are stand-ins on this machine (`tests/servers`, `tests/pods`); what they start is real: docker's containers
where `make setup-pods` was run, and clean folders where not. Nothing of it stays. Stops at the first check that
fails.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from story import wants

ROOT = Path(__file__).resolve().parent.parent
if TYPE_CHECKING:
    from tests.channel import Channel
    from tests.pods.backends import Backends

ON = "--environment=envlock"
# Metaflow needs boto3 in each step: the tests' channel has what `pip download` brings of it.
BOTO3 = ("boto3==1.35.99", "botocore==1.35.99", "s3transfer==0.10.4", "jmespath==1.0.1")
_MOST_LINES = 12
_PYTHON = re.compile(r'python = "3\.12"')
_TOLD = re.compile(r"envlock: |waiting|squaring|the sum|Retrying|Task failed|Workflow|Done!|ran out of memory|killed")


@dataclass(frozen=True)
class Demo:
    """The example's folder, and where its steps can start."""

    backends: Backends
    series: tuple[str, ...]
    """The Pythons of the images, the oldest first."""

    def does(self, *command: str) -> str:
        """Show a command, run it in the example's folder, and return what it printed; it must end well."""
        print(f"\n$ {' '.join(command)}", flush=True)
        process = subprocess.Popen(
            command,
            cwd=self.backends.folder,
            env={**os.environ, **self.backends.variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        said, shown = "", 0
        assert process.stdout is not None
        for line in process.stdout:
            said += line
            if line.strip() and (command[0] != "python" or _TOLD.search(line)):
                shown += 1
                if shown <= _MOST_LINES or command[0] == "python":
                    print(f"  {line}", end="", flush=True)
        if shown > _MOST_LINES and command[0] != "python":
            print(f"  ... and {shown - _MOST_LINES} lines more")
        if process.wait() != 0:
            sys.exit(f"{said}\n`{' '.join(command)}` ended with {process.returncode}")
        return said

    def on(self, series: str) -> Demo:
        """The same, with images that have another Python."""
        print(f"\n# In images with Python {series}")
        return Demo(self.backends.with_image(series), self.series)

    def shows(self, run_id: str) -> None:
        """Ask of one task which environment it had, and the client what each step saw."""
        said = self.does("envlock", "show", "--pathspec", f"RemoteFlow/{run_id}/work")
        wants("numpy" in said, "the environment that a task had is found by its pathspec")
        tasks = self.backends.tasks(f"RemoteFlow/{run_id}")
        print("\n  what each step saw:")
        rows = {task["step"]: task for task in tasks}
        for step in ("start", "work", "join", "sign", "end"):
            task = rows[step]
            seen, ids = task["seen"], task["recorded"]
            identity = f"{ids[0][:8]}…:{ids[1][:8]}…" if ids else "disabled"
            packages = f"numpy {seen['numpy']:8} itsdangerous {seen['itsdangerous']:7}"
            print(f"    {step:6} Python {seen['python']:8} {packages} {identity}")
        wants(len([task for task in tasks if task["step"] == "work"]) == 8, "the foreach had eight tasks")
        wants(all(task["successful"] for task in tasks), "every task ended well")
        named = {step: (rows[step]["recorded"] is None) for step in rows}
        wants(
            named == {step: step == "join" for step in rows}, "each step had its environment, but for the disabled one"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pods", choices=("container", "folder"), help="what tasks start in (default: what there is)")
    parser.add_argument("--on", action="append", choices=list(STORIES), help="only this part; repeatable")
    chosen = parser.parse_args()
    began = time.monotonic()
    sys.path.insert(0, str(ROOT))
    for name in [name for name in os.environ if name.startswith(("METAFLOW_", "AWS_"))]:
        del os.environ[name]
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="envlock-remote-")))
        demo = set_up(folder, chosen.pods, stack)
        demo.does("envlock", "lock")
        demo.does("envlock", "push", "--pack")
        for name in chosen.on or STORIES:
            STORIES[name](demo)
    print(f"\nAll of it in {time.monotonic() - began:.0f} s.")
    return 0


def set_up(folder: Path, kind: str | None, stack: ExitStack) -> Demo:
    """The services, a kit's Pythons, conda-forge's place, and a copy of the example that uses them."""
    from envlock.model.arch import host_arch
    from tests.channel import Channel, built_channels, copy_channels
    from tests.pods import Containers, Folders
    from tests.pods.backends import backends
    from tests.pods.docker import daemon, image_series, is_set_up
    from tests.pods.folders import folder_series
    from tests.remote.kits import builds_of_this_machine, python_mirror
    from tests.servers.aws import BUCKET

    os.environ |= {"ENVLOCK_HOME": str(folder / "home" / "envlock"), "METAFLOW_HOME": str(folder / "home")}
    (folder / "home").mkdir()
    if kind != "folder" and is_set_up():
        print("# Tasks start in docker's containers.")
        stack.enter_context(daemon())
        pods, series = Containers.at(str(folder / "pods")), image_series()
    else:
        if kind == "container":
            sys.exit("docker is not set up: run `make setup-pods` as root")
        print("# Tasks start in clean folders. For containers, run `make setup-pods` as root before.")
        pods, series = Folders.at(str(folder / "pods")), folder_series()
    print("# Making a conda channel and a kit's Pythons of what this machine has.", flush=True)
    builds = builds_of_this_machine()
    mirror = stack.enter_context(python_mirror(folder / "mirror", *dict.fromkeys([series[-1], *builds]), real=builds))
    copy_channels(built_channels(), folder / "channels", ("main", "other", "private"))
    channel = stack.enter_context(Channel(folder / "channels"))
    publish_boto3(channel, folder / "wheels")
    run = folder / "remote"
    shutil.copytree(ROOT / "examples" / "remote", run, ignore=shutil.ignore_patterns(".metaflow", "envlock.lock"))
    services = stack.enter_context(backends(pods, folder, series[-1]))
    text = (run / "envlock.toml").read_text(encoding="utf-8")
    exact = next((each for each in builds if each.startswith(f"{series[-1]}.")), series[-1])
    text = _PYTHON.sub(f'python = "{exact}"', text)
    text = text.replace('archs = ["linux-64"]', f'archs = ["{host_arch()}"]').replace(
        "../../schemas", f"{ROOT}/schemas"
    )
    options = f'cache-options = {{ endpoint = "{services.aws.endpoint}" }}\npython-mirror = "{mirror.url}"\n'
    text = text.replace("\n[flow.RemoteFlow]", f"{options}\n[flow.RemoteFlow]", 1)
    assert BUCKET in text
    (run / "envlock.toml").write_text(text, encoding="utf-8")
    variables = {"ENVLOCK_CHANNEL_MIRRORS": channel.mirrors, "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(run)}
    return Demo(services.at(run, **variables), series)


def publish_boto3(channel: Channel, folder: Path) -> None:
    """Put the packages that steps need to reach S3 into the channel."""
    from tests.channel.repack import package_of
    from tests.channel.wheels import Wheel

    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--quiet", "--no-deps", "--only-binary", ":all:"]
    subprocess.run([*pip, "--dest", str(folder), *BOTO3], check=True)
    wheels = [Wheel(path, "", "2024-01-01T00:00:00Z", "noarch", "") for path in sorted(folder.glob("*.whl"))]
    channel.publish(*map(package_of, wheels))


def on_batch(demo: Demo) -> None:
    """`run --with batch`, in the oldest images."""
    there = demo.on(demo.series[0])
    said = there.does("python", "flow.py", ON, "run", "--with", "batch")
    there.shows(run_id_of(said))


def on_step_functions(demo: Demo) -> None:
    """Deploy to Step Functions and trigger it, in the oldest images."""
    there = demo.on(demo.series[0])
    there.does("python", "flow.py", ON, "step-functions", "create")
    said = there.does("python", "flow.py", ON, "step-functions", "trigger")
    run_id = run_id_of(said)
    there.backends.await_execution(run_id)
    there.shows(run_id)


def on_argo(demo: Demo) -> None:
    """Make the template of Argo, and submit it, in the newest images."""
    there = demo.on(demo.series[-1])
    command = ("python", "flow.py", ON, "argo-workflows", "create", "--only-json")
    print(f"\n$ {' '.join(command)} | argo submit (the stand-in)", flush=True)
    workflow = there.backends.argo(there.backends.argo_template("flow", ON), "remoteflow-x7k2p")
    print("".join(f"  {pod.name} ended with {pod.status}\n" for pod in workflow.ran), end="")
    there.shows("argo-remoteflow-x7k2p")


def on_kubernetes(demo: Demo) -> None:
    """`run --with kubernetes`, in the newest images; a pod of it is killed."""
    there = demo.on(demo.series[-1])
    before = {pod.name for pod in there.backends.pods.all()}
    over = threading.Event()

    def kill_one() -> None:
        while not over.wait(0.1):
            for pod in there.backends.pods_of("work"):
                if pod.name not in before and "squaring" in pod.said and pod.status is None:
                    print(f"$ kill -9 {pod.name}", flush=True)
                    pod.kill()
                    return

    killer = threading.Thread(target=kill_one)
    killer.start()
    try:
        said = there.does("python", "flow.py", ON, "run", "--with", "kubernetes")
    finally:
        over.set()
        killer.join()
    run_id = run_id_of(said)
    tasks = there.backends.tasks(f"RemoteFlow/{run_id}")
    wants(max(task["attempt"] for task in tasks if task["step"] == "work") > 0, "what was killed was tried again")
    there.shows(run_id)


def packs(demo: Demo) -> None:
    """Another user makes the packs again from the same locks, and compares."""
    print("\n# Nobody has to trust who made a pack")
    verify = ("verify", "--pack", "--json")
    own = raw_digests(demo.does("envlock", *verify))
    wants(bool(own), "the environments are packed")
    folder = demo.backends.folder
    other = folder.parent / "other"
    shutil.copytree(folder, other / "project", ignore=shutil.ignore_patterns(".metaflow"))
    variables = {"HOME": str(other), "ENVLOCK_HOME": str(other / "home"), "XDG_CACHE_HOME": str(other / "cache")}
    command, said_of, why = ["envlock"], "somebody with another umask and home makes", "this is not root"
    if os.geteuid() == 0:
        python, pythons = pythons_of_everybody(other / "pythons", demo.series[-1])
        packages = sysconfig.get_path("purelib")
        variables |= {"ENVLOCK_PYTHONS": pythons, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{packages}"}
        for path in (folder.parent, other):  # the way to it, and itself
            path.chmod(0o755)
        subprocess.run(["chown", "--recursive", "65534:65534", str(other)], check=True)
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", python, "-m", "envlock"]
        environ = {**os.environ, **variables}
        tried = subprocess.run([*command, "--version"], env=environ, capture_output=True, text=True, check=False)
        if tried.returncode == 0:
            said_of = "another user, with another umask and home, makes"
        else:
            command, why = ["envlock"], tried.stderr.strip().rpartition("\n")[2]
            del variables["PYTHONPATH"]
    if command == ["envlock"]:
        print(f"# No other user can run envlock here ({why}): only another home and umask.")
    there = Demo(demo.backends.at(other / "project", **variables), demo.series)
    said = there.does("sh", "-c", f"umask 077; exec {shlex.join([*command, *verify])}")
    wants(raw_digests(said) == own, f"{said_of} the same bytes")


def pythons_of_everybody(folder: Path, series: str) -> tuple[str, str]:
    """This Python and that of a series where every user may run them, and a path with both: root's home is closed."""
    from tests.channel.interpreters import find
    from tests.channel.places import INTERPRETER_FOLDERS
    from tests.remote.kits import build_of

    own, folders = sys.executable, []
    for each in find(INTERPRETER_FOLDERS):
        is_own = each.version == "{}.{}.{}".format(*sys.version_info[:3])
        if is_own or each.series == series:
            with tarfile.open(fileobj=io.BytesIO(build_of(each))) as archive:
                archive.extractall(folder / each.version, filter="tar")
            folders.append(folder / each.version / "python" / "bin")
            own = str(folders[-1] / f"python{each.series}") if is_own else own
    return own, os.pathsep.join(map(str, folders))


def raw_digests(said: str) -> dict[str, str]:
    """The raw digest of each environment's pack, as `verify --pack --json` made it; each is as its plan says."""
    found = json.loads(said[said.index("{") : said.rindex("}") + 1])["packs"]
    wants(all(each["right"] for each in found), "each pack is what its lock makes")
    for each in found:
        print(f"  {each['names'][0]:18} {each['parts']} parts, raw digest {each['raw']}")
    return {each["identity"]: each["made"] for each in found}


def images(demo: Demo) -> None:
    """Push an image with the environments of two steps, and push it again; then start these steps in it."""
    from tests.pods import Containers
    from tests.pods.docker import client
    from tests.pods.pod import image_of
    from tests.servers.registry import is_set_up, registry

    if not is_set_up():
        print("\n# No image: docker-registry is not here. Run `make setup` on Debian.")
        return
    print("\n# An image, without docker")
    series, in_containers = demo.series[-1], isinstance(demo.backends.pods, Containers)
    folder = demo.backends.folder.parent / "registry"
    folder.mkdir()
    with registry(folder) as server, ExitStack() as stack:
        base = f"{server.host}/team/python"
        if in_containers:
            client().images.get(image_of(series)).tag(base, series)
            stack.callback(client().images.remove, f"{base}:{series}", force=True)
            wants("error" not in client().images.push(base, series), "docker has pushed a base")
        else:
            push_small_base(f"{base}:{series}", folder)
        command = ("envlock", "image", f"{server.host}/team/remote:1", "start", "sign", "--base", f"{base}:{series}")
        found = [re.findall(r"^pushed (\S+@sha256:\w+)", demo.does(*command), re.MULTILINE) for _ in range(2)]
        wants(len(found[0]) == 1 and found[0] == found[1], "the same locks and base make the same image")
        if not in_containers:
            print('# No step starts in it: images need docker. Run `make setup-pods` as root for image = "auto".')
            return
        ((image,),) = {tuple(each) for each in found}
        image = f"{server.host}/team/remote@{image.rpartition('@')[2]}"
        stack.callback(client().images.remove, image, force=True)
        print('\n# image = "auto": the steps of which there is an image start in it, the others from packs')
        config = demo.backends.folder / "envlock.toml"
        text = config.read_text(encoding="utf-8")
        stack.callback(config.write_text, text, encoding="utf-8")
        config.write_text(
            text.replace("\n[flow.RemoteFlow]", 'image = "auto"\n\n[flow.RemoteFlow]', 1), encoding="utf-8"
        )
        there = demo.on(series)
        said = there.does("python", "flow.py", ON, "run", "--with", "kubernetes")
        there.shows(run_id_of(said))
        for step in ("start", "sign"):
            pod = there.backends.pods_of(step)[-1]
            spec = json.loads((there.backends.pods.home / pod.name / "spec.json").read_text(encoding="utf-8"))
            wants(spec["image"] == image, f"`{step}` started in {image}")
            wants("reading the plan" not in pod.said, f"`{step}` made no environment")


def push_small_base(name: str, folder: Path) -> None:
    """Push an image of some bytes: a base of which no container is made."""
    from envlock.image.docker_login import DockerLogin
    from envlock.image.references import ImageReference
    from envlock.image.registry import Registry
    from envlock.model.arch import host_arch
    from tests.image.images import push_base

    with Registry(ImageReference.parse(name), DockerLogin({"HOME": str(folder)})) as opened:
        push_base(opened, archs=[host_arch()])


STORIES: dict[str, Any] = {
    "packs": packs,
    "images": images,
    "batch": on_batch,
    "step-functions": on_step_functions,
    "argo": on_argo,
    "kubernetes": on_kubernetes,
}


def run_id_of(said: str) -> str:
    """The run that a command of Metaflow began."""
    return said.rpartition("(run-id ")[2].partition(")")[0]


if __name__ == "__main__":
    sys.exit(main())
