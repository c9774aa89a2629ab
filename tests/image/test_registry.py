"""What is pushed to a registry is there, under its digest, and only what it lacks is sent."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import CancelledError
from io import BytesIO
from pathlib import Path

import pytest

from envlock.image.errors import NoSuchImage
from envlock.image.manifests import DOCKER_LAYER_GZIP, DOCKER_MANIFEST, OCI_MANIFEST, Manifest
from envlock.image.registry import FETCHING, PUSHING, Registry
from envlock.reporter import Reporter
from tests.image.images import image, noise
from tests.servers.proxy import Break, proxied
from tests.servers.registry import RegistryServer, registry
from tests.support import wait_until

Open = Callable[..., Registry]


def test_a_pushed_image_is_read_by_tag_and_by_digest(open_registry: Open) -> None:
    registry = open_registry()
    blobs, manifest = image(noise(100_000, 1), b"small")
    pushed = registry.push(blobs, manifest, "1")
    assert pushed.digest == manifest.descriptor.digest == registry.digest_of("1")
    assert {each.digest for each in pushed.sent} == {blob.descriptor.digest for blob in blobs}
    for what in ("1", pushed.digest):
        assert registry.manifest(what) == manifest
    for blob in blobs:
        file = BytesIO()
        registry.download_blob(blob.descriptor, file)
        assert file.getvalue() == blob.open().read()
    assert registry.read_blob(manifest.config) == blobs[0].open().read()


def test_what_is_there_is_not_sent_again(open_registry: Open) -> None:
    registry = open_registry()
    blobs, manifest = image(noise(10_000, 2), noise(20_000, 3))
    registry.push(blobs, manifest, "1")
    again = registry.push(blobs, manifest, "2")
    assert (again.sent, len(again.present), again.sent_bytes) == ((), 3, 0)
    assert registry.digest_of("2") == registry.digest_of("1")


def test_a_tag_that_nobody_pushed_names_nothing(open_registry: Open) -> None:
    registry = open_registry()
    assert registry.digest_of("1") == ""
    with pytest.raises(NoSuchImage) as raised:
        registry.manifest("1")
    assert raised.value.code == "no-such-image"


class TestWhatAnotherRepositoryHas:
    def test_is_mounted_in_the_same_registry(self, open_registry: Open, registry_server: RegistryServer) -> None:
        base = open_registry(f"{registry_server.host}/mounts/base")
        blobs, manifest = image(noise(50_000, 4))
        base.push(blobs, manifest, "1")
        target = open_registry(f"{registry_server.host}/mounts/target")
        pushed = target.push([base.blob(each) for each in (manifest.config, *manifest.layers)], manifest, "1")
        assert (len(pushed.mounted), pushed.sent_bytes) == (2, 0)
        assert target.manifest("1") == base.manifest("1")

    def test_is_downloaded_and_sent_to_another_registry(self, open_registry: Open, tmp_path: Path) -> None:
        base = open_registry()
        blobs, manifest = image(noise(50_000, 5))
        base.push(blobs, manifest, "1")
        with registry(tmp_path) as server:
            target = open_registry(f"{server.host}/target")
            pushed = target.push([base.blob(each) for each in (manifest.config, *manifest.layers)], manifest, "1")
            assert target.manifest("1") == base.manifest("1")
        assert (len(pushed.sent), pushed.mounted) == (2, ())

    def test_is_sent_where_it_is_gone_there(self, open_registry: Open, registry_server: RegistryServer) -> None:
        blobs, manifest = image(noise(50_000, 6))
        gone = open_registry(f"{registry_server.host}/mounts/gone").reference
        pushed = open_registry().push([each._replace(source=gone) for each in blobs], manifest, "1")
        assert (len(pushed.sent), pushed.mounted) == (2, ())


def test_an_image_of_docker_is_read_as_it_was_pushed(open_registry: Open) -> None:
    registry = open_registry()
    blobs, of_oci = image(b"layer of docker")
    config, layer = (dict(each.descriptor.document()) for each in blobs)
    config["mediaType"] = "application/vnd.docker.container.image.v1+json"
    layer["mediaType"] = DOCKER_LAYER_GZIP
    document = {"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": config, "layers": [layer]}
    registry.push(blobs, Manifest.of(document), "docker")
    registry.push(blobs, of_oci, "oci")
    found = registry.manifest("docker")
    assert (found.descriptor.media_type, found.config.digest) == (DOCKER_MANIFEST, of_oci.config.digest)
    assert registry.manifest("oci").descriptor.media_type == OCI_MANIFEST


def test_an_empty_blob_and_one_that_is_named_twice_are_pushed(open_registry: Open) -> None:
    registry = open_registry()
    blobs, manifest = image(b"", b"twice", b"twice")
    pushed = registry.push(blobs, manifest, "1")
    assert len(pushed.sent) == 3
    file = BytesIO()
    registry.download_blob(manifest.layers[0], file)
    assert file.getvalue() == b""


class Counting(Reporter):
    """The phases, and how much was done of each."""

    def __init__(self) -> None:
        self.totals: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.open: set[str] = set()

    def began(self, phase: str, total: int, unit: str) -> None:
        self.totals[phase] += total
        self.open.add(phase)

    def grew(self, phase: str, amount: int) -> None:
        self.totals[phase] += amount

    def advanced(self, phase: str, item: str, amount: int = 1) -> None:
        self.done[phase] += amount

    def ended(self, phase: str) -> None:
        self.open.remove(phase)


def test_progress_tells_every_byte_once(open_registry: Open, tmp_path: Path) -> None:
    counting = Counting()
    blobs, manifest = image(noise(200_000, 7), noise(3000, 8))
    total = sum(each.descriptor.size for each in blobs)
    base = open_registry(reporter=counting)
    base.push(blobs, manifest, "1")
    assert counting.totals == counting.done == {PUSHING: total}
    with registry(tmp_path) as server:
        copies = [base.blob(each) for each in (manifest.config, *manifest.layers)]
        open_registry(f"{server.host}/copy").push(copies, manifest, "1")
    assert counting.totals == counting.done == {PUSHING: total, FETCHING: total}
    assert counting.open == set()


def test_a_push_that_is_interrupted_ends_at_once(open_registry: Open) -> None:
    registry = open_registry()

    class Slow(BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            time.sleep(0.05)
            return super().read(size)

    blobs, manifest = image(noise(20_000_000, 9))
    slow = [blobs[0], blobs[1]._replace(open=lambda: Slow(bytes(20_000_000)))]
    threading.Timer(0.3, registry.close).start()
    began = time.monotonic()
    with pytest.raises(CancelledError):
        registry.push(slow, manifest, "1")
    assert time.monotonic() - began < 5


def test_an_interrupt_ends_what_waits_for_a_base_that_stalls(
    open_registry: Open, registry_server: RegistryServer, tmp_path: Path
) -> None:
    blobs, manifest = image(noise(100_000, 10))
    with proxied(registry_server.port) as proxy, registry(tmp_path) as server:
        base = open_registry(port=proxy.port)
        base.push(blobs, manifest, "1")
        proxy.breaks(Break.STALL_HALFWAY, "GET", "/blobs/", times=9)
        target = open_registry(f"{server.host}/target")
        before = set(threading.enumerate())
        threading.Timer(0.5, lambda: (target.close(), base.close())).start()
        with pytest.raises(CancelledError):
            target.push([base.blob(each.descriptor) for each in blobs], manifest, "1")
        wait_until(lambda: not any("ThreadPool" in each.name for each in set(threading.enumerate()) - before), 5)
