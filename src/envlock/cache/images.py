"""The image of each environment of a cache: the last one that was pushed of it, by digest.

An image is in a registry, and the cache has a record of it, so that whoever launches a flow finds it. A record is
written over by that of the next image, and goes with its environment.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple

from envlock.cache.errors import ImageRecordDamaged
from envlock.cache.layout import EnvironmentPlace, image_path
from envlock.errors import Location
from envlock.files import json_of

if TYPE_CHECKING:
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
        try:
            if self._store.read(path) == data:
                return False
        except FileNotFoundError:
            pass
        self._store.put(path, data)
        return True

    def read(self, environment: EnvironmentPlace) -> ImageRecord | None:
        """The last image of an environment; None if there is none. One request.

        Raises ImageRecordDamaged, CacheUnusable.
        """
        path = image_path(environment)
        try:
            data = self._store.read(path)
        except FileNotFoundError:
            return None
        try:
            found = json_of(data)
            record = ImageRecord(*(found[field] for field in ImageRecord._fields))
            texts = all(type(each) is str for each in record)
            if not (texts and _NAME.match(record.name) and _TAG.match(record.tag) and _DIGEST.match(record.digest)):
                raise ValueError("it names no image")
        except (ValueError, KeyError, TypeError) as error:
            shown = Location(f"{self._store.url}/{path}")
            raise ImageRecordDamaged(reason=str(error), locations=(shown,)) from None
        return record
