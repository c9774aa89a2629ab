"""What the tests of a node share: caches in the stand-ins of buckets, the kit's uv, and nodes in folders."""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from envlock.cache.open import open_store
from envlock.cache.port import Store
from metaflow_extensions.envlock.plugins.node import clients, plain_s3, transport
from metaflow_extensions.envlock.plugins.node import home as homes
from metaflow_extensions.envlock.plugins.node.manifest import Manifest, parse
from metaflow_extensions.envlock.plugins.node.transport import FORBIDDEN, GONE, Fault, Listed, Transport, open_transport
from tests.hydration.conftest import small_disk
from tests.hydration.making import Making
from tests.node.nodes import Node, rattler_wheel, uv_wheel
from tests.node.plans import canonical, manifest
from tests.servers.clouds import Cloud, forget_sessions
from tests.servers.proxy import Proxy, proxied

with warnings.catch_warnings():  # once, with all that it imports: one of those warns
    warnings.simplefilter("ignore")
    import metaflow  # noqa: F401


__all__ = ["small_disk"]


class NodeCache(NamedTuple):
    """A cache in a bucket."""

    cloud: Cloud
    proxy: Proxy
    """What the node goes through; envlock itself goes straight."""
    store: Store
    """envlock's own way to it."""
    manifest: Manifest

    @property
    def transport(self) -> Transport:
        """The node's way to it: a new one each time."""
        return open_transport(self.manifest)


@pytest.fixture(autouse=True)
def closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No node of these tests uses the home that all tasks of this machine share."""
    monkeypatch.setattr(homes, "SHARED_HOME", "/proc/no-home")


@pytest.fixture(scope="session")
def make_proxy() -> Iterator[Callable[[int], Proxy]]:
    """Makes a proxy for each port."""
    running: dict[int, Any] = {}

    def make(port: int) -> Proxy:
        if port not in running:
            context = proxied(port)
            running[port] = (context, context.__enter__())
        return running[port][1]

    yield make
    for context, _ in running.values():
        context.__exit__(None, None, None)


@pytest.fixture(scope="module")
def shared_clients() -> Iterator[Callable[..., Any]]:
    """Makes clients of S3, each once for a module: to make one takes longer than most tests. So does one of s3fs."""
    made: dict[str, Any] = {}
    make = clients._s3_client
    forget_sessions()

    def shared(options: Mapping[str, Any], seconds: float) -> Any:
        key = f"{sorted(options.items())} {seconds} {os.environ.get('AWS_ACCESS_KEY_ID')}"
        if key not in made:
            made[key] = make(options, seconds)
        return made[key]

    yield shared
    forget_sessions()


@pytest.fixture
def little_patience(make_cache: Callable[..., NodeCache], monkeypatch: pytest.MonkeyPatch) -> None:
    """A node soon gives up a server that is silent or refuses everything."""
    monkeypatch.setattr(transport, "BUSY_SECONDS", 0.3)
    monkeypatch.setattr(clients, "ANSWER_SECONDS", 0.5)


@pytest.fixture
def make_cache(
    clouds: Callable[[str], Cloud],
    make_proxy: Callable[[int], Proxy],
    shared_clients: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., NodeCache]:
    """Makes an empty cache in the cloud of that name, behind a proxy, for a node whose pauses are short.

    It is as patient as a busy machine needs: `little_patience` is for tests of what never gets better.
    """
    monkeypatch.setattr(transport, "LONGEST_PAUSE", 0.02)
    monkeypatch.setattr(transport, "BUSY_SECONDS", 60.0)
    monkeypatch.setattr(clients, "_s3_client", shared_clients)
    for name in ("AWS_REGION", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)

    def make(name: str) -> NodeCache:
        """`boto3` is moto by boto3's client, which nodes use where settings are not plain."""
        if name == "boto3":
            monkeypatch.setattr(plain_s3, "client_of", lambda *_: None)
        cloud = clouds("moto" if name == "boto3" else name)
        proxy = make_proxy(cloud.port)
        proxy.forget()
        for variable, value in cloud.environment.items():
            monkeypatch.setenv(variable, value)
        url = cloud.url("team/" + tmp_path.name)
        options = {key: value for key, value in cloud.at(proxy.port).options._asdict().items() if value}
        found = parse(canonical(manifest(cache=url, options=options)))
        return NodeCache(cloud, proxy, open_store(url, cloud.options), found)

    return make


@pytest.fixture
def cache(make_cache: Callable[..., NodeCache]) -> NodeCache:
    """An empty cache in S3."""
    return make_cache("moto")


class FolderClient:
    """A client as of a bucket, on a folder: for tests that are not about buckets."""

    raises = (OSError,)

    def __init__(self, root: Path) -> None:
        self._root = root
        self.requested: list[str] = []

    def get(self, path: str, start: int, end: int | None, write: Callable[[bytes], None]) -> None:
        self.requested.append(path)
        write((self._root / path).read_bytes()[start:end])

    def list(self, folder: str) -> list[Listed]:
        files = [each for each in (self._root / folder).rglob("*") if each.is_file()]
        return [Listed(str(each.relative_to(self._root)), each.stat().st_mtime) for each in files]

    def put_new(self, path: str, data: bytes) -> bool:
        place = self._root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists():
            return False
        place.write_bytes(data)
        return True

    def fault(self, error: BaseException) -> Fault:
        return Fault(GONE if isinstance(error, FileNotFoundError) else FORBIDDEN, type(error).__name__)


class FolderCache(NamedTuple):
    """A cache in a folder, as envlock writes it, and as a node would see it in a bucket."""

    store: Store
    client: FolderClient
    transport: Transport


@pytest.fixture
def folder_cache(tmp_path: Path) -> FolderCache:
    """An empty cache in a folder."""
    root = tmp_path / "cache"
    root.mkdir()
    client = FolderClient(root)
    return FolderCache(open_store(str(root)), client, Transport("s3://team/envlock", lambda: client))


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This machine's uv in a wheel. Read it only."""
    return uv_wheel(tmp_path_factory.mktemp("kit") / "uv.whl")


@pytest.fixture(scope="session")
def unpacked_kit(kit: Path) -> Path:
    """uv, as a node has it. Read it only."""
    with zipfile.ZipFile(kit) as wheel:
        wheel.extractall(kit.parent / "unpacked")
    for program in kit.parent.glob("unpacked/*.data/scripts/*"):
        program.chmod(0o755)
    return kit.parent / "unpacked"


@pytest.fixture(scope="session")
def build(archive: Path) -> Path:
    """The running CPython as an archive. Read it only."""
    return archive


@pytest.fixture(scope="session")
def rattler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This machine's py-rattler in a wheel. Read it only."""
    return rattler_wheel(tmp_path_factory.mktemp("kit") / "rattler.whl")


@pytest.fixture
def make_node(tmp_path: Path, kit: Path, unpacked_kit: Path) -> Callable[..., Node]:
    """Makes a node: `make_node(making=..., build=..., image=..., options=...)`, by default of three small wheels.

    It has uv already, as after an earlier task, unless it is `cold`.
    """

    def make(*, cold: bool = False, **options: Any) -> Node:
        making = options.pop("making", None) or Making(tmp_path / "making")
        node = Node(tmp_path, making, kit, **options)
        return node if cold else node.has_had(unpacked_kit)

    return make


@pytest.fixture
def node(make_node: Callable[..., Node]) -> Node:
    return make_node()


@pytest.fixture
def cold_node(make_node: Callable[..., Node]) -> Node:
    """A node on which nothing has started yet."""
    return make_node(cold=True)
