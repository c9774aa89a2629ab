"""A bucket of Google Cloud Storage, by gcsfs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from envlock.cache.buckets.service import (
    ANSWER_SECONDS,
    CONNECT_SECONDS,
    OF_PYTHON,
    PART,
    Found,
    Service,
    modified_of,
)

if TYPE_CHECKING:
    from pathlib import Path


class GoogleCloudStorage(Service):
    """Google Cloud Storage."""

    name = "Google Cloud Storage"
    package = "gcsfs"
    floor = "2025.5"
    extra = "gcs"
    options = frozenset({"endpoint", "anonymous"})
    attempts = 4
    login = (
        "run `gcloud auth application-default login`, or point GOOGLE_APPLICATION_CREDENTIALS at the key of a service "
        "account; it needs the role Storage Object Viewer and, to push, Storage Object User"
    )

    def open(self) -> Any:
        """The plain GCSFileSystem: gcsfs's default one asks before each call what kind of bucket it is."""
        from aiohttp import ClientTimeout
        from gcsfs.core import GCSFileSystem

        anonymous = self.chosen.anonymous or bool(self.environment.get("STORAGE_EMULATOR_HOST"))
        files = GCSFileSystem(
            token="anon" if anonymous else "google_default",
            endpoint_url=self.chosen.endpoint or None,
            requests_timeout=ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=ANSWER_SECONDS),
            use_listings_cache=False,
        )
        # Below a decorator, gcsfs tries each of these six times, and would take a minute to tell that nobody answers.
        for name in ("_request", "_get_file_request"):
            once = getattr(getattr(GCSFileSystem, name, None), "__wrapped__", None)
            if once is not None:
                setattr(files, name, once.__get__(files))
        return files

    def raises(self) -> tuple[type[Exception], ...]:
        """The bases of the exceptions of gcsfs and the three libraries that it uses."""
        from aiohttp import ClientError
        from gcsfs.retry import ChecksumError, HttpError
        from google.auth.exceptions import GoogleAuthError
        from requests.exceptions import RequestException

        return (*OF_PYTHON, HttpError, ChecksumError, ClientError, GoogleAuthError, RequestException)

    async def find(self, key: str) -> Found:
        """One GET of the object's facts; gcsfs's own `info` lists at the same time."""
        facts = await self.files._call("GET", "b/{}/o/{}", self.place.bucket, key, json_out=True)
        return Found(key, int(facts["size"]), modified_of(facts))

    async def prove_bucket(self) -> None:
        """One listing of a single object: the bucket's own facts need a right that users of objects have not."""
        await self.files._call("GET", "b/{}/o", self.place.bucket, maxResults=1, json_out=True)

    async def upload(self, key: str, file: Path, progress: Any) -> None:
        """One POST for what is small, else an upload that goes on part by part."""
        await self.files._put_file(str(file), self._path(key), callback=progress, chunksize=PART)

    async def download(self, key: str, file: Path, progress: Any) -> None:
        """One GET, streamed: with headers of one's own, gcsfs fetches nothing at once and ahead."""
        await self.files._get_file(self._path(key), str(file), callback=progress, headers={})
