"""What is pushed to a registry is there, under its digest, and only what it lacks is sent."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import pytest

from envlock.image.errors import NoSuchImage
from envlock.image.registry import Registry
from tests.image.images import image, noise

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
