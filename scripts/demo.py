"""The main job of envlock on examples/quickstart: lock, check, push, and a Metaflow run in the locked environments.

`make demo` runs it. Everything it makes lies in the example's folder, apart from the environments themselves, which are
where envlock keeps all of them (`$ENVLOCK_HOME`, or `~/.envlock`). Running it again is quick and changes nothing.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parent.parent
QUICKSTART = ROOT / "examples" / "quickstart"
_PYTHON = re.compile(r'python = "([^"]+)"')


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=QUICKSTART, help="the example's folder (default: %(default)s)")
    folder = fitted(parser.parse_args().folder.resolve())
    prepare_environment(folder)
    began = time.monotonic()
    took = {
        "lock": run(folder, "envlock", "lock"),
        "check": run(folder, "envlock", "check"),
        "push": run(folder, "envlock", "push"),
        "run": run(folder, "python", "flow.py", "--environment=envlock", "run", "--run-id-file", ".metaflow/run-id"),
    }
    show(folder)
    phases = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in took.items())
    print(f"\n{phases}; {time.monotonic() - began:.1f} s in all")
    return 0


def fitted(folder: Path) -> Path:
    """The folder itself, or a copy that takes any Python, where this machine has none that some step takes.

    There, envlock would lock another Python and let uv download it; the demo shall not need that download.
    """
    from packaging.specifiers import SpecifierSet

    from envlock.interpreters import machine_series

    text = (folder / "envlock.toml").read_text(encoding="utf-8")
    here = machine_series()
    ranges = [SpecifierSet(found) for found in _PYTHON.findall(text)]
    if all(any(wanted.contains(f"{series}.0") for series in here) for wanted in ranges):
        return folder
    copy = folder / ".metaflow" / "example"
    shutil.copytree(folder, copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".metaflow"))
    text = _PYTHON.sub('python = ">=3.10"', text).replace("../../schemas", f"{ROOT}/schemas")
    (copy / "envlock.toml").write_text(text, encoding="utf-8")
    print(f"There is only Python {', '.join(here)} here, which not every step takes. In {copy} they take any.")
    return copy


def prepare_environment(folder: Path) -> None:
    """Metaflow as it comes, with local storage in the example's folder, whatever this user has configured."""
    for name in [name for name in os.environ if name.startswith("METAFLOW_")]:
        del os.environ[name]
    os.environ |= {
        "METAFLOW_USER": "demo",
        "METAFLOW_HOME": str(folder / ".metaflow" / "home"),
        "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(folder),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
    }
    (folder / ".metaflow" / "home").mkdir(parents=True, exist_ok=True)


def run(folder: Path, *command: str) -> float:
    """Show a command, run it in the example's folder, and return the seconds it took; its failure is the demo's."""
    shown = [word for word in command if not word.startswith(("--run-id-file", ".metaflow/"))]
    print(f"\n$ {' '.join(shown)}", flush=True)
    began = time.monotonic()
    status = subprocess.run(command, cwd=folder, check=False).returncode
    if status != 0:
        print(f"`{' '.join(command)}` ended with {status}", file=sys.stderr)
        sys.exit(status)
    return time.monotonic() - began


def show(folder: Path) -> None:
    """What each step of the run saw, as the run itself recorded it."""
    from metaflow import Run, namespace

    namespace(None)
    number = (folder / ".metaflow" / "run-id").read_text(encoding="utf-8").strip()
    seen = Run(f"QuickstartFlow/{number}")["end"].task.data.seen
    print("\nWhat each step saw:\n")
    columns = ("step", "python", "itsdangerous", "pandas", "prefix")
    print_table(columns, [[*(str(row[name]) for name in columns[:-1]), short(row["prefix"])] for row in seen])


def short(prefix: str) -> str:
    """A prefix's name with eight digits of each id; other names as they are.

    >>> short("metaflow_" + "a" * 40 + "_" + "b" * 40)
    'metaflow_aaaaaaaa…_bbbbbbbb…'
    """
    name, *ids = prefix.split("_")
    return "_".join([name, *(f"{each[:8]}…" for each in ids)]) if name == "metaflow" and len(ids) == 2 else prefix


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[number]) for row in [columns, *rows]) for number in range(len(columns))]
    for row in [columns, ["-" * width for width in widths], *rows]:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    sys.exit(main())
