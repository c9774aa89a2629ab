"""The image of each environment of a cache: the last one that was pushed of it, by digest.

An image is in a registry, and the cache has a record of it, so that the launcher of a flow finds it. A record is
written over by that of the next image, and goes with its environment.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from envlock.cache.errors import ImageRecordDamaged
from envlock.cache.layout import IMAGES, EnvironmentPlace, image_at, image_path
from envlock.errors import DamageError, Location
from envlock.files import json_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envlock.cache.port import Store

FORMAT = 1
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_NAME = re.compile(r"[A-Za-z0-9.:\[\]-]+(/[a-z0-9]+([._-]+[a-z0-9]+)*)+\Z")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")


class ImageRecord(NamedTuple):
    """An image that has an environment."""

    name: str
    """Registry and repository: `registry.example/team/train`."""
    tag: str
    """The tag that it was pushed with, which may name another image by now."""
    digest: str
    """Of its index."""
    base: str
    """What it was built on, by digest."""

    @property
    def reference(self) -> str:
        """The image by digest alone, as tasks are given it.

        >>> ImageRecord("registry.example/team/train", "1", "sha256:" + "0" * 64, "").reference[:35]
        'registry.example/team/train@sha256:'
        """
        return f"{self.name}@{self.digest}"

    def render(self) -> bytes:
        """Its bytes."""
        return (json.dumps({"format": FORMAT, **self._asdict()}, indent=1) + "\n").encode()


class Images:
    """The records of one store. Any thread may call any method."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def write(self, environment: EnvironmentPlace, record: ImageRecord) -> bool:
        """Record the image of an environment. Returns whether that changed anything. Raises CacheUnusable."""
        path, data = image_path(environment), record.render()
        with suppress(FileNotFoundError, DamageError):  # what is damaged is replaced
            if self._store.read(path) == data:
                return False
        self._store.put(path, data)
        return True

    def places(self) -> Iterator[EnvironmentPlace]:
        """The environments that have a record, damaged or not. One listing."""
        for entry in self._store.entries(IMAGES):
            place = image_at(entry.path)
            if place is not None:
                yield place

    def read(self, environment: EnvironmentPlace) -> ImageRecord | None:
        """The last image of an environment; None if there is none. One request.

        Raises ImageRecordDamaged, CacheUnusable.
        """
        path = image_path(environment)
        try:
            data = self._store.read(path)
        except FileNotFoundError:
            return None
        return parse_record(data, f"{self._store.url}/{path}")


def parse_record(data: bytes, shown: str) -> ImageRecord:
    """The record in these bytes; `shown` is where they were read. Raises ImageRecordDamaged.

    What it names ends in the command of a scheduler, so it is a name of an image and nothing else.
    """
    try:
        found = json_of(data)
        record = ImageRecord(*(found[field] for field in ImageRecord._fields))
    except (ValueError, KeyError, TypeError):
        raise ImageRecordDamaged(reason="a part is missing", locations=(Location(shown),)) from None
    texts = all(type(each) is str for each in record)
    if not (texts and _NAME.match(record.name) and _TAG.match(record.tag) and _DIGEST.match(record.digest)):
        raise ImageRecordDamaged(reason="it names no image", locations=(Location(shown),))
    return record
