"""What every test stands on: an index on loopback, a machine without settings of its own, and the real command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.index import Index

ENVLOCK = Path(sys.executable).with_name("envlock")
TIMEOUT = 120.0

_LEAKY = (
    *("UV_", "PIP_", "METAFLOW_", "ENVLOCK_", "XDG_", "CONDA_", "GITHUB_"),
    *("VIRTUAL_ENV", "NETRC", "PYTHONPATH", "PYTHONHOME"),
)


@dataclass(frozen=True)
class Ran:
    """What a command said, and how it ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """stdout, read as JSON."""
        return json.loads(self.stdout)

    @property
    def text(self) -> str:
        """Everything it said."""
        return self.stdout + self.stderr


class Envlock(Protocol):
    """The real command, in a process of its own."""

    def __call__(
        self, *arguments: str, cwd: Path | None = None, check: bool | int = True, env: dict[str, str] | None = None
    ) -> Ran:
        """Run it in `cwd` (the project's folder, else the current one), with `env` over the environment.

        `check` is the exit status to insist on: True for 0, False for any. No command may ever end in a traceback.
        """


@dataclass(frozen=True)
class ProjectFolder:
    """A folder with an envlock.toml that locks from the loopback index."""

    folder: Path
    index_url: str

    @property
    def config(self) -> Path:
        """envlock.toml."""
        return self.folder / "envlock.toml"

    @property
    def locks(self) -> tuple[Path, ...]:
        """Every lock file, sorted."""
        return tuple(sorted((self.folder / "envlock.lock").glob("*/*/pylock.*.toml")))

    def lock_of(self, arch: str) -> Path:
        """The one lock of an arch."""
        (path,) = (self.folder / "envlock.lock" / arch).glob("*/pylock.*.toml")
        return path

    def write(self, tables: str, *, settings: str = "", archs: Sequence[str] | None = None) -> Path:
        """Write envlock.toml: an `[envlock]` table (the index, these settings, these archs), then these tables."""
        lines = ["[envlock]"]
        if "index-url" not in settings:
            lines.append(f'index-url = "{self.index_url}"')
        if "metaflow-requirements" not in settings:
            lines.append("metaflow-requirements = false")
        if archs is not None:
            lines.append(f"archs = {json.dumps(list(archs))}")
        self.config.write_text("\n".join([*lines, settings, tables]) + "\n", encoding="utf-8")
        return self.config

    def write_env(
        self,
        *packages: str,
        name: str = "demo",
        python: str = "3.12",
        settings: str = "",
        archs: Sequence[str] | None = None,
        more: str = "",
    ) -> Path:
        """Write an envlock.toml with one named environment; `packages` are `name` or `name = constraint`."""
        pairs = [package.partition("=") for package in packages]
        table = "\n".join(f"{json.dumps(key.strip())} = {json.dumps(value.strip())}" for key, _, value in pairs)
        text = f'[env.{name}.pypi]\npython = "{python}"\n{more}\n[env.{name}.pypi.packages]\n{table}'
        return self.write(text, settings=settings, archs=archs)

    def write_flow(self, name: str = "DemoFlow", *, steps: Sequence[str] = ("start", "train", "end")) -> Path:
        """Write a flow file with these steps in a line; returns its path, `<name in lower case>.py`."""
        lines = ["from metaflow import FlowSpec, step", "", "", f"class {name}(FlowSpec):"]
        for number, step in enumerate(steps):
            then = f"self.next(self.{steps[number + 1]})" if number + 1 < len(steps) else "pass"
            lines += ["    @step", f"    def {step}(self):", f"        {then}", ""]
        lines += ["", 'if __name__ == "__main__":', f"    {name}()", ""]
        path = self.folder / f"{name.lower()}.py"
        path.write_text("\n".join(lines), encoding="utf-8")
        return path


@pytest.fixture(scope="session")
def index() -> Iterator[Index]:
    """The catalogue, read-only: shared by every test of this process. Do not publish, fail or forget here."""
    with Index(page_cache_control="max-age=600, public") as served:
        yield served


@pytest.fixture
def make_index() -> Iterator[Callable[..., Index]]:
    """Makes indexes of one's own, each with the releases given (else the catalogue); all are closed afterwards."""
    made: list[Index] = []

    def make(*releases: Any, **options: Any) -> Index:
        made.append(Index(*releases, **options))
        return made[-1]

    yield make
    for served in made:
        served.close()


@pytest.fixture
def private_index(make_index: Callable[..., Index]) -> Index:
    """The catalogue behind basic auth: `reader`, `s3cr3t-t0ken`."""
    return make_index(credentials=("reader", "s3cr3t-t0ken"))


@pytest.fixture(scope="session")
def shared_uv_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """uv's cache, shared by all tests of a session. A test that needs a cold one sets UV_CACHE_DIR itself."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "uv-cache"


@pytest.fixture(autouse=True)
def isolated(tmp_path_factory: pytest.TempPathFactory, shared_uv_cache: Path) -> Iterator[Path]:
    """A machine without settings: HOME and every folder of tools are new, and no variable of a tool is set.

    The value is the new HOME.
    """
    before = dict(os.environ)
    home = tmp_path_factory.mktemp("home")
    pyenv = Path(before.get("PYENV_ROOT") or Path(before.get("HOME", "/")) / ".pyenv")
    for name in before:
        if name.upper().startswith(_LEAKY):
            del os.environ[name]
    os.environ |= {
        "HOME": str(home),
        "ENVLOCK_HOME": str(home / "envlock"),
        "METAFLOW_HOME": str(home / "metaflowconfig"),
        "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(home / "metaflow"),
        "METAFLOW_USER": "tester",
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_STATE_HOME": str(home / "state"),
        "UV_CACHE_DIR": str(shared_uv_cache),
        "NO_COLOR": "1",
        "COLUMNS": "120",
    }
    if pyenv.is_dir():  # interpreters lie below HOME there, and must be found still
        os.environ["PYENV_ROOT"] = str(pyenv)
    yield home
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def project(tmp_path: Path, index: Index) -> ProjectFolder:
    """An empty project that locks from the session's index."""
    return make_project(tmp_path / "project", index)


def make_project(folder: Path, served: Index) -> ProjectFolder:
    """An empty project in a new folder that locks from an index."""
    folder.mkdir(parents=True)
    return ProjectFolder(folder, served.url)


@pytest.fixture
def envlock(tmp_path: Path) -> Envlock:
    """The real command; runs in `tmp_path / "project"` where no other folder is given."""

    def run(
        *arguments: str, cwd: Path | None = None, check: bool | int = True, env: dict[str, str] | None = None
    ) -> Ran:
        folder = cwd or (tmp_path / "project" if (tmp_path / "project").is_dir() else tmp_path)
        done = subprocess.run(
            [ENVLOCK, *arguments],
            cwd=folder,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        ran = Ran(done.returncode, done.stdout, done.stderr)
        said = f"envlock {' '.join(arguments)} -> {ran.status}\n{ran.text}"
        assert "Traceback (most recent call last)" not in ran.text, said
        assert "this is a defect" not in ran.text, said
        if check is not False:
            assert ran.status == (0 if check is True else check), said
        return ran

    return run
