"""A registry that breaks off, is slow, refuses or lies: what was sent counts, and no wrong byte is used.

The registry is a real one, behind a proxy that misbehaves as the test wants it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from io import BytesIO

import pytest

from envlock.image.connection import ATTEMPTS
from envlock.image.errors import (
    ImageDamaged,
    NoSuchImage,
    RegistryDenied,
    RegistryRefused,
    RegistryUnreachable,
    UnsupportedImage,
)
from envlock.image.manifests import DOCKER_MANIFEST, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST, Blob, Descriptor
from envlock.image.registry import Registry
from envlock.reporter import Reporter
from tests.image.images import image, noise
from tests.servers.proxy import Break, Handler, Proxy, Told, proxied
from tests.servers.registry import RegistryServer

Open = Callable[..., Registry]


@pytest.fixture
def proxy(registry_server: RegistryServer) -> Iterator[Proxy]:
    with proxied(registry_server.port) as between:
        yield between


@pytest.fixture
def behind(open_registry: Open, proxy: Proxy) -> Open:
    """Opens this test's repository through the proxy."""
    return lambda **options: open_registry(port=proxy.port, **options)


class Counting(Reporter):
    """What was said of the bytes."""

    def __init__(self) -> None:
        self.total = self.done = 0

    def began(self, phase: str, total: int, unit: str) -> None:
        self.total += total

    def advanced(self, phase: str, item: str, amount: int = 1) -> None:
        self.done += amount


PASSING = [Break.SLOW_DOWN, Break.RESET, Break.LOST, Break.CUT]


@pytest.mark.parametrize("how", PASSING, ids=lambda how: how.name)
@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "GET"])
def test_what_another_attempt_overcomes_is_no_failure(behind: Open, proxy: Proxy, method: str, how: Break) -> None:
    blobs, manifest = image(noise(50_000), author=f"{method} {how}")
    proxy.breaks(how, method)
    counting = Counting()
    registry = behind(reporter=counting)
    pushed = registry.push(blobs, manifest, "1")
    assert registry.manifest("1").data == manifest.data
    assert proxy.broken == [how]
    assert (counting.done, pushed.sent_bytes) == (counting.total, counting.total)


def test_a_manifest_is_pushed_again_too(behind: Open, proxy: Proxy) -> None:
    blobs, manifest = image(noise(1000, 1))
    proxy.breaks(Break.SLOW_DOWN, "PUT", "/manifests/", times=2)
    registry = behind()
    registry.push(blobs, manifest, "1")
    assert registry.digest_of("1") == manifest.descriptor.digest


def test_a_registry_that_stays_overloaded_is_unreachable(behind: Open, proxy: Proxy) -> None:
    proxy.breaks(Break.SLOW_DOWN, "GET", "/manifests/", times=100)
    with pytest.raises(RegistryUnreachable, match="503"):
        behind().manifest("1")
    assert len(proxy.broken) == ATTEMPTS


def test_a_registry_is_waited_for_as_long_as_it_asks(behind: Open, proxy: Proxy) -> None:
    proxy.breaks(Told(429, headers=(("Retry-After", "1"),)), "GET")
    began = time.monotonic()
    with pytest.raises(NoSuchImage):
        behind().manifest("1")
    assert time.monotonic() - began >= 1


def test_nobody_waits_for_an_hour(behind: Open, proxy: Proxy) -> None:
    proxy.breaks(Told(429, headers=(("Retry-After", "3600"),)), "GET", times=9)
    with pytest.raises(RegistryUnreachable, match="429"):
        behind().manifest("1")
    assert len(proxy.broken) == 1


def test_pauses_differ_and_grow(behind: Open, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    proxy.breaks(Break.SLOW_DOWN, "GET", times=100)
    registry = behind()
    monkeypatch.setattr(registry._connection._stopped, "wait", lambda seconds: bool(waited.append(seconds)))
    for _ in range(2):
        with pytest.raises(RegistryUnreachable):
            registry.manifest("1")
    first, second = waited[: ATTEMPTS - 1], waited[ATTEMPTS - 1 :]
    assert first != second
    assert all(0.5 * 0.01 * 2**n <= pause <= 1.5 * 0.01 * 2**n for n, pause in enumerate(first))


def keep_half(handler: Handler, body: bytes) -> None:
    """Keep half of an upload, break off, and tell who asks how much there is: what docker-registry does not do."""
    half = body[: len(body) // 2]
    path = handler.path.rpartition("&digest=")[0]
    server = HTTPConnection("127.0.0.1", handler.upstream)
    server.request("PATCH", path, half, {"Host": handler.headers["Host"], "Content-Range": f"0-{len(half) - 1}"})
    answer = server.getresponse()
    told = (("Location", answer.headers["Location"]), ("Range", f"0-{len(half) - 1}"))
    handler.proxy.sent += len(half)
    handler.proxy.breaks(Told(204, headers=told), "GET", path)
    server.close()
    handler.reset()


class TestAnUploadThatBreaks:
    SIZE = 4_000_000

    def test_continues_where_it_stopped(self, behind: Open, proxy: Proxy) -> None:
        data = noise(self.SIZE, 2)
        blobs, manifest = image(data)
        proxy.breaks(keep_half, "PUT", blobs[1].descriptor.digest[7:])
        registry = behind()
        registry.push(blobs, manifest, "1")
        file = BytesIO()
        registry.download_blob(blobs[1].descriptor, file)
        assert file.getvalue() == data
        assert [method for method, _ in proxy.passed].count("PATCH") == 1
        assert self.SIZE <= proxy.sent < 1.1 * self.SIZE

    def test_starts_over_where_the_registry_keeps_nothing(self, behind: Open, proxy: Proxy) -> None:
        blobs, manifest = image(noise(self.SIZE, 3))
        proxy.breaks(Break.CUT_REQUEST, "PUT", blobs[1].descriptor.digest[7:])
        counting = Counting()
        registry = behind(reporter=counting)
        registry.push(blobs, manifest, "1")
        assert registry.manifest("1").data == manifest.data
        assert counting.done == counting.total

    def test_starts_over_where_the_registry_kept_it_wrong(self, behind: Open, proxy: Proxy) -> None:
        blobs, manifest = image(noise(self.SIZE, 4))
        proxy.breaks(Break.CUT_REQUEST, "PUT", blobs[1].descriptor.digest[7:])
        proxy.breaks(Told(204, headers=(("Range", "0-99"),)), "GET", "/blobs/uploads/")
        registry = behind()
        registry.push(blobs, manifest, "1")
        file = BytesIO()
        registry.download_blob(blobs[1].descriptor, file)
        assert file.getvalue() == blobs[1].open().read()

    def test_that_takes_nothing_ends(self, behind: Open, proxy: Proxy) -> None:
        blobs, manifest = image(noise(50_000, 5))
        proxy.breaks(Break.STALL, "PUT", "/blobs/uploads/", times=100)
        with pytest.raises(RegistryUnreachable, match="127"):
            behind(patience=0.05).push(blobs, manifest, "1")


class TestADownloadThatBreaks:
    @pytest.mark.parametrize("how", [Break.CUT, Break.STALL_HALFWAY], ids=lambda how: how.name)
    def test_continues_where_it_stopped(self, behind: Open, open_registry: Open, proxy: Proxy, how: Break) -> None:
        blobs, manifest = image(noise(1_000_000, 6))
        open_registry().push(blobs, manifest, "1")
        proxy.breaks(how, "GET", "/blobs/")
        file = BytesIO()
        behind(patience=0.5).download_blob(blobs[1].descriptor, file)
        assert file.getvalue() == blobs[1].open().read()
        assert proxy.headers[-1]["Range"].startswith("bytes=")

    def test_that_is_too_slow_ends(self, behind: Open, open_registry: Open, proxy: Proxy) -> None:
        blobs, manifest = image(noise(100_000, 7))
        open_registry().push(blobs, manifest, "1")
        proxy.breaks(Break.DRIP, "GET", "/blobs/", times=100)
        with pytest.raises(RegistryUnreachable, match="bytes in"):
            behind(patience=0.2).download_blob(blobs[1].descriptor, BytesIO())

    def test_again_and_again_ends_unless_much_came(self, behind: Open, open_registry: Open, proxy: Proxy) -> None:
        data = noise(7_000_000, 15)
        blobs, manifest = image(data)
        open_registry().push(blobs, manifest, "1")
        bits = []

        def send_some(handler: Handler, _: bytes) -> None:
            start = int(handler.headers.get("Range", "bytes=0-")[6:-1])
            bits.append(start)
            some = data[start : start + size]
            told = [("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")]
            handler.answer(206 if start else 200, told, some, length=len(data) - start)

        proxy.breaks(send_some, "GET", "/blobs/", times=1000)
        size = 100
        with pytest.raises(RegistryUnreachable):
            behind().download_blob(blobs[1].descriptor, BytesIO())
        assert bits == [0, 100, 200, 300]
        size = 1_100_000
        file = BytesIO()
        behind().download_blob(blobs[1].descriptor, file)
        assert file.getvalue() == data


REFUSALS = {
    "too large": (413, b"<html>too large</html>", "413"),
    "no pushes": (405, b'{"errors":[{"code":"UNSUPPORTED","message":"a mirror takes no pushes"}]}', "405"),
    "a rule": (400, b'{"errors":[{"code":"DENIED","message":"the tag is immutable"}]}', "400"),
    "odd": (418, b'{"errors": 7}', "418"),
}


@pytest.mark.parametrize(("status", "body", "said"), REFUSALS.values(), ids=REFUSALS)
@pytest.mark.parametrize("path", ["/blobs/uploads/", "/manifests/"])
def test_a_refusal_is_final_and_says_why(
    behind: Open, proxy: Proxy, path: str, status: int, body: bytes, said: str
) -> None:
    blobs, manifest = image(noise(1000, 8), author=path + said)
    proxy.breaks(Told(status, body), "PUT", path, times=100)
    with pytest.raises(RegistryRefused) as raised:
        behind().push(blobs, manifest, "1")
    assert said in raised.value.message
    assert "immutable" not in body.decode() or "DENIED: the tag is immutable" in raised.value.details
    assert len(proxy.broken) <= len(blobs)


def test_a_repository_that_has_to_be_created_first_is_said_to_be(behind: Open, proxy: Proxy) -> None:
    blobs, manifest = image(b"nowhere")
    proxy.breaks(Told(404, b'{"errors":[{"code":"NAME_UNKNOWN","message":"no such repository"}]}'), "POST", times=9)
    with pytest.raises(RegistryRefused) as raised:
        behind().push(blobs, manifest, "1")
    assert raised.value.hint is not None
    assert "create the repository" in raised.value.hint


@pytest.mark.parametrize("status", [400, 403, 409, 412])
def test_a_tag_that_never_moves_may_be_pushed_again_to_the_same_image(behind: Open, proxy: Proxy, status: int) -> None:
    blobs, manifest = image(b"never moves")
    registry = behind()
    registry.push(blobs, manifest, "1")
    refusal = Told(status, b'{"errors":[{"code":"TAG_INVALID","message":"it is there"}]}')
    proxy.breaks(refusal, "PUT", "/manifests/1", times=2)
    assert registry.push(blobs, manifest, "1").sent == ()
    other_blobs, other = image(b"another image")
    with pytest.raises((RegistryRefused, RegistryDenied), match=str(status)):
        registry.push(other_blobs, other, "1")


def test_a_server_that_answers_everything_has_no_image(behind: Open, proxy: Proxy) -> None:
    blobs, manifest = image(noise(10, 30))
    proxy.breaks(Told(200, b"<html></html>"), "PUT", "/manifests/")
    with pytest.raises(RegistryRefused, match="does not have it"):
        behind().push(blobs, manifest, "1")


def test_a_push_that_fails_does_not_wait_for_what_it_had_begun(behind: Open, proxy: Proxy) -> None:
    class Slow(BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            time.sleep(0.05)
            return super().read(size)

    blobs, manifest = image(noise(20_000_000, 14))
    proxy.breaks(Told(413), "PUT", blobs[0].descriptor.digest[7:])
    slow = blobs[1]._replace(open=lambda: Slow(noise(20_000_000, 14)))
    began = time.monotonic()
    with pytest.raises(RegistryRefused, match="413"):
        behind().push([slow, blobs[0]], manifest, "1")
    assert time.monotonic() - began < 5


class TestARegistryThatLacksABlob:
    def test_that_it_said_it_had_is_sent_it(self, behind: Open, proxy: Proxy) -> None:
        blobs, manifest = image(noise(10_000, 9))
        size = str(blobs[1].descriptor.size)
        proxy.breaks(Told(200, headers=(("Content-Length", size),)), "HEAD", blobs[1].descriptor.digest)
        counting = Counting()
        registry = behind(reporter=counting)
        pushed = registry.push(blobs, manifest, "1")
        assert registry.manifest("1").data == manifest.data
        assert len(pushed.sent) == len(blobs)
        assert counting.done == counting.total

    def test_even_when_it_is_sent_is_not_tried_forever(self, behind: Open, proxy: Proxy) -> None:
        blobs, manifest = image(noise(10_000, 10))
        unknown = f'{{"errors":[{{"code":"MANIFEST_BLOB_UNKNOWN","detail":"{blobs[1].descriptor.digest}"}}]}}'
        proxy.breaks(Told(404, unknown.encode()), "PUT", "/manifests/", times=100)
        with pytest.raises(RegistryRefused, match=blobs[1].descriptor.digest):
            behind().push(blobs, manifest, "1")
        assert len(proxy.broken) == 2

    def test_after_its_disk_failed_is_sent_it(self, open_registry: Open, registry_server: RegistryServer) -> None:
        blobs, manifest = image(noise(10_000, 11))
        registry = open_registry()
        registry.push(blobs, manifest, "1")
        registry_server.lose(blobs[1].descriptor.digest)
        with pytest.raises(NoSuchImage):
            registry.download_blob(blobs[1].descriptor, BytesIO())
        assert registry.push(blobs, manifest, "1").sent == (blobs[1].descriptor,)
        registry.download_blob(blobs[1].descriptor, BytesIO())

    def test_of_another_size_is_sent_it(self, behind: Open, proxy: Proxy) -> None:
        blobs, manifest = image(noise(10_000, 12))
        behind().push(blobs, manifest, "1")
        proxy.breaks(Told(200, headers=(("Content-Length", "7"),)), "HEAD", blobs[1].descriptor.digest)
        assert behind().push(blobs, manifest, "1").sent == (blobs[1].descriptor,)


class TestOtherBytes:
    def test_of_a_manifest_by_digest(self, behind: Open, proxy: Proxy) -> None:
        blobs, manifest = image(b"one")
        registry = behind()
        registry.push(blobs, manifest, "1")
        other = image(b"two")[1].data
        proxy.breaks(Told(200, other, (("Content-Type", OCI_MANIFEST),)), "GET", "/manifests/")
        with pytest.raises(ImageDamaged) as raised:
            registry.manifest(manifest.descriptor.digest)
        assert manifest.descriptor.digest in raised.value.details[0]

    def test_of_a_manifest_by_tag(self, behind: Open, proxy: Proxy) -> None:
        told = (("Content-Type", OCI_MANIFEST), ("Docker-Content-Digest", "sha256:" + "0" * 64))
        proxy.breaks(Told(200, image(b"two")[1].data, told), "GET", "/manifests/")
        with pytest.raises(ImageDamaged):
            behind().manifest("1")

    def test_that_were_stored_of_a_manifest(self, behind: Open, proxy: Proxy) -> None:
        blobs, manifest = image(b"one")
        told = (("Docker-Content-Digest", "sha256:" + "0" * 64),)
        proxy.breaks(Told(201, b"", told), "PUT", "/manifests/")
        with pytest.raises(ImageDamaged):
            behind().push(blobs, manifest, "1")

    @pytest.mark.parametrize("data", [b"other", b"longer than it should be"])
    def test_of_a_blob(self, behind: Open, proxy: Proxy, data: bytes) -> None:
        proxy.breaks(Told(200, data), "GET", "/blobs/", times=9)
        wanted = Descriptor.of_bytes(b"right", OCI_LAYER_GZIP)
        file = BytesIO()
        with pytest.raises(ImageDamaged):
            behind().download_blob(wanted, file)
        assert len(file.getvalue()) <= wanted.size

    def test_of_a_blob_that_was_read_for_a_push(self, behind: Open) -> None:
        blobs, manifest = image(b"right")
        wrong = Blob(blobs[1].descriptor, lambda: BytesIO(b"wrong"))
        with pytest.raises(RegistryRefused, match="400"):
            behind().push([blobs[0], wrong], manifest, "1")


class TestLengths:
    def test_a_blob_shorter_than_the_registry_says_is_asked_for_again(self, behind: Open, proxy: Proxy) -> None:
        blobs, manifest = image(noise(1000, 13))
        registry = behind()
        registry.push(blobs, manifest, "1")
        proxy.breaks(Told(200, b"x" * 10, length=1000), "GET", "/blobs/")
        proxy.breaks(Told(200, b"x" * 10), "GET", "/blobs/")
        file = BytesIO()
        with pytest.raises(ImageDamaged):  # what came first is part of it
            registry.download_blob(blobs[1].descriptor, file)

    def test_an_endless_manifest_is_not_read_to_its_end(self, behind: Open, proxy: Proxy) -> None:
        proxy.breaks(Told(200, b" " * (5 << 20)), "GET", "/manifests/")
        with pytest.raises(RegistryRefused, match="longer than 4 MiB"):
            behind().manifest("1")

    def test_a_configuration_that_says_it_is_huge_is_not_asked_for(self, behind: Open, proxy: Proxy) -> None:
        with pytest.raises(UnsupportedImage):
            behind().read_blob(Descriptor(OCI_MANIFEST, "sha256:" + "0" * 64, 1 << 40))
        assert proxy.passed == []


NO_MANIFESTS = {
    "schema 1": ("application/vnd.docker.distribution.manifest.v1+prettyjws", b'{"schemaVersion": 1}'),
    "a page": ("text/html", b"<html></html>"),
    "both kinds": (OCI_INDEX, b'{"schemaVersion":2,"manifests":[],"layers":[]}'),
    "another kind": (DOCKER_MANIFEST, b'{"schemaVersion":2,"mediaType":"%s","manifests":[]}' % OCI_INDEX.encode()),
    "no digest": (OCI_INDEX, b'{"manifests":[{"mediaType":"x","digest":"../../etc/passwd","size":1}]}'),
    "no size": (OCI_INDEX, b'{"manifests":[{"mediaType":"x","digest":"sha256:%s","size":-1}]}' % (b"0" * 64)),
    "deep": (OCI_INDEX, b"[" * 100_000),
}


@pytest.mark.parametrize(("media_type", "data"), NO_MANIFESTS.values(), ids=NO_MANIFESTS)
def test_what_is_no_manifest_is_refused(behind: Open, proxy: Proxy, media_type: str, data: bytes) -> None:
    proxy.breaks(Told(200, data, (("Content-Type", media_type),)), "GET", "/manifests/")
    with pytest.raises(UnsupportedImage):
        behind().manifest("1")
