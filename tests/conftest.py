"""What every test stands on: an index on loopback, a machine without settings of its own, and the real command."""

from __future__ import annotations

import fcntl
import gc
import itertools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import hypothesis
import pytest

from envlock.conda import client as conda_client
from tests.channel import Channel, Credentials, Package, built_channels, copy_channels
from tests.forked import ask_interpreters_once, never_sync, wanted
from tests.hydration.builds import archive_of_this_python
from tests.index import Index
from tests.preloaded import Parent, of_module, preloaded_popen
from tests.servers.clouds import CLOUDS, Cloud, forget_sessions
from tests.support import ProjectFolder, Ran, isolation, run_envlock

# jsonschema would make the parser of a grammar of IRIs, in each process that imports it, for a second and more.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]


_PLACES = pytest.StashKey[list[str]]()
"""What is collected, in the order in which tests run."""


def pytest_configure(config: pytest.Config) -> None:
    """Let what tests start hear the signals that are ignored here, as below `nohup` or behind a shell's `&`.

    A handler that does nothing ignores as well, and is not inherited.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    # A busy machine is no failure. What hypothesis chooses for CI stays: the same examples each time.
    hypothesis.settings.register_profile("envlock", hypothesis.settings(), deadline=None, max_examples=30)
    # Chosen by `--hypothesis-profile`, which is read after this.
    hypothesis.settings.register_profile("thorough", hypothesis.settings(), deadline=None, max_examples=500)
    hypothesis.settings.load_profile("envlock")
    never_sync()
    ask_interpreters_once()
    _begin_elsewhere(config)


def _begin_elsewhere(config: pytest.Config) -> None:
    """Let each worker collect another part first.

    To compile a test is most of collecting it, and what one worker has compiled no other one does.
    """
    worker = getattr(config, "workerinput", None)
    if worker is None:
        return
    places = config.stash[_PLACES] = list(itertools.chain.from_iterable(map(_parts_of, config.args)))
    first = int(worker["workerid"].removeprefix("gw")) * len(places) // worker["workercount"]
    config.args = places[first:] + places[:first]


def _parts_of(place: str) -> list[str]:
    """What is in the folder of all tests, in the order in which pytest looks at it; any other place is one part."""
    if Path(place).resolve() != Path(__file__).parent:
        return [place]
    parts = [path for path in sorted(Path(place).iterdir()) if path.suffix == ".py" or any(path.glob("**/*.py"))]
    return [str(path) for path in parts if path.name != "__init__.py"]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Spare the garbage collector what is made here and lives as long as the tests: most of what it would look at."""
    gc.disable()
    yield
    gc.collect()
    gc.freeze()
    gc.enable()


_ALWAYS_FAST = ("model", "config", "lockfile", "property")
_NEVER_FAST = {"flows", "index", "slow"}
_OF_SERVERS = {
    *("index", "make_index", "private_index", "channel", "make_channel", "private_channel", "clouds"),
    *("registry_server", "hostile"),
}
_OF_PROCESSES = {"project", "conda_project", "envlock", "watched", "credential_helper"}
_STARTERS = {
    *("subprocess", "main", "run_envlock", "run_python", "run_uv", "modules_after", "find_interpreter"),
    *("Index", "Channel", "Cloud", "ProjectFolder", "Checkout", "Making", "CondaMaking", "Folders"),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put all workers' tests into one order, and mark as `fast` what needs no server and starts no process.

    Its fixtures and its module's names tell. Flows come first: they take longest, and one worker gets them, with all
    that is made once for them, while the others take what comes behind.
    """
    if items and (places := items[0].config.stash.get(_PLACES, [])):
        order = {str(Path(place.partition("::")[0]).resolve()): number for number, place in enumerate(places)}
        items.sort(key=lambda item: next(order[str(p)] for p in (item.path, *item.path.parents) if str(p) in order))
    items.sort(key=lambda item: item.get_closest_marker("flows") is None)
    for item in items:
        values = getattr(item, "callspec", None)  # a parameter may be called as a fixture is
        names = set(getattr(item, "fixturenames", ())) - (values.params.keys() if values else set())
        if names & (_OF_SERVERS | _OF_PROCESSES) or {mark.name for mark in item.iter_markers()} & _NEVER_FAST:
            continue
        parts = item.path.relative_to(item.config.rootpath).parts
        starts = _STARTERS & vars(item.module).keys() if isinstance(item, pytest.Function) else set()  # else a doctest
        if not starts or parts[1] in _ALWAYS_FAST:
            item.add_marker("fast")


class Envlock(Protocol):
    """The real command, in a process of its own."""

    def __call__(
        self, *arguments: str, cwd: Path | None = None, check: bool | int = True, env: dict[str, str] | None = None
    ) -> Ran:
        """Run it, as `tests.support.run_envlock` does: in the project's folder where no other is given."""


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
def channel() -> Iterator[Channel]:
    """The conda channels (tests/channel), read-only: shared by every test of this process. Do nothing to them here."""
    with Channel(built_channels()) as served:
        yield served


@pytest.fixture
def make_channel(new_folder: Callable[[str], Path]) -> Iterator[Callable[..., Channel]]:
    """Makes channels of one's own, closed afterwards: `make_channel(*packages, whole=False, name="main", ...)`.

    `whole` puts the packages on top of everything that the shared channels hold; else there is one channel, with
    these packages alone.
    """
    made: list[Channel] = []

    def make(*packages: Package, whole: bool = False, name: str = "main", **options: Any) -> Channel:
        folder = new_folder("channels")
        if whole:
            copy_channels(built_channels(), folder, ("main", "other", "private"))
        made.append(Channel(folder, **options))
        if packages or not whole:
            made[-1].publish(*packages, channel=name)
        return made[-1]

    yield make
    for served in made:
        served.close()


@pytest.fixture
def asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """py-rattler pauses a second and more before it asks a channel again: where that is not the point, it does not."""
    monkeypatch.setattr(conda_client, "RETRIES", 0)


@pytest.fixture
def private_channel(make_channel: Callable[..., Channel]) -> Channel:
    """The shared channels behind credentials: a password, a token or a bearer token, all in `.credentials`."""
    credentials = Credentials(basic=("reader", "s3cr3t-passw0rd"), token="tk-s3cr3t-t0ken", bearer="s3cr3t-b34rer")
    return make_channel(whole=True, credentials=credentials)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that all workers of a session share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def archive(shared_folder: Path) -> Path:
    """The running CPython as an archive, made by the first worker that wants it. Read it only."""
    path = shared_folder / "cpython.tar.gz"
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            path.write_bytes(archive_of_this_python())
    return path


@pytest.fixture(scope="session")
def shared_uv_cache(shared_folder: Path) -> Path:
    """uv's cache, shared by all tests of a session. A test that needs a cold one sets UV_CACHE_DIR itself."""
    return shared_folder / "uv-cache"


@pytest.fixture(scope="session")
def shared_bytecode(shared_uv_cache: Path) -> Path:
    """Where homes that run flows keep Metaflow's bytecode (`share_bytecode`)."""
    return shared_uv_cache.with_name("bytecode")


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, new_folder: Callable[[str], Path]) -> Path:
    """A new folder for one test, as pytest's own is."""
    return new_folder(re.sub(r"\W", "_", request.node.name)[:30])


@pytest.fixture(scope="session")
def new_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes new folders that live as long as the session's.

    pytest looks through all that there are for the next number, which takes longer than most tests once there are some
    thousand.
    """
    numbers = itertools.count()
    base = str(tmp_path_factory.getbasetemp())

    def make(name: str) -> Path:
        folder = f"{base}/{name}-{next(numbers)}"
        os.mkdir(folder, 0o700)  # noqa: PTH102  for each test: pathlib takes as long again
        return Path(folder)

    return make


@pytest.fixture(autouse=True)
def isolated(new_folder: Callable[[str], Path], shared_uv_cache: Path) -> Iterator[Path]:
    """A machine without settings: HOME and every folder of tools are new, and no variable of a tool is set.

    The value is the new HOME.
    """
    home = new_folder("home")
    with isolation(home, shared_uv_cache):
        yield home


@pytest.fixture(scope="session")
def resolver_parents() -> Iterator[tuple[Parent, ...]]:
    """The parents of the processes of conda-lock and of pip-compile."""
    with TemporaryDirectory(prefix="envlock-") as folder:  # short, as the address of a socket has to be
        parents = (
            Parent("envlock.resolve.conda_lock_process", Path(folder), "conda_lock.conda_lock"),
            Parent("envlock.resolve.pip_compile_process", Path(folder), "piptools.scripts.compile"),
        )
        yield parents
        for parent in parents:
            parent.close()


@pytest.fixture
def preloaded_resolvers(resolver_parents: tuple[Parent, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Resolvers of this process fork conda-lock and pip-compile from processes that have imported them."""
    if wanted(os.environ):
        parents = {of_module(parent): parent for parent in resolver_parents}
        monkeypatch.setattr(subprocess, "Popen", preloaded_popen(parents))


@pytest.fixture(scope="session")
def clouds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Cloud]]:
    """The stand-ins of tests/servers by name, each started when it is first asked for.

    They are shared by every test of this process, so each uses a prefix of its own.
    """
    with ExitStack() as running:
        started: dict[str, Cloud] = {}

        def cloud(name: str) -> Cloud:
            if name not in started:
                started[name] = running.enter_context(CLOUDS[name](tmp_path_factory.mktemp(name)))
            return started[name]

        yield cloud


@pytest.fixture
def log_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[Cloud], Cloud]:
    """Sets the variables by which one is somebody in a cloud; returns the cloud."""

    def logged_in(cloud: Cloud) -> Cloud:
        for name, value in cloud.environment.items():
            monkeypatch.setenv(name, value)
        forget_sessions()
        return cloud

    return logged_in


@pytest.fixture
def project(tmp_path: Path, index: Index) -> ProjectFolder:
    """An empty project, in `tmp_path / "project"`, that locks from the session's index."""
    return ProjectFolder.make(tmp_path / "project", index.url)


@pytest.fixture
def conda_project(
    tmp_path: Path, index: Index, channel: Channel, isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> ProjectFolder:
    """As `project`, and `conda-forge` is the session's `main` channel, `other` and `private` those of their names."""
    monkeypatch.setenv("ENVLOCK_CHANNEL_MIRRORS", channel.mirrors)
    return ProjectFolder(ProjectFolder.make(tmp_path / "project", index.url).folder, index.url, *channel.series[:1])


@pytest.fixture
def envlock(tmp_path: Path) -> Envlock:
    """The real command; runs in `tmp_path / "project"` where no other folder is given."""

    def run(
        *arguments: str, cwd: Path | None = None, check: bool | int = True, env: dict[str, str] | None = None
    ) -> Ran:
        folder = tmp_path / "project"
        return run_envlock(*arguments, cwd=cwd or (folder if folder.is_dir() else tmp_path), check=check, env=env)

    return run


@pytest.fixture
def watched(tmp_path: Path, new_folder: Callable[[str], Path]) -> Envlock:
    """As `envlock`, and `Ran.effects` tells which processes it started, what it wrote, and whom it talked to."""

    def run(
        *arguments: str, cwd: Path | None = None, check: bool | int = True, env: dict[str, str] | None = None
    ) -> Ran:
        folder = tmp_path / "project"
        notes = new_folder("watched") / "effects"
        return run_envlock(
            *arguments, cwd=cwd or (folder if folder.is_dir() else tmp_path), check=check, env=env, notes=notes
        )

    return run
