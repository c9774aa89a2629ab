"""A container of Azure's Blob Storage, by adlfs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from envlock.cache.buckets.errors import BadCacheOption
from envlock.cache.buckets.service import (
    ANSWER_SECONDS,
    CONNECT_SECONDS,
    OF_PYTHON,
    PARTS_AT_ONCE,
    Found,
    Service,
    modified_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from envlock.cache.open import BucketPlace
    from envlock.config.settings import CacheOptions


class Azure(Service):
    """Azure Blob Storage."""

    name = "Azure"
    package = "adlfs"
    floor = "2025.8"
    extra = "azure"
    options = frozenset({"endpoint", "account", "anonymous"})
    attempts = 3
    login = (
        "run `az login`, or set AZURE_STORAGE_CONNECTION_STRING; it needs the role Storage Blob Data Reader, to push "
        "Storage Blob Data Contributor"
    )

    def __init__(self, place: BucketPlace, options: CacheOptions, environment: Mapping[str, str] | None = None) -> None:
        super().__init__(place, options, environment)
        self._connection = self._account()

    def open(self) -> Any:
        """An AzureBlobFileSystem whose client gives up soon."""
        from adlfs import AzureBlobFileSystem

        files = AzureBlobFileSystem(
            **self._connection,
            anon=self.chosen.anonymous,
            connection_timeout=CONNECT_SECONDS,
            read_timeout=ANSWER_SECONDS,
            max_concurrency=PARTS_AT_ONCE,
            use_listings_cache=False,
        )
        # adlfs passes no number of attempts on, and a refused connection would take a minute and a half to tell.
        policy: Any = getattr(getattr(files.service_client, "_config", None), "retry_policy", None)
        if hasattr(policy, "total_retries"):
            policy.total_retries = 0
        return files

    def _account(self) -> dict[str, str | None]:
        """The storage account, and what authenticates: without it, adlfs would look for Azure's default credentials."""
        of = self.environment.get
        account = self.chosen.account or self.place.account
        string = of("AZURE_STORAGE_CONNECTION_STRING")
        if string and not account and not self.chosen.endpoint:
            return {"connection_string": string}
        account = account or of("AZURE_STORAGE_ACCOUNT_NAME") or of("AZURE_STORAGE_ACCOUNT") or ""
        if not account:
            raise BadCacheOption(
                "account",
                "is missing: Azure needs the storage account of the container",
                'set `account = "ACCOUNT"` in [envlock.cache-options], or set AZURE_STORAGE_ACCOUNT_NAME',
            )
        key = None if self.chosen.anonymous else of("AZURE_STORAGE_ACCOUNT_KEY") or of("AZURE_STORAGE_KEY")
        token = None if self.chosen.anonymous else of("AZURE_STORAGE_SAS_TOKEN")
        if not self.chosen.endpoint:
            return {"account_name": account, "account_key": key, "sas_token": token}
        host = self.chosen.endpoint.removeprefix("https://").rstrip("/")
        if "/" not in host and not (key or token or self.chosen.anonymous):
            return {"account_name": account, "account_host": host}
        proof = f"AccountKey={key};" if key else f"SharedAccessSignature={token.lstrip('?')};" if token else ""
        return {"connection_string": f"BlobEndpoint={self.chosen.endpoint};AccountName={account};{proof}"}

    def raises(self) -> tuple[type[Exception], ...]:
        """The bases of Azure's and Python's own exceptions."""
        from azure.core.exceptions import AzureError

        return (*OF_PYTHON, AzureError)

    async def find(self, key: str) -> Found:
        """One HEAD; adlfs's own `info` lists, too, where nothing is."""
        async with self.files.service_client.get_blob_client(self.place.bucket, key) as blob:
            facts = await blob.get_blob_properties(**self.files._timeout_kwargs)
        return Found(key, int(facts["size"]), modified_of(facts))

    async def prove_bucket(self) -> None:
        """One listing of a single object: the container's own facts need a right that readers may not have."""
        async with self.files.service_client.get_container_client(self.place.bucket) as container:
            async for _ in container.list_blob_names(results_per_page=1):
                break

    async def list(self, prefix: str) -> list[Found]:
        """Every object whose key begins with `prefix/`: adlfs's own asks three times, and is silent where none is."""
        async with self.files.service_client.get_container_client(self.place.bucket) as container:
            return [
                Found(blob["name"], int(blob["size"]), modified_of(blob))
                async for blob in container.list_blobs(name_starts_with=f"{prefix}/")
            ]

    async def upload(self, key: str, file: Path, progress: Any) -> None:
        """One PUT for what is small, else block by block."""
        await self.files._put_file(str(file), self._path(key), callback=progress, max_concurrency=PARTS_AT_ONCE)

    async def download(self, key: str, file: Path, progress: Any) -> None:
        """The first part, then the others, a few at once."""
        await self.files._get_file(self._path(key), str(file), callback=progress, max_concurrency=PARTS_AT_ONCE)
