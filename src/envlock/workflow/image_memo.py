"""What pushing an image did, and a memo of it on this machine, so that an image that has not changed is not made again.

A memo is found by all that decides the bytes of an image, and believed only if the registry has that image, with all of
its layers, at the tag.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from envlock import image, pack
from envlock.cache.parallel import all_in_parallel
from envlock.errors import EnvlockError
from envlock.files import MEMO_BYTES, json_of, read_file, write_atomically
from envlock.image.errors import NoSuchImage, UnsupportedImage
from envlock.model.arch import Arch
from envlock.places import folder_in_home, home
from envlock.trust import Closed
from envlock.workflow.packs import FOLDER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from envlock.image.references import ImageReference
    from envlock.image.registry import Registry


class LayerPushed(NamedTuple):
    """A layer of an environment, and whether the registry had it."""

    arch: Arch
    name: str
    digest: str
    size: int
    raw_size: int
    is_new: bool


@dataclass(frozen=True)
class ImagePushed:
    """What `push_image` did, or would do."""

    reference: ImageReference
    """With the digest of the index."""
    base: ImageReference
    """With its digest."""
    before: str = ""
    """The digest that the base had when this tag was pushed last on the same base; empty if it is the same."""
    manifests: Mapping[Arch, str] = field(default_factory=dict)
    """The digest of the image for each arch."""
    environments: tuple[str, ...] = ()
    """What is in it: `Train/start on linux-64`."""
    layers: tuple[LayerPushed, ...] = ()
    base_layers: int = 0
    copied: int = 0
    """Bytes of layers of the base that were copied from another registry."""
    recorded: int = 0
    """Records that were written into the cache."""
    fetched: int = 0
    """Environments that are looked up when their step starts, and are in no image."""

    @property
    def sent(self) -> tuple[LayerPushed, ...]:
        """The layers that the registry lacked, each once."""
        return tuple({each.digest: each for each in self.layers if each.is_new}.values())


class ImageMemo:
    """What was pushed to the tag of a reference, from what `key` says: values of JSON."""

    def __init__(self, registry: Registry, key: list[object]) -> None:
        reference = registry.reference
        text = json.dumps([f"{reference.name}:{reference.tag}", key, _own_code()], sort_keys=True)
        self._registry = registry
        self._file = home() / FOLDER / f"image-{hashlib.sha256(text.encode()).hexdigest()}.json"

    def found(self) -> ImagePushed | None:
        """The image, if it was pushed from here and the registry still has all of it. A request for each layer.

        Raises RegistryError.
        """
        try:
            memo = json_of(read_file(self._file, MEMO_BYTES))
            layers = tuple(
                LayerPushed(Arch(arch), str(name), str(layer), int(size), int(raw_size), is_new=False)
                for arch, name, layer, size, raw_size in memo["layers"]
            )
            manifests = {Arch(arch): str(digest) for arch, digest in memo["manifests"].items()}
            digest, base_layers = str(memo["digest"]), int(memo["base_layers"])
        except (OSError, ValueError, TypeError, KeyError, AttributeError, EnvlockError):
            return None
        reference = self._registry.reference.with_digest(digest)
        if self._registry.digest_of(self._registry.reference.tag) != digest or not self._is_whole(manifests):
            return None
        return ImagePushed(reference, reference, manifests=manifests, layers=layers, base_layers=base_layers)

    def note(self, pushed: ImagePushed) -> None:
        """Note what was pushed. If that cannot be written, the next push makes the image again."""
        memo = {
            "digest": pushed.reference.digest,
            "manifests": dict(pushed.manifests),
            "layers": [list(each[:-1]) for each in pushed.layers],
            "base_layers": pushed.base_layers,
        }
        with suppress(OSError), Closed():
            folder_in_home(FOLDER)
            write_atomically(self._file, json.dumps(memo).encode())

    def _is_whole(self, manifests: Mapping[Arch, str]) -> bool:
        with suppress(NoSuchImage, UnsupportedImage):
            found = [self._registry.manifest(digest) for digest in manifests.values()]
            blobs = {each.digest: each for manifest in found for each in (manifest.config, *manifest.layers)}
            return all(is_there for _, is_there in all_in_parallel(self._registry.has_blob, blobs.values()))
        return False


def _own_code() -> str:
    """The SHA-256 of the modules that make images: another release of envlock may make other bytes."""
    digest = hashlib.sha256()
    for package in (image, pack):
        for module in sorted(Path(package.__path__[0]).glob("*.py")):
            digest.update(module.read_bytes())
    return digest.hexdigest()
