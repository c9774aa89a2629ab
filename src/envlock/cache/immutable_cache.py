"""What a bucket said and can never say otherwise, kept on this machine: names that never move, and locks by their ids.

It lies below envlock's home as in a cache, and is read by what reads a cache, with the same proofs: a record by its own
digest, a lock by its own and by its ids. What is not whole is not remembered, and is asked for again.

A name or a lock that is taken out of the bucket afterwards is still told: it says what the name stood for, which stays
true. Its packages are looked for in the bucket, as ever.
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
_WHERE = (
    *("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_CONFIG_FILE"),
    *("STORAGE_EMULATOR_HOST", "AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME"),
)
"""Variables by which one URL means one bucket or another."""
_ACCOUNT = re.compile(r"(?i)\b(AccountName|BlobEndpoint|EndpointSuffix)=([^;?]*)")
"""What a connection string of Azure says of the place, and no secret."""


class Remembered:
    """What was remembered of one cache. Writes what it can: a home that is full or read-only is no error here."""

    def __init__(self, store: FolderStore) -> None:
        self._store = store
        self._aliases = Aliases(store)
        self._environments = Environments(store)

    def record(self, alias: Alias) -> Move | None:
        """The one record of a name that never moves, where it is remembered."""
        try:
            return self._aliases.head(alias)
        except EnvlockError:
            return None

    def keep_record(self, record: Move) -> None:
        """Remember the record of a name that never moves."""
        with suppress(EnvlockError, OSError), Closed():
            folder_in_home(FOLDER)
            self._store.put(move_path(record.alias, record.sequence), record.render())

    def lock(self, place: EnvironmentPlace) -> Lock | None:
        """The lock of an environment, where it is remembered."""
        try:
            return self._environments.read(place)
        except (EnvlockError, FileNotFoundError, IsADirectoryError):
            return None

    def keep_lock(self, lock: Lock) -> None:
        """Remember a lock."""
        with suppress(EnvlockError, OSError), Closed():
            folder_in_home(FOLDER)
            self._environments.write(lock)


def remembered(url: str, options: CacheOptions) -> Remembered | None:
    """What this machine remembers of a cache in a bucket; None for one in a folder, which is as near.

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
    return Remembered(FolderStore(home() / FOLDER / name[:32]))
