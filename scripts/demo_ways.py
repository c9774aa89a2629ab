"""Every way in and out: `make demo-ways`, or `python scripts/demo_ways.py --only monorepo`.

Works in copies of examples/ways: a requirements.txt with `-r`, `-c` and hashes, an environment.yml with pip, a uv.lock,
a monorepo with a folder and a git repository, and flows with decorators. Each is locked or imported, checked and run,
then exported and installed by pip, uv or py-rattler. Stops at the first check that fails. Nothing of it stays.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from story import does, wants

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples" / "ways"
SAMPLES = ROOT / "tests" / "config" / "flows" / "samples"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=list(STORIES), help="only this part; repeatable")
    chosen = parser.parse_args().only or list(STORIES)
    sys.path.insert(0, str(ROOT))
    for name in [name for name in os.environ if name.startswith("METAFLOW_")]:
        del os.environ[name]
    began = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="envlock-ways-")))
        shutil.copytree(EXAMPLES, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".metaflow", "envlock?*"))
        shutil.copy(EXAMPLES / "monorepo" / "envlock.toml", folder / "monorepo")
        (folder / "home").mkdir()
        os.environ |= {
            "ENVLOCK_HOME": str(folder / "home" / "envlock"),
            "METAFLOW_HOME": str(folder / "home"),
            "METAFLOW_USER": "demo",
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        }
        took = {}
        for name in chosen:
            print(f"\n# {name}: {(STORIES[name].__doc__ or '').strip()}")
            started = time.monotonic()
            STORIES[name](folder / name, stack)
            took[name] = f"{name} {time.monotonic() - started:.0f} s"
    print(f"\n{', '.join(took.values())}; {time.monotonic() - began:.0f} s in all.")
    return 0


def requirements(folder: Path, _: ExitStack) -> None:
    """A requirements.txt with `-r`, `-c` and a hash; then pip and uv install what was locked."""
    does(folder, "envlock", "init", "--with", "requirements.txt")
    runs(folder, "flow.py", "3 rows.")
    said = does(folder, "envlock", "show", "ReportFlow/start")
    wants("MarkupSafe==2" in said or "markupsafe==2" in said, "the constraint holds for a package that nobody named")
    options = ("--step", "start", "--arch", arch())
    does(folder, "envlock", "export", *options, "--format", "requirements", "-o", "locked.txt")
    does(folder, "python", "-m", "venv", "by-pip")
    does(folder, "by-pip/bin/pip", "install", "--quiet", "--require-hashes", "-r", "locked.txt")
    does(folder, "uv", "venv", "--quiet", "--python", sys.executable, "by-uv")
    does(folder, "uv", "pip", "sync", "--quiet", "--python", "by-uv", "--require-hashes", "locked.txt")
    for made in ("by-pip", "by-uv"):
        found = packages_in(folder / made)
        wants(found["itsdangerous"] == "2.2.0" and found["markupsafe"].startswith("2."), f"{made} has what is locked")


def environment(folder: Path, stack: ExitStack) -> None:
    """An environment.yml with pip's packages; then py-rattler installs its conda packages, and pip the others."""
    url = channel(stack)
    file = folder / "environment.yml"
    file.write_text(file.read_text(encoding="utf-8").replace("conda-forge", url), encoding="utf-8")
    does(folder, "envlock", "init", "--with", "environment.yml")
    runs(folder, "flow.py", "4.0 points.")
    options = ("--step", "start", "--arch", arch())
    does(folder, "envlock", "export", *options, "-o", "pixi.lock")
    does(folder, "envlock", "export", *options, "--only", "pypi", "--format", "requirements", "-o", "locked.txt")
    prefix = by_py_rattler(folder / "pixi.lock", folder / "by-py-rattler")
    pip = ("-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "-r", "locked.txt")
    does(folder, "uv", "pip", "install", "--quiet", "--python", str(prefix / "bin" / "python"), *pip[4:])
    found = packages_in(prefix)
    wants(found["numpy"] == "1.26.4" and "itsdangerous" in found, "py-rattler and pip made the same environment")


def uv_lock(folder: Path, _: ExitStack) -> None:
    """A uv.lock, taken over without solving; then uv installs the exported pylock.toml."""
    does(folder, "uv", "lock", "--quiet")
    series = "{}.{}".format(*sys.version_info[:2])
    does(folder, "envlock", "import", "uv.lock", "--group", "train", "--python", series)
    does(folder, "envlock", "init")
    config = folder / "envlock.toml"
    print('  (and the flow uses [env.base]: `env = "base"`, without an alias or a cache)')
    config.write_text(config.read_text(encoding="utf-8").replace("# env = ", "env = "), encoding="utf-8")
    runs(folder, "flow.py", "hello uv.")
    does(folder, "envlock", "export", "--env", "base", "--arch", arch(), "-o", "pylock.toml")
    does(folder, "uv", "venv", "--quiet", "--python", sys.executable, "by-uv")
    does(folder, "uv", "pip", "sync", "--quiet", "--python", "by-uv", "pylock.toml")
    tree = does(folder, "uv", "export", "--quiet", "--frozen", "--group", "train", "--no-hashes", "--no-header")
    wanted = {
        line.partition("==")[0]: line.partition("==")[2].split(" ")[0] for line in tree.splitlines() if "==" in line
    }
    found = packages_in(folder / "by-uv")
    wants(bool(wanted) and wanted == {name: found.get(name) for name in wanted}, "uv has again what its own lock said")


def monorepo(folder: Path, stack: ExitStack) -> None:
    """A folder of the repository and a git repository served on loopback; a change of the folder is found."""
    from tests.build.repositories import commit, git, served

    code = folder.parent / "code" / "signing"
    shutil.copytree(folder.parent / "signing", code)
    commit(code)
    git(code, "tag", "v1")
    address = stack.enter_context(served(code.parent)).url
    config = folder / "envlock.toml"
    config.write_text(config.read_text(encoding="utf-8").replace("http://127.0.0.1:8000", address), encoding="utf-8")
    runs(folder, "flows/train_flow.py", "5.33.")
    library = folder / "libs" / "common" / "src" / "common" / "__init__.py"
    before = library.read_text(encoding="utf-8")
    library.write_text(before.replace("The mean of", "The arithmetic mean of"), encoding="utf-8")
    said = does(folder, "envlock", "check", status=1)
    wants("libs/common" in said, "check names the folder that changed")
    library.write_text(before, encoding="utf-8")
    does(folder, "envlock", "check")
    does(folder, "envlock", "export", "--env", "team", "--arch", arch(), "-o", "pylock.toml")
    does(folder, "uv", "venv", "--quiet", "--python", sys.executable, "by-uv")
    does(folder, "uv", "pip", "sync", "--quiet", "--python", "by-uv", "pylock.toml")
    found = packages_in(folder / "by-uv")
    wants(found["common"] == found["signing"] == "1.0", "uv builds both again, from the same folder and commit")


def migrate(folder: Path, _: ExitStack) -> None:
    """A repository whose flows have decorators: each step requires the same in envlock.toml."""
    from envlock.config.flows.decorators import read_decorators

    folder.mkdir()
    for path in SAMPLES.glob("*.py"):
        if path.stem not in {"conftest", "unreadable"}:
            shutil.copy(path, folder)
    before = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.py")}
    patch = does(folder, "envlock", "migrate", "--dry-run", status=1, only_stdout=True)
    wants(not (folder / "envlock.toml").exists(), "a dry run writes nothing")
    does(folder, "envlock", "migrate", "--apply", status=1)
    applied = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.py")}
    for name, text in before.items():
        (folder / name).write_text(text, encoding="utf-8")
    subprocess.run(["git", "apply"], cwd=folder, input=patch, text=True, check=True)
    patched = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.py")}
    wants(patched == applied != before, "the patch does what `--apply` does")
    left = [flow.name for flow in read_decorators(folder / "packages.py") if flow.decorators]
    wants(left == [], "packages.py has no decorator any more")
    said = does(folder, "python", "disabled.py", "--environment=envlock", "show")
    wants("Step asks" in said, "Metaflow takes a flow whose decorators are gone")


STORIES = {
    "requirements": requirements,
    "environment": environment,
    "uv-lock": uv_lock,
    "monorepo": monorepo,
    "migrate": migrate,
}


def runs(folder: Path, flow: str, printed: str) -> None:
    """Lock, check, and run a flow, whose last step prints a text and its signature."""
    does(folder, "envlock", "lock")
    does(folder, "envlock", "check")
    said = does(folder, "python", flow, "--environment=envlock", "run")
    wants(printed in said, "the flow ran in its locked environments")


def arch() -> str:
    """That of this machine."""
    from envlock.model.arch import host_arch

    return host_arch()


def channel(stack: ExitStack) -> str:
    """The URL of a conda channel on loopback, in conda-forge's place."""
    from tests.channel import Channel, built_channels

    print("# Making a conda channel of what this machine has.", flush=True)
    served = stack.enter_context(Channel(built_channels()))
    os.environ["ENVLOCK_CHANNEL_MIRRORS"] = served.mirrors
    return served.url_of()


def by_py_rattler(lock: Path, prefix: Path) -> Path:
    """A prefix with the conda packages of a pixi.lock, installed by py-rattler alone."""
    from rattler.lock import LockFile

    from tests.channel.solving import installed

    print(f"\n# py-rattler installs {lock.name}")
    found = LockFile.from_path(lock).default_environment()
    assert found is not None
    (platform,) = found.platforms()
    records = found.conda_repodata_records_for_platform(platform) or []
    return installed({record.name.normalized: record for record in records}, prefix)


def packages_in(prefix: Path) -> dict[str, str]:
    """The distributions that a prefix has, with their versions."""
    from importlib.metadata import distributions

    from packaging.utils import canonicalize_name

    (place,) = (prefix / "lib").glob("python3*/site-packages")
    return {str(canonicalize_name(each.metadata["Name"])): each.version for each in distributions(path=[str(place)])}


if __name__ == "__main__":
    sys.exit(main())
