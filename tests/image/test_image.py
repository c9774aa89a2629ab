"""The documents of an image, made on whatever a registry says of a base."""

from __future__ import annotations

import json
from typing import Any

import pytest

from envlock.image.errors import BaseUnfit
from envlock.image.image import Base, base_of, config_of, manifest_of
from envlock.image.manifests import OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST, Descriptor, Manifest, NotAManifest
from envlock.model.arch import LINUX_64

CONFIG: dict[str, Any] = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}


def document(config: bytes, **more: object) -> dict[str, object]:
    found = Descriptor.of_bytes(config, OCI_CONFIG).document()
    return {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": found, "layers": [], **more}


def base(config: dict[str, Any], **more: object) -> Base:
    data = json.dumps(config).encode()
    manifest = Manifest.read(json.dumps(document(data, **more)).encode(), OCI_MANIFEST)
    return base_of(manifest, data, LINUX_64, "registry.example/base:1")


@pytest.mark.parametrize(
    "more",
    [
        *({"author": "\ud800"}, {"author": float("nan")}, {"variant": ["\udc00"]}, {"author": float("inf")}),
        {"architecture": "\x1b[2J" * 1000},
        {"architecture": ["amd64"]},
        {"rootfs": {"diff_ids": ["sha256:x"]}},
        {"rootfs": 7},
    ],
    ids=["half a character", "NaN", "in a list", "infinity", "long", "list", "no digest", "no layers"],
)
def test_a_configuration_that_no_image_can_have_is_no_base(more: dict[str, object]) -> None:
    with pytest.raises(BaseUnfit) as caught:
        base(
            {**CONFIG, **more},
            layers=[Descriptor.of_bytes(b"x", OCI_LAYER_GZIP).document()] if "rootfs" in more else [],
        )
    assert len(caught.value.render()) < 500
    assert "\x1b" not in caught.value.render()


@pytest.mark.parametrize("text", ["\ud800", float("nan")])
def test_a_manifest_that_cannot_be_written_again_is_none(text: object) -> None:
    with pytest.raises(NotAManifest):
        base(CONFIG, annotations={"title": text})


def test_what_of_a_base_is_no_annotation_is_in_no_image() -> None:
    found = base(CONFIG, annotations={"title": "Base", "count": 7})
    assert manifest_of(found, config_of(found, []), [], {"own": "x"}).document["annotations"] == {
        "title": "Base",
        "own": "x",
    }
