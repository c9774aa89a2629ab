"""What is about an image is found by its digest: in the registry's own list, or by the tag that stands for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from envlock.image.manifests import OCI_INDEX, Blob, Descriptor, Manifest
from envlock.image.referrers import fallback_tag
from envlock.image.registry import Registry
from tests.image.images import image, noise
from tests.servers.proxy import Handler, Proxy, Told, proxied
from tests.servers.registry import RegistryServer

Open = Callable[..., Registry]
SBOM, LOCK = "application/vnd.cyclonedx+json", "application/vnd.envlock.lock"


def pushed_image(registry: Registry, seed: int) -> Descriptor:
    blobs, manifest = image(noise(1000, seed))
    registry.push(blobs, manifest, "1")
    return manifest.descriptor


class TestByTheTag:
    """docker-registry keeps no list of referrers."""

    def test_all_that_was_attached_is_found(self, open_registry: Open) -> None:
        registry = open_registry()
        about = pushed_image(registry, 1)
        assert registry.referrers(about.digest) == ()
        sbom = registry.attach(about, SBOM, [Blob.of_bytes(b"{1}", SBOM)], {"org.example.tool": "envlock"})
        lock = registry.attach(about, LOCK, [Blob.of_bytes(b"lock", LOCK)])
        assert {each.digest for each in registry.referrers(about.digest)} == {sbom.digest, lock.digest}
        (found,) = registry.referrers(about.digest, SBOM)
        assert (found.artifact_type, found.annotations) == (SBOM, {"org.example.tool": "envlock"})
        manifest = registry.manifest(found.digest)
        assert manifest.subject is not None
        assert manifest.subject.digest == about.digest
        assert registry.read_blob(manifest.layers[0]) == b"{1}"

    def test_attaching_the_same_again_changes_nothing(self, open_registry: Open) -> None:
        registry = open_registry()
        about = pushed_image(registry, 2)
        once = registry.attach(about, SBOM, [Blob.of_bytes(b"{2}", SBOM)])
        before = registry.manifest(fallback_tag(about.digest))
        assert registry.attach(about, SBOM, [Blob.of_bytes(b"{2}", SBOM)]) == once
        assert registry.manifest(fallback_tag(about.digest)) == before

    def test_what_the_registry_said_once_is_not_asked_again(
        self, open_registry: Open, registry_server: RegistryServer
    ) -> None:
        with proxied(registry_server.port) as proxy:
            registry = open_registry(port=proxy.port)
            about = pushed_image(registry, 9)
            registry.attach(about, SBOM, [Blob.of_bytes(b"{9}", SBOM)])
            proxy.forget()
            registry.attach(about, LOCK, [Blob.of_bytes(b"lock 9", LOCK)])
        asked = [f"{method} {path.split('/')[-2]}" for method, path in proxy.passed]
        assert sorted(asked) == sorted(
            ["HEAD blobs", "POST uploads", "PUT uploads", "PUT manifests", "GET manifests", "PUT manifests"]
        )

    def test_the_tag_is_an_index(self, open_registry: Open) -> None:
        registry = open_registry()
        about = pushed_image(registry, 3)
        registry.attach(about, SBOM, [Blob.of_bytes(b"{3}", SBOM)])
        index = registry.manifest("sha256-" + about.digest.partition(":")[2])
        assert index.descriptor.media_type == OCI_INDEX


class TestByTheList:
    """A registry of OCI 1.1 lists referrers itself. Debian has none, so a proxy keeps the list of a real one."""

    @pytest.fixture
    def lists(self, registry_server: RegistryServer) -> Iterator[Proxy]:
        with proxied(registry_server.port) as proxy:
            yield proxy

    def listing(self, proxy: Proxy, about: Descriptor, *pages: tuple[Descriptor, ...]) -> None:
        """Let the list of an image's referrers have these pages."""
        path = f"/referrers/{about.digest}"

        def answer(handler: Handler, _: bytes) -> None:
            number = int(handler.path.partition("?page=")[2] or 0)
            entries = [each.document() for each in pages[number]]
            document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
            headers = [("Content-Type", OCI_INDEX)]
            if number + 1 < len(pages):
                headers.append(("Link", f'<{handler.path.partition("?")[0]}?page={number + 1}>; rel="next"'))
            handler.answer(200, headers, json.dumps(document).encode())

        proxy.breaks(answer, "GET", path, times=1000)

    def test_all_pages_are_read_and_no_tag_is_pushed(self, open_registry: Open, lists: Proxy) -> None:
        registry = open_registry(port=lists.port)
        about = pushed_image(registry, 4)
        one, two = (Descriptor.of_bytes(each, OCI_INDEX)._replace(artifact_type=SBOM) for each in (b"1", b"2"))
        other = one._replace(artifact_type=LOCK)
        self.listing(lists, about, (one, other), (), (two,))
        assert registry.referrers(about.digest) == (one, other, two)
        assert registry.referrers(about.digest, SBOM) == (one, two)
        registry.attach(about, SBOM, [Blob.of_bytes(b"{4}", SBOM)])
        assert registry.digest_of(fallback_tag(about.digest)) == ""

    def test_a_registry_that_says_it_knows_the_subject_needs_no_tag(self, open_registry: Open, lists: Proxy) -> None:
        registry = open_registry(port=lists.port)
        about = pushed_image(registry, 5)
        lists.breaks(Told(201, headers=(("OCI-Subject", about.digest),)), "PUT", "/manifests/")
        registry.attach(about, SBOM, [Blob.of_bytes(b"{5}", SBOM)])
        assert not [path for _, path in lists.passed if "/referrers/" in path]
        assert registry.digest_of(fallback_tag(about.digest)) == ""

    @pytest.mark.parametrize("data", [b"<html>", b"{}", b'{"manifests": 7}'])
    def test_what_is_no_list_is_none(self, open_registry: Open, lists: Proxy, data: bytes) -> None:
        registry = open_registry(port=lists.port)
        about = pushed_image(registry, 6)
        sbom = registry.attach(about, SBOM, [Blob.of_bytes(b"{6}", SBOM)])
        lists.breaks(Told(200, data), "GET", "/referrers/")
        assert [each.digest for each in registry.referrers(about.digest)] == [sbom.digest]

    def test_a_list_that_leads_on_forever_ends(self, open_registry: Open, lists: Proxy) -> None:
        registry = open_registry(port=lists.port)
        about = pushed_image(registry, 7)
        document = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).encode()
        lists.breaks(Told(200, document, (("Link", '<?page=1>; rel="next"'),)), "GET", "/referrers/", times=1000)
        assert registry.referrers(about.digest) == ()


def test_an_index_of_two_images_is_pushed_after_them(open_registry: Open) -> None:
    registry = open_registry()
    entries = []
    for architecture in ("amd64", "arm64"):
        blobs, manifest = image(noise(1000, 8), author=architecture)
        registry.push(blobs, manifest)
        entries.append(manifest.descriptor._replace(platform={"architecture": architecture, "os": "linux"}))
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [each.document() for each in entries]}
    registry.push_manifest(Manifest.of(document), "1")
    found = registry.manifest("1")
    assert found.is_index
    assert found.manifests == tuple(entries)
