"""A bucket of S3, or of a server that speaks its protocol, by s3fs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from envlock.cache.buckets.service import (
    ANSWER_SECONDS,
    CONNECT_SECONDS,
    CONNECTIONS,
    OF_PYTHON,
    PARTS_AT_ONCE,
    Found,
    Service,
    modified_of,
)

if TYPE_CHECKING:
    from pathlib import Path

_PARTS: dict[str, int] = {"chunksize": 25 << 20, "max_concurrency": 1}
"""Objects smaller than two parts, as most packages are, go in one request: parts cost three more."""
_PIECE = 1 << 20


class S3(Service):
    """Amazon S3, and servers like it."""

    name = "S3"
    package = "s3fs"
    floor = "2025.5"
    extra = "s3"
    options = frozenset({"endpoint", "region", "profile", "anonymous"})
    attempts = 4
    login = (
        "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; they need s3:GetObject and s3:ListBucket, to "
        "push, s3:PutObject and s3:DeleteObject"
    )

    def open(self) -> Any:
        """An S3FileSystem that neither waits long nor retries: the store decides what is retried."""
        from botocore.config import Config
        from s3fs import S3FileSystem

        # Whatever is read is verified by its SHA-256: a CRC of it would cost a tenth of the time and find less.
        unchecked = {"response_checksum_validation": "when_required"}
        files = S3FileSystem(
            anon=self.chosen.anonymous,
            endpoint_url=self.chosen.endpoint or None,
            profile=self.chosen.profile or None,
            client_kwargs={"region_name": region} if (region := self._region()) else {},
            config_kwargs={
                "connect_timeout": CONNECT_SECONDS,
                "read_timeout": ANSWER_SECONDS,
                "max_pool_connections": CONNECTIONS,
                "retries": {"mode": "standard", "total_max_attempts": 1},
                **{name: value for name, value in unchecked.items() if name in Config.OPTION_DEFAULTS},
            },
            use_listings_cache=False,
            max_concurrency=PARTS_AT_ONCE,
        )
        files.retries = 2  # so that a transfer that breaks goes on once where it broke
        return files

    def _region(self) -> str:
        """The region: AWS_REGION, as other SDKs read it. botocore reads AWS_DEFAULT_REGION and the profile itself."""
        return self.chosen.region or ("" if self.chosen.profile else self.environment.get("AWS_REGION", ""))

    def raises(self) -> tuple[type[Exception], ...]:
        """The bases of the exceptions of botocore and s3fs."""
        from aiohttp import ClientError as WebError
        from botocore.exceptions import BotoCoreError, ClientError

        return (*OF_PYTHON, BotoCoreError, ClientError, WebError)

    async def find(self, key: str) -> Found:
        """One HEAD; s3fs's own `info` lists, too, where nothing is."""
        facts = await self.files._call_s3("head_object", self.files.kwargs, Bucket=self.place.bucket, Key=key)
        return Found(key, int(facts["ContentLength"]), modified_of(facts))

    async def prove_bucket(self) -> None:
        """One HEAD of the bucket."""
        await self.files._call_s3("head_bucket", Bucket=self.place.bucket)

    async def read(self, key: str, start: int, end: int) -> bytes:
        """One GET: with more parts at once, s3fs asks for the size first."""
        return bytes(await self.files._cat_file(self._path(key), start=start, end=end, max_concurrency=1))

    async def upload(self, key: str, file: Path, progress: Any) -> None:
        """One PUT for what is smaller than two parts, else a multipart upload."""
        await self.files._put_file(str(file), self._path(key), callback=progress, **_PARTS)

    async def download(self, key: str, file: Path, progress: Any) -> None:
        """One GET, streamed, which goes on once where it broke.

        Parts at once would make the file its full size before its bytes are there. s3fs's own does the same in pieces
        of 64 KiB, which takes a tenth longer.
        """
        from s3fs.core import S3_RETRYABLE_ERRORS

        moved = 0
        with file.open("wb") as target:
            for attempt in (1, 2):
                rest = {"Range": f"bytes={moved}-"} if moved else {}
                answer = await self.files._call_s3("get_object", Bucket=self.place.bucket, Key=key, **rest)
                try:
                    while piece := await answer["Body"].read(_PIECE):
                        moved += target.write(piece)
                        progress.relative_update(len(piece))
                    return
                except S3_RETRYABLE_ERRORS:
                    if attempt == 2:
                        raise
                finally:
                    answer["Body"].close()
