"""The documents of an image: configuration, manifest and index. Pure functions.

An image is its base with more layers. What the base says of its user, its entrypoint and its variables stays. Times are
those of 1980, and nothing says who made the image, or with what version: the same lock on the same base has one digest.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from envlock.image.errors import BaseUnfit
from envlock.image.manifests import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    NotAManifest,
    object_of,
)
from envlock.image.references import is_digest
from envlock.model.arch import LINUX_64, LINUX_AARCH64

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from envlock.image.layers import PackedLayer
    from envlock.model.arch import Arch

ARCHITECTURES: Mapping[Arch, str] = {LINUX_64: "amd64", LINUX_AARCH64: "arm64"}
"""What OCI calls the archs that images are for."""
ROOT = "/opt/envlock"
"""The home in an image: its environments and Python builds."""
PREBUILT_VARIABLE = "ENVLOCK_PREBUILT"
BASE_NAME, BASE_DIGEST = "org.opencontainers.image.base.name", "org.opencontainers.image.base.digest"
"""OCI's annotations of what an image was built on."""
ENVIRONMENTS = "envlock.environments"
"""The annotation with the environments of an image: `metaflow_<req_id>_<full_id>`, separated by spaces."""
PYTHONS = "envlock.pythons"
"""The annotation with the Python builds of an image: the version and the SHA-256 of each archive."""
COMPILERS = "envlock.compilers"
"""The annotation with the releases of CPython that compiled the bytecode."""
MOST_IN_ALL = 127
"""Layers that a storage driver stacks."""
_CREATED = "1980-01-01T00:00:00Z"
_OWN_VARIABLES = "ENVLOCK_"
_LAYERS = {
    "application/vnd.docker.image.rootfs.diff.tar": "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip": OCI_LAYER_GZIP,
    "application/vnd.docker.image.rootfs.diff.tar.zstd": OCI_LAYER_ZSTD,
    "application/vnd.oci.image.layer.v1.tar": "application/vnd.oci.image.layer.v1.tar",
    OCI_LAYER_GZIP: OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD: OCI_LAYER_ZSTD,
}
"""OCI's names of the types of layers, by docker's and its own: the bytes are the same."""
_LONGEST_COMMENT, _LONGEST_PLATFORM = 200, 40
_MOST_PLATFORMS = 20
"""That a message names."""


class Base(NamedTuple):
    """A base image for one arch."""

    layers: tuple[Descriptor, ...]
    config: Mapping[str, object]
    annotations: Mapping[str, object]
    platform: Mapping[str, object]

    @property
    def variables(self) -> dict[str, str]:
        """The variables that it sets."""
        return {name: value for name, _, value in (each.partition("=") for each in _texts(self._inner.get("Env")))}

    @property
    def _inner(self) -> Mapping[str, object]:
        found = self.config.get("config")
        return found if isinstance(found, dict) else {}

    @property
    def diff_ids(self) -> list[str]:
        """The digests of its layers before compression."""
        rootfs = self.config.get("rootfs")
        return list(filter(is_digest, _texts(rootfs.get("diff_ids")))) if isinstance(rootfs, dict) else []

    def most_layers(self, environments: int) -> int:
        """How many layers each of several environments may have on it, beside a Python build and a last one for each.

        Less than one: they do not fit on it.

        >>> Base((), {}, {}, {}).most_layers(2), Base((), {}, {}, {}).most_layers(60)
        (61, 0)
        """
        return (MOST_IN_ALL - len(self.layers)) // environments - 2


def entry_for(index: Manifest, arch: Arch, shown: str) -> Descriptor:
    """The manifest that an index lists for an arch. Raises BaseUnfit if there is none."""
    found = []
    for each in index.manifests:
        named = f"{each.platform.get('os')}/{each.platform.get('architecture')}"
        if named == f"linux/{ARCHITECTURES[arch]}":
            return each
        found.append(named)
    raise _no_arch(shown, arch, [each for each in dict.fromkeys(found) if each != "unknown/unknown"])


def base_of(manifest: Manifest, config: bytes, arch: Arch, shown: str, entry: Descriptor | None = None) -> Base:
    """The base in a manifest and its configuration; `entry` is what an index says of it.

    Raises BaseUnfit for an image of another arch, or one that nothing can be built on.
    """
    unfit = "use another image for `--base`"
    try:
        content = object_of(config)
    except NotAManifest:
        raise BaseUnfit(shown, "its configuration is no JSON object", unfit) from None
    platform = {key: content[key] for key in ("architecture", "os", "variant") if content.get(key)}
    if (platform.get("os"), platform.get("architecture")) != ("linux", ARCHITECTURES[arch]):
        raise _no_arch(shown, arch, [f"{platform.get('os')}/{platform.get('architecture')}"])
    layers = manifest.layers
    strange = sorted({each.media_type for each in layers} - _LAYERS.keys())
    if strange:
        raise BaseUnfit(shown, f"it has a layer of the type {strange[0][:100]}", unfit)
    annotations = manifest.document.get("annotations")
    base = Base(
        tuple(Descriptor(_LAYERS[each.media_type], each.digest, each.size) for each in layers),
        content,
        _plain(annotations),
        {**(entry.platform if entry is not None else {}), **platform},
    )
    if ENVIRONMENTS in base.annotations or base.variables.get(PREBUILT_VARIABLE) == ROOT:
        reason = f"it has environments in {ROOT} already, and files of two would mix"
        raise BaseUnfit(shown, reason, "use the base of that image: images do not stand on each other")
    if len(base.diff_ids) != len(layers):
        raise BaseUnfit(shown, "its configuration does not name all of its layers", unfit)
    return base


def config_of(base: Base, packed: Sequence[PackedLayer]) -> bytes:
    """The configuration of an image: the base's, with the new layers, and the home in which tasks look first."""
    content = {key: value for key, value in base.config.items() if key not in {"container", "container_config", "id"}}
    inner = content.get("config")
    inner = dict(inner) if isinstance(inner, dict) else {}
    env = [each for each in _texts(inner.get("Env")) if not each.startswith(_OWN_VARIABLES)]
    content["config"] = {**inner, "Env": [*env, f"{PREBUILT_VARIABLE}={ROOT}"]}
    content["rootfs"] = {"type": "layers", "diff_ids": [*base.diff_ids, *(each.diff_id for each in packed)]}
    content["created"] = _CREATED
    history = content.get("history")
    if isinstance(history, list) and history:
        made = [
            {"created": _CREATED, "created_by": "envlock image", "comment": each.name[:_LONGEST_COMMENT]}
            for each in packed
        ]
        content["history"] = [*history, *made]
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def manifest_of(base: Base, config: bytes, packed: Sequence[PackedLayer], annotations: Mapping[str, str]) -> Manifest:
    """The manifest of an image for one arch."""
    layers = [*base.layers, *(each.descriptor for each in packed)]
    return Manifest.of(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": Descriptor.of_bytes(config, OCI_CONFIG).document(),
            "layers": [each.document() for each in layers],
            "annotations": {**base.annotations, **annotations},
        }
    )


def index_of(manifests: Sequence[tuple[Base, Manifest]], annotations: Mapping[str, str]) -> Manifest:
    """The index of an image for one or several archs."""
    entries = [manifest.descriptor._replace(platform=base.platform) for base, manifest in manifests]
    return Manifest.of(
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [each.document() for each in entries],
            "annotations": dict(annotations),
        }
    )


def _plain(found: object) -> dict[str, str]:
    """Annotations: texts, as registries want them."""
    given = found.items() if isinstance(found, dict) else ()
    return {name: text for name, text in given if isinstance(text, str)}


def _texts(found: object) -> list[str]:
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


def _no_arch(shown: str, arch: Arch, found: Sequence[str]) -> BaseUnfit:
    told = [each[:_LONGEST_PLATFORM] for each in found[:_MOST_PLATFORMS]]
    has = f"it has {', '.join([*told, *(['...'] if told != [*found] else [])])}" if found else "it names no platform"
    what = f"it has no image for linux/{ARCHITECTURES[arch]} ({arch}): {has}"
    return BaseUnfit(shown, what, f"use a base for {arch}, or choose archs that it has: `--arch`")
