"""The format of a cache, and the test that its store creates files exclusively.

The first command that needs `CACHE.json` writes it, once. A cache without it has format 1, and was not tested.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from envlock.cache.errors import CacheFormatDamaged, NewerCache, StoreNotExclusive
from envlock.cache.layout import FORMAT, probe_path
from envlock.errors import DamageError
from envlock.files import json_of

if TYPE_CHECKING:
    from envlock.cache.port import Store

FORMAT_VERSION = 1


def check_format(store: Store) -> bool:
    """Whether the cache has a file with its format. One request.

    Raises NewerCache when it was made by a newer envlock, and CacheFormatDamaged when it cannot be understood.
    """
    try:
        data = store.read(FORMAT)
    except FileNotFoundError:
        return False
    except DamageError:
        raise CacheFormatDamaged(f"{store.url}/{FORMAT}") from None
    try:
        version = json_of(data)["format"]
    except (ValueError, KeyError, TypeError):
        version = None
    if type(version) is not int or version < 1:
        raise CacheFormatDamaged(f"{store.url}/{FORMAT}")
    if version > FORMAT_VERSION:
        raise NewerCache(store.url, version, FORMAT_VERSION)
    return True


def prove_exclusive_create(store: Store) -> None:
    """Test that the store never lets two writers create one file. One request, once it was tested.

    The first time, one file is created twice, the second time with other bytes; a store that lets that happen is
    refused. The proof is remembered in the cache, for everybody.

    Raises StoreNotExclusive; NewerCache and CacheFormatDamaged.
    """
    if check_format(store):
        return
    path = probe_path(os.urandom(16).hex())
    first, second = (os.urandom(16) for _ in range(2))
    try:
        held = store.create(path, first) and not store.create(path, second) and store.read(path) == first
    finally:
        store.delete(path)
    if not held:
        raise StoreNotExclusive(store.url)
    # The nonce tells this call's record from another's, should the answer be lost.
    record = {"format": FORMAT_VERSION, "exclusive-create": True, "nonce": os.urandom(8).hex()}
    if not store.create(FORMAT, json.dumps(record).encode() + b"\n"):
        check_format(store)
