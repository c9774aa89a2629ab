"""The projects that are measured: made up for `check`, real packages for the rest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from envlock.config.read import load_project
from envlock.lockfile.folder import write_lock
from envlock.model.lock import Lock, LockedPackage, LockedPython

ROOTS = (
    "pandas==2.2.3", "requests", "boto3", "scikit-learn", "matplotlib", "fastapi[standard]", "sqlalchemy", "rich",
    "typer", "jinja2", "httpx", "beautifulsoup4", "lxml", "networkx", "tqdm", "pyyaml",
)  # fmt: skip
"""Roots that need about 60 packages together."""


def made_up(folder: Path, *, environments: int = 10, packages: int = 60) -> Path:
    """A locked project: so many environments for four archs, so many packages each; nothing of it exists."""
    folder.mkdir(parents=True)
    names = [f"package-{number:02}" for number in range(packages)]
    steps = ["start", *(f"step{number}" for number in range(environments - 2)), "end"]
    body = "".join(f"    @step\n    def {step}(self):\n        pass\n" for step in steps)
    (folder / "flow.py").write_text(f"from metaflow import FlowSpec, step\n\n\nclass Big(FlowSpec):\n{body}")
    lines = ["[envlock]", "metaflow-requirements = false", "[flow.Big]", 'file = "flow.py"']
    for number, step in enumerate(steps, start=2):
        lines += [f"[flow.Big.step.{step}.pypi]", 'python = "3.12"', f"[flow.Big.step.{step}.pypi.packages]"]
        lines += [f'{name} = ">=1,<{number}"' for name in names]
    (folder / "envlock.toml").write_text("\n".join(lines) + "\n")
    project = load_project(folder / "envlock.toml")
    for environment in project.environments():
        for arch in project.settings.archs:
            lock = Lock(
                arch=arch,
                requirements=environment.requirements,
                python=LockedPython(source="machine", version="3.12.0"),
                packages=tuple(
                    locked_wheel(name, arch, tuple(names[: number % 5])) for number, name in enumerate(names)
                ),
                asked_by=(environment.name,),
                resolved_by="benchmark",
                resolved_at="2026-11-01T00:00:00Z",
            )
            write_lock(project.lock_folder, lock)
    return folder


def locked_wheel(name: str, arch: str, dependencies: tuple[str, ...]) -> LockedPackage:
    """A wheel that does not exist, another for each arch."""
    sha256 = hashlib.sha256(f"{name} {arch}".encode()).hexdigest()
    filename = f"{name.replace('-', '_')}-1.0-py3-none-any.whl"
    return LockedPackage(
        name=name,
        version="1.0",
        filename=filename,
        url=f"https://files.index.example/packages/{sha256[:2]}/{sha256}/{filename}",
        sha256=sha256,
        upload_time="2026-01-01T00:00:00Z",
        size=123456,
        index="https://index.example/simple",
        dependencies=dependencies,
    )


def real(folder: Path, *, archs: tuple[str, ...], python: str, roots: Sequence[str] = ROOTS, index: str = "") -> Path:
    """An unlocked project with one environment of some roots, from an index; the default one if it is empty."""
    folder.mkdir(parents=True)
    quoted = ", ".join(f'"{arch}"' for arch in archs)
    lines = [
        "[envlock]",
        f"archs = [{quoted}]",
        *([f'index-url = "{index}"'] if index else []),
        "metaflow-requirements = false",
        "[env.big.pypi]",
        f'python = "{python}"',
    ]
    lines.append("[env.big.pypi.packages]")
    for root in roots:
        name, limit = re.findall(r"([^<=]+)(.*)", root)[0]
        lines.append(f'"{name}" = "{limit.removeprefix("==")}"')
    (folder / "envlock.toml").write_text("\n".join(lines) + "\n")
    (folder / "roots.in").write_text("\n".join(roots) + "\n")
    return folder
