"""What a bucket can never answer differently, cached on this machine: tags that never move, and locks by their ids.

The files lie below envlock's home in the layout of a cache, and the same code reads and verifies them: a move by its
digest, a lock by its digest and its ids. Anything damaged is ignored, and the bucket is asked again.

If a tag or a lock is deleted from the bucket later, this cache still has it: the environment that the tag named stays
the same. Packages are always looked up in the bucket.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from envlock.cache.environments import Environments
from envlock.cache.folder_store import FolderStore
from envlock.cache.layout import move_path
from envlock.cache.open import BUCKETS, shown_url
from envlock.errors import EnvlockError
from envlock.named.history import Aliases
from envlock.places import folder_in_home, home
from envlock.trust import Closed

if TYPE_CHECKING:
    from envlock.cache.layout import EnvironmentPlace
    from envlock.config.settings import CacheOptions
    from envlock.model.lock import Lock
    from envlock.named.alias import Alias
    from envlock.named.move import Move

FOLDER = "remembered"
PUSHED = "pushed"
"""Where an empty file stands for each environment that this machine has pushed into a bucket."""
_WHERE = (
    *("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_CONFIG_FILE"),
    *("STORAGE_EMULATOR_HOST", "AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME"),
)
"""Variables that decide which bucket a URL means."""
_ACCOUNT = re.compile(r"(?i)\b(AccountName|BlobEndpoint|EndpointSuffix)=([^;?]*)")
"""The parts of an Azure connection string that name the place; none of them is a secret."""


class Remembered:
    """The cached files of one bucket. A full or read-only home is no error: nothing is cached then."""

    def __init__(self, store: FolderStore, pushed: FolderStore) -> None:
        self._store = store
        self._pushed = pushed
        self._aliases = Aliases(store)
        self._environments = Environments(store)

    def move(self, alias: Alias) -> Move | None:
        """The only move of a tag that never moves again, if it is cached."""
        try:
            return self._aliases.newest(alias)
        except EnvlockError:
            return None

    def keep_move(self, move: Move) -> None:
        """Cache the only move of a tag that never moves again."""
        with suppress(EnvlockError, OSError), Closed():
            folder_in_home(FOLDER)
            self._store.put(move_path(move.alias, move.sequence), move.render())

    def lock(self, place: EnvironmentPlace) -> Lock | None:
        """The lock of an environment, if it is cached."""
        try:
            return self._environments.read(place)
        except (EnvlockError, FileNotFoundError, IsADirectoryError):
            return None

    def has(self, path: str) -> bool:
        """Whether the bucket is known to have the environment at a path, because it was read from there or pushed."""
        try:
            return any(store.entry(path) is not None for store in (self._store, self._pushed))
        except EnvlockError:
            return False

    def note_pushed(self, place: EnvironmentPlace) -> None:
        """Note that the bucket has an environment. Its lock is not cached: the next lookup reads it from the bucket."""
        with suppress(EnvlockError, OSError), Closed():
            folder_in_home(PUSHED)
            self._pushed.put(place.path, b"")

    def keep_lock(self, lock: Lock) -> None:
        """Cache a lock."""
        with suppress(EnvlockError, OSError), Closed():
            folder_in_home(FOLDER)
            self._environments.write(lock)


def remembered(url: str, options: CacheOptions) -> Remembered | None:
    """This machine's cache of a bucket; None for a folder, which is read as fast.

    Raises BadCacheUrl.
    """
    if url.partition("://")[0].lower() not in BUCKETS:
        return None
    connection = os.environ.get("AZURE_STORAGE_CONNECTION_STRING", "")
    where = [
        *(shown_url(url), url.partition("://")[2], options.endpoint, options.account, options.profile),
        *(os.environ.get(name, "") for name in _WHERE),
        *("=".join(match.groups()) for match in _ACCOUNT.finditer(connection)),
    ]
    name = hashlib.sha256("\0".join(where).encode("utf-8", "surrogateescape")).hexdigest()
    return Remembered(FolderStore(home() / FOLDER / name[:32]), FolderStore(home() / PUSHED / name[:32]))
