"""Stores in the buckets of S3, Google Cloud Storage and Azure, by fsspec's filesystems. Imported when one is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envlock.cache.buckets.azure import Azure
from envlock.cache.buckets.gcs import GoogleCloudStorage
from envlock.cache.buckets.s3 import S3

if TYPE_CHECKING:
    from envlock.cache.buckets.service import Service
    from envlock.cache.open import BucketPlace
    from envlock.cache.port import Store
    from envlock.config.settings import CacheOptions

SERVICES: dict[str, type[Service]] = {
    "s3": S3,
    **dict.fromkeys(("gs", "gcs"), GoogleCloudStorage),
    **dict.fromkeys(("az", "abfs", "abfss"), Azure),
}


def open_bucket(place: BucketPlace, options: CacheOptions, *, few_reads: bool = False) -> Store:
    """The store in a bucket. With `few_reads`, S3 is read without s3fs where that is safe (`first_reads`).

    Raises CacheBackendMissing and BadCacheOption; sends no request.
    """
    service = SERVICES[place.scheme](place, options)

    def opened() -> Store:
        from envlock.cache.buckets.store import BucketStore  # imports fsspec, which is there when its filesystem is

        return BucketStore(service)

    if few_reads and place.scheme == "s3":
        from envlock.cache.buckets.first_reads import first_reads

        return first_reads(place, options, opened)
    return opened()
