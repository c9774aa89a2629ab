"""A day with locks: `make demo-daily`, or `python scripts/demo_daily.py --picture card.png`.

Works in a copy of examples/daily, in a git repository of its own: an upgrade, what it moves and why, the comment on its
pull request, a notebook's kernel, freeing space while a flow runs, a team's settings, and the card of a task. Stops at
the first check that fails. Nothing of it stays but the picture.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from story import does, wants

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "daily"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--picture", help="where to write the card as one sees it; needs Chromium")
    picture = parser.parse_args().picture
    sys.path.insert(0, str(ROOT))
    for name in [name for name in os.environ if name.startswith(("METAFLOW_", "ENVLOCK_", "GIT_"))]:
        del os.environ[name]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="envlock-daily-") as top:
        folder, home = Path(top) / "project", Path(top) / "home"
        shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns(".metaflow", "envlock?*", "README.md"))
        shutil.copy(EXAMPLE / "envlock.toml", folder)
        home.mkdir()
        (folder / ".metaflow").mkdir()
        os.environ |= {
            "ENVLOCK_HOME": str(home / "envlock"),
            "XDG_CONFIG_HOME": str(home / "config"),
            "JUPYTER_DATA_DIR": str(home / "jupyter"),
            "METAFLOW_HOME": str(home),
            "METAFLOW_USER": "demo",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        }
        for part in (upgrade, comment, notebook, clean_up, team, lambda folder: card(folder, picture)):
            part(folder)
    print(f"\n{time.monotonic() - began:.0f} s in all.")
    return 0


def upgrade(folder: Path) -> None:
    """Lock, commit; change a version, see what moves and why, commit."""
    title("A package is upgraded")
    does(folder, "git", "init", "--quiet", "--initial-branch=main")
    does(folder, "envlock", "lock")
    commit(folder, "lock the flow")
    does(folder, "git", "checkout", "--quiet", "-b", "upgrade")
    edit(folder, "itsdangerous = ", ">=2.1,<2.2", ">=2.2,<2.3")
    does(folder, "envlock", "check", status=1)
    does(folder, "envlock", "lock")
    said = does(folder, "envlock", "diff")
    wants("itsdangerous" in said and "2.1.2" in said, "diff says what moved since the last commit")
    said = does(folder, "envlock", "why", "markupsafe")
    wants("jinja2>=3.1, envlock.toml:" in said, "why names the line of envlock.toml that brings a package")
    does(folder, "envlock", "tree", "DailyFlow/start", "--depth", "1")
    does(folder, "envlock", "list")
    commit(folder, "upgrade itsdangerous")


def comment(folder: Path) -> None:
    """What the GitHub action writes on the pull request."""
    title("The pull request gets a comment")
    said = does(folder, "envlock", "diff", "main..upgrade", "--format", "markdown")
    wants("| " in said and "itsdangerous" in said, "as a table that GitHub draws")
    does(folder, "envlock", "check", "--format", "sarif")


def notebook(folder: Path) -> None:
    """A kernel of one step's environment, and a cell that runs in it."""
    from tests.notebooks import opened

    title("A notebook runs in the environment of a step")
    before = listing(folder)
    said = does(folder, "envlock", "kernel", "install", "start", "--json", only_stdout=True)
    spec = json.loads(Path(json.loads(said)["kernel_json"]).read_text(encoding="utf-8"))
    with opened(spec["argv"], folder, spec.get("env", {})) as kernel:
        cell = "import itsdangerous, ipykernel; print(itsdangerous.__version__)"
        print(f"\n  In [1]: {cell}")
        printed = kernel.run(cell).strip()
        print(f"  {printed}")
    wants(printed.startswith("2.2."), "the cell has the locked version")
    wants(before == listing(folder), "the lock of the step is as it was")


def clean_up(folder: Path) -> None:
    """Free what nothing needs, while a flow runs in an environment that is not locked any more."""
    title("Space is freed while a flow runs")
    gone = folder / "may-end"
    print("\n$ python flow.py --environment=envlock run --wait may-end &", flush=True)
    command = [sys.executable, "flow.py", "--environment=envlock", "run", "--wait", str(gone)]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        assert run.stdout is not None
        said = next(line for line in run.stdout if "/end/" in line and "Task is starting" in line)
        print(f"  {said.strip()}")
        does(folder, "git", "checkout", "--quiet", "main")
        old = does(folder, "envlock", "create", "--step", "start", only_stdout=True).strip()
        does(folder, "git", "checkout", "--quiet", "upgrade")
        edit(folder, "itsdangerous = ", ">=2.2,<2.3", ">=2.0,<2.1")
        does(folder, "envlock", "lock")
        does(folder, "envlock", "env", "ls")
        print("\n(two months later)")
        two_months_ago(old)
        does(folder, "envlock", "env", "gc")
        does(folder, "envlock", "env", "gc", "--delete")
        wants(not Path(old).exists(), "what nothing needs is gone")
        gone.touch()
        rest = run.stdout.read()
    wants(run.returncode == 0 and "itsdangerous 2.2" in rest, "the flow's environment stayed until it was over")
    does(folder, "git", "checkout", "--quiet", ".")
    does(folder, "git", "clean", "--quiet", "--force", "envlock.lock")


def team(folder: Path) -> None:
    """A team file sets a place and a mirror: no id changes. A user's file may set places alone."""
    title("A team's settings")
    before = ids(folder)
    (folder / "team.toml").write_text(
        '[envlock]\ncache = "../team-cache"\n'
        'channel-mirrors = { conda-forge = "https://mirror.example/conda-forge" }\n',
        encoding="utf-8",
    )
    edit(folder, "archs = ", "archs", 'extends = "team.toml"\narchs')
    print("\n$ cat team.toml\n" + "".join(f"  {line}\n" for line in (folder / "team.toml").read_text().splitlines()))
    does(folder, "envlock", "check")
    does(folder, "envlock", "config", "show", "cache")
    wants(before == ids(folder), "every id is as before")
    does(folder, "envlock", "push")
    config = folder.parent / "home" / "config" / "envlock" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('[envlock]\nexclude-newer = "7d"\n', encoding="utf-8")
    print('\n$ cat ~/.config/envlock/config.toml\n  [envlock]\n  exclude-newer = "7d"')
    does(folder, "envlock", "check", status=2)
    config.unlink()


def card(folder: Path, picture: str | None) -> None:
    """The card of a task, as a browser draws it."""
    from tests.browser import picture_of

    title("A card shows what a task ran in")
    pages = sorted((folder / ".metaflow" / "mf.cards").rglob("envlock-*.html"))
    wants(len(pages) == 1, "the run above has a card")
    if picture is None:
        print("  (no picture: `--picture card.png` draws it with Chromium)")
        return
    picture_of(pages[0], Path(picture).absolute())
    print(f"  drawn in {picture}")


def two_months_ago(prefix: str) -> None:
    """Let an environment have been used then, and no sooner."""
    from envlock.in_use import note_of

    then = time.time() - 60 * 24 * 3600
    for path in (Path(note_of(prefix)), Path(prefix, ".envlock.json")):
        if path.exists():
            os.utime(path, (then, then))


def title(text: str) -> None:
    """Begin a part."""
    print(f"\n# {text}")


def commit(folder: Path, message: str) -> None:
    """Commit all that is not ignored."""
    does(folder, "git", "add", "envlock.toml", "flow.py", "envlock.lock")
    name = ("-c", "user.name=Ada", "-c", "user.email=ada@mail.example")
    subprocess.run(["git", *name, "commit", "--quiet", "-m", message], cwd=folder, check=True)
    print(f'\n$ git commit -m "{message}"')


def edit(folder: Path, begins: str, old: str, new: str) -> None:
    """Change the one line of envlock.toml that has `begins`, and show it."""
    config = folder / "envlock.toml"
    lines = config.read_text(encoding="utf-8").splitlines()
    (number,) = (number for number, line in enumerate(lines) if begins in line and old in line)
    lines[number] = lines[number].replace(old, new)
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"\n$ $EDITOR envlock.toml\n  {number + 1}: " + lines[number].replace("\n", "\n     "))


def ids(folder: Path) -> list[str]:
    """The ids of every environment."""
    done = subprocess.run(["envlock", "list", "--json"], cwd=folder, capture_output=True, text=True, check=True)
    return [each["identity"] for each in json.loads(done.stdout)["projects"][0]["environments"]]


def listing(folder: Path) -> dict[str, bytes]:
    """Every file of the lock folder."""
    return {str(path): path.read_bytes() for path in (folder / "envlock.lock").rglob("*") if path.is_file()}


if __name__ == "__main__":
    sys.exit(main())
