"""Stores in the buckets of S3, Google Cloud Storage and Azure, by fsspec's filesystems. Imported when one is used."""
