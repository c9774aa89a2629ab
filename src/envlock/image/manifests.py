"""What a registry holds: manifests of images and indexes, of OCI 1.1 and of Docker's schema 2, and blobs.

Source: the OCI image specification (manifest.md, image-index.md, descriptor.md), Docker's image manifest V2 schema 2.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import BinaryIO, NamedTuple

from envlock.files import json_of
from envlock.image.references import ImageReference, is_digest

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
MANIFESTS = (OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST)
"""The media types of manifests that are known."""
INDEXES = (OCI_INDEX, DOCKER_LIST)
MANIFEST_BYTES = 4 << 20
"""The longest manifest that registries take, by the distribution specification."""

Document = Mapping[str, object]
_NOTHING: Document = {}


class NotAManifest(ValueError):
    """A document is no manifest; its text says why."""


class Descriptor(NamedTuple):
    """What content is, how long, and its digest.

    >>> Descriptor.of_bytes(b"{}", OCI_EMPTY).digest[:17]
    'sha256:44136fa355'
    """

    media_type: str
    digest: str
    size: int
    annotations: Document = _NOTHING
    platform: Document = _NOTHING
    """Of an entry of an index: `architecture`, `os`, `variant`."""
    artifact_type: str = ""
    urls: tuple[str, ...] = ()
    """Where else the content is: registries need not have the layers of some base images of Windows."""

    @classmethod
    def of_bytes(cls, data: bytes, media_type: str) -> Descriptor:
        """The descriptor of some bytes."""
        return cls(media_type, sha256_digest(data), len(data))

    @classmethod
    def of(cls, found: object) -> Descriptor:
        """The descriptor in a document. Raises NotAManifest."""
        if not isinstance(found, dict):
            raise NotAManifest("a descriptor is no object")
        media_type, digest, size = (found.get(key) for key in ("mediaType", "digest", "size"))
        if not isinstance(media_type, str) or not isinstance(digest, str) or not is_digest(digest):
            raise NotAManifest("a descriptor has no media type, or no digest of SHA-256 or SHA-512")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise NotAManifest("a descriptor has no size")
        maps = [found.get(key) or {} for key in ("annotations", "platform")]
        artifact_type, urls = found.get("artifactType") or "", found.get("urls") or ()
        if not all(isinstance(each, dict) for each in maps) or not isinstance(artifact_type, str):
            raise NotAManifest("a descriptor has annotations or a platform of the wrong type")
        if not isinstance(urls, (list, tuple)) or not all(isinstance(each, str) for each in urls):
            raise NotAManifest("the URLs of a descriptor are no list of texts")
        return cls(media_type, digest, size, maps[0], maps[1], artifact_type, tuple(urls))

    def document(self) -> dict[str, object]:
        """As it is written into a manifest."""
        rest = {
            "annotations": dict(self.annotations),
            "platform": dict(self.platform),
            "artifactType": self.artifact_type,
            "urls": list(self.urls),
        }
        made: dict[str, object] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        return made | {key: value for key, value in rest.items() if value}


class Blob(NamedTuple):
    """Content to push: what it is, and how to read it."""

    descriptor: Descriptor
    open: Callable[[], BinaryIO]
    """A file that can seek; called only if the bytes have to be sent."""
    source: ImageReference | None = None
    """Another repository that has it, from which its own registry need not be sent it."""

    @classmethod
    def of_bytes(cls, data: bytes, media_type: str) -> Blob:
        """Some bytes that are in memory."""
        return cls(Descriptor.of_bytes(data, media_type), lambda: BytesIO(data))


class Manifest(NamedTuple):
    """A manifest or an index, and the bytes that its digest is of."""

    descriptor: Descriptor
    data: bytes
    document: Document

    @classmethod
    def of(cls, document: Document) -> Manifest:
        """A document that has its `mediaType`, as bytes: the same document has the same digest.

        >>> Manifest.of({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).data.decode()
        '{"manifests":[],"mediaType":"application/vnd.oci.image.index.v1+json","schemaVersion":2}'
        """
        data = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        return cls(Descriptor.of_bytes(data, str(document["mediaType"])), data, document)

    @classmethod
    def read(cls, data: bytes, media_type: str) -> Manifest:
        """The manifest that a registry sent with a media type. Raises NotAManifest.

        What could be read in two ways is none: a document with both layers and manifests, or one that says it is of
        another type than the registry says.
        """
        document = object_of(data)
        own = document.get("mediaType")
        media_type = media_type.partition(";")[0].strip().lower()
        if own is not None and media_type in MANIFESTS and own != media_type:
            raise NotAManifest(f"it was sent as {media_type}, and says that it is {str(own)[:100]}")
        found = media_type if media_type in MANIFESTS else own
        if found not in MANIFESTS:
            raise NotAManifest(f"its media type is {str(found or media_type or 'not told')[:100]}")
        is_index = found in INDEXES
        if ("manifests" in document) != is_index or ("layers" in document or "config" in document) == is_index:
            raise NotAManifest(f"it is no {'index' if is_index else 'manifest'}, although its media type says so")
        made = cls(Descriptor.of_bytes(data, str(found)), data, document)
        if is_index:
            made.manifests  # noqa: B018  raises for one that is not well formed
        else:
            made.config, made.layers  # noqa: B018
        return made

    @property
    def is_index(self) -> bool:
        """Whether it lists manifests, one for each platform."""
        return self.descriptor.media_type in INDEXES

    @property
    def config(self) -> Descriptor:
        """The configuration of an image."""
        return Descriptor.of(self.document.get("config"))

    @property
    def layers(self) -> tuple[Descriptor, ...]:
        """The layers of an image, lowest first."""
        return _descriptors(self.document.get("layers"))

    @property
    def manifests(self) -> tuple[Descriptor, ...]:
        """What an index lists."""
        return _descriptors(self.document.get("manifests"))

    @property
    def subject(self) -> Descriptor | None:
        """The manifest that this one is about, as an SBOM is about an image."""
        found = self.document.get("subject")
        return None if found is None else Descriptor.of(found)

    @property
    def artifact_type(self) -> str:
        """What it is if it is no image: its own type, else that of its configuration."""
        own = self.document.get("artifactType")
        return own if isinstance(own, str) and own else "" if self.is_index else self.config.media_type


def _descriptors(found: object) -> tuple[Descriptor, ...]:
    if not isinstance(found, list):
        raise NotAManifest("it has no list of descriptors")
    return tuple(map(Descriptor.of, found))


def object_of(data: bytes) -> dict[str, object]:
    r"""A JSON object that others wrote, and that can be written again. Raises NotAManifest.

    Python also reads what JSON does not have: `NaN`, and halves of characters.

    >>> object_of(b'{"author": "\\ud800"}')
    Traceback (most recent call last):
    envlock.image.manifests.NotAManifest: it is not JSON
    """
    try:
        found = json_of(data)
        json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        raise NotAManifest("it is not JSON") from None
    if not isinstance(found, dict):
        raise NotAManifest("it is no JSON object")
    return found


def sha256_digest(data: bytes) -> str:
    """The digest of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def digest_like(digest: str, data: bytes) -> str:
    """The digest of some bytes, by the algorithm of another digest."""
    algorithm = digest.partition(":")[0]
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
