"""Two people share a cache in a bucket: `make demo-team`, or `python scripts/demo_team.py --on gcs`.

Starts the server, works in copies of examples/team as `mia` and as `joe`, and stops at the first thing that does not go
as told. Nothing of it stays.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SERVERS = ("moto", "seaweedfs", "gcs", "azurite", "folder")
NAME = "ml-team/base"


@dataclass(frozen=True)
class Person:
    """Somebody with a checkout, a machine and the variables to get at the cache."""

    name: str
    folder: Path
    variables: dict[str, str]

    def begin(self, *command: str, folder: Path | None = None) -> subprocess.Popen[str]:
        """Show a command and start it."""
        print(f"\n{self.name}$ {' '.join(command)}", flush=True)
        return subprocess.Popen(
            command,
            cwd=folder or self.folder,
            env={**os.environ, **self.variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def does(self, *command: str, folder: Path | None = None, status: int = 0) -> str:
        """Show a command, run it, and return what it printed; any other status than the one told ends the demo."""
        return finished(self.begin(*command, folder=folder), command, status)


def finished(process: subprocess.Popen[str], command: tuple[str, ...], status: int = 0) -> str:
    """What a process printed, once it has ended with the right status."""
    said, _ = process.communicate(timeout=300)
    print("".join(f"  {line}\n" for line in said.splitlines() if "(pid" not in line or ":" in line), end="", flush=True)
    if process.returncode != status:
        sys.exit(f"`{' '.join(command)}` ended with {process.returncode}, not {status}")
    return said


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--on", choices=SERVERS, default="moto", help="what holds the cache (default: %(default)s)")
    chosen = parser.parse_args().on
    began = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="envlock-team-")))
        url, options, variables = cache_on(chosen, folder, stack)
        for name in [name for name in os.environ if name.startswith("METAFLOW_")]:
            del os.environ[name]
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        common = {**variables, "PATH": path}
        mia = person("mia", folder, url, options, common, "platform")
        joe = person("joe", folder, url, options, common, "research")
        story(mia, joe)
    print(f"\nAll of it on {chosen}, in {time.monotonic() - began:.0f} s.")
    return 0


def cache_on(chosen: str, folder: Path, stack: ExitStack) -> tuple[str, str, dict[str, str]]:
    """The cache's URL, its options as envlock.toml has them, and the variables of who may write it."""
    if chosen == "folder":
        return (folder / "cache").as_uri(), "", {}
    sys.path.insert(0, str(ROOT))
    from tests.servers.clouds import CLOUDS

    cloud = stack.enter_context(CLOUDS[chosen](folder))
    options = f'endpoint = "{cloud.options.endpoint}"' + (", anonymous = true" if cloud.options.anonymous else "")
    return cloud.url("team"), f"cache-options = {{ {options} }}\n", dict(cloud.environment)


def person(name: str, folder: Path, url: str, options: str, common: dict[str, str], project: str) -> Person:
    """Somebody with both projects of the example, whose cache is the team's."""
    home = folder / name
    shutil.copytree(ROOT / "examples" / "team", home, ignore=shutil.ignore_patterns(".metaflow", "envlock.lock"))
    for config in home.rglob("envlock.toml"):
        text = config.read_text(encoding="utf-8")
        config.write_text(text.replace('cache = "../envlock-cache"\n', f'cache = "{url}"\n{options}'), encoding="utf-8")
    own = {
        "METAFLOW_USER": name,
        "METAFLOW_HOME": str(home / ".metaflow-home"),
        "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(home),
        "ENVLOCK_HOME": str(home / "envlock-home"),
    }
    Path(own["METAFLOW_HOME"]).mkdir()
    return Person(name, home / project, {**common, **own})


def story(mia: Person, joe: Person) -> None:
    """What happens; each line of it is checked by the status of the command, the turns of it by what it says."""
    mia.does("envlock", "lock")
    mia.does("envlock", "push")
    mia.does("envlock", "alias", f"{NAME}:v1", "--env", "base", "-m", "what everybody starts from")
    mia.does("envlock", "alias", f"{NAME}:latest", "--env", "base")

    joe.does("envlock", "lock")
    joe.does("envlock", "check")
    ran = joe.does("python", "flow.py", "--environment=envlock", "run")
    wants("colorama" in ran, "the step that extends the base has the package more")

    both_want_v2(mia, joe)

    mia.does("envlock", "alias", f"{NAME}:candidate", "--env", "base", "-m", "with jinja2")
    joe.does("envlock", "alias", f"{NAME}:stable", f"{NAME}:v1", "-m", "good enough")
    joe.does("envlock", "alias", "promote", f"{NAME}:candidate", "stable", "-m", "passes the nightly")
    wants("jinja2" in joe.does("envlock", "alias", "diff", f"{NAME}:v1", f"{NAME}:stable"), "the new one has jinja2")
    joe.does("envlock", "alias", "rollback", f"{NAME}:stable", "-m", "the nightly was red after all")
    told = joe.does("envlock", "alias", "log", f"{NAME}:stable")
    wants(all(why in told for why in ("good enough", "nightly was red")), "every move of a tag is remembered")
    mia.does("envlock", "alias", "ls", "ml-team")

    leave_something(mia)
    swept = mia.does("envlock", "cache", "gc", "--grace", "0", "--pathspecs-younger-than", "0", "--delete")
    wants("nothing to sweep" not in swept.lower(), "what no name and no lock needs is taken away")
    joe.does("envlock", "show", f"{NAME}:v1", "--arch", "linux-64")
    mia.does("envlock", "cache", "verify")


def both_want_v2(mia: Person, joe: Person) -> None:
    """Two different environments, one name, at one moment: one gets it, the other sees who did."""
    edit(mia.folder, 'packages = { itsdangerous = ">=2.1" }', 'packages = { itsdangerous = ">=2.1", jinja2 = "" }')
    platform = joe.folder.parent / "platform"
    edit(platform, 'packages = { itsdangerous = ">=2.1" }', 'packages = { itsdangerous = ">=2.1", tabulate = "" }')
    mia.does("envlock", "lock")
    mia.does("envlock", "push")
    joe.does("envlock", "lock", folder=platform)
    joe.does("envlock", "push", folder=platform)
    command = ("envlock", "alias", f"{NAME}:v2", "--env", "base")
    racing = [mia.begin(*command), joe.begin(*command, folder=platform)]
    said = [each.communicate(timeout=300)[0] for each in racing]
    statuses = [each.returncode for each in racing]
    print("".join(f"  {line}\n" for text in said for line in text.splitlines()), end="", flush=True)
    wants(statuses.count(0) == 1, "one of the two gets the name")
    loser = said[0 if statuses[0] else 1]
    wants(re.search("joe" if statuses[0] else "mia", loser) is not None, "the other is told who has it")


def leave_something(mia: Person) -> None:
    """Push an environment that is then asked for no more."""
    edit(mia.folder, 'jinja2 = ""', 'jinja2 = "", more-itertools = ""')
    mia.does("envlock", "lock")
    mia.does("envlock", "push")
    edit(mia.folder, ', more-itertools = ""', "")
    mia.does("envlock", "lock")


def edit(folder: Path, old: str, new: str) -> None:
    """Change envlock.toml."""
    config = folder / "envlock.toml"
    text = config.read_text(encoding="utf-8")
    assert old in text, f"{old} is not in {config}"
    config.write_text(text.replace(old, new), encoding="utf-8")


def wants(holds: bool, what: str) -> None:
    """End the demo if a check fails."""
    if not holds:
        sys.exit(f"this does not hold: {what}")
    print(f"  [ok] {what}")


if __name__ == "__main__":
    sys.exit(main())
